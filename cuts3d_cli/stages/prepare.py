"""Make the image list of a run from a folder of images."""

from __future__ import annotations

from pathlib import Path

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.log import logger
from cuts3d_cli.store.image_files import list_images
from cuts3d_cli.store.listing import arranged, changes, earlier_list, tell_changes
from cuts3d_cli.store.manifest import Manifest, write_manifest


def run(images: Path, out: Path, *, n_shards: int) -> Manifest:
    """Write the image list of a folder; of images that an earlier list has, only those are read that changed since.

    Images that stay keep their id, and with the same number of shards their shard (`division.divided`).

    Raises:
        Cuts3dError: no images, none readable, or fewer than shards.
    """
    earlier = earlier_list(out, images)
    records = list_images(images, earlier.records() if earlier else ())
    broken = [record for record in records if record.error]
    for record in broken:
        logger.warning("prepare: %s", record.error)
    if len(broken) == len(records):
        raise Cuts3dError(
            f"image folder {images}", expected="readable images", found=f"none of {len(records)}: {broken[0].error}"
        )
    shards = arranged(records, earlier, n_shards)
    if earlier and (told := tell_changes(changes(earlier.records(), records))):
        logger.info("prepare: %s since the last list", told)
    return write_manifest(out, images.resolve(), shards)
