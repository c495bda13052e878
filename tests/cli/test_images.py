"""Commands on image files: what they run, keep, print and write."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SMALL = ("--set", "features.image_size=96", "--set", "crf.image_size=96", "--set", "crf.iterations=1")
CUT = ("--set", "localcut.tau_knn=0.115")  # a grid of 12 x 12 has longer edges
TRAIN = ("--set", "train.iterations=2", "--set", "train.image_size=64", "--set", "train.workers=0")


def stores(stage):
    return sorted(Path(".cuts3d", stage).iterdir())


@pytest.mark.parametrize("stage", ["depth", "features", "spatial-importance", "localcut", "confidence", "crf"])
def test_each_stage_runs_what_is_missing_and_writes_a_picture(cuts3d, photo, stage):
    code, out, err = cuts3d(stage, *SMALL, *CUT, photo)
    assert code == 0, err
    assert out.splitlines()[0].startswith("image") and len(out.splitlines()) > 1
    picture = np.array(Image.open(f"s.cuts3d-{stage}.png"))
    assert picture.shape == (120, 160, 3) and picture.std() > 0


def test_a_second_threshold_recomputes_the_cut_alone(cuts3d, photo):
    assert cuts3d("localcut", *SMALL, "--tau-knn", "0.115", photo)[0] == 0
    before = {path: path.stat().st_mtime_ns for stage in ("depth", "features") for path in stores(stage)}
    _, _, err = cuts3d("-v", "localcut", *SMALL, "--tau-knn", "0.2", photo)
    assert [f"{stage}: cached" in err for stage in ("depth", "features", "spatial-importance")] == [True] * 3
    assert "localcut: computed" in err
    assert {path: path.stat().st_mtime_ns for stage in ("depth", "features") for path in stores(stage)} == before
    assert len(stores("localcut")) == 2
    assert "localcut: cached" in cuts3d("-v", "localcut", *SMALL, "--tau-knn", "0.2", photo)[2]


def test_another_depth_map_or_image_is_not_mistaken_for_the_cached_one(cuts3d, photo):
    assert cuts3d("depth", photo)[0] == 0
    np.save("other.npy", np.linspace(1, 2, 120 * 160).reshape(120, 160))
    assert cuts3d("depth", "--depth-map", "other.npy", photo)[0] == 0
    assert len(stores("depth")) == 2


def test_rows_as_json(cuts3d, photo):
    _, out, _ = cuts3d("localcut", *SMALL, *CUT, "--json", "--no-picture", photo)
    rows = [json.loads(line) for line in out.splitlines()]
    assert {"image", "instance", "area_%", "box_xywh_px"} <= set(rows[0])
    assert isinstance(rows[0]["area_%"], float) and len(rows[0]["box_xywh_px"]) == 4 and len(rows[0]["source_rc"]) == 2
    assert not Path("s.cuts3d-localcut.png").exists()


def test_names_of_different_length_keep_the_columns_aligned(cuts3d, photo):
    for suffix in ("", "_depth"):
        shutil.copy(f"s{suffix}.png", f"a_much_longer_name{suffix}.png")
    code, out, err = cuts3d("crf", *SMALL, *CUT, photo, "a_much_longer_name.png")
    head, *rows = out.splitlines()
    assert code == 0 and head.startswith("image") and len(rows) == 2 * len([row for row in rows if row[:2] == "s."]), (
        err
    )
    for name in ("instance", "area_%", "box_xywh_px", "stability"):
        start = head.index(name)
        assert all(row[start - 1] == " " != row[start] for row in rows), out


def test_a_try_without_an_instance_says_why(cuts3d, photo):
    args = (*SMALL, *CUT, "--set", "localcut.min_area=0.9")
    _, out, _ = cuts3d("localcut", *args, "--json", "--no-picture", photo)
    first, second, *_ = (json.loads(line) for line in out.splitlines())
    assert first["instance"] == 1 and first["outcome"] == "kept"
    assert second["instance"] is None and second["outcome"].startswith(("rejected: too small", "end: ")), second
    assert list(first) == list(second)
    assert "outcome" in cuts3d("localcut", *args, "--no-picture", photo)[1].splitlines()[0]
    assert "outcome" not in cuts3d("confidence", *args, "--no-picture", photo)[1]


def test_maskcut_on_a_photograph_needs_no_depth(cuts3d, photo):
    Path("s_depth.png").unlink()
    args = ("--preset", "maskcut", "--set", "features.backend=kernel", "--set", "features.image_size=96")
    code, out, err = cuts3d("localcut", *args, photo)
    assert code == 0 and "s.png  1" in out, err


@pytest.fixture
def of_one_name(tmp_path, dataset, monkeypatch):
    """Images whose names differ in folder or suffix alone."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("s/a/x.png", "s/b/x.png", "s/b/y.png", "s/b/y.jpg"), start=1):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(dataset / f"images/s{number}.png").save(name)
    return Path("s")


def test_every_image_has_its_own_picture(cuts3d, of_one_name):
    names = {f"{name}.cuts3d-features.png" for name in ("a/x", "b/x", "b/y.png", "b/y.jpg")}
    for arguments in (("s/a/x.png", "s/b/x.png", "s/b"), ("s/a", "s/b", "s")):
        code, out, err = cuts3d("features", *SMALL, "--out", "out", *arguments)
        assert code == 0 and len(out.splitlines()) == 1 + len(names), err
        assert {line.removeprefix("picture: out/") for line in err.splitlines() if "picture:" in line} == names
    assert {path.relative_to("out").as_posix() for path in Path("out").rglob("*.png")} == names
    for name in ("s/b/y.png", "s/b/y.jpg"):
        assert cuts3d("features", *SMALL, name)[0] == 0
        assert Path(f"{name}.cuts3d-features.png").exists()


@pytest.mark.parametrize(("options", "code"), [((), 1), (("--max-failed", "0.1"), 1), (("--max-failed", "0.3"), 0)])
def test_as_many_images_may_fail_as_is_said(cuts3d, of_one_name, options, code):
    Path("s/b/y.jpg").write_text("no image")
    found, out, err = cuts3d("features", "--no-picture", *SMALL, *options, "s")
    assert found == code and len(out.splitlines()) == 4
    assert err.count("cuts3d: image s/b/y.jpg cannot be read") == 1
    assert ("raise --max-failed" in err) == bool(code)


def test_evaluate_scores_the_images_given(cuts3d, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ("--annotations", dataset / "annotations.json", *SMALL, *CUT, "--depth-map", dataset / "depth")
    images = [dataset / f"images/s{number}.png" for number in (1, 2)]
    code, out, err = cuts3d("evaluate", *args, "--json", *images)
    assert code == 0 and "scored over the images given, 2 of the ground truth's 4" in err, err
    (result,) = json.loads(out).items()
    assert result[0] == "pseudo-masks" and result[1]["n_images"] == 2 and result[1]["n_images_missing"] == 0
    code, _, err = cuts3d("evaluate", *args[:-1], dataset / "depth/s1.png", *images)
    assert code == 1 and "one file for 2 images" in err, err


def test_evaluate_train_selftrain_and_predict_on_a_folder_of_images(cuts3d, dataset, tmp_path, monkeypatch):
    """From images to detections without a run; every command makes the pseudo-masks it needs once."""
    monkeypatch.chdir(tmp_path)
    images, maps = dataset / "images", ("--depth-map", dataset / "depth")
    code, out, err = cuts3d("evaluate", "--annotations", dataset / "annotations.json", *SMALL, *CUT, *maps, images)
    assert code == 0 and "AP50" in out, err
    code, _, err = cuts3d("train", "--out", "det", *SMALL, *CUT, *TRAIN, *maps, images)
    assert code == 0 and Path("det/checkpoint.pth").exists(), err
    assert len(stores("crf")) == 4 and len(stores("pseudo-masks")) == 1
    code, _, err = cuts3d(
        "selftrain",
        "--checkpoint",
        "det/checkpoint.pth",
        "--out",
        "r1",
        "--iterations",
        "2",
        *SMALL,
        *CUT,
        *TRAIN,
        *maps,
        images,
    )
    assert code == 0 and Path("r1/annotations.json").exists(), err
    args = (
        "--checkpoint",
        "r1/checkpoint.pth",
        "--out",
        "found.json",
        "--pictures",
        "pictures",
        "--picture-score",
        "0",
    )
    code, _, err = cuts3d("predict", *args, images)
    assert code == 0 and len(list(Path("pictures").glob("*.png"))) == 4, err
    assert "4 pictures in pictures" in err and "no detection reaches" not in err
    code, _, err = cuts3d("predict", *args[:-1], "1", images)
    assert re.search(r"4 pictures in pictures; on \d of them no detection reaches 1, so the most conf", err), err
    Path("links").mkdir()
    Path("links/l.png").symlink_to(images / "s1.png")
    Path("links/broken.png").write_bytes(b"x")
    code, _, err = cuts3d("predict", *args, "links")
    assert code == 1 and "1 of 2 images failed" in err, err
    assert json.loads(Path("found.json").read_text())["images"][1]["file_name"] == "s2.png", "the earlier file stays"
    assert cuts3d("predict", *args, "--max-failed", "0.5", "links")[0] == 0
    assert json.loads(Path("found.json").read_text())["images"][1]["file_name"] == "l.png"
    code, _, err = cuts3d("predict", *args, images)
    assert {image["file_name"] for image in json.loads(Path("found.json").read_text())["images"]} == {
        f"s{i}.png" for i in range(1, 5)
    }


def test_init_writes_a_config_for_a_folder(cuts3d, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ("init", dataset / "images", "--depth-map", dataset / "depth", "--preset", "paper-dino", "--out", "my.yaml")
    assert cuts3d(*args)[0] == 0
    from cuts3d_cli.config import load

    config = load("my.yaml")
    assert config.data.images == str(dataset / "images") and config.data.annotations is None
    assert config.features.backend == "dino-vitb8" and config.run == "runs/images"
    code, _, err = cuts3d(*args)
    assert code == 1 and "--overwrite" in err
