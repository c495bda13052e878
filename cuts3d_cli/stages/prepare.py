"""Make the image list of a run from a folder of images."""

from __future__ import annotations

from pathlib import Path

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.log import logger
from cuts3d_cli.store.image_files import find_images, make_records
from cuts3d_cli.store.manifest import Manifest, write_manifest


def run(images: Path, out: Path, *, n_shards: int) -> Manifest:
    """Write the image list of a folder.

    Raises:
        Cuts3dError: no images, none readable, or fewer than shards.
    """
    records = make_records(find_images(images), images)
    broken = [record for record in records if record.error]
    for record in broken:
        logger.warning("prepare: %s", record.error)
    if len(broken) == len(records):
        raise Cuts3dError(
            f"image folder {images}", expected="readable images", found=f"none of {len(records)}: {broken[0].error}"
        )
    return write_manifest(out, images.resolve(), records, n_shards)
