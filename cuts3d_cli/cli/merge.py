"""``cuts3d merge``."""

from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, method_option


@click.command("merge")
@click.option("--run", "run_dir", type=click.Path(path_type=Path), required=True, help="The run.")
@method_option
@config_options
def command(run_dir, method, **options):
    """Join the masks of all shards into pseudo_masks.json.

    It depends on no setting but max_failed, the fraction of the images that may have failed: with more, nothing is
    written. Other options are only checked, so that a script can pass them to every command.

    \b
    Examples:
      cuts3d merge --run runs/sample
      cuts3d merge --run runs/sample --method maskcut
    """
    from cuts3d_cli.log import logger
    from cuts3d_cli.stages import merge
    from cuts3d_cli.store.layout import pseudo_masks_path

    config = build_config(options)
    counts, n_masks = merge.run(run_dir, method, max_failed=config.max_failed)
    logger.info("merge: %s, %d masks -> %s", counts, n_masks, pseudo_masks_path(run_dir, method))
