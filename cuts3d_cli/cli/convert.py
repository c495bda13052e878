"""``cuts3d convert``."""

from pathlib import Path

import click


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--to", type=click.Choice(["d2", "cuts3d"]), help="Output format. Default: the other one.")
def command(source, out, to):
    """Convert a detector checkpoint from CutLER's format (detectron2) to ours, or back.

    Tensors are renamed, their values are unchanged; docs/detector.md compares the two detectors. `cuts3d predict
    --weights` reads either format directly.

    \b
    Examples:
      cuts3d convert cutler_cascade_final.pth cutler.pth
      cuts3d convert --to d2 runs/paper/detector/round0/checkpoint.pth for_detectron2.pth
    """
    from cuts3d_cli.store.files import check_not_input
    from cuts3d_cli.training import convert

    check_not_input(out, "OUT", [source])
    convert.run(source, out, to=to)
