"""Which image each label file of a folder belongs to, for formats with a file per image.

Label files and images are matched by stem: ``labels/day/0001.png`` is of ``images/day/0001.jpg``. What is found on one
side alone is left out and told; an image without objects needs a label file that says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cuts3d_cli.errors import CocoError, Cuts3dError
from cuts3d_cli.store.image_files import OUTPUT_RECORD, counted, find_images
from cuts3d_cli.store.layout import OWN_PICTURES

LABEL_FOLDERS = ("labels", "masks", "annotations")
"""Names of folders of labels beside which the images lie in a folder ``images``, as YOLO's tools have it."""


class LabelFile(NamedTuple):
    """A label file, the name of its image relative to the folder of images, and the image where it is known."""

    path: Path
    file_name: str
    image: Path | None


def label_paths(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files below a folder that end in one of some suffixes (lower case, with the dot), sorted.

    Hidden files, the pictures that cuts3d writes beside images and the record in its exports are no labels.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and not path.name.startswith(".")
        and OWN_PICTURES not in path.name
        and path.name != OUTPUT_RECORD
        and path.is_file()
    )


def images_beside(folder: Path) -> Path | None:
    """The folder of the images of a folder of labels, if there is one by YOLO's custom: ``images`` for ``labels``."""
    parts = folder.absolute().parts
    for place in range(len(parts) - 1, 0, -1):
        if parts[place].lower() in LABEL_FOLDERS:
            found = Path(*parts[:place], "images", *parts[place + 1 :])
            return found if found.is_dir() else None
    return None


def matched(paths: list[Path], folder: Path, images: Path | None, notes: list[str]) -> list[LabelFile]:
    """Label files with their images.

    Args:
        paths: the label files.
        folder: the folder they lie below.
        images: folder of the images; None where it is not known: an image then has its label file's own name, and is
            matched by stem once there are predictions.
        notes: takes a line about label files without image, and one about images without label file.

    Raises:
        CocoError: no label file has an image, or one stem is that of several.
    """
    if images is None:
        return [LabelFile(path, path.relative_to(folder).as_posix(), None) for path in paths]
    try:
        found = find_images(images)
    except Cuts3dError as error:
        raise CocoError(str(error), hint="name the folder of the annotated images with --truth-images") from None
    for key_of in (lambda path, root: path.relative_to(root).with_suffix("").as_posix(), lambda path, root: path.stem):
        by_key = defaultdict(list)
        for image in found:
            by_key[key_of(image, images)].append(image)
        pairs = [(path, by_key[key]) for path in paths if (key := key_of(path, folder)) in by_key]
        if pairs:
            break
    else:
        raise CocoError(
            f"labels {folder}: none has an image in {images} (compared by name without suffix)",
            expected=f"names like {found[0].stem}",
            found=paths[0].stem,
            hint="name the folder of the annotated images with --truth-images",
        )
    for path, same in pairs:
        if len(same) > 1:
            raise CocoError(f"label file {path}: two images have its name: {same[0]} and {same[1]}")
    _tell([path for path in paths if path not in {path for path, _ in pairs}], len(paths),
          f"have no image in {images}", "label file", notes)  # fmt: skip
    used = {same[0] for _, same in pairs}
    _tell([image for image in found if image not in used], len(found),
          f"of {images} have no label file in {folder}", "image", notes)  # fmt: skip
    return [LabelFile(path, same[0].relative_to(images).as_posix(), same[0]) for path, same in pairs]


def _tell(alone: list[Path], n: int, what: str, noun: str, notes: list[str]) -> None:
    if alone:
        notes.append(f"{len(alone)} of {counted(n, noun)} {what} and were left out, such as {alone[0].name}")
