"""Whether images are still those of the list that results were made of, and stay so while a training runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cuts3d_cli.errors import Cuts3dError, ImageError, StoreError
from cuts3d_cli.store.files import digest_file
from cuts3d_cli.store.image_files import stamp_at
from cuts3d_cli.store.layout import manifest_path
from cuts3d_cli.store.manifest import ImageRecord, Manifest, read_manifest

UPWARD = 4
"""Folders above a mask file in which the image list of its run is looked for."""


def stamps_of(paths: Iterable[Path]) -> dict[Path, str]:
    """Size and times of images; empty for one that is missing."""
    return {path: stamp_at(path) for path in paths}


def check_listed(annotations: Path, stamps: dict[Path, str]) -> None:
    """Check that the images of a run's masks have the content that its image list tells.

    Masks that belong to no run are not checked. Content is read only where sizes or times differ.

    Raises:
        ImageError: an image is another one now.
    """
    manifest = _list_of(annotations)
    if manifest is None:
        return
    records = {manifest.image_root / record.file_name: record for record in manifest.records()}
    for path, stamp in stamps.items():
        record = records.get(path)
        if record is not None and stamp and stamp != record.stamp:
            check_content(path, record)


def check_content(path: Path, record: ImageRecord) -> None:
    """Check that an image has the content that its record tells.

    Raises:
        ImageError: it is another one than when the image list was made.
    """
    if digest_file(path) != record.digest:
        raise ImageError(
            f"image {path} has changed since the image list was created",
            hint="rerun `cuts3d prepare` and the stages after it",
        )


def replaced_images(records: Iterable[ImageRecord], image_root: Path) -> list[str]:
    """Names of images that have other content now than when they were listed; a missing one is not among them."""
    return [
        record.file_name
        for record in records
        if not record.error and _is_other(path := image_root / record.file_name, stamp_at(path), record)
    ]


def _is_other(path: Path, stamp: str, record: ImageRecord) -> bool:
    """Whether a file that is there, of this stamp, differs from its record; read where the stamps differ."""
    return bool(stamp) and stamp != record.stamp and digest_file(path) != record.digest


def check_unchanged(before: dict[Path, str]) -> None:
    """Check that no image changed while a training read it.

    Raises:
        Cuts3dError: one did, or came or went.
    """
    changed = [path for path, stamp in stamps_of(before).items() if stamp != before[path]]
    if changed:
        raise Cuts3dError(
            f"{len(changed)} of {len(before)} images changed during the training, first {changed[0]}",
            expected="images that stay as they are",
            hint="run the same command again; the training starts over",
        )


def came_back(missing: Sequence[str]) -> bool:
    """Whether an image that a training did without is there now."""
    return any(Path(path).is_file() for path in missing)


def _list_of(annotations: Path) -> Manifest | None:
    for folder in list(annotations.absolute().parents)[:UPWARD]:
        if manifest_path(folder).is_file():
            try:
                return read_manifest(manifest_path(folder))
            except StoreError:
                return None
    return None
