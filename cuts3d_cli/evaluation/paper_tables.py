"""Published numbers beside ours (Tables 1-3 and 12), each with the source that it was read from.

In percent. Class-agnostic numbers are zero-shot (trained on ImageNet without labels, not on the benchmark); numbers
with classes are of detectors fine-tuned on a share of COCO's labels. A number without a source at hand is not here and
prints as ``-``: the paper's own tables could not be read, so CutS3D's rows come from a summary of it and most of
CutLER's from its README.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cuts3d_cli.evaluation.table import TYPE_NAMES, aligned, percent

CUTLER = "CutLER's README, model zoo (github.com/facebookresearch/CutLER, cca0a27): box AP50 and AR"
CUTLER_LABELS = "CutLER's README, semi-supervised model zoo (cca0a27): box and mask AP, Cascade R-CNN, 1x schedule"
PROMERGE = "ProMerge's README (github.com/facebookresearch/ProMerge, a5246d6): AP"
NOTE = "a summary of the CutS3D paper (arXiv 2411.16319) on papernotes.org, not the paper itself"
S2_UNISEG = "S2-UniSeg (AAAI 2026), Table 2, which cites CutLER"


@dataclass(frozen=True)
class Number:
    """One published number: benchmark, method, IoU type, metric as in :func:`.coco_eval.metric_names`, percent."""

    benchmark: str
    method: str
    iou_type: str
    metric: str
    value: float
    source: str
    class_agnostic: bool = True


def _row(benchmark: str, method: str, iou_type: str, source: str, **values: float) -> list[Number]:
    return [Number(benchmark, method, iou_type, metric, value, source) for metric, value in values.items()]


_CUTLER_METHODS = ("best before CutLER", "CutLER, Mask R-CNN", "CutLER")
_CUTLER_README = {  # box AP50 and AR of each of the methods
    "coco": ((9.6, 12.6), (21.1, 29.6), (21.9, 32.7)),
    "coco20k": ((9.7, 12.6), (21.6, 30.0), (22.4, 33.1)),
    "voc": ((15.9, 21.3), (36.6, 41.0), (36.9, 44.3)),
    "lvis": ((3.8, 6.4), (7.7, 18.7), (8.4, 21.8)),
    "uvo": ((10.0, 14.2), (29.8, 38.4), (31.7, 42.8)),
    "clipart": ((7.9, 15.1), (20.9, 38.5), (21.1, 41.3)),
    "comic": ((9.9, 16.3), (31.2, 37.1), (30.4, 38.6)),
    "watercolor": ((6.7, 16.2), (37.3, 39.9), (37.5, 44.6)),
    "kitti": ((7.7, 7.1), (15.3, 25.4), (18.4, 27.5)),
    "objects365": ((8.1, 10.2), (19.5, 30.0), (21.6, 34.2)),
    "openimages": ((9.9, 14.9), (17.1, 26.4), (17.3, 29.6)),
}


def _cutler_readme() -> list[Number]:
    numbers = []
    for benchmark, values in _CUTLER_README.items():
        for method, (ap50, ar) in reversed(list(zip(_CUTLER_METHODS, values, strict=True))):
            numbers += _row(benchmark, method, "bbox", CUTLER, AP50=ap50, AR100=ar)
    return numbers


_LABEL_METHODS = ("CutLER", "MoCo-v2")
_LABEL_EFFICIENT = {  # share of COCO's labels in percent: box and mask AP of each of the methods
    1: ((16.8, 14.6), (11.8, 10.0)),
    2: ((21.6, 18.9), (16.2, 13.8)),
    5: ((27.8, 24.3), (20.5, 17.8)),
    10: ((32.2, 28.1), (26.5, 23.0)),
    20: ((36.6, 31.7), (32.5, 28.2)),
    30: ((38.2, 33.3), (35.5, 30.8)),
    40: ((39.9, 34.7), (37.3, 32.3)),
    50: ((41.5, 35.9), (38.7, 33.6)),
    60: ((42.3, 36.7), (39.9, 34.6)),
    80: ((43.8, 37.9), (41.6, 36.0)),
    100: ((44.7, 38.5), (42.8, 37.0)),
}


def _label_efficient() -> list[Number]:
    numbers = []
    for share, values in _LABEL_EFFICIENT.items():
        for method, (box, mask) in zip(_LABEL_METHODS, values, strict=True):
            for iou_type, value in (("bbox", box), ("segm", mask)):
                name = f"{method}, {share} % of labels"
                numbers.append(Number("coco", name, iou_type, "AP", value, CUTLER_LABELS, class_agnostic=False))
    return numbers


NUMBERS: tuple[Number, ...] = (
    *_row("coco", "CutS3D", "segm", NOTE, AP=10.7, AP50=20.8),
    *_row("coco", "CutS3D", "bbox", NOTE, AP=13.3, AP50=24.3),
    *_row("coco", "CutS3D, before self-training", "segm", NOTE, AP=10.2, AP50=20.1),
    *_row("coco", "CutS3D, before self-training", "bbox", NOTE, AP=13.0, AP50=23.9),
    *_row("coco", "CuVLER", "segm", NOTE, AP=9.8, AP50=19.3),
    *_row("coco", "CutLER", "segm", NOTE, AP=9.7, AP50=18.9),
    *_row("coco", "CutLER", "segm", S2_UNISEG, AR100=27.1),
    *_row("coco", "CutLER, one round", "segm", PROMERGE, AP=8.7),
    *_row("coco", "ProMerge+", "segm", PROMERGE, AP=8.9),
    *_row("coco", "FreeSOLO", "segm", NOTE, AP=4.3, AP50=9.4),
    *_row("coco", "MaskCut pseudo-masks", "segm", PROMERGE, AP=2.2),
    *_row("coco20k", "CutS3D", "segm", NOTE, AP=10.9, AP50=21.3),
    *_row("coco20k", "CuVLER", "segm", NOTE, AP=10.0, AP50=20.0),
    *_row("coco20k", "CutLER", "segm", NOTE, AP=10.0, AP50=19.6),
    *_row("coco20k", "CutLER, one round", "segm", PROMERGE, AP=8.9),
    *_row("coco20k", "ProMerge+", "segm", PROMERGE, AP=9.0),
    *_row("coco20k", "FreeSOLO", "segm", NOTE, AP=4.3, AP50=9.7),
    *_row("coco20k", "MaskCut pseudo-masks", "segm", PROMERGE, AP=3.0),
    *_cutler_readme(),
    *_label_efficient(),
)

AVERAGES: dict[str, tuple[float, float]] = {"CutS3D": (12.5, 23.9), "CutLER": (11.6, 21.6), "CuVLER": (11.3, 21.3)}
"""Box AP and AP50 averaged over six data sets (:data:`NOTE`, which does not name the six)."""


def numbers_of(benchmark: str, *, class_agnostic: bool = True) -> list[Number]:
    """Published numbers of a benchmark, class-agnostic or with classes; empty where there are none."""
    return [n for n in NUMBERS if n.benchmark == benchmark and n.class_agnostic == class_agnostic]


def as_document(benchmark: str, *, class_agnostic: bool = True) -> dict[str, Any]:
    """Published numbers of a benchmark as plain JSON-able values."""
    keys = ("method", "iou_type", "metric", "value", "source")
    numbers = numbers_of(benchmark, class_agnostic=class_agnostic)
    return {"unit": "percent", "numbers": [{key: getattr(number, key) for key in keys} for number in numbers]}


def format_beside(
    results: Mapping[str, Mapping[str, Any]], benchmark: str, title: str, *, class_agnostic: bool = True
) -> str:
    """Our rows and the published ones of a benchmark, one table per IoU type; ``-`` where there is no number.

    Args:
        results: per row name what ``stages.evaluate.run`` returns.
        benchmark: name of the benchmark.
        title: what papers call it.
        class_agnostic: how the results were taken; numbers of the other kind are not shown.
    """
    published = numbers_of(benchmark, class_agnostic=class_agnostic)
    types = [t for t in TYPE_NAMES if any(t in result["metrics"] for result in results.values())]
    sources = list(dict.fromkeys(number.source for number in published if number.iou_type in types))
    blocks = []
    for iou_type in types:
        ours = {name: result["metrics"][iou_type] for name, result in results.items() if iou_type in result["metrics"]}
        blocks.append(_block(ours, [n for n in published if n.iou_type == iou_type], iou_type, title, sources))
    if not sources:
        return "\n\n".join([*blocks, f"no published number of {title} at hand"])
    last = ["-   no number at hand"]
    if class_agnostic and not any(number.method == "CutS3D" for number in published):
        sources.append(NOTE)
        averages = ", ".join(f"{method} {ap:.1f} / {ap50:.1f}" for method, (ap, ap50) in AVERAGES.items())
        last.append(f"box AP / AP50 averaged over six data sets [{len(sources)}]: {averages}")
    last[:0] = [f"[{n}] {source}" for n, source in enumerate(sources, start=1)]
    return "\n\n".join([*blocks, "\n".join(last)])


def _block(
    ours: Mapping[str, Mapping[str, float | None]],
    published: list[Number],
    iou_type: str,
    title: str,
    sources: list[str],
) -> str:
    metrics = list(dict.fromkeys(metric for values in ours.values() for metric in values))
    rows = [[f"{title}, {TYPE_NAMES[iou_type]} (%)", *metrics, "source"]]
    rows += [[name, *(percent(values.get(metric)) for metric in metrics), "this run"] for name, values in ours.items()]
    for method in dict.fromkeys(number.method for number in published):
        mine = [number for number in published if number.method == method]
        values = {number.metric: f"{number.value:.1f}" for number in mine}
        rows.append([method, *(values.get(metric, "-") for metric in metrics), _marks(mine, sources)])
    if not published:
        rows.append(["published", *("-" for _ in metrics), "-"])
    return aligned(rows)


def _marks(numbers: Iterable[Number], sources: list[str]) -> str:
    return " ".join(f"[{n}]" for n in sorted({sources.index(number.source) + 1 for number in numbers}))
