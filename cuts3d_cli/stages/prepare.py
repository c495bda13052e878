"""Make the image list of a run from a folder of images."""

from __future__ import annotations

from pathlib import Path

from cuts3d_cli.errors import Cuts3dError, StoreError
from cuts3d_cli.log import logger
from cuts3d_cli.store.image_files import list_images
from cuts3d_cli.store.manifest import ImageRecord, Manifest, read_manifest, write_manifest


def run(images: Path, out: Path, *, n_shards: int) -> Manifest:
    """Write the image list of a folder; of images that an earlier list has, only those are read that changed since.

    Raises:
        Cuts3dError: no images, none readable, or fewer than shards.
    """
    records = list_images(images, _earlier(out, images))
    broken = [record for record in records if record.error]
    for record in broken:
        logger.warning("prepare: %s", record.error)
    if len(broken) == len(records):
        raise Cuts3dError(
            f"image folder {images}", expected="readable images", found=f"none of {len(records)}: {broken[0].error}"
        )
    return write_manifest(out, images.resolve(), records, n_shards)


def _earlier(path: Path, images: Path) -> list[ImageRecord]:
    """The records of an earlier list of the same folder."""
    try:
        manifest = read_manifest(path)
        return manifest.records() if manifest.image_root == images.resolve() else []
    except StoreError:
        return []
