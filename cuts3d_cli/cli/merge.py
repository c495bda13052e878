"""``cuts3d merge``."""

from pathlib import Path

import click


@click.command("merge")
@click.option("--run", "run_dir", type=click.Path(path_type=Path), required=True, help="The run.")
@click.option("--branch", metavar="NAME", help="Branch of the run, such as maskcut.")
def command(run_dir, branch):
    """Join the masks of all shards into pseudo_masks.json.

    \b
    Examples:
      cuts3d merge --run runs/sample
      cuts3d merge --run runs/sample --branch maskcut
    """
    from cuts3d_cli.log import logger
    from cuts3d_cli.stages import merge
    from cuts3d_cli.store.layout import pseudo_masks_path

    counts = merge.run(run_dir, branch)
    logger.info(
        "merge: %s -> %s",
        ", ".join(f"{n} {key.replace('_', ' ')}" for key, n in counts.items()),
        pseudo_masks_path(run_dir, branch),
    )
