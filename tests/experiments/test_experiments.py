"""What the rows of the ablation tables are made of, and how seeds are summed up."""

import itertools
import json

import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.experiments import ablations as ex
from cuts3d_cli.experiments import compare
from cuts3d_cli.store.files import write_json

CONFIG = resolve({"experiments": {"seeds": [0, 1, 2], "rounds": 2}})


def scores(ap: float) -> dict:
    """An evaluation with mask AP ``ap`` and box AP a tenth above."""
    metrics = {
        "bbox": {"AP": ap + 0.1, "AP50": 0.9, "AP75": 0.3, "AR1": 0.1, "AR10": 0.2, "AR100": 0.6, "R50": 0.9},
        "segm": {"AP": ap, "AP50": 0.8, "AP75": None, "AR1": 0.1, "AR10": 0.2, "AR100": 0.5, "R50": 0.9},
    }
    return {"metrics": metrics, "n_images": 24, "n_objects": 93, "predictions_per_image": 3.5}


@pytest.fixture
def run(tmp_path):
    """A run with made-up scores: AP rises by 2 points a row, and by 1 a seed."""
    for training in ex.trainings("results", CONFIG):
        ap = 0.2 + 0.02 * (list(ex.VARIANTS).index(training.variant) + training.round) + 0.01 * training.seed
        write_json(ex.evaluation_path(tmp_path, training), scores(ap))
    for masks in ex.MASKS:
        for split in ("train", "val"):
            write_json(ex.masks_evaluation_path(tmp_path, masks, split), scores(0.05))
    return tmp_path


def test_nothing_is_trained_twice():
    together = ex.trainings("results", CONFIG)
    assert len(set(together)) == len(together) == 3 * (6 + 2)
    alone = [set(ex.trainings(name, CONFIG)) for name in ("table4", "table5", "table6")]
    assert set(together) == set.union(*alone)
    assert alone[0] & alone[2] == {ex.Training(v, s) for v in ("importance", "confidence") for s in (0, 1, 2)}
    assert alone[1] < alone[0]


def test_every_first_training_belongs_to_a_row_and_rows_add_one_part_each():
    assert {training.variant for training in ex.trainings("results", CONFIG)} == set(ex.VARIANTS)
    rows = [ex.VARIANTS[row.variant] for row in ex.tables(0)["table6"].rows]
    for before, after in itertools.pairwise(rows):
        assert sum(getattr(before, name) != getattr(after, name) for name in ("select", "blend", "loss")) == 1
        assert before.masks == after.masks == "cuts3d"


def test_a_variant_changes_its_switches_and_the_schedule_only():
    sections = {name: ex.train_section(CONFIG, name).model_dump() for name in ex.VARIANTS}
    changed = {
        key for section in sections.values() for key in section if section[key] != CONFIG.train.model_dump()[key]
    }
    assert changed == {"copy_paste_select", "alpha_blend", "loss", "iterations", "lr_steps"}
    none, full = sections["importance"], sections[ex.FULL]
    assert (none["copy_paste_select"], none["alpha_blend"], none["loss"]) == ("random", "none", "none")
    assert (full["copy_paste_select"], full["alpha_blend"], full["loss"]) == ("confident", "spatial", "spatial")


def test_mean_and_spread():
    assert ex.summarise([1.0, 2.0, 3.0]) == ex.Summary(2.0, 1.0, 3)
    assert ex.summarise([0.4, None]) == ex.Summary(0.4, None, 1)
    assert ex.summarise([]) == ex.Summary(None, None, 0)


def test_a_step_is_clear_by_students_t():
    # t(0.975, 2) = 4.303: the mean must exceed 4.303 / sqrt(3) = 2.48 deviations
    assert ex.differs([1.6, 2.6, 3.6]) and not ex.differs([1.4, 2.4, 3.4])
    assert ex.differs([-3.6, -2.6, -1.6])
    assert ex.differs([0.1, 0.1, 0.1])
    assert not ex.differs([5.0]) and not ex.differs([]) and not ex.differs([0.0, 0.0, 0.0])


def test_the_tables_hold_mean_spread_step_and_the_papers_value(run):
    out = run / "results.md"
    text = compare.run(run, out, config=CONFIG)
    assert out.read_text() == text + "\n"
    rows = {
        line.split(" | ")[0].strip("| "): [c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()
    }
    assert rows["MaskCut"][1] == "5.0", "the pseudo-masks come last"
    cells = rows["+ LocalCut"]
    assert cells[1:5] == ["23.0 ± 1.0", "80.0 ± 0.0", "-", "50.0 ± 0.0"] and cells[5] == "33.0 ± 1.0"
    assert cells[-2:] == ["+2.0 ± 0.0 *", "9.5"]
    assert rows["Self-training, round 1"][-1] == "10.2" and rows["First training"][-1] == "9.1"
    document = json.loads(out.with_suffix(".json").read_text())
    assert [len(document["tables"][name]) for name in ("table4", "table5", "table6")] == [6, 3, 4]
    first = document["tables"]["table4"][0]
    assert first["columns"]["segm.AP"]["per_seed"] == pytest.approx([0.2, 0.21, 0.22]) and first["step"] is None
    for word in (
        f"{resolve().experiments.iterations} iterations",
        "Seeds: 0, 1, 2",
        "24 images with 93 objects",
        "snakemake --cores all results",
    ):
        assert word in text


def test_one_seed_has_no_spread(run):
    config = resolve({"experiments": {"seeds": [1], "rounds": 0}})
    text = compare.run(run, run / "t.md", config=config, name="table6")
    assert "±" not in text and "one seed" in text and "Table 4" not in text
    assert "*" not in "".join(line for line in text.splitlines() if line.startswith("| +"))


def test_a_missing_score_is_one_line(run, cuts3d):
    ex.evaluation_path(run, ex.Training("blend", 2)).unlink()
    out = run / "results.md"
    code, _, err = cuts3d("compare", "--run", run, "--set", "experiments.rounds=2", "--out", out)
    assert code == 1 and len(err.splitlines()) == 1 and "blend_seed2_round0.json" in err and "snakemake" in err
    assert not out.exists() and not out.with_suffix(".json").exists()
    code, text, _ = cuts3d("compare", "--run", run, "--set", "experiments.rounds=2", "--table", "table4")
    assert code == 0 and (run / "experiments/table4.md").read_text().strip() == text.strip()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"localcut": {"sharpen": False}}, "localcut.sharpen"),
        ({"preset": "maskcut"}, "localcut.local_cut"),
        ({"baseline": {"enabled": False}}, "baseline.enabled"),
        ({"data": {"val_annotations": None}}, "data.val_annotations"),
    ],
)
def test_a_run_without_the_tables_parts_is_told(values, named, tmp_path):
    config = resolve(values)
    assert named in ex.unmet(config) and ex.unmet(CONFIG) is None
    with pytest.raises(Cuts3dError, match=named):
        compare.run(tmp_path, tmp_path / "t.md", config=config)


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_are_checked(seeds):
    with pytest.raises(Cuts3dError, match="experiments"):
        resolve({"experiments": {"seeds": seeds}})
