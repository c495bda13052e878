"""``cuts3d init``."""

from pathlib import Path

import click

from cuts3d_cli.config import preset_names


@click.command("init")
@click.argument("images", required=False, type=click.Path(path_type=Path))
@click.option("--depth-map", type=click.Path(path_type=Path), help="Folder with a depth map per image.")
@click.option(
    "--preset", type=click.Choice(preset_names()), default="embedded", show_default=True, help="Values to start from."
)
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="Folder that will take the results.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("config.yaml"), show_default=True, help="File to write."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def command(images, depth_map, preset, run_dir, out, overwrite):
    """Write a config.yaml with every setting, its meaning and its range, for IMAGES (a folder) or the sample.

    \b
    Examples:
      cuts3d init photos/ --depth-map depth/ --out mine.yaml
      cuts3d init photos/ --preset paper-dino --run runs/photos --out mine.yaml
      snakemake --cores all --configfile mine.yaml
    """
    from cuts3d_cli.config import merge_values, preset_values, resolve
    from cuts3d_cli.config_file import config_text
    from cuts3d_cli.errors import Cuts3dError
    from cuts3d_cli.log import logger
    from cuts3d_cli.stages.prepare import find_images
    from cuts3d_cli.store.files import atomic_path
    from cuts3d_cli.store.manifest import good_n_shards

    if out.exists() and not overwrite:
        raise Cuts3dError(
            f"file {out}", expected="no such file", found="one", hint="choose another --out or give --overwrite"
        )
    values = preset_values(preset)
    if images:
        n_shards = good_n_shards(len(find_images(images)))
        data = {"images": str(images), "depth_maps": str(depth_map) if depth_map else None, "annotations": None,
                "val_images": None, "val_depth_maps": None, "val_annotations": None, "n_shards": n_shards}  # fmt: skip
        values = merge_values(values, {"run": str(run_dir or Path("runs") / images.resolve().name), "data": data})
    elif run_dir:
        values["run"] = str(run_dir)
    with atomic_path(out) as temporary:
        temporary.write_text(config_text(resolve(values), preset=preset))
    logger.info("init: %s", out)
