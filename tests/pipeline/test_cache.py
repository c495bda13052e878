"""Images named on the command line: each once, and where their depth maps lie."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.config import resolve
from cuts3d_cli.errors import Cuts3dError, ImageError
from cuts3d_cli.pipeline import cache
from cuts3d_cli.pipeline.cache import check_depth_map, expand, image_files, run_image
from cuts3d_cli.pipeline.graph import execute, expected_fingerprints
from cuts3d_cli.pipeline.image_set import relative_names

CONFIG = resolve({"depth": {"size": 16, "backend": "files"}})


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two images of one name in ``pics`` and ``pics/sub a``, their maps in ``maps``: near left, near right."""
    monkeypatch.chdir(tmp_path)
    ramp = np.tile(np.arange(1, 33, dtype=np.uint16), (24, 1))
    for seed, (folder, depth) in enumerate((("", ramp), ("sub a", ramp[:, ::-1]))):
        rgb = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)
        for root, picture in (("pics", rgb), ("maps", np.ascontiguousarray(depth))):
            Path(root, folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(Path(root, folder, "same.png"))
    return tmp_path


def depth_of(image, depth_map):
    from cuts3d_cli.store.zarr_store import open_store

    result = run_image("depth", image.path, CONFIG, depth_map=image.depth_maps(depth_map))
    return open_store(result.paths["depth"], "depth").array("depth")[0]


def is_near_left(depth):
    return depth[:, 0].mean() < depth[:, -1].mean()


@pytest.mark.parametrize(
    ("arguments", "near_left"),
    [
        (["pics"], [True, False]),
        (["pics/sub a", "pics"], [False, True]),
        (["pics/sub a"], [False]),
        (["pics/same.png"], [True]),
        (["pics/sub a/same.png"], [False]),
        (["pics/sub a/same.png", "pics"], [False, True]),
    ],
)
def test_images_of_one_name_have_their_own_depth_maps(folders, arguments, near_left):
    images = image_files([Path(argument) for argument in arguments])
    assert [is_near_left(depth_of(image, Path("maps"))) for image in images] == near_left


def test_an_absolute_path_finds_its_depth_map(folders):
    (image,) = image_files([folders / "pics/sub a/same.png"])
    assert not is_near_left(depth_of(image, folders / "maps"))


def test_below_a_folder_no_map_of_another_folder_is_taken(folders):
    Path("maps/sub a/same.png").unlink()
    image = image_files([Path("pics")])[1]
    with pytest.raises(Cuts3dError, match=r"no depth map.*maps/sub a; found none"):
        depth_of(image, Path("maps"))


def test_a_result_does_not_depend_on_how_the_image_was_named(folders):
    for arguments in (["pics"], ["pics/sub a"], ["pics/sub a/same.png"], [folders / "pics/sub a/same.png"]):
        depth_of(image_files([Path(argument) for argument in arguments])[-1], Path("maps"))
    assert len(list(Path(".cuts3d/depth").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pics", "pics/sub a"], ["pics/same.png", "pics/sub a/same.png"]),
        (["pics/sub a", "pics"], ["pics/sub a/same.png", "pics/same.png"]),
        (["pics/same.png", "./pics/same.png", "pics/sub a/../same.png"], ["pics/same.png"]),
    ],
)
def test_each_image_is_taken_once(folders, arguments, expected):
    assert [path.as_posix() for path in expand([Path(argument) for argument in arguments])] == expected


def test_names_are_relative_to_the_folder_that_holds_all(folders):
    assert relative_names([Path("pics/sub a"), Path("pics/same.png")]) == ["sub a/same.png", "same.png"]


@pytest.mark.parametrize(
    ("depth_map", "images", "text"),
    [
        ("nope", ["pics/same.png"], "depth map nope does not exist"),
        (
            "maps/same.png",
            ["pics/same.png", "pics/sub a/same.png"],
            "expected a folder of depth maps; found one file for 2 images",
        ),
        ("pics/same.png", ["pics/sub a/../same.png"], "is the image itself"),
    ],
)
def test_what_cannot_be_the_depth_map(folders, depth_map, images, text):
    with pytest.raises(Cuts3dError, match=text):
        check_depth_map(Path(depth_map), image_files([Path(image) for image in images]))


@pytest.mark.parametrize("depth_map", [None, "maps", "maps/same.png"])
def test_what_can_be_the_depth_map(folders, depth_map):
    check_depth_map(depth_map and Path(depth_map), image_files([Path("pics/same.png")]))


def test_a_cached_error_never_answers_for_another_file(folders):
    """Two files of equal content without depth map: each error names its own; nothing of a failure is kept."""
    Path("twin.png").write_bytes(Path("pics/same.png").read_bytes())
    for name in ("twin.png", "pics/same.png", "twin.png"):
        with pytest.raises(ImageError, match=f"image {name} has no depth map.*embedded.*--method maskcut"):
            run_image("depth", Path(name), CONFIG)
    assert not list(Path(".cuts3d/depth").glob("*.zarr"))


def test_a_failure_kept_by_an_earlier_version_is_made_anew(folders):
    """Its reason is that of the file asked for."""
    Path("twin.png").write_bytes(Path("pics/same.png").read_bytes())
    source, config = cache.image_source(Path("pics/same.png"), None), CONFIG.model_copy(update={"max_failed": 1.0})
    key = expected_fingerprints(config, source, "depth")["depth"]
    counts, _ = execute("depth", source, config, lambda stage: Path(f".cuts3d/{stage}/{key}.zarr"))
    assert counts.failures and list(Path(".cuts3d/depth").glob("*.zarr"))
    with pytest.raises(ImageError, match=r"image twin\.png"):
        run_image("depth", Path("twin.png"), CONFIG)
