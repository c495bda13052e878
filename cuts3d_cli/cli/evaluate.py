"""``cuts3d evaluate``."""

import json
from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, section_options


@click.command("evaluate")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--predictions",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="COCO JSON with scored masks; repeatable.",
)
@click.option("--annotations", required=True, type=click.Path(path_type=Path), help="COCO ground truth.")
@click.option(
    "--depth-map", type=click.Path(path_type=Path), help="Folder with a depth map per image, when IMAGES are given."
)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file to write; goes with one --predictions.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@config_options
@section_options("evaluate")
def command(images, files, annotations, depth_map, out, as_json, **options):
    """Score masks against ground truth: class-agnostic COCO AP and AR, boxes and masks, pycocotools as the judge.

    Takes pseudo-masks and predictions alike. Given IMAGES (files, or one folder), their pseudo-masks are made
    first, cached, and scored. Images are matched by file name, relative to the folder of images.

    \b
    Examples:
      cuts3d evaluate --predictions runs/sample/pseudo_masks.json --annotations sample/train/annotations.json
      cuts3d evaluate --json --predictions predictions.json --annotations instances_val2017.json
      cuts3d evaluate --annotations sample/val/annotations.json --depth-map sample/val/depth sample/val/images
    """
    from cuts3d_cli.stages import evaluate
    from cuts3d_cli.stages.image_set import pseudo_masks

    if bool(images) == bool(files):
        raise click.UsageError("give either --predictions FILE or images")
    if out and len(files) > 1:
        raise click.UsageError("--out goes with one --predictions")
    config = build_config(options, "evaluate")
    if images:
        files = [pseudo_masks(images, config, depth_map=depth_map)]
    results = {}
    for path in files:
        name = f"{path.parent.name}/{path.stem}" if len(files) > 1 else path.stem
        name = str(path) if name in results else name
        results[name] = evaluate.run(path, annotations, config=config.evaluate, out=out)
    click.echo(json.dumps(results, indent=1) if as_json else evaluate.format_table(results))
