"""Messages name what the user typed: an option where one was or could be, the key where a file or --set has it."""

import json
from pathlib import Path

import pytest

from cuts3d_cli.cli import typed


@pytest.fixture
def named():
    typed.forget()
    typed.name_options(("localcut", "evaluate"), but={"localcut.k"}, data__n_shards="--n-shards")
    yield
    typed.forget()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("config key localcut.tau_knn; expected x", "--tau-knn; expected x"),
        ("localcut.tau_knn_min and localcut.tau_knn.", "localcut.tau_knn_min and --tau-knn."),
        ("config key localcut.k; a file has it", "config key localcut.k; a file has it"),
        ("found localcut.local_cut off", "found --no-local-cut"),
        ("evaluate.difficult = count counts them", "--difficult count counts them"),
        ("config key device; the device of a run, device", "--device; the device of a run, device"),
        ("set data.n_shards to 5", "set --n-shards to 5"),
        ("take (--set localcut.tau_knn=0.1) or localcut.tau_knn=1", "take (--tau-knn 0.1) or --tau-knn=1"),
        ("crf.solver = lattice", "crf.solver = lattice"),
        ("file x.localcut.tau_knn, mylocalcut.tau_knn", "file x.localcut.tau_knn, mylocalcut.tau_knn"),
    ],
)
def test_keys_become_options(named, text, shown):
    assert typed.as_typed(text) == shown


def test_without_a_command_keys_stay():
    assert typed.as_typed("config key localcut.tau_knn") == "config key localcut.tau_knn"


WRONG = [
    (("localcut", "--tau-knn", "-1"), "--tau-knn; expected a number from 1e-06 to 1000; found -1.0"),
    (
        ("localcut", "--set", "localcut.tau_knn=-1"),
        "config key localcut.tau_knn; expected a number from 1e-06 to 1000; found -1",
    ),
    (("localcut", "--n-instances", "0"), "--n-instances; expected a whole number"),
    (("localcut", "--tau-ncut", "2"), "--tau-ncut; expected a number from -1 to 1; found 2.0"),
    (("localcut", "--set", "localcut.k=[1]"), "config key localcut.k; expected a whole number"),
    (("localcut", "--set", "localcut=3"), "config key localcut; expected settings by name; found 3"),
    (
        ("localcut", "--set", "crf.solver=x"),
        "config key crf.solver; expected one of lattice, torch, pydensecrf; found 'x'",
    ),
    (("localcut", "--set", "localcut.k=010"), "option --set localcut.k=010; expected a YAML value; found 010 is 8 in"),
    (("localcut", "--device", "tpu"), "--device; expected auto (a GPU where there is one), cpu, cuda or cuda:N"),
    (("features", "--image-size", "100"), "--image-size must be a multiple of --patch-size: 100 is not one of 8"),
    (("features", "--facet", "key"), "--facet has no effect with --backend kernel"),
    (("features", "--backend", "kernle"), "--backend: no backend has this name"),
    (("depth", "--clip", "0.5"), "--clip; expected a number from 0 to below 0.5; found 0.5"),
    (("confidence", "--tau-knn-min", "0.5"), "--tau-knn-min; expected at most localcut.tau_knn, 0.06; found 0.5"),
    (("crf", "--unary", "confidence", "--set", "localcut.local_cut=false"), "--unary confidence; expected Spatial"),
    (("crf", "--method", "maskcut", "--set", "localcut.tau_ncut=0.3"), "localcut.tau_ncut 0.3 has no effect with"),
    (("localcut", "--method", "maskcut", "--tau-ncut", "0.3"), "--tau-ncut 0.3 has no effect with --method maskcut"),
]


@pytest.mark.parametrize(("args", "told"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_errors_of_stages(cuts3d, photo, args, told):
    code, _, err = cuts3d(*args, photo)
    (line,) = [line for line in err.splitlines() if "cuts3d: error:" in line]
    assert code == 1 and line.startswith(f"cuts3d: error: {told}"), line


def test_a_mistake_in_a_file_keeps_its_key_under_the_name_of_the_file(cuts3d, photo):
    Path("mine.yaml").write_text("preset: embedded\nlocalcut: {tau_knn: -1}\n")
    _, _, err = cuts3d("localcut", "--config", "mine.yaml", photo)
    assert err == "cuts3d: error: mine.yaml: localcut.tau_knn; expected a number from 1e-06 to 1000; found -1\n"
    Path("mine.yaml").write_text("preset: embedded\nfeatures: {image_size: 100}\n")
    _, _, err = cuts3d("localcut", "--config", "mine.yaml", photo)
    assert "mine.yaml: features.image_size must be a multiple of features.patch_size: 100 is not one of 8" in err
    Path("mine.yaml").write_text("preset: embedded\nconfidence: {tau_knn_min: 0.5}\n")  # right by itself
    _, _, err = cuts3d("confidence", "--config", "mine.yaml", photo)
    assert "error: confidence.tau_knn_min; expected at most localcut.tau_knn" in err


def test_more_shards_than_images_name_the_option(cuts3d, dataset, tmp_path):
    _, _, err = cuts3d("prepare", dataset / "images", "--run", tmp_path / "r", "--n-shards", 9)
    assert "--n-shards; expected at most the number of images, 4; found 9 -> set --n-shards to 4 or less" in err


def test_hints_of_evaluate_name_its_options(cuts3d, dataset, tmp_path):
    truth = json.loads((dataset / "annotations.json").read_text())
    predictions = tmp_path / "p.json"

    def said(*words, **changes):
        predictions.write_text(json.dumps({**truth, **changes}))
        args = ("evaluate", "--predictions", predictions, "--annotations", dataset / "annotations.json", *words)
        return cuts3d(*args)[2]

    boxes = [{key: value for key, value in entry.items() if key != "segmentation"} for entry in truth["annotations"]]
    assert "-> --iou-types bbox compares boxes only" in said(annotations=boxes)
    other = [{**entry, "category_id": 7} for entry in truth["annotations"]]
    err = said("--no-class-agnostic", annotations=other, categories=[{"id": 7, "name": "x"}])
    assert "-> --class-agnostic evaluates all categories as one" in err


def test_the_default_ranking_is_that_of_the_mask_file(cuts3d):
    text = " ".join(cuts3d("evaluate", "--help")[1].split())
    assert "always ranked by score. Default: that which a mask file names, else score." in text
