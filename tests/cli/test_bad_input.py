"""What a user's folder may hold: each case gets its answer in one line, and the right exit code."""

import numpy as np
import pytest
from PIL import Image

ONE_LINE = 1


def lines(err):
    return [line for line in err.splitlines() if "error:" in line]


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def exif_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


READABLE = {
    "grey.png": lambda rgb: (rgb[..., 0], {}),
    "rgba.png": lambda rgb: (np.dstack([rgb, rgb[..., :1]]), {}),
    "sixteen.tif": lambda rgb: (rgb[..., 0].astype(np.uint16) * 257, {}),
    "turned.jpg": lambda rgb: (rgb, {"exif": exif_turned()}),
    "one.png": lambda rgb: (rgb[:1, :1], {}),
}


@pytest.mark.parametrize("name", READABLE)
def test_unusual_images_are_read(cuts3d, here, rgb, name):
    array, options = READABLE[name](rgb)
    save(here / name, array, **options)
    code, out, err = cuts3d("features", "--no-picture", name)
    assert code == 0, err
    assert "60 x 60" in out


@pytest.mark.parametrize("name", READABLE)
def test_unusual_images_go_through_all_mask_stages(cuts3d, here, rgb, name):
    array, options = READABLE[name](rgb)
    save(here / name, array, **options)
    size = Image.open(here / name).size if name != "turned.jpg" else (48, 64)
    np.save(here / "d.npy", np.linspace(1, 2, size[0] * size[1]).reshape(size[1], size[0]))
    code, out, err = cuts3d("crf", "--depth-map", "d.npy", "--set", "crf.iterations=1", name)
    assert code == 0, err
    picture = Image.open(here / f"{name.split('.')[0]}.cuts3d-crf.png")
    assert picture.size == size
    assert name in out


def test_truncated_jpeg(cuts3d, here, rgb):
    save(here / "t.jpg", np.tile(rgb, (8, 8, 1)))
    data = (here / "t.jpg").read_bytes()
    (here / "t.jpg").write_bytes(data[: len(data) // 2])
    code, _, err = cuts3d("features", "t.jpg")
    assert code == 1 and len(lines(err)) == ONE_LINE and "t.jpg" in err and "truncated" in err


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_not_an_image(cuts3d, here, content):
    (here / "x.png").write_bytes(content)
    code, _, err = cuts3d("features", "x.png")
    assert code == 1 and len(lines(err)) == ONE_LINE and "x.png" in err


def test_missing_file_empty_folder_and_folder_without_images(cuts3d, here):
    (here / "empty").mkdir()
    (here / "notes").mkdir()
    (here / "notes/a.txt").write_text("x")
    for args, text in [
        (("features", "nope.jpg"), "no such file or folder: nope.jpg"),
        (("features", "empty"), "image folder empty; expected files ending in"),
        (("prepare", "notes", "--run", "r"), "found 1 other file"),
        (("prepare", "empty", "--run", "r"), "found an empty folder"),
        (("prepare", "nope", "--run", "r"), "expected a folder; found nothing"),
    ]:
        code, _, err = cuts3d(*args)
        assert code == 1 and len(lines(err)) == ONE_LINE and text in err, err
    assert not (here / "r").exists()


def test_an_image_without_depth_names_the_choices(cuts3d, here, rgb):
    save(here / "a.png", rgb)
    code, _, err = cuts3d("localcut", "--set", "depth.backend=files", "a.png")
    assert code == 1 and len(lines(err)) == ONE_LINE
    assert "--depth-map" in err and "data.depth_maps" in err and "depth.backend" in err


def test_depth_map_of_another_shape_and_of_another_size(cuts3d, here, rgb):
    save(here / "a.png", rgb)
    np.save(here / "square.npy", np.ones((48, 48)))
    np.save(here / "half.npy", np.linspace(1, 2, 24 * 32).reshape(24, 32))
    code, _, err = cuts3d("depth", "--depth-map", "square.npy", "a.png")
    assert code == 1 and "aspect ratio of 48 x 64" in err and "found 48 x 48" in err
    assert cuts3d("depth", "--depth-map", "half.npy", "a.png")[0] == 0


def test_a_broken_image_among_good_ones_costs_only_itself(cuts3d, here, rgb):
    (here / "photos").mkdir()
    save(here / "photos/a.png", rgb)
    save(here / "photos/c.png", rgb)
    (here / "photos/b.png").write_bytes(b"broken")
    code, out, err = cuts3d("features", "photos")
    assert code == 1 and "a.png" in out and "c.png" in out
    assert "1 of 3 images failed" in err


@pytest.mark.parametrize(
    ("args", "text", "code"),
    [
        (("localcut", "--set", "localcut.tau_kn=1", "a.png"), "unknown key localcut.tau_kn", 1),
        (("localcut", "--tau-knn", "-1", "a.png"), "--tau-knn; expected a number from 1e-06 to 1000", 1),
        (("localcut", "--tau-knn", "x", "a.png"), "not a valid float", 2),
        (("localcut", "--capacity", "cubic", "a.png"), "'cubic'", 2),
        (("localcut", "--set", "tau_knn", "a.png"), "SECTION.KEY=VALUE", 1),
        (("localcut", "--set", "localcut.tau_knn=[", "a.png"), "expected a YAML value", 1),
        (("localcut",), "give either image files or --run", 2),
        (("localcut", "a.png", "--run", "r"), "give either image files or --run", 2),
        (("localcutt",), "Did you mean 'localcut'", 2),
        (("features", "--backend", "kernle", "a.png"), "did you mean kernel", 1),
        (("train", "--image-root", "r", "--out", "o", "a.png"), "--image-root goes with --annotations or --labels", 2),
        (("train", "--annotations", "m.json", "--ignore-labels", "0", "--out", "o"), "--ignore-labels goes with", 2),
        (("selftrain", "--image-root", "r", "--checkpoint", "c", "--out", "o", "a.png"), "--image-root goes with", 2),
        (("depth", "--run", "r"), "run `cuts3d prepare` first", 1),
        (("depth", "--config", "nope.yaml", "a.png"), "config file nope.yaml", 1),
    ],
)
def test_wrong_usage(cuts3d, here, rgb, args, text, code):
    save(here / "a.png", rgb)
    found, _, err = cuts3d(*args)
    assert found == code and text in err, err
    assert "Traceback" not in err


def test_more_shards_than_images(cuts3d, dataset, here):
    code, _, err = cuts3d("prepare", dataset / "images", "--run", "r", "--n-shards", 9)
    assert code == 1 and "at most the number of images, 4; found 9" in err


def test_the_image_as_its_own_depth_map(cuts3d, here, rgb):
    save(here / "a.png", rgb)
    code, _, err = cuts3d("depth", "--depth-map", "a.png", "a.png")
    assert code == 1 and len(lines(err)) == ONE_LINE and "depth map a.png is the image itself" in err


def test_one_depth_map_for_the_images_of_a_run(cuts3d, dataset, here):
    assert cuts3d("prepare", dataset / "images", "--run", "r")[0] == 0
    code, _, err = cuts3d("depth", "--run", "r", "--depth-map", dataset / "depth/s1.png")
    assert code == 1 and len(lines(err)) == ONE_LINE and "one file for the run's 4 images" in err


def test_prepare_says_once_what_is_broken_and_counts_in_words(cuts3d, here, rgb):
    (here / "pics").mkdir()
    save(here / "pics/a.png", rgb)
    (here / "pics/b.jpg").write_text("no image")
    (here / "pics/notes.txt").write_text("x")
    code, _, err = cuts3d("prepare", "pics", "--run", "r")
    assert code == 0 and "pics: 1 other file beside the images, not read" in err and "2 images in 1 shard ->" in err
    assert err.count("b.jpg") == err.count("cannot be read") == 1


def test_a_depth_map_file_for_two_images(cuts3d, here, rgb):
    for name in ("a.png", "b.png"):
        save(here / name, rgb)
    np.save(here / "d.npy", np.ones((48, 64)))
    code, _, err = cuts3d("depth", "--depth-map", "d.npy", "a.png", "b.png")
    assert code == 2 and "single image" in err
