"""Mask files: pseudo-masks, the labels of a self-training round and predictions, as COCO JSON of one shape.

COCO's own keys are as everybody's tools read them; what cuts3d adds is a fixed set of keys in ``info``
(docs/formats.md) and ``score``, ``quality``, ``cut`` and ``confidence`` of an annotation. Files of others, which have
none of this, are read too.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cuts3d_cli import __version__
from cuts3d_cli.errors import CocoError, Cuts3dError, StoreError
from cuts3d_cli.log import logger
from cuts3d_cli.store.coco import CATEGORIES, mask_of, without_id
from cuts3d_cli.store.coco_document import CocoDocument, check_masks, read_coco
from cuts3d_cli.store.files import write_json
from cuts3d_cli.store.json_files import is_text, shown
from cuts3d_cli.store.layout import FORMAT_VERSION

PSEUDO_MASKS, PREDICTIONS = KINDS = ("pseudo-masks", "predictions")
"""Kinds of our mask files; the labels of a self-training round are pseudo-masks."""


@dataclass
class Counts:
    """How the images ended: how many hold objects, how many none, and why each of the others failed, by name."""

    done: int = 0
    no_object: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Images tried."""
        return self.done + self.no_object + len(self.failures)

    def __add__(self, other: Counts) -> Counts:
        failures = {**self.failures, **other.failures}
        return Counts(self.done + other.done, self.no_object + other.no_object, failures)

    def __str__(self) -> str:
        return f"{self.done} done, {self.no_object} no object, {len(self.failures)} failed"


@dataclass(frozen=True)
class Provenance:
    """How masks were made; empty for files of others.

    Attributes:
        fingerprint: hash of everything the masks depend on.
        images: hash of ids and contents of the images, where they were listed.
        algorithm: number of the algorithm that made them.
        config: the config sections that lead to the masks, by section or stage.
        inputs: fingerprints of what they were made from: of stores by stage, of mask files by ``crf/<shard>`` or by
            image, and of a ``detector``, ``checkpoint`` or ``annotations``.
        rows: of a shard, the hash of everything the masks of each image depend on.
        version: of the package.
    """

    fingerprint: str = ""
    images: str = ""
    algorithm: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[str] = ()
    version: str = __version__


@dataclass(frozen=True)
class MaskFile:
    """Masks of some images, and how they were made.

    Attributes:
        kind: ``PSEUDO_MASKS`` or ``PREDICTIONS``; what ``info.kind`` says in files of others.
        image_root: folder that file names are relative to. `read_masks` gives it absolute; `write_masks` records it as
            it is, and a relative one is then relative to the file's folder.
        images: COCO's image records.
        annotations: COCO's annotations.
        categories: COCO's categories; empty where a file of others has none.
        provenance: how the masks were made.
        counts: how the images ended.
        description: ``info.description``; by default that cuts3d made it and no human annotation was used.
        rank: of pseudo-masks the ``evaluate.pseudo_mask_rank`` they were made with; empty where nobody said.
    """

    kind: str
    image_root: Path
    images: Sequence[dict[str, Any]]
    annotations: Sequence[dict[str, Any]]
    categories: Sequence[dict[str, Any]] = field(default_factory=lambda: list(CATEGORIES))
    provenance: Provenance = field(default_factory=Provenance)
    counts: Counts = field(default_factory=Counts)
    description: str = ""
    rank: str = ""

    def by_image(self) -> dict[Any, list[dict[str, Any]]]:
        """Annotations by the id of their image, of every image listed, in the order of the file."""
        found = defaultdict(list)
        for entry in self.annotations:
            found[entry["image_id"]].append(entry)
        return {image["id"]: found[image["id"]] for image in self.images}


def write_masks(path: str | Path, masks: MaskFile) -> None:
    """Write a mask file whole or not at all; annotations are numbered from 1 in the order given.

    Raises:
        ValueError: it is not of one of `KINDS`.
    """
    if masks.kind not in KINDS:
        raise ValueError(f"kind of masks: expected one of {', '.join(KINDS)}, got {masks.kind!r}")
    made = masks.provenance
    info = {
        "kind": masks.kind,
        "description": masks.description or f"{masks.kind} made by cuts3d {made.version}, no human annotation used",
        "format_version": FORMAT_VERSION,
        "image_root": Path(masks.image_root).as_posix(),
        **{name: value for name, value in asdict(made).items() if name != "rows" or value},
        "counts": asdict(masks.counts),
        **({"rank": masks.rank} if masks.rank else {}),
    }
    annotations = [{"id": number, **without_id(entry)} for number, entry in enumerate(masks.annotations, start=1)]
    document = {
        "info": info,
        "categories": list(masks.categories),
        "images": list(masks.images),
        "annotations": annotations,
    }
    write_json(path, document)


def read_masks(path: str | Path, *, own: bool = False) -> MaskFile:
    """Read a mask file, or any COCO JSON of others; their provenance and counts are empty.

    All records are checked (`coco_document`); what is odd about them is logged.

    Args:
        path: the file.
        own: it must be one of ours.

    Raises:
        StoreError: it is missing, damaged or no COCO JSON, of another format version of ours, or not ours if ``own``.
    """
    path = Path(path)
    document = read_coco(path)
    info = document.info
    _check_version(path, info, document.annotations)
    if own and not _is_own(info):
        raise StoreError(
            f"masks {path} are damaged or were not made by cuts3d",
            expected=f"info with kind {' or '.join(KINDS)}",
            found=info.get("kind", "none"),
        )
    provenance, counts = _record(path, info) if _is_own(info) else (Provenance(version=""), Counts())
    root = info.get("image_root") or "."
    if not is_text(root, path=True):
        raise StoreError(f"file {path}: info.image_root", expected="the name of a folder", found=shown(root))
    for note in document.notes:
        logger.warning("%s: %s", path, note)
    return MaskFile(
        kind=str(info.get("kind", "")),
        image_root=Path(os.path.abspath(path.parent / root)),
        images=document.images,
        annotations=document.annotations,
        categories=document.categories,
        provenance=provenance,
        counts=counts,
        description=str(info.get("description", "")),
        rank=rank_of(info),
    )


def rank_of(info: Mapping[str, Any]) -> str:
    """What ``info`` of a mask file of ours says of the ranking; empty where it says nothing."""
    return str(info.get("rank", "")) if _is_own(info) else ""


def worked_on(document: CocoDocument) -> list[str]:
    """Names of the images that a mask file of ours is of, those that failed included; empty for files of others."""
    if not _is_own(document.info):
        return []
    counts = document.info.get("counts")
    failures = counts.get("failures") if isinstance(counts, dict) else None
    names = [image["file_name"] for image in document.images]
    return list(dict.fromkeys([*names, *(map(str, failures) if isinstance(failures, dict) else ())]))


def to_learn(masks: MaskFile, path: str | Path) -> tuple[dict[Any, list[dict[str, Any]]], int]:
    """Annotations that a training learns from, by the id of their image, and how many are left out.

    Crowd regions, objects flagged ``ignore`` and empty ones are left out. An ``area`` of 0 alone makes no object empty,
    as some tools write it for all.

    Args:
        masks: the masks or labels.
        path: their file, for errors.

    Raises:
        CocoError: an annotation to learn from has no mask, or no mask has a pixel.
    """
    images = {image["id"]: image for image in masks.images}

    def is_empty(entry: dict[str, Any]) -> bool:
        known = entry.get("area") != 0 or "segmentation" not in entry
        return entry.get("area") == 0 if known else not mask_of(entry, images[entry["image_id"]]).any()

    kept = [entry for entry in masks.annotations
            if not entry.get("iscrowd") and not entry.get("ignore") and not is_empty(entry)]  # fmt: skip
    check_masks(kept, f"file {path}", hint="nothing can be learned from boxes alone")
    if kept and not any(mask_of(entry, images[entry["image_id"]]).any() for entry in kept):
        raise CocoError(f"file {path}: no mask has a pixel", expected="masks to train on", found=f"{len(kept)} empty")
    found = defaultdict(list)
    for entry in kept:
        found[entry["image_id"]].append(entry)
    return found, len(masks.annotations) - len(kept)


def check_image_root(masks: MaskFile, path: str | Path, n: int = 20) -> None:
    """Check that images lie where a file of masks, ``path`` in errors, says: at least one of ``n`` spread over it.

    Raises:
        Cuts3dError: there is none.
    """
    names = [image["file_name"] for image in masks.images[:: max(1, len(masks.images) // n)]]
    if names and not any(os.path.isfile(masks.image_root / name) for name in names):
        raise Cuts3dError(
            f"the images of {path} are not in {masks.image_root}",
            found=f"no {names[0]}",
            hint="give their folder: --image-root DIR",
        )


def _is_own(info: Mapping[str, Any]) -> bool:
    return info.get("kind") in KINDS and "version" in info


def _check_version(path: Path, info: Mapping[str, Any], annotations: Sequence[Any]) -> None:
    """Check that a file is of others, or of this version's format."""
    if not _is_own(info) and not any(map(_points_to_store, annotations)):
        return
    found = info.get("format_version", 2)
    if found == FORMAT_VERSION:
        return
    newer = isinstance(found, int) and found > FORMAT_VERSION
    raise StoreError(
        f"masks {path} are of {'a newer' if newer else 'an older'} cuts3d",
        expected=f"format version {FORMAT_VERSION}",
        found=found,
        hint="update cuts3d" if newer else f"rerun {_maker(info)}",
    )


def _points_to_store(entry: Any) -> bool:
    """Whether an annotation has its confidence elsewhere, as in format version 2."""
    confidence = entry.get("confidence") if isinstance(entry, dict) else None
    return isinstance(confidence, dict) and "store" in confidence


def _maker(info: Mapping[str, Any]) -> str:
    """The command that writes such a file, of an older format too."""
    if info.get("kind") == PREDICTIONS:
        return "`cuts3d predict`"
    inputs: Mapping[str, Any] = info["inputs"] if isinstance(info.get("inputs"), dict) else {}
    if "round" in info or "annotations" in inputs:
        return "`cuts3d selftrain`"
    merged = "shards" in info or any(name.startswith("crf/") for name in inputs)
    return "`cuts3d crf` of every shard and `cuts3d merge`" if merged else "`cuts3d crf`"


def _record(path: Path, info: Mapping[str, Any]) -> tuple[Provenance, Counts]:
    """What ``info`` of one of ours says of how the masks were made."""
    try:
        made = {"rows": (), **info}
        made = {name: made[name] for name in Provenance.__dataclass_fields__}
        found: dict[str, Any] = info["counts"]
        counts = Counts(**found)
        if not all(isinstance(made[name], dict) for name in ("config", "inputs")):
            raise TypeError("config or inputs are not objects")
        if not isinstance(made["rows"], Sequence) or not all(isinstance(row, str) for row in made["rows"]):
            raise TypeError("rows are not texts")
        if not isinstance(found["done"] + found["no_object"], int) or not isinstance(found["failures"], dict):
            raise TypeError("counts are not numbers")
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"masks {path} are damaged: info",
            expected="fingerprint, images, algorithm, config, inputs, version and counts",
            found=f"{type(error).__name__}: {error}",
            hint=f"rerun {_maker(info)}",
        ) from None
    return Provenance(**made), counts
