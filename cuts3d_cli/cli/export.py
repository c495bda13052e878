"""``cuts3d export``."""

from dataclasses import replace
from pathlib import Path

import click

from cuts3d_cli.cli.options import Share, formats_option, min_part_option


@click.command("export")
@click.argument("masks", metavar="MASKS", type=click.Path(path_type=Path))
@formats_option(required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the images, where the file does not say it.")
@click.option("--min-score", type=Share(), help="Leave out objects with a lower score; one without a score has 1.")
@min_part_option
def command(masks, formats, out, images, min_score, min_part):
    """Write masks in the form that another tool reads: pseudo-masks, labels, predictions or COCO ground truth.

    MASKS is a file (COCO JSON), or a folder that `cuts3d masks` wrote. With one format the files lie in the folder
    itself, with several in a folder for each. A folder of an earlier export is replaced. What a format cannot hold is
    told; docs/export.md has a table of it.

    \b
    Examples:
      cuts3d export runs/mine/masks/cuts3d/pseudo_masks.json --format yolo --out yolo/
      cuts3d export annotations.json --images train2017/ --format yolo --out yolo/
      cuts3d export found.json --min-score 0.5 --format labelme --format png --out exports/
    """
    from cuts3d_cli.cli.exports import mask_file, write_formats
    from cuts3d_cli.errors import Cuts3dError
    from cuts3d_cli.store.masks import read_masks

    masks = mask_file(masks)
    content = read_masks(masks)
    if images is not None:
        if not images.is_dir():
            raise Cuts3dError(
                f"--images {images}", expected="a folder", found="a file" if images.exists() else "nothing"
            )
        content = replace(content, image_root=images.absolute())
    places = {name: out if len(formats) == 1 else out / name for name in formats}
    write_formats(content, places, min_score=min_score, min_part=min_part, source=masks)
