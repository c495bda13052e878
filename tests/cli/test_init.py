"""``cuts3d init``: the file it writes, and what it says of depth before a run says it."""

import shutil
from pathlib import Path

import pytest

from cuts3d_cli.config import load


@pytest.fixture
def photos(tmp_path, dataset, monkeypatch):
    """A folder of images without depth beside it, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(dataset / "images", tmp_path / "shots/photos").relative_to(tmp_path)


def test_it_writes_a_configuration_of_the_images(cuts3d, photos, dataset):
    code, _, err = cuts3d("init", photos, "--depth-map", dataset / "depth", "--preset", "embedded")
    assert code == 0 and "4 of 4 images have a depth map" in err and "WARNING" not in err
    config = load("config.yaml")
    assert (config.run, config.data.images) == ("runs/photos", str(photos))
    assert config.data.depth_maps == str(dataset / "depth") and config.data.n_shards == 1
    assert config.data.val_images is None and config.data.annotations is None


@pytest.mark.parametrize(("name", "words"), [("mine.yaml", "mine.yaml"), ("my own.yaml", "'my own.yaml'")])
def test_it_ends_with_the_command_to_run(cuts3d, photos, name, words):
    assert cuts3d("init", photos, "--out", name)[:2] == (0, f"cuts3d run {words}\n")


@pytest.mark.parametrize(("name", "found"), [("nosuch", "nothing"), ("file", "a file")])
def test_a_folder_of_depth_maps_that_is_none_is_an_error(cuts3d, photos, tmp_path, name, found):
    (tmp_path / "file").touch()
    code, _, err = cuts3d("init", photos, "--depth-map", name)
    assert code == 1 and err.strip() == f"cuts3d: error: folder of depth maps {name}; expected a folder; found {found}"
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(("n_maps", "warned"), [(0, True), (2, False), (4, False)])
def test_images_with_a_depth_map_are_counted(cuts3d, photos, dataset, tmp_path, n_maps, warned):
    (tmp_path / "maps").mkdir()
    for path in sorted((dataset / "depth").iterdir())[:n_maps]:
        shutil.copy(path, tmp_path / "maps")
    code, _, err = cuts3d("init", photos, "--depth-map", "maps")
    assert code == 0 and f"init: {n_maps} of 4 images have a depth map" in err
    assert ("the embedded model predicts depth for the others" in err) == (n_maps < 4)
    assert ("WARNING" in err) == warned == ("none of the images has a depth map in maps" in err)


def test_missing_depth_beside_the_images_is_told(cuts3d, photos):
    code, _, err = cuts3d("init", photos)
    assert code == 0 and "0 of 4 images have a depth map; the embedded model predicts depth for the others" in err


@pytest.mark.parametrize("preset", ["maskcut", "paper"])
def test_no_word_on_depth_where_no_map_is_read(cuts3d, photos, preset):
    _, _, err = cuts3d("init", photos, "--preset", preset)
    assert "depth" not in err


def test_maps_that_a_depth_model_replaces_are_told(cuts3d, photos, dataset):
    _, _, err = cuts3d("init", photos, "--preset", "paper", "--depth-map", dataset / "depth")
    assert "is not read, as depth.backend is zoedepth" in err


@pytest.mark.parametrize("form", ["coco", "labels"])
def test_ground_truth_goes_where_its_images_are(cuts3d, photos, dataset, tmp_path, form):
    held_out = tmp_path / "held"
    shutil.copytree(photos, held_out)
    truth = dataset / "annotations.json"
    if form == "labels":
        assert cuts3d("export", truth, "--format", "png", "--out", "labels")[0] == 0
        truth = tmp_path / "labels"
    code, _, err = cuts3d("init", photos, "--preset", "maskcut", "--annotations", truth, "--out", "a.yaml")
    assert code == 0 and f"{truth} has ground truth of 4 of the 4 images of {photos}" in err
    data = load("a.yaml").data
    assert (data.annotations, data.val_images, data.val_annotations) == (str(truth), None, None)
    for number in range(1, 5):
        (photos / f"s{number}.png").rename(photos / f"t{number}.png")
    code, _, err = cuts3d("init", photos, "--val-images", held_out, "--annotations", truth, "--out", "b.yaml")
    data = load("b.yaml").data
    assert (data.annotations, data.val_images, data.val_annotations) == (None, str(held_out), str(truth)), err
    code, _, err = cuts3d("init", photos, "--annotations", truth, "--out", "c.yaml")
    assert code == 1 and str(truth) in err and not (tmp_path / "c.yaml").exists()


def test_rgbd_needs_depth_maps(cuts3d, photos, dataset, tmp_path):
    code, _, err = cuts3d("init", photos, "--preset", "rgbd")
    assert (
        code == 1 and "preset rgbd needs depth maps: --depth-map DIR" in err and not (tmp_path / "config.yaml").exists()
    )
    assert cuts3d("init", photos, "--preset", "rgbd", "--depth-map", dataset / "depth")[0] == 0


def test_depth_maps_of_held_out_images(cuts3d, photos, dataset, tmp_path):
    from cuts3d_cli.config import load

    held_out, maps = tmp_path / "held", tmp_path / "kinect"
    shutil.copytree(dataset / "images", held_out)
    shutil.copytree(dataset / "depth", maps)
    words = ("init", photos, "--preset", "rgbd", "--depth-map", dataset / "depth", "--val-images", held_out)
    code, _, err = cuts3d(*words)
    assert code == 1 and "preset rgbd needs depth maps: --val-depth-map DIR; 4 of 4 images" in err, err
    code, _, err = cuts3d(*words, "--val-depth-map", maps)
    assert code == 0 and "init: 4 of 4 held-out images have a depth map" in err, err
    config = load("config.yaml")
    assert config.data.val_depth_maps == str(maps) and config.depth.backend == "files"
    assert cuts3d("init", photos, "--val-depth-map", maps, "--overwrite")[0] == 2, "--val-images are missing"


def test_masks_only(cuts3d, photos):
    code, _, err = cuts3d("init", photos, "--masks-only")
    assert code == 0 and "the following command makes masks" in err and "detector" not in err
    assert load("config.yaml").train.detector is None


def test_depth_maps_without_images_are_wrong_usage(cuts3d, photos, dataset):
    assert cuts3d("init", "--depth-map", dataset / "depth")[0] == 2


def test_a_workflow_is_written_with_paths_that_hold_there(cuts3d, photos, tmp_path):
    words = ["init", photos, "--preset", "maskcut", "--run", "out", "--workflow", "work"]
    code, out, _ = cuts3d(*words)
    assert code == 0 and out == "cd work && snakemake --cores all\n"
    assert {path.name for path in (tmp_path / "work").iterdir()} >= {"Snakefile", "rules", "slurm", "config.yaml"}
    assert not any(path.is_symlink() for path in (tmp_path / "work").rglob("*"))
    config = load("work/config.yaml")
    assert (config.data.images, config.run) == (str(tmp_path / photos), str(tmp_path / "out"))
    (tmp_path / "work/config.yaml").unlink()
    code, _, err = cuts3d(*words)
    assert code == 1 and "expected no such file" in err and "--overwrite" in err
    assert not (tmp_path / "work/config.yaml").exists()
    assert cuts3d(*words, "--overwrite")[0] == 0


WHY = "preset photo, as the images are not those of the sample (below sample/train/images or sample/val/images here)"


def test_the_preset_that_nobody_named_is_told_with_the_reason(cuts3d, photos, dataset):
    """Outside its checkout the sample's images are images like others, and take the preset ``photo``."""
    Path("c.yaml").write_text("depth: {size: 64}\n")
    depth = ("depth", "--no-picture", "--config", "c.yaml", "--depth-map", dataset / "depth", photos)
    for words in (("init", photos), depth):
        code, _, err = cuts3d(*words)
        assert code == 0 and err.count(f"{WHY}; --preset names another") == 1, err
    sample = photos.rename("sample-images")
    assert "those of the sample" not in cuts3d("init", sample, "--preset", "photo", "--out", "a.yaml")[2]


def test_the_sample_s_preset_is_told(cuts3d, photos, tmp_path):
    (tmp_path / "sample/train").mkdir(parents=True)
    sample = photos.rename("sample/train/images")
    err = cuts3d("init", sample, "--out", "b.yaml")[2]
    assert "preset embedded, as the images are those of the sample (below sample/train/images or" in err
