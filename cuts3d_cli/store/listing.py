"""Whether a folder still holds the images of a run's list, from names, sizes and times; content is read on doubt only.

A listing stands for a folder in one short text: the workflow keeps it as a parameter of the rule that lists the images,
so that images which were added, removed or replaced since make it run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cuts3d_cli.errors import Cuts3dError, OutputError, StoreError
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.division import divided
from cuts3d_cli.store.files import write_json
from cuts3d_cli.store.image_files import find_stamps, list_images
from cuts3d_cli.store.layout import listing_path, manifest_path
from cuts3d_cli.store.manifest import ImageRecord, Manifest, listing_of, read_manifest


def current_listing(folder: Path, base: Path) -> str:
    """What stands for the images of a folder: the listing of the list below ``base`` while the images are the same.

    Images count as the same after a mere touch, and when their folder is gone: a finished run needs them no more.
    Where names, sizes and times are those of the list, no file is read; a million images take seconds.

    Args:
        folder: folder of images.
        base: folder with the list, which may be missing.
    """
    try:
        manifest = read_manifest(manifest_path(base))
    except StoreError:
        manifest = None
    if manifest is not None and not folder.is_dir():
        return manifest.listing
    try:
        now = listing_of(find_stamps(folder).items())
    except Cuts3dError:  # no image in it, which the rule will say
        return ""
    if manifest is None or now == manifest.listing or not _same(folder, manifest, now):
        return now
    return manifest.listing


def relisted(manifest: Manifest) -> list[ImageRecord]:
    """The records that a list made now would have; files with the size and times of the list are not read.

    Raises:
        Cuts3dError: the folder is gone or holds no image.
    """
    return list_images(manifest.image_root, manifest.records())


def earlier_list(path: Path, images: Path) -> Manifest | None:
    """The image list at a path, if it is whole and of this folder."""
    try:
        manifest = read_manifest(path)
        manifest.records()
    except StoreError:
        return None
    return manifest if manifest.image_root == images.resolve() else None


def shards_now(names: Sequence[str], earlier: Manifest | None, n_shards: int) -> list[list[str]]:
    """Names by shard in a list that is made now, after an earlier one of the same folder."""
    before = [] if earlier is None else earlier.records()
    there = [] if earlier is None else [[each.file_name for each in before[slice(*span)]] for span in earlier.spans]
    return divided(names, n_shards, there)


def arranged(records: Sequence[ImageRecord], earlier: Manifest | None, n_shards: int) -> list[list[ImageRecord]]:
    """Records by shard in a list that is made now, after an earlier one of the same folder."""
    by_name = {record.file_name: record for record in records}
    return [[by_name[name] for name in names] for names in shards_now(list(by_name), earlier, n_shards)]


def changes(before: Sequence[ImageRecord], now: Sequence[ImageRecord]) -> dict[str, int]:
    """How many images are new, removed and changed in content."""
    old = {record.file_name: record.digest for record in before}
    new = {record.file_name: record.digest for record in now}
    return {
        "new": len(new.keys() - old.keys()),
        "removed": len(old.keys() - new.keys()),
        "changed": sum(old[name] != new[name] for name in new.keys() & old.keys()),
    }


def tell_changes(counts: Mapping[str, int]) -> str:
    """What `changes` counted, in words; nothing where there are none."""
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _same(folder: Path, manifest: Manifest, now: str) -> bool:
    """Whether images whose names, sizes or times differ from the list have its content; what was found is kept."""
    path = listing_path(manifest.path.parent)
    found = {"folder": now, "list": manifest.listing}
    try:
        if read_own(path) == found:
            return True
    except StoreError:
        pass
    try:
        before = manifest.records()
    except StoreError:  # damaged, so it must be made again
        return False
    same = not any(changes(before, list_images(folder, before)).values())
    if same:
        with suppress(OutputError):  # it saves time alone
            write_json(path, found)
    return same
