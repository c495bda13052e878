"""The benchmarks of zero-shot evaluation (Tables 1-3 and 12), and ImageNet's boxes for pseudo-masks (Table 14).

Folders lie below one data root, laid out as CutLER's ``datasets/README.md`` says, so that a root made for CutLER or
CuVLER serves as it is. Where a benchmark has several annotation files, the class-agnostic JSON published with CutLER
comes first, as the published numbers were taken on it; the original annotations are read where it is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.readers.common import GroundTruth
from cuts3d_cli.evaluation.readers.formats import read_truth

CUTLER_URL = "http://dl.fbaipublicfiles.com/cutler/"


@dataclass(frozen=True)
class Annotations:
    """Where annotations may lie.

    Attributes:
        path: file or folder below the data root.
        format: name of the reader.
        splits: lists of a VOC folder whose images count.
        images: folder of the images below the data root, for a format that holds no image sizes.
    """

    path: str
    format: str
    splits: tuple[str, ...] = ()
    images: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """One dataset and split.

    Attributes:
        name: what the command line calls it.
        title: what papers call it.
        split: which images.
        masks: whether masks are compared, or boxes alone.
        images: folder of the images below the data root.
        annotations: where annotations may lie, the first that is there counts.
        home: page that gives images and annotations.
        json_url: the class-agnostic annotations published with CutLER, below :data:`CUTLER_URL`.
        n_images: number of images where it is known for certain.
        n_images_source: who says so.
    """

    name: str
    title: str
    split: str
    masks: bool
    images: str
    annotations: tuple[Annotations, ...]
    home: str
    json_url: str | None = None
    n_images: int | None = None
    n_images_source: str = ""


def _cross_domain(name: str, title: str, n_images: int) -> Benchmark:
    """Clipart1k, Watercolor2k and Comic2k: VOC folders; their names say how many images train and test hold."""
    return Benchmark(
        name,
        title,
        "train and test",
        masks=False,
        images=f"{name}/JPEGImages",
        annotations=(
            Annotations(f"{name}/annotations/traintest_cls_agnostic.json", "coco"),
            Annotations(f"{name}/Annotations", "voc", ("train", "test")),
        ),
        home="https://github.com/naoto0804/cross-domain-detection",
        json_url=f"{name}/traintest_cls_agnostic.json",
        n_images=n_images,
        n_images_source="the dataset's name",
    )


_BENCHMARKS = (
    Benchmark(
        "coco",
        "COCO",
        "val2017",
        masks=True,
        images="coco/val2017",
        annotations=(
            Annotations("coco/annotations/coco_cls_agnostic_instances_val2017.json", "coco"),
            Annotations("coco/annotations/instances_val2017.json", "coco"),
        ),
        home="https://cocodataset.org/#download",
        json_url="coco/coco_cls_agnostic_instances_val2017.json",
        n_images=5000,
        n_images_source="cocodataset.org",
    ),
    Benchmark(
        "coco20k",
        "COCO20K",
        "a subset of train2014",
        masks=True,
        images="coco/train2014",
        annotations=(Annotations("coco/annotations/coco20k_trainval_gt.json", "coco"),),
        home="https://cocodataset.org/#download",
        json_url="coco/coco20k_trainval_gt.json",
    ),
    Benchmark(
        "lvis",
        "LVIS",
        "v1 val",
        masks=True,
        images="coco",
        annotations=(
            Annotations("coco/annotations/lvis1.0_cocofied_val_cls_agnostic.json", "coco"),
            Annotations("coco/annotations/lvis_v1_val.json", "lvis"),
        ),
        home="https://www.lvisdataset.org/dataset",
        json_url="coco/lvis1.0_cocofied_val_cls_agnostic.json",
    ),
    Benchmark(
        "uvo",
        "UVO",
        "sparse val",
        masks=True,
        images="uvo/all_UVO_frames",
        annotations=(
            Annotations("uvo/annotations/val_sparse_cleaned_cls_agnostic.json", "coco"),
            Annotations("uvo/annotations/UVO_sparse_val.json", "coco"),
        ),
        home="https://sites.google.com/view/unidentified-video-object/dataset",
        json_url="uvo/val_sparse_cleaned_cls_agnostic.json",
    ),
    Benchmark(
        "voc",
        "Pascal VOC",
        "2007 trainval and test",
        masks=False,
        images="voc/VOC2007/JPEGImages",
        annotations=(
            Annotations("voc/annotations/trainvaltest_2007_cls_agnostic.json", "coco"),
            Annotations("voc/VOC2007/Annotations", "voc", ("trainval", "test")),
        ),
        home="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
        json_url="voc/trainvaltest_2007_cls_agnostic.json",
        n_images=9963,
        n_images_source="the VOC2007 development kit, Sec. 2",
    ),
    Benchmark(
        "objects365",
        "Objects365",
        "v2 val",
        masks=False,
        images="objects365/val",
        annotations=(
            Annotations("objects365/annotations/zhiyuan_objv2_val_cls_agnostic.json", "coco"),
            Annotations("objects365/annotations/zhiyuan_objv2_val.json", "coco"),
        ),
        home="https://www.objects365.org/download.html",
        json_url="objects365/zhiyuan_objv2_val_cls_agnostic.json",
    ),
    Benchmark(
        "openimages",
        "OpenImages",
        "V6 validation",
        masks=False,
        images="openImages/validation",
        annotations=(
            Annotations("openImages/annotations/openimages_val_cls_agnostic.json", "coco"),
            Annotations(
                "openImages/annotations/validation-annotations-bbox.csv", "openimages", images="openImages/validation"
            ),
        ),
        home="https://storage.googleapis.com/openimages/web/download_v6.html",
        json_url="openImages/openimages_val_cls_agnostic.json",
        n_images=41620,
        n_images_source="the OpenImages V6 download page; images without boxes may be missing from annotation files",
    ),
    Benchmark(
        "kitti",
        "KITTI",
        "trainval, 2D objects",
        masks=False,
        images="kitti/JPEGImages",
        annotations=(
            Annotations("kitti/annotations/trainval_cls_agnostic.json", "coco"),
            Annotations("kitti/label_2", "kitti", images="kitti/JPEGImages"),
            Annotations("kitti/training/label_2", "kitti", images="kitti/training/image_2"),
        ),
        home="https://www.cvlibs.net/datasets/kitti/eval_object.php?obj_benchmark=2d",
        json_url="kitti/trainval_cls_agnostic.json",
        n_images=7481,
        n_images_source="the development kit's readme",
    ),
    _cross_domain("clipart", "Clipart", 1000),
    _cross_domain("watercolor", "Watercolor", 2000),
    _cross_domain("comic", "Comic", 2000),
    Benchmark(
        "imagenet",
        "ImageNet",
        "val, for pseudo-masks",
        masks=False,
        images="imagenet/val",
        annotations=(
            Annotations("imagenet/annotations/imagenet_val_cls_agnostic_gt.json", "coco"),
            Annotations("imagenet/Annotations/CLS-LOC/val", "imagenet"),
        ),
        home="https://image-net.org/download.php",
        n_images=50000,
        n_images_source="image-net.org",
    ),
)
BENCHMARKS = {benchmark.name: benchmark for benchmark in _BENCHMARKS}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        Cuts3dError: there is none.
    """
    if name not in BENCHMARKS:
        close = get_close_matches(name, BENCHMARKS, n=1)
        raise Cuts3dError(
            f"benchmark {name}",
            expected=f"one of {', '.join(BENCHMARKS)}",
            hint=f"did you mean {close[0]}?" if close else "`cuts3d benchmarks` lists them",
        )
    return BENCHMARKS[name]


def annotations_of(benchmark: Benchmark, root: str | Path) -> Annotations:
    """The first of a benchmark's annotations that lies below a data root.

    Raises:
        Cuts3dError: there is none.
    """
    for candidate in benchmark.annotations:
        if (Path(root) / candidate.path).exists():
            return candidate
    raise Cuts3dError(
        f"benchmark {benchmark.name}: no annotations below {root}",
        expected=" or ".join(candidate.path for candidate in benchmark.annotations),
        hint=f"`cuts3d benchmarks {benchmark.name}` says where to get them",
    )


def read_benchmark(benchmark: Benchmark, root: str | Path) -> GroundTruth:
    """Ground truth of a benchmark; a note says when it has another number of images than it should.

    Raises:
        Cuts3dError: its annotations are missing or malformed.
    """
    found, root = annotations_of(benchmark, root), Path(root)
    images = root / found.images if found.images else None
    truth = read_truth(root / found.path, format_name=found.format, splits=found.splits, images=images)
    n_images = len(truth.document.images)
    if benchmark.n_images is not None and n_images != benchmark.n_images:
        truth.notes.append(
            f"{benchmark.title} has {benchmark.n_images} images ({benchmark.n_images_source}),"
            f" this ground truth {n_images}"
        )
    return truth


def registry_rows() -> list[dict[str, str]]:
    """One row per benchmark for a printed table."""
    return [
        {
            "name": benchmark.name,
            "dataset": benchmark.title,
            "split": benchmark.split,
            "compared": "boxes, masks" if benchmark.masks else "boxes",
            "images": "-" if benchmark.n_images is None else str(benchmark.n_images),
            "formats": ", ".join(dict.fromkeys(candidate.format for candidate in benchmark.annotations)),
        }
        for benchmark in BENCHMARKS.values()
    ]


def layout_text(benchmark: Benchmark, root: str | Path) -> str:
    """What lies where below a data root, whether it is there, and where to get it."""
    root = Path(root)
    compared = "boxes and masks" if benchmark.masks else "boxes"
    counted = f", {benchmark.n_images} images ({benchmark.n_images_source})" if benchmark.n_images else ""
    lines = [f"{benchmark.name}: {benchmark.title}, {benchmark.split}; {compared}{counted}"]
    places = [("images", benchmark.images)]
    places += [(f"annotations, {candidate.format}", candidate.path) for candidate in benchmark.annotations]
    width = max(len(path) for _, path in places)
    for what, path in places:
        state = "there  " if (root / path).exists() else "missing"
        lines.append(f"  {state}  {path.ljust(width)}  {what}")
    if len(benchmark.annotations) > 1:
        lines.append("  one of the annotations is enough; the first that is there counts")
    lines.append(f"  data root {root}; from {benchmark.home}")
    if benchmark.json_url:
        lines.append(f"  class-agnostic annotations of CutLER: {CUTLER_URL}{benchmark.json_url}")
    return "\n".join(lines)
