"""What a stage command shows of an image: numbers as data, one format in tables, a picture of its own name."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.config import resolve
from cuts3d_cli.pipeline.cache import ImageResult, image_source, run_image
from cuts3d_cli.report import preview
from cuts3d_cli.report.words import outcome_text
from cuts3d_cli.store.coco import annotation, image_entry, without_id
from cuts3d_cli.store.masks import PREDICTIONS, PSEUDO_MASKS, Counts, MaskFile, read_masks, write_masks

CONFIG = resolve(
    {
        "features": {"image_size": 96},
        "crf": {"image_size": 96, "iterations": 1},
        "localcut": {"tau_knn": 0.115},
        "depth": {"size": 96},
    }
)


@pytest.fixture
def grey(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((48, 64, 3), 128, np.uint8)).save("grey.png")
    np.save("grey.npy", np.linspace(1, 2, 48 * 64).reshape(48, 64))
    return Path("grey.png")


@pytest.fixture
def masks_of(photo):
    """Rows and result of the CRF's masks of these cuts."""

    def make(cuts):
        source = image_source(photo, None)
        record = source.records[0]
        found = []
        for n, cut in enumerate(cuts):
            mask = np.zeros((record.height, record.width), bool)
            mask[10 * n : 10 * n + 8, 4:24] = True
            found.append(annotation(1, mask, 0.8255814, quality=0.1234567, cut=cut))
        write_masks("m.json", MaskFile(PSEUDO_MASKS, Path(), [image_entry(record)], found))
        return ImageResult(photo, source, {"crf": Path("m.json")}, Counts(done=1))

    return make


@pytest.mark.parametrize(("cuts", "numbers"), [([0, 2], [1, 3]), ([None, None], [1, 2]), ([1, 1], [1, 2])])
def test_an_instance_keeps_the_number_of_its_cut(masks_of, cuts, numbers):
    result = masks_of(cuts)
    assert [row["instance"] for row in preview.rows("crf", result)] == numbers
    assert preview.picture("crf", result).shape == (120, 160, 3)


def test_rows_hold_data_and_tables_one_format(masks_of):
    result = masks_of([0])
    (row,) = preview.rows("crf", result)
    (mask,) = read_masks(result.paths["crf"]).annotations
    assert row == {
        "segmentation": mask["segmentation"],
        "image": "s.png",
        "instance": 1,
        "area_%": 100 * 160 / (120 * 160),
        "box_xywh_px": [4, 0, 20, 8],
        "score": 0.825581,
        "quality": 0.123457,
        "outcome": "kept",
    }
    head, line = preview.table([row]).splitlines()
    assert line.split() == ["s.png", "1", "0.8", "4", "0", "20", "8", "0.826", "0.123", "kept"]
    assert head.split()[-3:] == ["stability", "quality", "outcome"]


def test_a_picture_has_the_quality_and_without_one_the_named_stability(masks_of, monkeypatch):
    shown = []
    monkeypatch.setattr(preview, "drawn", lambda rgb, found, values, name: shown.append((name, values)) or rgb)
    result = masks_of([0])
    preview.picture("crf", result)
    masks = read_masks(result.paths["crf"])
    write_masks("m.json", replace(masks, annotations=[{**masks.annotations[0], "quality": None}]))
    preview.picture("crf", result)
    assert shown == [("quality", [0.123457]), ("stability", [0.825581])]


@pytest.mark.parametrize("stage", ["depth", "features", "spatial-importance", "localcut", "confidence"])
def test_values_of_every_stage_are_numbers(photo, stage):
    rows = json.loads(json.dumps(preview.rows(stage, run_image(stage, photo, CONFIG))))
    for row in rows:
        texts = {name for name, value in row.items() if isinstance(value, str)}
        assert texts <= {"image", "outcome"} and len(row) > 3
        assert all(
            isinstance(part, (int, float)) for value in row.values() if isinstance(value, list) for part in value
        )


def test_scores_read_the_same_in_confidence_and_crf(photo):
    scores = {
        stage: {
            row["instance"]: row["score"]
            for row in preview.rows(stage, run_image(stage, photo, CONFIG))
            if row["instance"]
        }
        for stage in ("confidence", "crf")
    }
    assert scores["crf"] and scores["crf"].items() <= scores["confidence"].items()


@pytest.mark.parametrize(("shape", "text"), [([60, 60], "60 x 60"), ([128, 60, 60], "128 x 60 x 60")])
def test_a_map_in_a_table(shape, text):
    row = {"image": "a.png", "shape": shape, "min": 0.0, "mean": 1 / 3, "max": 1.0}
    line = preview.table([row]).splitlines()[1]
    assert line.split() == ["a.png", *text.split(), "0.000", "0.333", "1.000"] and text in line


@pytest.mark.parametrize("stage", ["localcut", "confidence", "crf"])
def test_a_picture_without_instances_says_why(grey, stage):
    (row,) = preview.rows(stage, run_image(stage, grey, CONFIG))
    assert row["instance"] is None and row["outcome"] == "end: all patches alike"
    assert " none " in preview.table([row])


@pytest.mark.parametrize("stage", ["localcut", "crf"])
def test_an_attempt_that_is_too_small_tells_the_setting_and_the_area(photo, stage):
    cut = CONFIG.localcut.model_copy(update={"min_area": 0.3})
    result = run_image(stage, photo, CONFIG.model_copy(update={"localcut": cut}))
    found = [row["outcome"] for row in preview.rows(stage, result) if "too small" in str(row.get("outcome"))]
    assert found
    for text in found:
        area, limit = re.search(
            r"rejected: too small, (.*) % of the patches \(localcut.min_area (.*)\)$", text
        ).groups()
        assert 0 < float(area) <= 30 and limit == "0.3"


def test_what_an_outcome_says():
    settings = {"min_area": 0.01, "max_overlap": 0.5}
    assert outcome_text("overlap", settings) == "rejected: overlaps the previous mask (localcut.max_overlap 0.5)"
    assert (
        outcome_text("small", settings, 0.0064) == "rejected: too small, 0.64 % of the patches (localcut.min_area 0.01)"
    )
    assert outcome_text("small", {}) == "rejected: too small" and outcome_text("kept", settings, 0.3) == "kept"


def test_masks_that_the_crf_refuses_are_told_as_such(photo):
    config = CONFIG.model_copy(update={"crf": CONFIG.crf.model_copy(update={"min_iou": 1.0})})
    found = preview.rows("localcut", run_image("localcut", photo, config))
    refused = preview.rows("crf", run_image("crf", photo, config))
    assert len(refused) == len(found)
    for number, (before, row) in enumerate(zip(found, refused, strict=True), start=1):
        assert row["instance"] is row["score"] is row["quality"] is None
        kept = before["outcome"] == "kept"
        why = "rejected: changed too much by the CRF (crf.min_iou 1)" if kept else before["outcome"]
        assert row["outcome"] == (f"cut {number} {why}" if why.startswith("rejected") else why)


def test_what_was_rejected_is_listed_beside_what_was_kept(photo):
    """One mask that the CRF leaves out of a file that holds the others; attempts without an instance are told too."""
    result = run_image("crf", photo, CONFIG)
    masks = read_masks(result.paths["crf"], own=True)
    assert len(masks.annotations) > 1
    lost, *kept = masks.annotations
    write_masks("fewer.json", replace(masks, annotations=[without_id(entry) for entry in kept]))
    fewer = replace(result, paths={**result.paths, "crf": Path("fewer.json")})
    rows = preview.rows("crf", fewer)
    assert [row["instance"] for row in rows if row["instance"]] == [entry["cut"] + 1 for entry in kept]
    (row,) = [row for row in rows if "changed too much" in row.get("outcome", "")]
    assert row["outcome"].startswith(f"cut {lost['cut'] + 1} rejected") and "crf.min_iou 0.5" in row["outcome"]
    attempts = len([row for row in preview.rows("localcut", result) if row["outcome"] != "not tried"])
    assert len(rows) == attempts


def test_the_score_is_called_what_it_is(photo):
    """Stability of the cut, the CRF's probability, or a dash where nothing was cut in 3D; the key of JSON stays."""
    for stage, changes, name in (
        ("crf", {}, "stability"),
        ("confidence", {}, "stability"),
        ("crf", {"crf": {"confidence": "crf"}}, "crf_probability"),
        ("crf", {"localcut": {"local_cut": False, "sharpen": False}}, "stability"),
    ):
        config = CONFIG.model_copy(
            update={key: getattr(CONFIG, key).model_copy(update=values) for key, values in changes.items()}
        )
        rows = preview.rows(stage, run_image(stage, photo, config))
        head = preview.table(rows, score=preview.score_column(stage, config)).splitlines()[0].split()
        assert name in head and "score" not in head and "score" in rows[0]
        values = [row["score"] for row in rows if row["instance"]]
        assert all(0 < row["quality"] < 1 for row in rows if row["instance"] and stage == "crf")
        assert values and (set(values) == {None}) == ("localcut" in changes)
        assert preview.picture(stage, run_image(stage, photo, config)).shape == (120, 160, 3)


def test_near_is_bright(grey):
    """The map's depth grows from the top row to the bottom one."""
    drawn = preview.picture("depth", run_image("depth", grey, CONFIG)).sum(-1).mean(1)
    assert drawn[0] > 1.5 * drawn[-1] and (np.diff(drawn) <= 0).mean() > 0.9


def test_pictures_of_images_of_one_stem_have_their_own_names(tmp_path):
    for name in ("same.jpg", "same.png", "x.1.JPG", "x.1.tif", "alone.jpg", "alone.npy", "alone_depth.png"):
        (tmp_path / name).touch()
    names = {
        image: preview.picture_path("crf", tmp_path / image).name
        for image in ("same.jpg", "same.png", "x.1.JPG", "x.1.tif", "alone.jpg")
    }
    assert names == {
        "same.jpg": "same.jpg.cuts3d-crf.png",
        "same.png": "same.png.cuts3d-crf.png",
        "x.1.JPG": "x.1.JPG.cuts3d-crf.png",
        "x.1.tif": "x.1.tif.cuts3d-crf.png",
        "alone.jpg": "alone.cuts3d-crf.png",
    }
    assert preview.picture_path("crf", tmp_path / "alone.jpg", Path("out")) == Path("out/alone.cuts3d-crf.png")


def test_a_name_that_leaves_no_room_is_cut_and_an_image_that_is_gone_costs_its_picture(tmp_path, caplog):
    names = [f"{'x' * 240}.png", "gone.png", f"{'x' * 239}y.png", "last.png"]
    for name in names:
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / name)
    images = [{"id": n, "file_name": name, "width": 9, "height": 8} for n, name in enumerate(names, start=1)]
    write_masks(tmp_path / "f.json", MaskFile(PREDICTIONS, tmp_path, images, []))
    (tmp_path / "gone.png").unlink()
    preview.write_overlays(tmp_path / "f.json", tmp_path / "out", least_score=0.5)
    assert len(list((tmp_path / "out").glob("xxx*.png"))) == 2 and (tmp_path / "out/last.cuts3d-predict.png").is_file()
    assert "gone.png does not exist" in caplog.text


def test_overlays_of_images_of_one_stem_are_all_written(tmp_path):
    images = []
    for number, name in enumerate(("a/same.jpg", "a/same.png", "b/same.png"), start=1):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 9, 3), number, np.uint8)).save(tmp_path / name)
        images.append({"id": number, "file_name": name, "width": 9, "height": 8})
    write_masks(tmp_path / "f.json", MaskFile(PREDICTIONS, tmp_path, images, []))
    assert preview.write_overlays(tmp_path / "f.json", tmp_path / "out", least_score=0.5) == (3, 0)
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert written == {
        "a/same.jpg.cuts3d-predict.png",
        "a/same.png.cuts3d-predict.png",
        "b/same.cuts3d-predict.png",
    }


@pytest.mark.parametrize(("best", "captioned"), [(0.4, True), (0.6, False)])
def test_detections_below_the_score_are_drawn_where_none_reaches_it(tmp_path, best, captioned):
    """Six detections, one of them left out of the five most confident; an image without any has a plain picture."""
    images = [{"id": number, "file_name": f"{number}.png", "width": 160, "height": 120} for number in (1, 2)]
    for image in images:
        Image.fromarray(np.full((120, 160, 3), 128, np.uint8)).save(tmp_path / image["file_name"])
    masks = np.zeros((6, 120, 160), bool)
    for number, mask in enumerate(masks):
        mask[20 * number : 20 * number + 15, 20:140] = True
    scores = [best, *np.linspace(0.35, 0.1, 5)]
    found = [annotation(1, mask, score) for mask, score in zip(masks, scores, strict=True)]
    write_masks(tmp_path / "f.json", MaskFile(PREDICTIONS, tmp_path, images, found[::-1]))
    assert preview.write_overlays(tmp_path / "f.json", tmp_path / "out", least_score=0.5) == (2, captioned)
    picture, plain = (np.array(Image.open(tmp_path / f"out/{number}.cuts3d-predict.png")) for number in (1, 2))
    assert plain.shape == (120, 160, 3) and (plain == 128).all()
    drawn = [(picture[20 * number + 2 : 20 * number + 13, 22:40] != 128).any() for number in range(6)]
    assert drawn == ([True] * 5 + [False] if captioned else [True] + [False] * 5)
    caption = picture[120:]
    assert bool(caption.size) == captioned == bool((caption < 128).any()) and picture.shape[1] == 160
