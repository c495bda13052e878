"""The pseudo-masks of images named on the command line, as one mask file."""

import shutil

import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.pipeline.image_set import pseudo_masks
from cuts3d_cli.store.coco import confidence_of, cut_of
from cuts3d_cli.store.masks import PSEUDO_MASKS, read_masks

SMALL = {
    "features": {"image_size": 96},
    "crf": {"image_size": 96, "iterations": 1},
    "localcut": {"tau_knn": 0.115},
}


@pytest.fixture
def images(dataset, tmp_path):
    """Two scenes, one of them in a folder of its own, and an image that is none."""
    (tmp_path / "pics/sub").mkdir(parents=True)
    (tmp_path / "maps/sub").mkdir(parents=True)
    for kind, folder in (("images", "pics"), ("depth", "maps")):
        shutil.copy(dataset / kind / "s1.png", tmp_path / folder / "a.png")
        shutil.copy(dataset / kind / "s2.png", tmp_path / folder / "sub/a.png")
    (tmp_path / "pics/broken.png").write_bytes(b"no image")
    shutil.copy(dataset / "depth/s1.png", tmp_path / "maps/broken.png")
    return tmp_path / "pics"


def test_the_masks_of_all_images_in_one_file(images, tmp_path):
    config = resolve({**SMALL, "max_failed": 0.5})
    path = pseudo_masks([images], config, depth_map=tmp_path / "maps", cache=tmp_path / "cache")
    masks = read_masks(path, own=True)
    assert masks.kind == PSEUDO_MASKS and masks.image_root == images
    assert [image["file_name"] for image in masks.images] == ["a.png", "sub/a.png"]
    assert (masks.counts.done, list(masks.counts.failures)) == (2, ["broken.png"])
    assert path.stem == masks.provenance.fingerprint and list(masks.provenance.inputs) == ["a.png", "sub/a.png"]
    assert masks.provenance.config["crf"]["iterations"] == 1 and masks.provenance.images
    for found in masks.by_image().values():
        assert found and all(cut_of(entry) is not None and confidence_of(entry).grid.any() for entry in found)


def test_too_many_images_that_fail(images, tmp_path):
    with pytest.raises(Cuts3dError, match=r"1 of 3 images failed, first broken.png: .*at most 0.1"):
        pseudo_masks(
            [images], resolve({**SMALL, "max_failed": 0.1}), depth_map=tmp_path / "maps", cache=tmp_path / "cache"
        )
