"""From images to masks in one command, and masks in other forms."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.store.coco import decode_mask, encode_mask
from cuts3d_cli.store.masks import read_masks, write_masks

SMALL = ("--set", "features.image_size=96", "--set", "crf.image_size=96", "--set", "crf.iterations=1")
SMALL += ("--set", "localcut.tau_knn=0.115")
MAPS = ("--depth-map", "depth")


@pytest.fixture
def folder(tmp_path, dataset, monkeypatch):
    """Four scenes, one in a subfolder, with their depth maps, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for kind in ("images", "depth"):
        (tmp_path / kind / "sub").mkdir(parents=True)
        for number in range(1, 5):
            place = "sub" if number == 4 else "."
            shutil.copy(dataset / kind / f"s{number}.png", tmp_path / kind / place / f"s{number}.png")
    return tmp_path


def names(place):
    return {path.relative_to(place).as_posix() for path in Path(place).rglob("*") if path.is_file()}


@pytest.mark.parametrize("cores", ["1", "2"])
def test_images_to_masks_pictures_and_formats(cuts3d, folder, cores):
    args = ("masks", *SMALL, "--out", "out", "--depth-map", "depth", "--cores", cores, "images")
    code, out, err = cuts3d(*args, "--format", "coco", "--format", "png", "--format", "yolo")
    assert code == 0 and not out, err
    assert "depth:" not in err and "no depth map" not in err
    masks = read_masks("out/masks.json", own=True)
    assert [image["file_name"] for image in masks.images] == ["s1.png", "s2.png", "s3.png", "sub/s4.png"]
    assert masks.image_root == folder / "images" and masks.counts.done == 4
    found = names("out")
    assert {f"pictures/{name}.jpg" for name in ("s1", "s2", "s3", "sub/s4")} | {"contact_sheet.jpg"} <= found
    assert {"png/sub/s4.png", "yolo/labels/sub/s4.txt", "yolo/images/sub/s4.png", "yolo/data.yaml"} <= found
    assert max(Image.open("out/pictures/sub/s4.jpg").size) == 800
    for image in masks.images:
        labels = np.array(Image.open(Path("out/png", image["file_name"])))
        assert len(np.unique(labels)) == 1 + len(masks.by_image()[image["id"]])
    shutil.rmtree("out/pictures")
    stamps = {path: path.stat().st_mtime_ns for path in Path(".cuts3d").rglob("*.json")}
    assert cuts3d(*args)[0] == 0 and "pictures/s1.jpg" in names("out")
    assert {path: path.stat().st_mtime_ns for path in Path(".cuts3d").rglob("*.json")} == stamps
    assert read_masks("out/masks.json").annotations == masks.annotations


def test_masks_are_ranked_as_the_preset_says_and_drawn_with_their_quality(cuts3d, folder, dataset, monkeypatch):
    from cuts3d_cli.report import contact_sheet

    shown = []
    monkeypatch.setattr(contact_sheet, "drawn", lambda rgb, found, values, **more: shown.append((values, more)) or rgb)
    monkeypatch.setattr(contact_sheet, "captioned", lambda picture, text: shown.append(text) or picture)
    args = ("masks", *SMALL, *MAPS, "--cores", "1", "images/s1.png", "--out")
    for rank in ("quality", "score"):
        code, _, err = cuts3d(*args, rank, "--set", f"evaluate.pseudo_mask_rank={rank}")
        assert code == 0, err
        masks = read_masks(f"{rank}/masks.json", own=True)
        (values, more), caption = shown[-2:]
        assert masks.rank == rank and not more["name"]  # the caption names it
        assert sorted(values) == pytest.approx(sorted(entry["quality"] for entry in masks.annotations))
        first = masks.annotations[0]
        assert f"quality {first['quality']:.2f}, stability {first['score']:.2f}" in caption
        evaluate = ("evaluate", "--annotations", dataset / "annotations.json", "--predictions", f"{rank}/masks.json")
        _, out, err = cuts3d(*evaluate, "--preset", "embedded", "--json")
        assert json.loads(out)["masks"]["provenance"]["config"]["pseudo_mask_rank"] == rank
        assert ("ranked by quality, as the settings" in err) == (rank == "quality")
        _, out, err = cuts3d(*evaluate, "--pseudo-mask-rank", "attempts", "--json")
        assert json.loads(out)["masks"]["provenance"]["config"]["pseudo_mask_rank"] == "attempts"


def test_what_was_reused_is_told(cuts3d, folder):
    args = ("masks", *SMALL, *MAPS, "--out", "out", "--cores", "1")
    assert "reused" not in cuts3d(*args, "images/s1.png")[2]
    assert "reused from .cuts3d: all stages of 1 image\n" in cuts3d(*args, "images")[2]
    err = cuts3d(*args, "--set", "localcut.tau_knn=0.1", "images")[2]
    assert "reused from .cuts3d: depth, features, spatial-importance of 4 images" in err
    assert "reused from .cuts3d: all stages of 4 images\n" in cuts3d(*args, "images")[2]


def test_cores_change_no_mask(cuts3d, folder):
    for cores in ("1", "3"):
        shutil.rmtree(".cuts3d", ignore_errors=True)
        assert cuts3d("masks", *SMALL, "--out", f"out{cores}", "--cores", cores, *MAPS, "images")[0] == 0
    assert Path("out1/masks.json").read_bytes() == Path("out3/masks.json").read_bytes()


@pytest.mark.parametrize("cores", ["1", "2"])
@pytest.mark.parametrize(("options", "code"), [((), 1), (("--max-failed", "0.3"), 0)])
def test_a_broken_image_costs_one_line(cuts3d, folder, cores, options, code):
    Path("images/broken.png").write_text("no image")
    shutil.copy("depth/s1.png", "depth/broken.png")
    found, _, err = cuts3d("masks", *SMALL, "--out", "out", "--cores", cores, *options, *MAPS, "images")
    assert found == code, err
    assert err.count("broken.png") == 1 and "cannot be read" in err
    assert ("1 of 5 images failed" in err) == bool(code)
    masks = read_masks("out/masks.json")
    assert len(masks.images) == 4 and list(masks.counts.failures) == ["broken.png"]


def test_where_every_image_fails_nothing_is_written(cuts3d, folder):
    Path("images/none.png").write_text("no image")
    shutil.copy("depth/s1.png", "depth/none.png")
    code, _, err = cuts3d("masks", *SMALL, *MAPS, "--out", "out", "images/none.png")
    assert code == 1 and err.count("none.png") == 1 and "1 image, each failed as said above" in err
    assert not Path("out/masks.json").exists()


@pytest.mark.parametrize("command", [("masks", "--out", "out"), ("depth",), ("evaluate", "--annotations", "t.json")])
@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (["imagse"], "imagse -> did you mean images?"),
        (["images/s11.png"], "images/s11.png -> did you mean images/s1.png"),
        (["imges/s1.png"], "imges/s1.png -> did you mean images/s1.png?"),
        (["imges/t.png", "s1.png"], "imges/t.png (and 1 more)\n"),
    ],
)
def test_a_path_that_is_not_there_is_one_line_before_any_work(cuts3d, folder, command, missing, told):
    shutil.copy("images/s1.png", "good.png")
    Path("t.json").write_text('{"images": [], "annotations": [], "categories": []}')
    code, _, err = cuts3d(*command, *SMALL, "good.png", *missing)
    assert code == 1 and err.startswith("cuts3d: error: no such file or folder: ") and told in err, err
    assert err.count("\n") == 1 and not Path(".cuts3d").exists() and not Path("out").exists()


@pytest.mark.parametrize("cores", ["1", "2"])
def test_weights_that_are_missing_are_one_line(cuts3d, folder, cores):
    shutil.rmtree("depth")  # so that the embedded model is needed, whose features no test may fetch
    code, _, err = cuts3d("masks", *SMALL, "--out", "out", "--cores", cores, "images")
    (line,) = [line for line in err.splitlines() if "cuts3d: error" in line]
    assert code == 1 and "weights of" in line and "failed" not in err
    assert err.count("no depth map, so depth is predicted by the embedded model (4 of 4 images, first") == 1


def test_depth_that_was_predicted_is_told_once(cuts3d, folder, real_weights):
    Path("depth/s2.png").unlink()
    args = ("masks", *SMALL, "--out", "out", "--cores", "1", "--depth-map", "depth", "--set", "depth.backend=auto")
    code, _, err = cuts3d(*args, "images")
    assert code == 0 and err.count("depth:") == 1 and "no depth map, so" in err and "(1 of 4 images, " in err, err
    assert err.index("depth:") < err.index("masks: "), "told before the work"


@pytest.mark.parametrize("command", [("masks", "--out", "out"), ("depth",), ("localcut",)])
def test_depth_maps_of_other_names_are_an_error_before_any_work(cuts3d, folder, command):
    for path in list(Path("depth").rglob("*.png")):
        path.rename(path.with_name(f"map_{path.name}"))
    code, _, err = cuts3d(*command, *SMALL, *MAPS, "images")
    assert code == 1 and err.count("\n") == 1 and not Path(".cuts3d").exists(), err
    assert "4 of 4 images have no depth map, first images/s1.png" in err
    assert "expected depth/s1 with one of .png" in err and "found map_s1.png and others there" in err
    code, _, err = cuts3d(*command, *SMALL, *MAPS, "images/s1.png")
    assert code == 1 and "image images/s1.png has no depth map" in err


def test_some_missing_depth_maps_are_counted_and_a_way_out_is_told(cuts3d, folder):
    Path("depth/s2.png").unlink()
    code, _, err = cuts3d("masks", *SMALL, *MAPS, "--out", "out", "images")
    assert code == 1 and "1 of 4 images has no depth map, first images/s2.png" in err
    assert "--set depth.backend=auto" in err and not Path("out").exists()


def test_rgbd_needs_depth_maps(cuts3d, folder):
    shutil.move("depth", "maps")
    args = ("masks", "--preset", "rgbd", "--out", "out", "images")
    code, _, err = cuts3d(*args)
    assert code == 1 and "preset rgbd needs depth maps: --depth-map DIR" in err and "--preset photo" in err
    assert err.count("\n") == 1 and not Path(".cuts3d").exists()
    Path("maps/s1.png").unlink()
    code, _, err = cuts3d(*args, "--depth-map", "maps", "--set", "depth.backend=auto")
    assert code == 1 and "1 of 4 images has no depth map, first images/s1.png" in err


def test_least_score_holds_for_masks_pictures_and_formats(cuts3d, folder):
    args = ("masks", *SMALL, *MAPS, "--cores", "1", "images/s1.png")
    assert cuts3d(*args, "--out", "all")[0] == 0
    scores = sorted(entry["score"] for entry in read_masks("all/masks.json").annotations)
    limit = (scores[0] + scores[-1]) / 2
    code, _, err = cuts3d(*args, "--out", "some", "--min-score", limit, "--format", "npy")
    kept = [score for score in scores if score >= limit]
    assert code == 0 and len(np.load("some/npy/s1.npy")) == len(kept) < len(scores), err
    assert [entry["score"] >= limit for entry in read_masks("some/masks.json").annotations] == [True] * len(kept)
    assert Path("some/pictures/s1.jpg").read_bytes() != Path("all/pictures/s1.jpg").read_bytes()
    assert read_masks("all/masks.json").provenance.fingerprint != read_masks("some/masks.json").provenance.fingerprint


def test_small_parts_are_left_out_of_masks_pictures_and_formats(cuts3d, folder):
    args = ("masks", *SMALL, *MAPS, "--cores", "1", "--format", "yolo", "images/s1.png")
    assert cuts3d(*args, "--out", "all")[0] == 0
    path = next(Path(".cuts3d/crf").glob("*.json"))
    masks = read_masks(path, own=True)
    speck = decode_mask(masks.annotations[0]["segmentation"])
    speck[0, :12] = True
    entry = {**masks.annotations[0], "segmentation": encode_mask(speck)}
    write_masks(path, replace(masks, annotations=[entry, *masks.annotations[1:]]))
    code, _, err = cuts3d(*args, "--out", "all")
    assert code == 0 and "yolo: 1 parts of fewer than 20 pixels left out (--min-part)" in err, err
    assert decode_mask(read_masks("all/masks.json").annotations[0]["segmentation"])[0, :12].all()
    code, _, err = cuts3d(*args, "--out", "some", "--min-part", 13)
    assert code == 0 and "masks: 1 part of fewer than 13 pixels left out of 1 object" in err, err
    assert not decode_mask(read_masks("some/masks.json").annotations[0]["segmentation"])[0, :12].any()
    assert Path("some/pictures/s1.jpg").read_bytes() != Path("all/pictures/s1.jpg").read_bytes()
    code, _, err = cuts3d("export", "all/masks.json", "--format", "coco", "--min-part", 13, "--out", "ex")
    assert code == 0 and "coco: 1 parts of fewer" in err
    assert "parts of" not in cuts3d("export", "all/masks.json", "--format", "yolo", "--min-part", 0, "--out", "ex")[2]


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("masks.json", "expected a folder, which will hold masks.json"),
        ("images/s1.png", "found a file -> --out images/s1"),
        ("mine", "found other files, such as masks.json"),
        ("images", "found other files, such as s"),
        (".", "found other files, such as depth"),
    ],
)
def test_out_is_a_folder(cuts3d, folder, out, told):
    Path("mine").mkdir()
    Path("mine/masks.json").write_text("{}")
    code, _, err = cuts3d("masks", *SMALL, "--out", out, "images")
    assert code == 1 and told in err and err.count("\n") == 1
    assert not Path(".cuts3d").exists() and Path("mine/masks.json").read_text() == "{}"


def test_results_among_the_images_are_no_images(cuts3d, folder, monkeypatch):
    monkeypatch.chdir(folder / "images")
    for _ in range(2):
        code, _, err = cuts3d(
            "masks", *SMALL, "--out", "out", "--cores", "1", "--format", "png", "--depth-map", "../depth", "."
        )
        assert code == 0 and len(read_masks("out/masks.json").images) == 4, err


def test_pictures_of_images_removed_or_broken_since_are_removed(cuts3d, folder):
    args = ("masks", *SMALL, *MAPS, "--out", "out", "--cores", "1", "--max-failed", "0.5", "images")
    assert cuts3d(*args)[0] == 0
    Path("out/pictures/mine.jpg").write_text("mine")
    shutil.copy("out/pictures/s1.jpg", "out/pictures/sub/mine.jpg")
    Path("out/pictures/s2.jpg").write_text("changed by somebody")
    for name in ("s2.png", "sub/s4.png"):
        Path("images", name).unlink()
    Path("images/s3.png").write_text("no image")
    code, _, err = cuts3d(*args)
    assert code == 0 and "2 pictures of an earlier call removed" in err, err
    kept = {"s1.jpg", "mine.jpg", "s2.jpg", "sub/mine.jpg"}
    assert names("out/pictures") == kept
    Path("out/pictures/sub/mine.jpg").unlink()
    code, _, err = cuts3d(*args[:-1], "images/s1.png")
    assert code == 0 and "removed" not in err and names("out/pictures") == kept - {"sub/mine.jpg"}


def test_a_folder_whose_pictures_are_all_gone_goes_too(cuts3d, folder):
    args = ("masks", *SMALL, *MAPS, "--out", "out", "--cores", "1")
    assert cuts3d(*args, "images")[0] == 0
    assert cuts3d(*args, "images/s1.png")[0] == 0
    assert names("out/pictures") == {"s1.jpg"} and not Path("out/pictures/sub").exists()


@pytest.mark.parametrize(
    "record",
    ["", "[]", "{}", '{"pictures": 3}', '{"pictures": {"../keep.jpg": "", "/keep.jpg": "", "a/../../keep.jpg": ""}}'],
)
def test_a_record_that_is_damaged_removes_nothing(tmp_path, record):
    from cuts3d_cli.report.output_record import OutputRecord

    (tmp_path / "out/a").mkdir(parents=True)
    (tmp_path / "keep.jpg").write_text("keep")
    (tmp_path / "out/a.jpg").write_text("a")
    (tmp_path / "out/cuts3d-output.json").write_text(record)
    made = OutputRecord(tmp_path / "out", 1)
    made.begin([tmp_path / "out/a.jpg"])
    assert made.finish([tmp_path / "out/a.jpg"]) == 0
    assert (tmp_path / "keep.jpg").exists() and (tmp_path / "out/a.jpg").exists()


def test_pictures_of_a_call_that_was_interrupted_are_known(tmp_path):
    from cuts3d_cli.report.output_record import OutputRecord

    first, second = tmp_path / "1.jpg", tmp_path / "2.jpg"
    OutputRecord(tmp_path, 2).begin([first, second])
    for path in (first, second):
        path.write_text("drawn")
    later = OutputRecord(tmp_path, 1)
    later.begin([second])
    assert later.finish([second]) == 1 and not first.exists() and second.exists()


def test_more_images_than_a_sheet_holds(tmp_path):
    from cuts3d_cli.report.contact_sheet import write_contact_sheets

    Image.new("RGB", (600, 300), "red").save(tmp_path / "a.jpg")
    pictures = [("a", tmp_path / "a.jpg", "2 objects"), ("a/very/long/name/" * 8, None, "failed")] * 12
    paths = write_contact_sheets(pictures, tmp_path)
    assert [path.name for path in paths] == ["contact_sheet.jpg", "contact_sheet_2.jpg"]
    sheet = np.array(Image.open(paths[0]).convert("RGB"))
    assert sheet.shape[1] > 4 * 480 and (np.abs(sheet[180, 200].astype(int) - (254, 0, 0)) < 20).all()
    write_contact_sheets(pictures[:3], tmp_path)
    assert not paths[1].exists()


def started(folder, *words):
    """The command as a process of a group of its own."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    args = [sys.executable, "-m", "cuts3d_cli", "masks", "--preset", "embedded", *SMALL, *words]
    return subprocess.Popen(args, cwd=folder, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_ctrl_c_ends_all_processes_at_once_and_a_rerun_goes_on(cuts3d, folder, dataset, heeds_interrupts):
    with Image.open(folder / "images/s1.png") as picture:
        rgb = np.array(picture)
    for number in range(40):  # each another image, as equal ones would come from the cache
        rgb[0, 0] = number
        Image.fromarray(rgb).save(folder / f"images/c{number}.png")
        shutil.copy(folder / "depth/s1.png", folder / f"depth/c{number}.png")
    process = started(folder, "--out", "out", "--cores", "2", "--depth-map", dataset / "depth/s1.png", "images")
    assert "one file" in process.communicate()[1]
    process = started(folder, "--out", "out", "--cores", "2", *MAPS, "images")
    until = time.monotonic() + 120
    while not list(Path(".cuts3d/crf").glob("*.json")) and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    start = time.monotonic()
    err = process.communicate(timeout=60)[1]
    assert (
        process.returncode == 130 and "Traceback" not in err and err.splitlines()[-1].startswith("cuts3d: interrupted")
    )
    with pytest.raises(ProcessLookupError):
        while time.monotonic() - start < 20:
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    done = {path: path.stat().st_mtime_ns for path in Path(".cuts3d/crf").glob("*.json")}
    assert done and not Path("out/masks.json").exists()
    assert cuts3d("masks", *SMALL, "--out", "out", "--cores", "1", *MAPS, "images/s1.png", "images/c0.png")[0] == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items())


def test_export_of_ground_truth_and_of_masks(cuts3d, folder, dataset):
    truth = dataset / "annotations.json"
    code, _, err = cuts3d("export", truth, "--images", "images", "--format", "yolo", "--out", "yolo")
    assert code == 0 and "12 objects of 4 images -> yolo" in err and "1 images not found" in err, err
    assert cuts3d("masks", *SMALL, "--out", "out", "--cores", "1", *MAPS, "images")[0] == 0
    code, _, err = cuts3d("export", "out/masks.json", "--format", "npy", "--format", "labelme", "--out", "ex")
    assert code == 0 and {"npy/sub/s4.npy", "labelme/sub/s4.json"} <= names("ex"), err
    document = json.loads(Path("ex/labelme/sub/s4.json").read_text())
    assert Path("ex/labelme/sub", document["imagePath"]).resolve() == (folder / "images/sub/s4.png").resolve()
    masks = json.loads(Path("out/masks.json").read_text())
    annotations = [{**entry, "score": 0.4} for entry in masks["annotations"]]
    Path("low.json").write_text(json.dumps({"images": masks["images"], "annotations": annotations}))
    code, _, err = cuts3d("export", "low.json", "--format", "npy", "--out", "none", "--min-score", "0.5")
    assert code == 0 and "no object is written with --min-score 0.5; found" in err and "highest score 0.40" in err
    assert len(np.load("none/s1.npy")) == 0
    for score in ("2", "nan", "-0.1"):
        assert cuts3d("export", "low.json", "--format", "npy", "--out", "none", f"--min-score={score}")[0] == 2
    assert cuts3d("export", "low.json", "--format", "coco", "--out", "copy")[0] == 0
    code, _, err = cuts3d("export", "copy/masks.json", "--format", "npy", "--out", "copy")
    assert code == 1 and "which the same command reads" in err and Path("copy/masks.json").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("missing.json", "--format", "png", "--out", "o"), "missing.json; expected COCO JSON; found no such file"),
        (("{truth}", "--format", "png", "--out", "labels.png"), "expected a folder"),
        (("{truth}", "--format", "png", "--out", "images"), "found other files"),
        (("{truth}", "--images", "nowhere", "--format", "png", "--out", "o"), "--images nowhere; expected a folder"),
    ],
)
def test_export_says_what_is_wrong(cuts3d, folder, dataset, words, told):
    code, _, err = cuts3d("export", *(str(word).format(truth=dataset / "annotations.json") for word in words))
    assert code == 1 and told in err and err.count("\n") == 1
    assert not Path("o").exists()


def test_rows_of_the_crf_have_the_masks(cuts3d, photo):
    code, out, err = cuts3d("crf", *SMALL, "--json", "--no-picture", photo)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and rows, err
    for row in (row for row in rows if row["instance"] is not None):
        mask = decode_mask(row["segmentation"])
        assert mask.shape == (120, 160) and 100 * mask.mean() == pytest.approx(row["area_%"])
    assert "segmentation" not in cuts3d("crf", *SMALL, "--no-picture", photo)[1]


def test_a_stage_of_a_run_runs_what_is_missing_before_it(cuts3d, folder):
    assert cuts3d("prepare", "images", "--run", "run", "--n-shards", "2")[0] == 0
    args = ("--run", "run", "--depth-map", "depth", *SMALL)
    code, _, err = cuts3d("localcut", *args, "--shard", "1")
    assert code == 0, err
    for stage in ("depth", "features", "spatial-importance"):
        assert err.count(f"{stage}: needed by localcut and not there, run first") == 1
    assert not Path("run/depth/00000.zarr").exists()
    stamps = {path: path.stat().st_mtime_ns for path in Path("run").rglob("zarr.json")}
    code, _, err = cuts3d("crf", *args)
    assert code == 0 and err.count("confidence: needed by crf") == 2 and err.count("localcut: needed by crf") == 1, err
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert names("run/masks/cuts3d/crf") == {"00000.json", "00001.json"}


def test_a_folder_of_masks_stands_for_its_file(cuts3d, folder, dataset):
    assert cuts3d("masks", *SMALL, *MAPS, "--out", "out", "--cores", "1", "images")[0] == 0
    code, _, err = cuts3d("export", "out", "--format", "png", "--out", "png")
    assert code == 0 and Path("png/s1.png").is_file(), err
    truth = ("--annotations", dataset / "annotations.json")
    scores = [cuts3d("evaluate", *truth, "--predictions", path)[1] for path in ("out", "out/masks.json")]
    assert scores[0] == scores[1] != ""
    Path("run/masks/cuts3d").mkdir(parents=True)
    for command in (("export", "run", "--format", "png", "--out", "o"), ("evaluate", *truth, "--predictions", "run")):
        code, _, err = cuts3d(*command)
        assert code == 1 and "expected COCO JSON, or a folder of `cuts3d masks` with masks.json" in err, err
    Path("run/masks/cuts3d/pseudo_masks.json").touch()
    assert "did you mean run/masks/cuts3d/pseudo_masks.json?" in cuts3d("evaluate", *truth, "--predictions", "run")[2]


def test_pictures_of_a_step_are_no_labels(cuts3d, folder):
    """They lie beside the images by default; a folder that holds labels too stays a folder of labels."""
    shutil.rmtree("images/sub")
    assert cuts3d("masks", *SMALL, *MAPS, "--out", "out", "--cores", "1", "--format", "png", "images")[0] == 0
    assert cuts3d("depth", *SMALL, *MAPS, "images")[0] == 0
    for path in Path("images").glob("*.cuts3d-depth.png"):
        path.rename(Path("out/png", path.name))
    assert len(list(Path("out/png").glob("*.cuts3d-depth.png"))) == 3
    code, out, err = cuts3d("evaluate", "--annotations", "out/png", "--predictions", "out")
    assert code == 0 and "100.0" in out and "WARNING" not in err, err
    assert "0 (background)" in err and "without their suffixes" not in err


def test_exports_that_are_not_written_anew_are_named(cuts3d, folder):
    words = ("masks", *SMALL, *MAPS, "--cores", "1", "--out", "out", "images/s1.png")
    assert cuts3d(*words, "--format", "png")[0] == 0
    code, _, err = cuts3d(*words)
    assert code == 0 and "formats of an earlier call in out, not written anew: png; add --format png" in err
    assert "of an earlier call" not in cuts3d(*words, "--format", "png")[2]
