"""``cuts3d evaluate``."""

import json
from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, ignore_labels_option, section_options

PUBLISHED = ("zero-shot", "in-domain", "pseudo-masks")
FORMATS = ("auto", "coco", "lvis", "voc", "imagenet", "kitti", "openimages", "png", "yolo", "labelme")


@click.command("evaluate")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--predictions",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="COCO JSON with scored masks, or a folder of `cuts3d masks`; repeatable.",
)
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    help="Ground truth: COCO or LVIS JSON; a folder of label maps (png), YOLO or labelme files; a VOC, ImageNet or "
    "KITTI folder; OpenImages CSV.",
)
@click.option("--benchmark", metavar="NAME", help="Benchmark to evaluate on; `cuts3d benchmarks` lists them.")
@click.option(
    "--published",
    multiple=True,
    type=click.Choice(PUBLISHED),
    help="Published numbers to show with --benchmark; repeatable. Default: zero-shot; for imagenet, pseudo-masks.",
)
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default=Path("datasets"),
    show_default=True,
    help="Root folder of the benchmarks' datasets.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="Format of --annotations.",
)
@click.option(
    "--truth-images",
    type=click.Path(path_type=Path),
    help="Folder of the annotated images, for formats with a file per image. Default: a folder of IMAGES, "
    "data.images with data.annotations, else a folder images beside the labels.",
)
@click.option(
    "--count-unlisted",
    is_flag=True,
    help="Count all images of the ground truth, the objects of images that the predictions do not list as missed. "
    "Default: so with --benchmark, and for predictions of other tools.",
)
@ignore_labels_option
@click.option(
    "--write-truth",
    type=click.Path(path_type=Path),
    help="Write the ground truth as it is used for scoring to this COCO JSON.",
)
@click.option("--depth-map", type=click.Path(path_type=Path), help="Folder with one depth map per image of IMAGES.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="JSON file for the result; needs exactly one --predictions."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@config_options
@section_options("evaluate")
def command(
    images,
    files,
    annotations,
    benchmark,
    published,
    data_root,
    format_name,
    truth_images,
    count_unlisted,
    ignore_labels,
    write_truth,
    depth_map,
    out,
    as_json,
    **options,
):
    """Evaluate masks against ground truth: COCO AP and AR of boxes and masks, computed by pycocotools.

    Accepts pseudo-masks and predictions; all categories count as one unless --no-class-agnostic. Given IMAGES (files,
    or one folder), their pseudo-masks are made first, cached, and evaluated against the ground truth of these images
    alone. A masks.json of `cuts3d masks` counts with the images that it is of, and other images of the ground truth are
    left out. Images are matched by file name, relative to the image folder. With --benchmark, the published numbers
    selected by --published are printed alongside.

    \b
    Examples:
      cuts3d evaluate --predictions runs/sample/masks/cuts3d/pseudo_masks.json \\
          --annotations sample/train/annotations.json
      cuts3d evaluate --benchmark coco --data-root datasets/ --predictions predictions.json
      cuts3d evaluate --annotations labels/ --format png --ignore-labels 0,255 photos/
      cuts3d evaluate --annotations VOCdevkit/VOC2007 --write-truth voc.json
      cuts3d evaluate --annotations sample/val/annotations.json --depth-map sample/val/depth sample/val/images
    """
    from cuts3d_cli.cli.exports import mask_file
    from cuts3d_cli.evaluation import evaluate
    from cuts3d_cli.evaluation.benchmarks import get_benchmark
    from cuts3d_cli.pipeline.image_set import pseudo_masks, relative_names
    from cuts3d_cli.store.files import check_not_input

    if bool(images) == bool(files) and (images or not write_truth):
        raise click.UsageError("give either --predictions FILE or images")
    if out and len(files) != 1 and not images:
        raise click.UsageError("--out goes with one --predictions")
    if not annotations and not benchmark:
        raise click.UsageError("give --annotations or --benchmark")
    files = [mask_file(path) for path in files]
    for option, path in (("--out", out), ("--write-truth", write_truth)):
        if path is not None:
            check_not_input(path, option, [*files, annotations, *images])
    config = build_config(options, "evaluate", images=images)
    class_agnostic = config.evaluate.class_agnostic
    if published and not (benchmark and class_agnostic):
        raise click.UsageError("--published goes with --benchmark, and not with --no-class-agnostic")
    published = tuple(dict.fromkeys(published))
    truth = evaluate.load_truth(
        annotations,
        format_name=format_name,
        images=truth_images or _annotated_images(annotations, images, config.data),
        ignore_labels=config.data.ignore_labels if ignore_labels is None else ignore_labels,
        benchmark=get_benchmark(benchmark) if benchmark else None,
        root=data_root,
    )
    if images:
        truth = evaluate.of_images(truth, relative_names(images))
    if write_truth:
        if not images and not files:  # else they come with the scores
            evaluate.tell(truth)
        evaluate.write_truth(truth, write_truth, class_agnostic=class_agnostic)
    scoring = {"config": config.evaluate, "out": out, "published": published, "count_unlisted": count_unlisted}
    results = {}
    if images:
        made, name = pseudo_masks(images, config, depth_map=depth_map), "pseudo-masks"
        results[name] = evaluate.run(made, truth, title=name, **scoring)
    for path in files:
        name = f"{path.parent.name}/{path.stem}" if len(files) > 1 else path.stem
        name = str(path) if name in results else name
        results[name] = evaluate.run(path, truth, **scoring)
    if as_json:
        click.echo(json.dumps(results, indent=1))
    elif results:
        click.echo(evaluate.format_results(results, truth, class_agnostic=class_agnostic, published=published))


def _annotated_images(annotations, images, data):
    """Folder of the annotated images, where the images or the configuration tell it."""
    if len(images) == 1 and images[0].is_dir():
        return images[0]
    for truth, folder in ((data.annotations, data.images), (data.val_annotations, data.val_images)):
        if truth and folder and annotations and Path(truth).absolute() == annotations.absolute():
            return Path(folder)
    return None
