"""``cuts3d status``: under which settings a run is looked at, and what it prints."""

import json

import pytest
import yaml

from cuts3d_cli.store.settings import last_settings, note_settings, settings_path

SMALL = {"features": {"image_size": 96}, "localcut": {"tau_knn": 0.115}, "confidence": {"tau_knn_min": 0.05},
         "crf": {"image_size": 96, "iterations": 2}}  # fmt: skip


@pytest.fixture
def by_hand(tmp_path, dataset, cuts3d, monkeypatch):
    """A run made by hand, of one image that cannot be read and others, with the file that has its settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"preset": "embedded", **SMALL}))
    images = tmp_path / "scenes/images"
    images.mkdir(parents=True)
    for name in ("s1.png", "s2.png"):
        (images / name).write_bytes((dataset / "images" / name).read_bytes())
    (tmp_path / "scenes/depth").symlink_to(dataset / "depth")
    (images / "broken.png").write_bytes(b"no image")
    assert cuts3d("prepare", images, "--run", "run")[0] == 0
    assert cuts3d("crf", "--run", "run", "--config", "mine.yaml", "--max-failed", 0.5)[0] == 0


def test_a_run_made_by_hand_is_looked_at_under_its_own_settings(by_hand, cuts3d):
    code, out, err = cuts3d("status", "--run", "run", "--json")
    assert code == 0 and "settings: those that the results were made with" in err
    rows = {row["stage"]: row for row in json.loads(out)}
    assert all(row["current"] == row["total"] for stage, row in rows.items() if stage != "merge"), rows
    assert rows["merge"]["present"] == 0 and "report" not in rows
    rows = {row["stage"]: row for row in json.loads(cuts3d("status", "--run", "run", "--json", "--preset", "photo")[1])}
    assert "image_size" in rows["features"]["why"]
    rows = json.loads(cuts3d("status", "--run", "run", "--json", "--set", "crf.iterations=3")[1])
    assert [row["stage"] for row in rows if row["current"] < row["total"]] == ["crf", "merge"]


def test_failed_images_are_named_with_their_reasons(by_hand, cuts3d):
    out = cuts3d("status", "--run", "run")[1]
    assert "1 image failed:\n  broken.png: image " in out and "no known image format" in out
    assert "held-out" not in out and "  images" not in out.splitlines()[0], "columns without content are left out"


def test_the_run_is_that_of_the_configuration(by_hand, cuts3d, tmp_path):
    code, _, err = cuts3d("status")
    assert code == 2 and "--run DIR or --config FILE" in err
    data = {"images": "scenes/images", "n_shards": 1}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"preset": "embedded", "run": "run", "data": data, **SMALL}))
    rows = {row["stage"]: row for row in json.loads(cuts3d("status", "--config", "mine.yaml", "--json")[1])}
    assert rows["crf"]["current"] == 1 and rows["report"]["present"] == 0, "what the workflow would make"
    rows = json.loads(cuts3d("status", "--config", "mine.yaml", "--set", "run=another", "--json")[1])
    assert {row["present"] for row in rows} == {0}, "nothing is made yet"


def test_the_settings_of_the_last_workflow_are_known(tmp_path):
    assert last_settings(tmp_path) is None
    for seed in (1, 2):
        path = settings_path(tmp_path, {"seed": seed})
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"seed: {seed}\n")
    note_settings(settings_path(tmp_path, {"seed": 1}))
    assert last_settings(tmp_path) == settings_path(tmp_path, {"seed": 1})
    last_settings(tmp_path).unlink()
    assert last_settings(tmp_path) is None


def test_settings_that_a_run_refuses_are_refused(by_hand, cuts3d):
    code, _, err = cuts3d("status", "--run", "run", "--set", "localcut.tau_knn=0.0001")
    assert code == 1 and "expected at most localcut.tau_knn, 0.0001" in err and "-> lower it as well" in err, err
