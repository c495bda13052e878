"""The one reader of COCO JSON: ground truth, labels, masks and predictions, whoever wrote them.

Every record is checked before anything else sees it, by the same rules for every command (docs/formats.md has their
table). A wrong record is an error that says how many are wrong and names the first; what is missing and can be
computed, or is written in another of the usual ways, is accepted and comes out in one form.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cuts3d_cli.errors import CocoError
from cuts3d_cli.store.annotations import Annotations, identifier
from cuts3d_cli.store.coco import normal_name
from cuts3d_cli.store.images import MAX_PIXELS
from cuts3d_cli.store.json_files import is_text, read_json, shown, whole
from cuts3d_cli.store.segmentations import Fault

Record = dict[str, Any]

LISTS = ("images", "annotations")
"""Keys that every COCO JSON has."""


@dataclass(frozen=True)
class CocoDocument:
    """COCO JSON whose records are checked, in one form.

    Attributes:
        images: records with ``id``, ``file_name``, ``height`` and ``width``; both sides are 0 for an image that could
            not be read, which has no annotations then.
        annotations: records of `Annotations`, each of a listed image.
        categories: records with ``id`` and ``name``; empty where the file has none.
        info: what the file says of itself.
        other: its other keys.
        notes: what was put right, or is odd and taken as it is, one line each.
    """

    images: Sequence[Record]
    annotations: Sequence[Record]
    categories: Sequence[Record] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def read_coco(path: str | Path) -> CocoDocument:
    """Read a COCO JSON.

    Raises:
        CocoError: it is missing, is no COCO JSON, or a record is wrong.
    """
    return check_coco(read_json(path), f"file {path}")


def check_coco(content: Any, name: str) -> CocoDocument:
    """The content of a COCO JSON, checked.

    Args:
        content: of the file.
        name: what errors call it.

    Raises:
        CocoError: it is no COCO JSON, or a record is wrong.
    """
    for key in LISTS:
        if not isinstance(content, Mapping) or not isinstance(content.get(key), list | tuple):
            found = shown(content)
            if isinstance(content, Mapping):
                found = f"{shown(content[key])} as {key}" if key in content else f"no {key}"
            raise CocoError(name, expected="COCO JSON with images and annotations", found=found)
    categories, info = content.get("categories"), content.get("info")
    if not isinstance(categories, list | tuple | None):
        raise CocoError(f"{name}: categories", expected="a list", found=shown(categories))
    images = _records(content["images"], _image, "images", name)
    _check_distinct([normal_name(image["file_name"]) for image in images], f"{name}: file name")
    images, n_turned = _turned(images, content["annotations"])
    notes = []
    if n_turned:
        notes.append(f"{n_turned} image records have width and height exchanged; the annotations' sizes were taken")
    annotations, more = check_annotations(content["annotations"], images, name)
    return CocoDocument(
        images=images,
        annotations=annotations,
        categories=_records(categories or (), _category, "categories", name),
        info=info if isinstance(info, Mapping) else {},
        other={key: value for key, value in content.items() if key not in (*LISTS, "categories", "info")},
        notes=[*notes, *more],
    )


def check_annotations(
    records: Sequence[Any], images: Sequence[Record], name: str, *, unlisted: bool = False
) -> tuple[list[Record], list[str]]:
    """Annotations, or the records of a results list, checked.

    Args:
        records: the annotations.
        images: checked records of their images.
        name: what errors call the file.
        unlisted: annotations of other images may be among them; nothing is known of the size of their masks then, which
            nobody may look at.

    Returns:
        The annotations in one form, and notes.

    Raises:
        CocoError: a record is wrong.
    """
    check = Annotations(images, unlisted=unlisted)
    found, faults = [], {}
    for place, record in enumerate(records):
        try:
            found.append(check.checked(place, record))
        except Fault as fault:
            faults[place] = fault
    faults |= check.code_faults()
    _refuse(faults, records, "annotations", name)
    return found, check.notes()


def check_masks(annotations: Sequence[Record], name: str, *, hint: str | None = None) -> None:
    """Check that annotations that masks are wanted of have some; ``name`` is the file's in errors.

    Raises:
        CocoError: one has none.
    """
    faults = {
        place: Fault("segmentation", expected="polygons or a run-length code", found="none", hint=hint)
        for place, record in enumerate(annotations)
        if "segmentation" not in record
    }
    _refuse(faults, annotations, "annotations", name)


def check_categories(
    annotations: Sequence[Record], categories: Sequence[Record], name: str, *, optional: bool = False
) -> None:
    """Check that annotations whose classes are wanted are of listed categories; ``name`` is the file's in errors.

    Raises:
        CocoError: one is of another category, or of none unless ``optional``.
    """
    listed = {category["id"] for category in categories}
    faults = {}
    for place, record in enumerate(annotations):
        category = record.get("category_id")
        if category not in listed and not (optional and category is None):
            found = "none" if category is None else shown(category)
            faults[place] = Fault("category_id", expected=f"one of the {len(listed)} categories listed", found=found)
    _refuse(faults, annotations, "annotations", name)


def _records(records: Sequence[Any], check: Callable[[Any], Record], plural: str, name: str) -> list[Record]:
    """Records with an ``id``, checked one by one; no id occurs twice."""
    found, faults = [], {}
    for place, record in enumerate(records):
        try:
            found.append(check(record))
        except Fault as fault:
            faults[place] = fault
    _refuse(faults, records, plural, name)
    ids = [record["id"] for record in found]
    if len(set(map(type, ids))) > 1:
        raise CocoError(f"{name}: ids of {plural}", expected="numbers alone, or text alone", found="both")
    _check_distinct(ids, f"{name}: {_SINGULAR[plural]} id")
    return found


def _check_distinct(values: Collection[Any], name: str) -> None:
    if len(set(values)) == len(values):
        return
    repeated = [value for value, n in Counter(values).items() if n > 1]
    more = f", and {len(repeated) - 1} others do" if len(repeated) > 1 else ""
    raise CocoError(f"{name} {repeated[0]} occurs twice{more}", expected="each once")


_SINGULAR = {"images": "image", "annotations": "annotation", "categories": "category"}


def _refuse(faults: Mapping[int, Fault], records: Sequence[Any], plural: str, name: str) -> None:
    """Raise the error that counts the faults, by the place of their record, and names the first."""
    if not faults:
        return
    place = min(faults)
    fault = faults[place]
    try:
        number = shown(identifier(records[place]["id"], "id")).removeprefix("the string ")
        label = f"{_SINGULAR[plural]} {number}"
    except (Fault, KeyError, TypeError, IndexError):
        label = f"{plural}[{place}]"
    if len(faults) > 1:
        label = f"{len(faults)} of {len(records)} {plural} are wrong, the first is {label}"
    what = f"{name}: {label}" + (f": {fault.key}" if fault.key else "")
    raise CocoError(what, expected=fault.expected, found=fault.found, hint=fault.hint)


def _image(record: Any) -> Record:
    if not isinstance(record, Mapping):
        raise Fault("", expected="an object", found=shown(record))
    fixed: Record = {"id": identifier(record.get("id"), "id", missing="id" not in record)}
    if record.get("file_name") is None and isinstance(url := record.get("coco_url"), str):  # LVIS
        fixed["file_name"] = "/".join(PurePosixPath(url).parts[-2:])
    if not is_text(file_name := fixed.get("file_name", record.get("file_name")), path=True):
        raise Fault("file_name", expected="a file name", found="none" if file_name is None else shown(file_name))
    for key in ("height", "width"):
        side = whole(record.get(key))
        if side is None or side < 0:
            found = shown(record[key]) if key in record else "none"
            raise Fault(key, expected="a whole number of pixels", found=found)
        fixed[key] = side
    n_pixels = fixed["height"] * fixed["width"]
    if n_pixels > MAX_PIXELS or (n_pixels == 0 and fixed["height"] != fixed["width"]):
        found = f"{fixed['height']} x {fixed['width']}"
        raise Fault("height x width", expected=f"1 to {MAX_PIXELS} pixels (0 x 0: unreadable)", found=found)
    return _with(record, fixed)


def _category(record: Any) -> Record:
    if not isinstance(record, Mapping):
        raise Fault("", expected="an object", found=shown(record))
    fixed = {"id": identifier(record.get("id"), "id", missing="id" not in record)}
    if not is_text(record.get("name")):
        raise Fault("name", expected="a text", found=shown(record["name"]) if "name" in record else "none")
    return _with(record, fixed)


def _with(record: Any, fixed: Record) -> Record:
    """A record with some values put right; itself where they are."""
    same = all(key in record and type(record[key]) is type(value) and record[key] == value
               for key, value in fixed.items())  # fmt: skip
    return record if same else {**record, **fixed}


def _turned(images: Sequence[Record], annotations: Sequence[Any]) -> tuple[list[Record], int]:
    """Image records with exchanged width and height put right, and their number.

    Pseudo-masks published with CutLER have such records, while their masks and annotation records are right.
    A record is turned only where every annotation of the image that knows its size (run-length masks, or ``width`` and
    ``height`` of the annotation) says so.
    """
    sizes: dict[Any, set[tuple[int, int]]] = defaultdict(set)
    for record in annotations:
        if (size_hw := _annotated_size(record)) and isinstance(image_id := record.get("image_id"), int | str):
            sizes[image_id].add(size_hw)
    found, n_turned = [], 0
    for image in images:
        height, width = image["height"], image["width"]
        if height != width and sizes.get(image["id"]) == {(width, height)}:
            image, n_turned = {**image, "height": width, "width": height}, n_turned + 1
        found.append(image)
    return found, n_turned


def _annotated_size(record: Any) -> tuple[int, int] | None:
    if not isinstance(record, Mapping):
        return None
    segmentation = record.get("segmentation")
    size = segmentation.get("size") if isinstance(segmentation, Mapping) else None
    if not size:
        size = (record.get("height"), record.get("width"))
    if not isinstance(size, list | tuple) or len(size) != 2:
        return None
    height, width = size
    return (height, width) if type(height) is type(width) is int else None
