"""The command that measures choices, on two images and on drawn scenes."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pycocotools import mask as rle

from tests.benchmarks.conftest import written

SIZE = 160
BOXES = [(50, 20), (60, 80)]  # two boxes of one colour that touch, one nearer than the other
SMALL = {"features": {"image_size": 240}, "depth": {"size": 240}, "localcut": {"tau_knn": 0.115}}


@pytest.fixture
def choices(benchmarks):
    import choices

    return choices


@pytest.fixture
def config_file(tmp_path):
    """Configuration of a folder with two images, their depth and ground truth."""
    image = np.full((SIZE, SIZE, 3), 160, np.uint8)
    depth = np.full((SIZE, SIZE), 4000, np.uint16)
    annotations = []
    for k, (top, left) in enumerate(BOXES):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[top : top + 60, left : left + 60] = 1
        image[mask > 0] = (200, 30, 30)
        depth[mask > 0] = 1000 + 1500 * k
        counts = rle.encode(np.asfortranarray(mask))
        counts["counts"] = counts["counts"].decode()
        annotations += [
            {"segmentation": counts, "category_id": 1, "area": 3600, "iscrowd": 0, "bbox": [left, top, 60, 60]}
        ] * 2
    images = [{"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in (1, 2)]
    annotations = [dict(a, id=n + 1, image_id=n % 2 + 1) for n, a in enumerate(annotations)]
    for folder in ("images", "depth"):
        (tmp_path / folder).mkdir()
    for record in images:
        Image.fromarray(image).save(tmp_path / "images" / record["file_name"])
        Image.fromarray(depth).save(tmp_path / "depth" / record["file_name"])
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    data = {
        "images": str(tmp_path / "images"),
        "depth_maps": str(tmp_path / "depth"),
        "annotations": str(tmp_path / "truth.json"),
    }
    features = {"image_size": SIZE, "kernel_width": 6.0}
    values = {"features": features, "depth": {"size": SIZE}, "crf": {"image_size": SIZE}}
    return written(tmp_path, {"preset": "embedded", "data": data, **values, "localcut": {"tau_knn": 0.115}})


@pytest.fixture
def small_file(tmp_path):
    """Configuration of a grid of 30 x 30, for drawn scenes."""
    return written(tmp_path, SMALL)


def run(choices, path, *arguments):
    return CliRunner().invoke(choices.main, ["--config", str(path), *arguments], catch_exceptions=False)


def table(output):
    """Rows of the table: (label, method), and its cells by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:1] == "|"]
    header, _rule, *rows = lines
    return {(row[0], row[1]): dict(zip(header[2:], row[2:], strict=True)) for row in rows}


def test_the_table_shows_what_the_cut_in_3d_gains(choices, config_file):
    result = run(choices, config_file, "--vary", "features.kernel_width=6,8")
    assert result.exit_code == 0
    assert result.output.startswith("sample: 2 images, 4 objects")
    rows = table(result.output)
    labels = ("as configured", "kernel_width 6", "kernel_width 8")
    assert list(rows) == [(label, method) for label in labels for method in choices.METHODS]
    assert set(rows["as configured", "CutS3D"]) == set(choices.COLUMNS)
    assert float(rows["as configured", "MaskCut"]["R50"]) <= 50  # one mask over both boxes
    for method in ("LocalCut", "CutS3D"):
        assert rows["as configured", method]["R50"] == rows["as configured", method]["AP50"] == "100.0"
    assert rows["as configured", "CutS3D"] == rows["kernel_width 6", "CutS3D"]  # the same again


def test_masks_after_the_crf(choices, config_file):
    result = run(choices, config_file, "--crf", "--methods", "CutS3D", "--n", "1", "--vary", "crf.min_iou=1")
    rows = table(result.output)
    assert "after the CRF" in result.output
    assert rows["as configured", "CutS3D"]["R50"] == "100.0"
    assert float(rows["min_iou 1", "CutS3D"]["found"]) <= 2


def test_two_runs_print_the_same_whatever_the_workers(choices, small_file):
    arguments = ("--set", "drawn", "--depth", "monocular", "--n", "3", "--vary", "scenes.seed=1")
    one, two = (run(choices, small_file, *arguments, "--workers", str(n)).output for n in (1, 2))
    assert one == two
    rows = table(one)
    assert len(rows) == 6 and rows["as configured", "CutS3D"] != rows["seed 1", "CutS3D"]


def test_perfect_masks_score_in_full_and_a_missed_object_counts_in_its_groups(choices, small_file):
    from choices_score import Masks, Truth
    from choices_sets import load_scene

    from cuts3d_cli import config as settings
    from cuts3d_cli.core.masks import mask_iou
    from cuts3d_cli.store.coco import encode_mask

    scenes = [load_scene(f"scene {n}", "drawn", settings.resolve(SMALL), choices.SceneOptions()) for n in range(4)]

    def scores(missed):
        masks = []
        for i, scene in enumerate(scenes):
            kept = [j for j in range(len(scene.masks)) if (i, j) not in missed]
            runs = [encode_mask(scene.masks[j]) for j in kept]
            masks.append(Masks(runs, list(range(len(kept))), mask_iou(scene.masks, scene.masks[kept]), []))
        return Truth(scenes).score(masks)

    full = scores(set())
    assert full.pop("found") == 15 / 4 and full.pop("flow") is None
    assert {full[name] for name in choices.COLUMNS if name in full} == {1.0}
    touching = scenes[1].kinds.index("touching")
    without = scores({(1, touching)})
    assert without["touching"] == 3 / 4 and without["R50"] == 14 / 15 and without["alone"] == without["behind"] == 1
    assert without["prec"] == 1 and 0.9 < without["AP50"] < 1


def test_flow_counts_where_the_sink_is_in_reach(choices, small_file):
    arguments = ("--set", "drawn", "--n", "2", "--methods", "LocalCut,MaskCut", "--vary", "localcut.tau_knn=2")
    rows = table(run(choices, small_file, *arguments).output)
    assert rows["as configured", "LocalCut"]["flow"] == "0.0"  # the plane is out of reach
    assert rows["tau_knn 2", "LocalCut"]["flow"] != "0.0"
    assert rows["as configured", "MaskCut"]["flow"] == "-"


def test_no_mask_at_all(choices):
    from choices_score import Masks, Truth
    from choices_sets import load_scene

    from cuts3d_cli import config as settings

    scene = load_scene("scene 0", "drawn", settings.resolve(SMALL), choices.SceneOptions())
    scores = Truth([scene]).score([Masks([], [], np.zeros((len(scene.masks), 0)), [])])
    assert scores["AP50"] == scores["R50"] == scores["found"] == 0
    assert scores["prec"] is None and scores["touching"] is None


def test_photographs_are_scored_as_coco_does_and_drawn_anew(choices, kernel_file, photos):
    arguments = ("--set", "photos", "--data", str(photos), "--bootstrap", "50", "--vary", "localcut.tau_knn=0.5")
    result = run(choices, kernel_file, *arguments, "--methods", "MaskCut,LocalCut")
    assert result.exit_code == 0, result.output
    assert "photos: 4 images, 12 objects" in result.output  # the crowd region is none
    rows = table(result.output)
    first, other = rows["as configured", "MaskCut"], rows["as configured", "LocalCut"]
    assert set(first) == {*choices.COCO_COLUMNS, *choices.Intervals.columns}
    assert float(first["AP50"]) < float(other["AP50"])
    assert first["dAP"] == "-" and other["dAP"].startswith("+")
    assert rows["tau_knn 0.5", "MaskCut"]["dAP50"] == "+0.00 (+0.00 to +0.00)"  # to the same method as configured
    low, high = map(float, other["AP50 95 %"].split(" to "))
    assert low <= float(other["AP50"]) <= high
    assert run(choices, kernel_file, *arguments, "--methods", "MaskCut,LocalCut").output.endswith(
        result.output[result.output.index("photos: ") :]
    )


def test_the_crf_may_be_a_row(choices, kernel_file, photos):
    arguments = ("--set", "photos", "--data", str(photos), "--methods", "MaskCut", "--n", "1")
    refined = table(run(choices, kernel_file, *arguments, "--crf", "--vary", "crf.enabled=false").output)
    grid = table(run(choices, kernel_file, *arguments).output)
    assert refined["as configured", "MaskCut"] != refined["enabled false", "MaskCut"]
    assert float(refined["enabled false", "MaskCut"]["AP50"]) == float(grid["as configured", "MaskCut"]["AP50"])


def test_images_with_label_maps(choices, kernel_file, rgbd):
    result = run(choices, kernel_file, "--set", "rgbd", "--data", str(rgbd), "--methods", "LocalCut")
    assert "rgbd: 3 images, 9 objects" in result.output
    assert float(table(result.output)["as configured", "LocalCut"]["R50"]) > 50


def test_maskcut_alone_needs_no_depth(choices, kernel_file, rgbd):
    (rgbd / "depth_mm").unlink()
    (rgbd / "depth_mm").mkdir()
    arguments = ("--set", "rgbd", "--data", str(rgbd))
    assert run(choices, kernel_file, *arguments, "--methods", "MaskCut").exit_code == 0
    result = run(choices, kernel_file, *arguments)
    assert result.exit_code == 1 and "depth" in result.output.splitlines()[-1]


def test_halves_are_disjoint(choices, kernel_file, photos, rgbd):
    from choices_sets import scene_names

    from cuts3d_cli import config as settings

    def names(set_name, folder, half):
        values = {"preset": "embedded", "data": choices.data_of(set_name, folder)}
        return scene_names(set_name, settings.resolve(values), half=half)

    assert names("photos", photos, "choose") == ["s1.png", "s3.png"]
    assert names("photos", photos, "report") == ["s2.png", "s4.png"]  # one of them is not listed
    assert names("photos", photos, "all") == ["s1.png", "s2.png", "s3.png", "s4.png"]
    assert names("rgbd", rgbd, "choose") == ["s2.png"] and names("rgbd", rgbd, "report") == ["s1.png", "s3.png"]


def test_what_the_cache_holds_is_not_made_again(choices, kernel_file, photos, tmp_path, monkeypatch):
    from choices_sets import load_scene

    from cuts3d_cli import config as settings
    from cuts3d_cli.backends.features_kernel import KernelFeatures

    values = settings.read_values(kernel_file) | {"data": choices.data_of("photos", photos)}

    def load(features):
        config = settings.resolve(settings.merge_values(values, {"features": features, "crf": {"iterations": 3}}))
        return load_scene("s1.png", "photos", config, choices.SceneOptions(), tmp_path / "cache")

    made = load({})
    monkeypatch.setattr(KernelFeatures, "extract_batch", lambda *_: pytest.fail("made again"))
    again = load({})
    assert np.array_equal(made.features, again.features) and np.array_equal(made.depth, again.depth)
    with pytest.raises(pytest.fail.Exception):
        load({"kernel_width": 5.0})


def test_draws_are_the_same_for_every_row(choices):
    from choices_score import Bootstrap, interval

    images = np.array([0, 1, 3, 4, 5, 8, 9])
    rows = Bootstrap(images, 20).rows
    assert rows.shape == (20, 7) and set(rows.ravel()) <= set(images)
    assert np.array_equal(rows, Bootstrap(images, 20).rows)
    assert len(np.unique(rows, axis=0)) > 1
    assert interval(np.arange(101.0)[:, None] * [1, 2]).tolist() == [[2.5, 97.5], [5, 195]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "photos"], "expected --data DIR"),
        (["--set", "rgbd", "--data", "PHOTOS"], "no rgb"),
        (["--set", "sample", "--data", "PHOTOS"], "--set photos or rgbd"),
        (["--set", "drawn", "--half", "choose"], "--half"),
        (["--set", "photos", "--data", "PHOTOS", "--crf", "--vary", "crf.unary=confidence"], "crf.unary"),
    ],
)
def test_a_mistake_in_the_images_is_one_line(choices, photos, arguments, message):
    arguments = [str(photos) if word == "PHOTOS" else word for word in arguments]
    result = CliRunner().invoke(choices.main, arguments, catch_exceptions=False)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert message in line


def test_a_half_without_images_is_said(choices, kernel_file, photos, rgbd, tmp_path):
    (tmp_path / "photos.json").write_text(json.dumps({"images": []}))
    result = run(choices, kernel_file, "--set", "photos", "--data", str(photos), "--half", "choose")
    assert result.exit_code == 1 and "images that photos.json lists" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "localcut.tau=1"], "unknown key localcut.tau"),
        (["--vary", "localcut.k=none"], "--vary: localcut.k"),
        (["--vary", "scenes.blur=1"], "unknown key scenes.blur"),
        (["--vary", "scenes.depth_blur=-1"], "scenes.depth_blur"),
        (["--vary", "tau_knn=0.1"], "expected SECTION.KEY=VALUE"),
        (["--vary", "localcut.k"], "expected SECTION.KEY=VALUE"),
        (["--vary", "features.kernel_width=4"], "changes no mask here"),
        (["--methods", "TokenCut"], "--methods"),
        (["--crf"], "--crf"),
    ],
)
def test_a_mistake_is_one_line(choices, small_file, arguments, message):
    result = run(choices, small_file, "--set", "drawn", *arguments)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert message in line


def test_classes_need_groups(choices, config_file):
    result = run(choices, config_file, "--set", "sample-classes")
    assert result.exit_code == 1
    assert "have no classes" in result.output.splitlines()[-1]


def test_varied(choices):
    varies = ("a.x=1,2", "a.y=text")
    assert list(choices.varied(varies, cross=False)) == [{}, {"a.x": 1}, {"a.x": 2}, {"a.y": "text"}]
    assert list(choices.varied(varies, cross=True)) == [{}, {"a.x": 1, "a.y": "text"}, {"a.x": 2, "a.y": "text"}]
