import os

import pytest

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.image_files import list_images
from cuts3d_cli.store.image_stamps import came_back, check_listed, check_unchanged, stamps_of
from cuts3d_cli.store.manifest import write_manifest


@pytest.fixture
def run(tmp_path):
    """Two images, their list, and a mask file of the run."""
    from PIL import Image

    images = tmp_path / "images"
    images.mkdir()
    for name, grey in (("a.png", 10), ("b.png", 20)):
        Image.new("L", (8, 6), grey).save(images / name)
    write_manifest(tmp_path / "run/manifest.jsonl", images, [list_images(images)])
    return tmp_path / "run/masks/cuts3d/pseudo_masks.json", sorted(images.iterdir())


def test_images_of_the_list_pass_also_when_touched(run):
    masks, paths = run
    check_listed(masks, stamps_of(paths))
    os.utime(paths[0], (1, 1))
    check_listed(masks, stamps_of(paths))


def test_another_image_under_the_name_is_refused(run, tmp_path):
    masks, (first, second) = run
    first.write_bytes(second.read_bytes())
    with pytest.raises(Cuts3dError, match=r"a\.png has changed since the image list was created"):
        check_listed(masks, stamps_of([first, second]))
    check_listed(tmp_path / "masks.json", stamps_of([first, second]))  # of no run


def test_what_changes_comes_or_goes_meanwhile_is_refused(run):
    _, (first, second) = run
    before = stamps_of([first, second])
    check_unchanged(before)
    first.write_bytes(second.read_bytes())
    with pytest.raises(Cuts3dError, match=r"1 of 2 images changed during the training, first .*a\.png"):
        check_unchanged(before)
    second.unlink()
    before = stamps_of([first, second])
    assert before[second] == "" and not came_back([str(second)])
    second.write_bytes(first.read_bytes())
    assert came_back([str(second)])
    with pytest.raises(Cuts3dError, match=r"b\.png"):
        check_unchanged(before)
