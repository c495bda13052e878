"""Published numbers beside ours, each with the table it was read from.

In percent. Of the CutS3D paper these are all of Tables 1 to 3, 12 and 14, and of Tables 4 and 6 the rows that tell how
far self-training carries; where two tables disagree, both values are here. CutLER's and ProMerge's own are from their
READMEs. What has no number prints as ``-``.

Four settings are distinguished, only selected ones are shown: ``zero-shot`` (not trained on the benchmark's images),
``in-domain`` (one more round of self-training on COCO train2017, without labels, Sec. 4.3), ``pseudo-masks`` (no
detector at all) and ``fine-tuned`` (with classes, trained on a fraction of COCO's labels).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

from cuts3d_cli.evaluation.table import TYPE_NAMES, percent
from cuts3d_cli.tables import text_table

Setting = Literal["zero-shot", "in-domain", "pseudo-masks", "fine-tuned"]
CLASS_AGNOSTIC: tuple[Setting, ...] = get_args(Setting)[:3]

PAPER = "CutS3D's paper (ICCV 2025, arXiv 2411.16319)"
TABLE_1 = f"{PAPER}, Table 1; CuVLER and UnSAM by their checkpoints; FreeSOLO is not among those it calls zero-shot"
TABLE_2 = f"{PAPER}, Table 2"
TABLE_3 = f"{PAPER}, Table 3"
TABLE_4 = f"{PAPER}, Table 4"
TABLE_6 = f"{PAPER}, Table 6"
TABLE_12 = f"{PAPER}, Table 12"
TABLE_14 = f"{PAPER}, Table 14; both with DiffNCuts features"
CUTLER = "CutLER's README, model zoo (github.com/facebookresearch/CutLER, cca0a27): box AP50 and AR"
CUTLER_LABELS = "CutLER's README, semi-supervised model zoo (cca0a27): box and mask AP, Cascade R-CNN, 1x schedule"
PROMERGE = "ProMerge's README (github.com/facebookresearch/ProMerge, a5246d6): AP"
S2_UNISEG = "S2-UniSeg (AAAI 2026), Table 2, which cites CutLER"


@dataclass(frozen=True)
class Number:
    """One published number: benchmark, IoU type, metric as in :func:`.coco_eval.metric_names`, method, percent."""

    benchmark: str
    iou_type: str
    metric: str
    method: str
    value: float
    source: str
    setting: Setting = "zero-shot"

    @property
    def title(self) -> str:
        """What its row is called: the method, with the setting where it could be taken for a zero-shot detector."""
        return f"{self.method}, {self.setting}" if self.setting in ("in-domain", "pseudo-masks") else self.method


def _row(
    benchmark: str, method: str, iou_type: str, source: str, setting: Setting = "zero-shot", **values: float
) -> list[Number]:
    return [Number(benchmark, iou_type, metric, method, value, source, setting) for metric, value in values.items()]


def _printed(
    columns: Iterable[tuple[str, str, str]], method: str, values: str, source: str, setting: Setting = "zero-shot"
) -> list[Number]:
    """A row as the paper prints it; a column is a benchmark, an IoU type and a metric, ``-`` an empty cell."""
    cells = zip(columns, values.split(), strict=True)
    return [Number(*column, method, float(value), source, setting) for column, value in cells if value != "-"]


_TABLE_1 = {  # per dataset AP50, AP75, AP of boxes, then of masks
    "CutS3D": "24.6 12.5 13.4 21.3 9.9 10.9  24.3 12.5 13.3 20.8 9.8 10.7",
    "CuVLER": "23.5 11.9 12.7 20.0 9.0 10.0  23.0 11.8 12.6 19.3 8.8 9.8",
    "CutLER": "22.4 11.9 12.5 19.6 9.2 10.0  21.9 11.8 12.3 18.9 9.2 9.7",
    "ProMerge+": "- - - - - 9.0  - - - - - 8.9",
    "UnSAM": "- - - 6.2 3.1 3.3  - - - 6.6 3.3 3.6",
    "FreeSOLO": "9.7 3.2 4.1 9.7 3.4 4.3  9.6 3.1 4.2 9.4 3.3 4.3",
}
_TABLE_2_SETS = {
    "coco": "COCO val2017",
    "coco20k": "COCO20K",
    "voc": "VOC",
    "objects365": "Objects365",
    "kitti": "KITTI",
    "lvis": "LVIS",
}
_TABLE_2 = {  # per dataset AP50, AP of boxes
    "CutS3D": "24.3 13.3  24.7 13.4  40.6 21.4  23.6 12.4  21.1 9.7  8.8 4.8",
    "CuVLER": "23.0 12.6  23.5 12.7  39.4 22.3  21.6 10.9  11.8 4.6  8.5 4.5",
    "CutLER": "21.9 12.5  22.4 12.5  36.9 20.2  21.6 11.4  18.4 8.5  8.4 4.5",
}
AVERAGES: dict[str, tuple[float, float]] = {"CutS3D": (23.9, 12.5), "CuVLER": (21.3, 11.3), "CutLER": (21.6, 11.6)}
"""Table 2, its first column: AP50 and AP of boxes averaged over its six datasets."""

_TABLE_3 = {  # AP50, AP of masks: COCO val2017, COCO20K, LVIS
    "CutS3D": "21.8 11.4  22.4 11.6  8.1 4.5",
    "CuVLER": "20.4 10.4  21.6 10.7  7.2 3.8",
}
_TABLE_12: dict[tuple[Setting, str], str] = {  # AP50 AP75 AP APs APm APl AR1 AR10 AR100 of boxes, then of masks
    ("zero-shot", "coco"): "24.3 12.5 13.3 3.7 13.9 31.0 6.9 20.8 30.2  20.8 9.8 10.7 2.3 9.5 27.0 6.1 17.8 24.2",
    ("zero-shot", "coco20k"): "24.6 12.6 13.4 4.0 14.0 30.7 6.9 20.9 30.4  21.3 9.9 10.9 2.4 9.9 26.7 6.1 17.8 26.7",
    ("zero-shot", "lvis"): "8.8 4.2 4.8 2.3 8.8 15.7 2.4 9.9 17.9  7.1 3.6 3.9 1.4 5.7 13.8 2.2 8.5 14.6",
    ("zero-shot", "voc"): "40.8 19.8 21.4 1.2 7.6 33.7 16.5 33.9 41.7  - - - - - - - - -",
    ("zero-shot", "objects365"): "23.6 11.2 12.4 2.7 11.0 22.5 3.2 16.5 30.8  - - - - - - - - -",
    ("zero-shot", "kitti"): "21.1 7.6 9.7 0.1 5.7 22.9 7.0 17.5 25.3  - - - - - - - - -",
    ("in-domain", "coco"): "24.7 12.5 13.3 3.6 13.4 29.8 6.7 21.1 31.5  21.8 10.4 11.4 2.5 10.5 27.5 6.1 19.0 27.0",
    ("in-domain", "coco20k"): "25.1 12.5 13.3 3.9 13.6 29.6 6.7 21.3 31.7  22.4 10.7 11.6 2.9 10.8 27.3 6.2 19.1 27.2",
    ("in-domain", "lvis"): "9.6 4.6 5.2 2.5 8.9 15.3 2.4 10.4 29.5  8.1 4.1 4.5 1.9 6.5 14.2 2.3 9.5 17.2",
}
_TABLE_14 = {"CutS3D": "11.0 21.4 10.0", "MaskCut": "8.4 15.0 8.0"}  # AP, AP50, AP75 of boxes on ImageNet val


def _paper() -> list[Number]:
    types = ("bbox", "segm")
    numbers = []
    for method, values in _TABLE_1.items():
        numbers += _printed(product(("coco20k", "coco"), types, ("AP50", "AP75", "AP")), method, values, TABLE_1)
    for method, values in _TABLE_2.items():
        numbers += _printed(product(_TABLE_2_SETS, ("bbox",), ("AP50", "AP")), method, values, TABLE_2)
    for method, values in _TABLE_3.items():
        columns = product(("coco", "coco20k", "lvis"), ("segm",), ("AP50", "AP"))
        numbers += _printed(columns, method, values, TABLE_3, "in-domain")
    metrics = ("AP50", "AP75", "AP", "APs", "APm", "APl", "AR1", "AR10", "AR100")
    for (setting, benchmark), values in _TABLE_12.items():
        numbers += _printed(product((benchmark,), types, metrics), "CutS3D", values, TABLE_12, setting)
    for method, values in _TABLE_14.items():
        columns = product(("imagenet",), ("bbox",), ("AP", "AP50", "AP75"))
        numbers += _printed(columns, method, values, TABLE_14, "pseudo-masks")
    return numbers


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
_LABEL_EFFICIENT = {  # fraction of COCO's labels in percent: box and mask AP of each of the methods
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
                numbers += _row("coco", name, iou_type, CUTLER_LABELS, "fine-tuned", AP=value)
    return numbers


NUMBERS: tuple[Number, ...] = (
    *_paper(),
    *_row("coco", "CutS3D, one round of self-training", "segm", TABLE_4, AP=10.2, AP50=20.1),
    *_row("coco", "CutS3D, one round of self-training", "bbox", TABLE_4, AP=13.0, AP50=23.9),
    *_row("coco", "CutS3D, no self-training", "segm", TABLE_6, AP=9.1),
    *_row("coco", "CutLER", "segm", S2_UNISEG, AR100=27.1),
    *_row("coco", "CutLER, one round", "segm", PROMERGE, AP=8.7),
    *_row("coco", "ProMerge+", "segm", PROMERGE, AP=8.9),
    *_row("coco", "MaskCut", "segm", PROMERGE, "pseudo-masks", AP=2.2),
    *_row("coco20k", "CutLER, one round", "segm", PROMERGE, AP=8.9),
    *_row("coco20k", "ProMerge+", "segm", PROMERGE, AP=9.0),
    *_row("coco20k", "MaskCut", "segm", PROMERGE, "pseudo-masks", AP=3.0),
    *_cutler_readme(),
    *_label_efficient(),
)


def settings_of(benchmark: str, *, class_agnostic: bool = True) -> tuple[Setting, ...]:
    """What is shown where no setting is asked for; ImageNet's boxes judge pseudo-masks alone (Table 14)."""
    if not class_agnostic:
        return ("fine-tuned",)
    return ("pseudo-masks",) if benchmark == "imagenet" else ("zero-shot",)


def numbers_of(benchmark: str, settings: Sequence[str] = ("zero-shot",)) -> list[Number]:
    """Published numbers of a benchmark, one setting after the other; empty where there are none."""
    return [n for setting in settings for n in NUMBERS if (n.benchmark, n.setting) == (benchmark, setting)]


def as_document(benchmark: str, settings: Sequence[str] = ("zero-shot",)) -> dict[str, Any]:
    """Published numbers of a benchmark as plain JSON-able values."""
    keys = ("method", "setting", "iou_type", "metric", "value", "source")
    numbers = numbers_of(benchmark, settings)
    return {"unit": "percent", "numbers": [{key: getattr(number, key) for key in keys} for number in numbers]}


def format_beside(
    results: Mapping[str, Mapping[str, Any]], benchmark: str, title: str, settings: Sequence[str] = ("zero-shot",)
) -> str:
    """Our rows and the published ones of a benchmark, one table per IoU type; ``-`` where there is no number.

    Where sources disagree, a cell holds every value, and a line below tells which is whose.

    Args:
        results: per row name what ``stages.evaluate.run`` returns.
        benchmark: name of the benchmark.
        title: what papers call it.
        settings: which published numbers are shown; others are named at the end.
    """
    types = [t for t in TYPE_NAMES if any(t in result["metrics"] for result in results.values())]
    published = [number for number in numbers_of(benchmark, settings) if number.iou_type in types]
    sources = list(dict.fromkeys(number.source for number in published))
    blocks, differing = [], []
    for iou_type in types:
        ours = {name: result["metrics"][iou_type] for name, result in results.items() if iou_type in result["metrics"]}
        theirs = [n for n in published if n.iou_type == iou_type]
        metrics = list(dict.fromkeys(metric for values in ours.values() for metric in values))
        blocks.append(_block(ours, theirs, metrics, f"{title}, {TYPE_NAMES[iou_type]} (%)", sources))
        differing += _differing([n for n in theirs if n.metric in metrics], sources)
    last = [f"[{n}] {source}" for n, source in enumerate(sources, start=1)]
    last += differing
    last.append("-   no number at hand" if sources else f"no published number of {title} ({', '.join(settings)})")
    if "zero-shot" in settings and sources and benchmark not in _TABLE_2_SETS:
        averages = ", ".join(f"{method} {ap:.1f} / {ap50:.1f}" for method, (ap50, ap) in AVERAGES.items())
        last.append(f"box AP / AP50 averaged over {', '.join(_TABLE_2_SETS.values())} ({TABLE_2}): {averages}")
    others = [s for s in CLASS_AGNOSTIC if s not in settings and numbers_of(benchmark, (s,))]
    if others and "fine-tuned" not in settings:
        last.append(f"other published numbers, with --published: {', '.join(others)}")
    return "\n\n".join([*blocks, "\n".join(last)])


def _block(
    ours: Mapping[str, Mapping[str, float | None]],
    published: Sequence[Number],
    metrics: Sequence[str],
    head: str,
    sources: list[str],
) -> str:
    rows = [[name, *(percent(values.get(metric)) for metric in metrics), "this run"] for name, values in ours.items()]
    for title in dict.fromkeys(number.title for number in published):
        mine = [number for number in published if number.title == title]
        rows.append([title, *(_values(mine, metric) for metric in metrics), _marks(mine, sources)])
    if not published:
        rows.append(["published", *("-" for _ in metrics), "-"])
    return text_table([head, *metrics, "source"], rows)


def _values(numbers: Iterable[Number], metric: str) -> str:
    return "/".join(dict.fromkeys(f"{number.value:.1f}" for number in numbers if number.metric == metric)) or "-"


def _marks(numbers: Iterable[Number], sources: list[str]) -> str:
    return " ".join(f"[{n}]" for n in sorted({sources.index(number.source) + 1 for number in numbers}))


def _differing(numbers: Sequence[Number], sources: list[str]) -> list[str]:
    """A line per method and metric of an IoU type on which the sources disagree."""
    lines = []
    for title, metric in dict.fromkeys((number.title, number.metric) for number in numbers):
        mine = [number for number in numbers if (number.title, number.metric) == (title, metric)]
        by_value = {number.value: [n for n in mine if n.value == number.value] for number in mine}
        if len(by_value) > 1:
            values = ", ".join(f"{value:.1f} in {_marks(same, sources)}" for value, same in by_value.items())
            lines.append(f"{title}, {TYPE_NAMES[mine[0].iou_type]} {metric}: {values}")
    return lines
