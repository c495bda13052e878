"""``cuts3d train``."""

from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, section_options


@click.command("train")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--annotations", type=click.Path(path_type=Path), help="COCO JSON of masks to learn from.")
@click.option(
    "--depth-map", type=click.Path(path_type=Path), help="Folder with a depth map per image, when IMAGES are given."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for checkpoint and curves."
)
@click.option("--fresh", is_flag=True, help="Begin anew instead of resuming what a stopped training left in OUT/work.")
@config_options
@section_options("train")
def command(images, annotations, depth_map, out, fresh, **options):
    """Train the class-agnostic detector on pseudo-masks (paper Sec. 3.5).

    Given IMAGES, their pseudo-masks are made first and cached. A stopped training resumes from OUT/work when
    the same command is run again, with the same curve.

    \b
    Examples:
      cuts3d train --annotations runs/sample/pseudo_masks.json --out runs/sample/detector/round0
      cuts3d train --iterations 1000 --lr 0.005 --annotations masks.json --out detector/
      cuts3d train --depth-map depth/ --out detector/ photos/
    """
    from cuts3d_cli.log import logger
    from cuts3d_cli.stages import train
    from cuts3d_cli.stages.image_set import pseudo_masks

    if bool(images) == bool(annotations):
        raise click.UsageError("give either --annotations FILE or images")
    config = build_config(options, "train")
    if images:
        annotations = pseudo_masks(images, config, depth_map=depth_map)
    train.run(annotations, out, config=config.train, seed=config.seed, device=config.device, resume=not fresh)
    logger.info("train: checkpoint -> %s", out / "checkpoint.pth")
