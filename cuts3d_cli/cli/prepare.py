"""``cuts3d prepare``."""

from pathlib import Path

import click


@click.command("prepare")
@click.argument("images", type=click.Path(path_type=Path))
@click.option("--run", "run_dir", type=click.Path(path_type=Path), required=True, help="Folder for all results.")
@click.option("--n-shards", type=click.IntRange(1), default=1, show_default=True, help="Number of shards.")
def command(images, run_dir, n_shards):
    """List the images of a folder with ids, sizes and content hashes, and split the list into shards.

    All later stages read their images from this list. Files that are not images are skipped and counted; broken
    images are listed with the reason.

    \b
    Examples:
      cuts3d prepare photos/ --run runs/mine
      cuts3d prepare imagenet/train --run runs/imagenet --n-shards 1300
    """
    from cuts3d_cli.cli.typed import name_options
    from cuts3d_cli.log import logger
    from cuts3d_cli.stages import prepare
    from cuts3d_cli.store.image_files import counted
    from cuts3d_cli.store.layout import manifest_path

    name_options((), data__n_shards="--n-shards")
    manifest = prepare.run(images, manifest_path(run_dir), n_shards=n_shards)
    images, shards = counted(manifest.n_images, "image"), counted(manifest.n_shards, "shard")
    logger.info("prepare: %s in %s -> %s", images, shards, manifest.path)
