"""What is odd about depth maps is said once by every command, with the number of images, and in the report."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.pipeline.cache import ImageFile
from cuts3d_cli.pipeline.depth_notes import WORDS
from cuts3d_cli.report.depth_facts import depth_facts
from cuts3d_cli.report.notes import depth_notes

SMALL = ("--set", "features.image_size=96", "--set", "crf.image_size=96", "--set", "crf.iterations=1")
SMALL += ("--set", "depth.size=96", "--set", "localcut.tau_knn=0.115")


@pytest.fixture
def folder(tmp_path, dataset, monkeypatch):
    """Four scenes: two have holes of -1, one of 65535, one a constant map and an EXIF rotation by 180 degrees."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(dataset / "images", "images")
    Path("depth").mkdir()
    for number in range(1, 5):
        depth = np.array(Image.open(dataset / f"depth/s{number}.png")).astype(np.int32)
        depth[:5, :5] = {1: -1, 2: -1, 3: 65535, 4: depth[0, 0]}[number]
        np.save(f"depth/s{number}.npy", depth if number < 4 else np.full_like(depth, 700))
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    Image.open("images/s4.png").save("images/s4.png", exif=upside_down)


EXPECTED = {
    "negative": "2 of 4 images, first {root}s1.png",
    "sentinel": "1 of 4 images, {root}s3.png",
    "constant": "1 of 4 images, {root}s4.png",
    "unturned": "1 of 4 images, {root}s4.png",
}


def assert_told_once(err, root):
    lines = [line for line in err.splitlines() if "WARNING depth: " in line]
    for key, which in EXPECTED.items():
        (line,) = [line for line in lines if WORDS[key] in line]
        assert line.endswith(f"({which.format(root=root)})"), line
    assert len(lines) == len(EXPECTED)


@pytest.mark.parametrize("command", ["depth", "localcut"])
def test_a_stage_on_images_with_and_without_the_cache(cuts3d, folder, command):
    for _ in range(2):
        code, _, err = cuts3d(command, *SMALL, "--no-picture", "--depth-map", "depth", "images")
        assert code == 0
        assert_told_once(err, "images/")


@pytest.mark.parametrize("cores", ["1", "2"])
def test_masks(cuts3d, folder, cores):
    code, _, err = cuts3d("masks", *SMALL, "--cores", cores, "--out", "out", "--depth-map", "depth", "images")
    assert code == 0
    assert_told_once(err, "images/")


def test_a_run_of_two_shards_and_its_report(cuts3d, folder):
    assert cuts3d("prepare", "images", "--run", "r", "--n-shards", 2)[0] == 0
    code, _, err = cuts3d("depth", "--run", "r", "--depth-map", "depth")
    assert code == 0, err
    assert_told_once(err, "")
    code, _, err = cuts3d("spatial-importance", "--run", "r")
    assert code == 0 and WORDS["negative"] not in err  # by the stage that reads the maps alone
    notes = depth_notes({"training images": depth_facts(Path("r"))})
    assert [sum(WORDS[key] in note for note in notes) for key in EXPECTED] == [1, 1, 1, 1]
    assert any("2 of 4 images, first s1.png" in note for note in notes)


def no_effect(err):
    return [
        line.partition(" WARNING ")[2] for line in err.splitlines() if "has no effect" in line or "is not read" in line
    ]


@pytest.mark.parametrize("form", ["masks", "localcut", "depth", "evaluate", "run"])
def test_settings_of_the_model_that_no_image_needs_are_told(cuts3d, folder, form, dataset):
    Path("w.safetensors").write_bytes(b"never read")
    args = (*SMALL, "--preset", "embedded", "--set", "depth.weights=w.safetensors", "--depth-map", "depth")
    if form == "run":
        assert cuts3d("prepare", "images", "--run", "r", "--n-shards", 2)[0] == 0
        code, _, err = cuts3d("depth", "--run", "r", *args)
    else:
        more = {
            "masks": ("--out", "out", "--cores", "1"),
            "evaluate": ("--annotations", dataset / "annotations.json"),
        }.get(form, ("--no-picture",))
        code, _, err = cuts3d(form, *args, *more, "images")
    assert code == 0, err
    assert no_effect(err) == ["depth.weights has no effect, as every image has a depth map (4 images)"]


def test_settings_of_maps_that_no_image_has_are_told(cuts3d, folder, real_weights):
    shutil.rmtree("depth")
    args = ("depth", *SMALL, "--no-picture", "--kind", "inverse", "--holes", "none")
    told = [
        "--kind has no effect, as no image has a depth map (",
        "--holes has no effect, as no image has a depth map (",
    ]
    _, _, err = cuts3d(*args, "images/s1.png")
    assert no_effect(err) == [line + "1 image)" for line in told]
    np.save("images/s2.npy", np.linspace(1, 2, 120 * 160).reshape(120, 160))
    assert not no_effect(cuts3d(*args, "images/s1.png", "images/s2.png")[2])


@pytest.mark.parametrize("form", ["image", "run"])
def test_depth_maps_that_a_model_replaces_are_told(cuts3d, folder, form, real_weights):
    args = ("depth", *SMALL, "--depth-map", "depth", "--backend", "embedded")
    if form == "run":
        assert cuts3d("prepare", "images", "--run", "r")[0] == 0
        _, _, err = cuts3d(*args, "--run", "r")
    else:
        _, _, err = cuts3d(*args, "--no-picture", "images/s1.png")
    assert no_effect(err) == ["depth is not read, as --backend is embedded, not files"]


def test_label_maps_given_as_depth_are_told(cuts3d, folder):
    labels = np.repeat(np.repeat(np.array([[0, 0, 1, 0], [2, 0, 0, 0], [0, 0, 3, 3]]), 40, axis=0), 40, axis=1)
    for number in range(1, 4):
        np.save(f"depth/s{number}.npy", labels)
    _, _, err = cuts3d("masks", *SMALL, "--cores", "1", "--out", "out", "--depth-map", "depth", "images")
    (line,) = [line for line in err.splitlines() if WORDS["labels"] in line]
    assert " WARNING depth: " in line and line.endswith("(3 of 4 images, first images/s1.png)")


@pytest.mark.parametrize("command", ["masks", "depth", "evaluate"])
def test_a_map_is_looked_for_once_before_the_work(cuts3d, folder, command, dataset, monkeypatch):
    looked, has_map = [], ImageFile.has_map
    monkeypatch.setattr(ImageFile, "depth_maps", lambda image, given: given)
    monkeypatch.setattr(
        ImageFile, "has_map", lambda image, given: looked.append(image.path.name) or has_map(image, given)
    )
    more = {"masks": ("--out", "out", "--cores", "1"), "depth": ("--no-picture",)}
    args = (*SMALL, *more.get(command, ("--annotations", dataset / "annotations.json")), "--depth-map", "depth")
    assert cuts3d(command, *args, "images")[0] == 0
    assert sorted(looked) == [f"s{number}.png" for number in range(1, 5)]


def test_a_single_image_is_named(cuts3d, folder):
    _, _, err = cuts3d("depth", "--no-picture", "--depth-map", "depth/s1.npy", "images/s1.png")
    assert f"{WORDS['negative']} (images/s1.png)" in err


@pytest.mark.parametrize("command", ["masks", "prepare", "init"])
@pytest.mark.parametrize("kind", ["labels", "depth"])
def test_maps_given_as_images_are_told(cuts3d, folder, dataset, command, kind):
    Path("maps").mkdir()
    labels = np.repeat(np.repeat(np.array([[0, 0, 1, 0], [5, 0, 0, 0], [0, 0, 9, 9]]), 40, axis=0), 40, axis=1)
    for number in range(7):
        values = labels if kind == "labels" else 900 + 3 * np.arange(120 * 160).reshape(120, 160) // 10
        Image.fromarray(values.astype(np.uint8 if kind == "labels" else np.uint16)).save(f"maps/{number}.png")
    more = {"masks": ("--out", "out", "--cores", "1", *SMALL), "prepare": ("--run", "r"), "init": ("--out", "m.yaml")}
    if command == "masks":
        more["masks"] += ("--preset", "embedded", "--method", "maskcut")
    code, _, err = cuts3d(command, *more[command], "maps")
    assert code == 0, err
    what = "have few values in large areas" if kind == "labels" else "are of 16 bit and nearly black"
    (line,) = [line for line in err.splitlines() if what in line]
    assert " WARNING 5 of 5 images looked at " in line and line.endswith("give the photographs (first maps/0.png)")


def test_photographs_are_not_taken_for_maps(cuts3d, folder):
    assert "give the photographs" not in cuts3d("prepare", "images", "--run", "r")[2]


@pytest.mark.parametrize("command", ["masks", "localcut", "evaluate"])
def test_large_holes_are_told_once_with_the_largest(cuts3d, folder, dataset, command):
    for number, rows in ((1, 40), (2, 60)):
        depth = np.load(f"depth/s{number}.npy")
        depth[-rows:] = 0
        np.save(f"depth/s{number}.npy", depth)
    more = {"masks": ("--cores", "1", "--out", "out"), "localcut": ("--no-picture",)}
    args = more.get(command, ("--annotations", dataset / "annotations.json"))
    code, _, err = cuts3d(command, *SMALL, *args, "--depth-map", "depth", "images")
    assert code == 0, err
    (line,) = [line for line in err.splitlines() if "has no reading" in line]
    assert (
        " WARNING depth: more than 20% of the depth has no reading in 2 of 4 images (most in images/s2.png, 5" in line
    )


def test_small_holes_are_not_told(cuts3d, folder):
    assert "has no reading" not in cuts3d("depth", *SMALL, "--no-picture", "--depth-map", "depth", "images")[2]


class Flat:
    """Predicts a ramp."""

    description, convention = "a ramp", "inverse"

    def predict(self, rgb, size):
        return np.linspace(0, 1, size * size, dtype=np.float32).reshape(size, size)


def test_depth_that_was_predicted_for_want_of_a_map_is_told_at_the_end_of_a_run(cuts3d, folder, monkeypatch):
    from cuts3d_cli.config import resolve
    from cuts3d_cli.workflow import ending

    monkeypatch.setattr("cuts3d_cli.stages.depth.depth_backend", lambda config, device: Flat())
    told = f"note: Training images: depth maps, 1 of 4 images, first s2.png: {WORDS['predicted']}.\n"
    assert cuts3d("prepare", "images", "--run", "r")[0] == 0
    for names, expected in ((["s2"], True), (["s1", "s3", "s4"], False)):  # where all depth is predicted it is as asked
        for name in names:
            Path(f"depth/{name}.npy").unlink()
        code, _, err = cuts3d("depth", "--run", "r", "--depth-map", "depth", "--preset", "embedded")
        assert code == 0, err
        assert (told in ending(resolve({"run": "r"}), 0)) is expected


def test_no_depth_is_predicted_for_features_that_are_made_of_it(cuts3d, folder):
    Path("depth/s2.npy").unlink()
    assert cuts3d("prepare", "images", "--run", "r")[0] == 0
    code, _, err = cuts3d("depth", "--run", "r", "--depth-map", "depth", "--preset", "rgbd")
    assert code == 1 and "depth: 1 of 4 images failed, first s2.png: image " in err, err
    assert "images/s2.png has no depth map" in err and "(--backend embedded)" in err
