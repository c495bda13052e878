"""Score predictions or pseudo-masks against ground truth, class-agnostically (Sec. 4) or with classes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from cuts3d_cli import __version__
from cuts3d_cli.config import EvaluateConfig
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation import paper_tables
from cuts3d_cli.evaluation.benchmarks import Benchmark, annotations_of, read_benchmark
from cuts3d_cli.evaluation.coco_eval import evaluate
from cuts3d_cli.evaluation.pairing import pairs_by_name
from cuts3d_cli.evaluation.plan import labels_stamp
from cuts3d_cli.evaluation.readers.common import GroundTruth, Remark, one_category
from cuts3d_cli.evaluation.readers.formats import read_truth
from cuts3d_cli.evaluation.readers.label_files import images_beside
from cuts3d_cli.evaluation.table import format_classes, format_table
from cuts3d_cli.log import logger
from cuts3d_cli.store.coco import quality_of
from cuts3d_cli.store.coco_document import CocoDocument, check_coco
from cuts3d_cli.store.files import digest_file, fingerprint, write_json
from cuts3d_cli.store.json_files import read_json
from cuts3d_cli.store.masks import PSEUDO_MASKS, rank_of, worked_on

__all__ = [
    "Truth",
    "format_results",
    "format_table",
    "labels_file",
    "load_truth",
    "of_images",
    "ranked",
    "run",
    "write_truth",
]


RANK = "pseudo_mask_rank"


@dataclass(frozen=True)
class Truth:
    """Ground truth with the path it was read from and, where it is one of the registry, its benchmark.

    ``ignore_labels`` are the values of label maps that were asked to count as no object, if any were.
    """

    path: Path
    read: GroundTruth
    benchmark: Benchmark | None = None
    ignore_labels: Collection[int] | None = None


def load_truth(
    annotations: Path | None = None,
    *,
    format_name: str = "auto",
    images: Path | None = None,
    benchmark: Benchmark | None = None,
    root: Path | None = None,
    ignore_labels: Collection[int] | None = None,
) -> Truth:
    """Read ground truth from a path, or a benchmark's from below a data root; a path goes before the root.

    Args:
        annotations: file or folder of any format of :mod:`cuts3d_cli.evaluation.readers`.
        format_name: its format, or ``auto``.
        images: folder of the images, for formats with a file per image.
        benchmark: what it is called and compared with.
        root: data root of the benchmark.
        ignore_labels: values of label maps that are no object; None: see :mod:`.readers.label_maps`.

    Raises:
        Cuts3dError: nothing there, or malformed.
    """
    if annotations is not None:
        read = read_truth(annotations, format_name=format_name, images=images, ignore_labels=ignore_labels)
        return Truth(annotations, read, benchmark, ignore_labels)
    if benchmark is None or root is None:
        raise Cuts3dError("no ground truth", expected="annotations, or a benchmark and its data root")
    return Truth(root / annotations_of(benchmark, root).path, read_benchmark(benchmark, root), benchmark)


_GIVEN = "scored over the images given, {n} of the ground truth's {of}"
_UNLISTED = (
    "scored over the images that the predictions were made of, {n} of the ground truth's {of}; --count-unlisted counts "
    "the objects of the other {left_out} as missed"
)


def of_images(truth: Truth, file_names: Collection[str], note: str = _GIVEN) -> Truth:
    """Ground truth of some images alone, with a note that says so.

    Names are compared as predictions are paired: in part only where no whole name agrees. Ground truth that has
    none of the images, or no others, stays as it is.

    Args:
        truth: the ground truth.
        file_names: names of the images.
        note: what is noted, with the fields ``n``, ``of`` and ``left_out``, numbers of images.
    """
    document = truth.read.document
    names = {image["id"]: image["file_name"] for image in document.images}
    pairs, _ = pairs_by_name(dict(enumerate(file_names)), names)
    kept = {image_id for _, image_id in pairs}
    if not kept or len(kept) == len(document.images):
        return truth
    images = [image for image in document.images if image["id"] in kept]
    annotations = [record for record in document.annotations if record["image_id"] in kept]
    total = len(document.images)
    told = Remark(note.format(n=len(images), of=total, left_out=total - len(images)))
    read = replace(
        truth.read,
        document=replace(document, images=images, annotations=annotations),
        notes=[*truth.read.notes, told],
    )
    return replace(truth, read=read)


def tell(truth: Truth, command: str = "evaluate") -> None:
    """Log what was noted when a ground truth was read."""
    _log(truth.read.notes, f"{command}: {truth.path}")


def _log(notes: Sequence[str], about: str) -> None:
    for note in notes:
        logger.log(logging.INFO if isinstance(note, Remark) else logging.WARNING, "%s: %s", about, note)


def write_truth(truth: Truth, out: Path, *, class_agnostic: bool = True) -> None:
    """Write ground truth as COCO JSON, with one category unless ``class_agnostic`` is off, whole or not at all."""
    document = one_category(truth.read.document) if class_agnostic else truth.read.document
    info = {
        "kind": "ground truth",
        "version": __version__,
        "benchmark": truth.benchmark.name if truth.benchmark else None,
        "format": truth.read.format,
        "source": str(truth.path),
        "notes": truth.read.notes,
    }
    write_json(out, {**document.other, **_lists(document), "info": info})


def labels_file(
    labels: Path, images: Path | None, out: Path, *, ignore_labels: Collection[int] | None = None
) -> tuple[Path, Path]:
    """Write a folder of labels as the COCO JSON that a training reads, ``out/labels.json``.

    Args:
        labels: folder of label maps, YOLO or labelme files.
        images: folder of the images; None: a folder ``images`` beside, or the labels' own.
        out: folder of the training.
        ignore_labels: values of label maps that are no object; None: see :mod:`.readers.label_maps`.

    Returns:
        The file and the folder of the images.

    Raises:
        Cuts3dError: the labels are malformed or do not fit the images.
    """
    images = images or images_beside(labels) or labels
    truth = load_truth(labels, images=images, ignore_labels=ignore_labels)
    tell(truth, "train")
    write_truth(truth, out / "labels.json", class_agnostic=False)
    return out / "labels.json", images


def run(
    predictions: Path,
    truth: Path | Truth,
    *,
    config: EvaluateConfig,
    out: Path | None = None,
    title: str | None = None,
    published: Sequence[str] = (),
    count_unlisted: bool = False,
) -> dict[str, Any]:
    """Evaluate a prediction file, with what the numbers were made from beside them.

    A mask file of ours is scored over the images that were worked on, those that failed included; images of the ground
    truth besides these are left out, with a note. All images count of a benchmark, and for files of others.

    Args:
        predictions: COCO JSON of masks (pseudo-masks, predictions), or a COCO results list.
        truth: ground truth of the same images, or the path of one.
        config: what is compared and at how many detections.
        out: JSON file to write, whole or not at all; None writes nothing.
        title: what messages call the predictions; their path when omitted.
        published: settings of the published numbers; empty for those of :func:`.paper_tables.settings_of`.
        count_unlisted: all images of the ground truth count for mask files of ours too.

    Returns:
        The fields of :class:`cuts3d_cli.evaluation.coco_eval.Evaluation`, ``benchmark`` and ``published`` (numbers of
        the papers, percent) where it is one of the registry, and ``provenance``, JSON-able.

    Raises:
        Cuts3dError: the files cannot be compared.
    """
    truth = truth if isinstance(truth, Truth) else load_truth(truth)
    name = title or f"predictions {predictions}"
    predicted = _read_predictions(predictions, name)
    info = predicted.info if isinstance(predicted, CocoDocument) else {}
    if isinstance(predicted, CocoDocument) and truth.benchmark is None and not count_unlisted:
        truth = of_images(truth, worked_on(predicted), _UNLISTED)
    iou_types, notes = _iou_types(config, truth)
    if isinstance(predicted, CocoDocument) and info.get("kind") == PSEUDO_MASKS:
        config, told = _with_rank(config, rank_of(info))
        predicted, more = ranked(predicted, config.pseudo_mask_rank)
        notes += [*told, *more]
    result = evaluate(
        predicted,
        truth.read.document,
        max_dets=config.max_dets,
        iou_types=iou_types,
        class_agnostic=config.class_agnostic,
        difficult=config.difficult,
        predictions_name=name,
        truth_name=f"ground truth {truth.path}",
    )
    result.notes[:0] = [*truth.read.notes, *notes]
    _log(result.notes, f"evaluate: {title or predictions}")
    document = {
        **result.as_dict(),
        **_published(truth, config, published),
        "provenance": {
            "version": __version__,
            "pycocotools": version("pycocotools"),
            "config": config.model_dump(mode="json"),
            "predictions": str(predictions),
            "predictions_digest": digest_file(predictions),
            "predictions_info": {key: info[key] for key in ("kind", "version", "fingerprint") if key in info},
            "annotations": str(truth.path),
            "annotations_format": truth.read.format,
            "annotations_digest": _digest(truth),
            "annotations_stamp": labels_stamp(truth.path),
            "ignore_labels": None if truth.ignore_labels is None else list(truth.ignore_labels),
        },
    }
    if out is not None:
        write_json(out, document, indent=1)
    return document


def _with_rank(config: EvaluateConfig, rank: str) -> tuple[EvaluateConfig, list[str]]:
    """The configuration with the ranking that a file of pseudo-masks names, where nobody chose one, and a note."""
    if RANK in config.model_fields_set:
        return config, []
    if not rank:
        told = Remark(
            f"ranked by {config.pseudo_mask_rank}, as the file says nothing of it; give the settings that it was made "
            "with (--config, --preset), or --pseudo-mask-rank"
        )
        return config, [told]
    known = get_args(EvaluateConfig.model_fields[RANK].annotation)
    if rank not in known or rank == config.pseudo_mask_rank:
        return config, []
    told = Remark(f"ranked by {rank}, as the settings that they were made with say; --pseudo-mask-rank chooses another")
    return config.model_copy(update={RANK: rank}), [told]


def _read_predictions(path: Path, name: str) -> CocoDocument | list[Any]:
    """COCO JSON, or a results list, which is checked once the images are known."""
    content = read_json(path, name=name)
    return content if isinstance(content, list) else check_coco(content, name)


def ranked(document: CocoDocument, rank: str) -> tuple[CocoDocument, list[str]]:
    """Pseudo-masks whose scores give the order that ``evaluate.pseudo_mask_rank`` names, and notes for the reader.

    Spatial Confidence tells how stable a cut is, not how likely it is an object, and MaskCut has no score at all
    (docs/choices.md compares the orders).

    Args:
        document: COCO JSON; the masks of an image are in the order of the attempts that found them.
        rank: ``score``, as it is; ``attempts``, the first attempt of each image highest; ``quality``, by that key. If
            a mask has none, all stay ranked by score, and a note says so.
    """
    if rank == "score":
        return document, []
    if rank == "quality":
        found = [quality_of(record) for record in document.annotations]
        if None in found:
            note = f"{found.count(None)} of {len(found)} pseudo-masks have no quality, so all are ranked by score"
            return document, [note]
        scores = [one for one in found if one is not None]
    else:
        places: Counter[Any] = Counter()
        scores = []
        for record in document.annotations:
            places[record["image_id"]] += 1
            scores.append(1 / places[record["image_id"]])
    annotations = [{**record, "score": score} for record, score in zip(document.annotations, scores, strict=True)]
    return replace(document, annotations=annotations), []


def format_results(
    results: Mapping[str, Mapping[str, Any]],
    truth: Truth,
    *,
    class_agnostic: bool = True,
    published: Sequence[str] = (),
) -> str:
    """Everything to print: the table, per class where there are classes, and a benchmark's published numbers."""
    parts = [format_table(results), format_classes(results)]
    if truth.benchmark is not None:
        name, title = truth.benchmark.name, truth.benchmark.title
        settings = published or paper_tables.settings_of(name, class_agnostic=class_agnostic)
        parts.append(paper_tables.format_beside(results, name, title, settings))
    return "\n\n".join(part for part in parts if part)


def _iou_types(config: EvaluateConfig, truth: Truth) -> tuple[list[str], list[str]]:
    """What is compared, and a note where masks fall away since the benchmark is one of boxes."""
    benchmark = truth.benchmark
    if benchmark is None or benchmark.masks or "segm" not in config.iou_types:
        return list(config.iou_types), []
    if "bbox" not in config.iou_types:
        raise Cuts3dError(
            f"benchmark {benchmark.name} compares boxes only", expected="evaluate.iou_types with bbox", found="segm"
        )
    return ["bbox"], [f"{benchmark.title} is a benchmark of boxes: masks were not compared"]


def _published(truth: Truth, config: EvaluateConfig, settings: Sequence[str]) -> dict[str, Any]:
    if truth.benchmark is None:
        return {}
    name = truth.benchmark.name
    settings = settings or paper_tables.settings_of(name, class_agnostic=config.class_agnostic)
    return {"benchmark": name, "published": paper_tables.as_document(name, settings)}


def _digest(truth: Truth) -> str:
    """Hash of the file, or of what was read from a folder."""
    return digest_file(truth.path) if truth.path.is_file() else fingerprint(_lists(truth.read.document))


def _lists(document: CocoDocument) -> dict[str, Any]:
    return {"images": document.images, "annotations": document.annotations, "categories": document.categories}
