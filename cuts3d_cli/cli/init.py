"""``cuts3d init``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cuts3d_cli.config import preset_names

if TYPE_CHECKING:
    from cuts3d_cli.config import Config


@click.command("init")
@click.argument("images", required=False, type=click.Path(path_type=Path))
@click.option("--depth-map", type=click.Path(path_type=Path), help="Folder with one depth map per image.")
@click.option(
    "--preset",
    type=click.Choice(preset_names()),
    help="Preset to start from. Default: photo for IMAGES, embedded for the sample.",
)
@click.option(
    "--annotations",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Ground truth to score with, of any format of `cuts3d evaluate`: of IMAGES, or of --val-images, whichever it "
    "has images of; repeatable.",
)
@click.option("--val-images", type=click.Path(path_type=Path), help="Folder of held-out images to evaluate on.")
@click.option("--val-depth-map", type=click.Path(path_type=Path), help="Folder with the depth maps of --val-images.")
@click.option(
    "--masks-only", is_flag=True, help="Train no detector: the run ends with the masks, their scores and the report."
)
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="Folder for the results.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write. Default: config.yaml.")
@click.option(
    "--workflow",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write the Snakefile, its rules and profiles to DIR, next to config.yaml, for editing.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def command(
    images, depth_map, preset, annotations, val_images, val_depth_map, masks_only, run_dir, out, workflow, overwrite
):
    """Write a config.yaml with every setting, its meaning and range, for IMAGES (a folder) or the sample.

    \b
    Examples:
      cuts3d init photos/ --out mine.yaml      # then: cuts3d run mine.yaml
      cuts3d init photos/ --depth-map depth/ --out mine.yaml
      cuts3d init photos/ --annotations labels/ --masks-only --out mine.yaml
      cuts3d init photos/ --preset paper-dino --run runs/photos --out mine.yaml
      cuts3d init photos/ --workflow work/     # then, in work/: snakemake --cores all

    The last line printed is the command that runs the workflow under the file.
    """
    import shlex

    from cuts3d_cli.config import merge_values, preset_of_images, preset_values, resolve, why_preset
    from cuts3d_cli.config.backends import needs_depth
    from cuts3d_cli.config.loading import EMBEDDED
    from cuts3d_cli.config.text import config_text
    from cuts3d_cli.errors import Cuts3dError
    from cuts3d_cli.log import info_once, logger
    from cuts3d_cli.pipeline.cache import check_depth_map, image_files
    from cuts3d_cli.store.division import good_n_shards
    from cuts3d_cli.store.files import atomic_path
    from cuts3d_cli.store.image_files import find_images, tell_maps
    from cuts3d_cli.workflow import write_workflow

    out = out or (workflow or Path()) / "config.yaml"
    if out.exists() and not overwrite:
        raise Cuts3dError(
            f"file {out}", expected="no such file", found="one", hint="choose another --out or give --overwrite"
        )
    for option, value in (("--depth-map", depth_map), ("--annotations", annotations), ("--val-images", val_images)):
        if value and not images:
            raise click.UsageError(f"{option} goes with IMAGES")
    if val_depth_map and not val_images:
        raise click.UsageError("--val-depth-map goes with --val-images")
    for folder in filter(None, (depth_map, val_depth_map)):
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing"
            raise Cuts3dError(f"folder of depth maps {folder}", expected="a folder", found=found)
    if workflow:
        # snakemake runs there, so relative paths would point elsewhere
        paths = (images, depth_map, val_images, val_depth_map, run_dir)
        images, depth_map, val_images, val_depth_map, run_dir = (path and path.absolute() for path in paths)
        annotations = [path.absolute() for path in annotations]
    if preset is None:
        preset = preset_of_images([images]) if images else EMBEDDED
        if images:
            info_once(why_preset(preset))
    values = {**preset_values(preset), "preset": preset}
    files = find_images(images) if images else []
    if files:
        tell_maps(files)
        n_shards = good_n_shards(len(files))
        folders = {"annotations": images, "val_annotations": val_images}
        truth = _placed(annotations, {key: folder for key, folder in folders.items() if folder})
        paths = {"images": images, "depth_maps": depth_map, "val_images": val_images, "val_depth_maps": val_depth_map}
        data = {key: str(path) if path else None for key, path in paths.items()}
        data |= {"annotations": None, "val_annotations": None, **truth, "n_shards": n_shards}
        values = merge_values(values, {"run": str(run_dir or Path("runs") / images.resolve().name), "data": data})
    elif run_dir:
        values["run"] = str(run_dir)
    if masks_only:
        values = merge_values(values, {"train": {"detector": None}})
    config = resolve(values)
    if files and needs_depth(config.features.backend):
        check_depth_map(depth_map, image_files([images]), config)
        if val_images:
            check_depth_map(val_depth_map, image_files([val_images]), config, option="--val-depth-map")
    if workflow:
        write_workflow(workflow, overwrite=overwrite)
    with atomic_path(out) as temporary:
        temporary.write_text(config_text(config, preset=preset))
    if files:
        _report_depth(files, images, depth_map, config)
        if val_images:
            _report_depth(find_images(val_images), val_images, val_depth_map, config, "held-out images")
    training = "masks, a detector and its self-training" if config.train.detector else "masks"
    logger.info("init: wrote %s; the following command makes %s", out, training)
    if workflow:
        click.echo(shlex.join(["cd", str(workflow)]) + " && snakemake --cores all")
    else:
        click.echo(shlex.join(["cuts3d", "run", str(out)]))


def _placed(annotations: Sequence[Path], folders: Mapping[str, Path]) -> dict[str, str]:
    """The configuration's key for each ground truth: that of the folder whose images it has.

    Args:
        annotations: files and folders of ground truth.
        folders: folder of images by key.

    Raises:
        Cuts3dError: one cannot be read, has images of no folder, or of one that has ground truth already.
    """
    from cuts3d_cli.errors import Cuts3dError
    from cuts3d_cli.evaluation.evaluate import load_truth
    from cuts3d_cli.evaluation.pairing import pairs_by_name
    from cuts3d_cli.log import logger
    from cuts3d_cli.store.image_files import find_images

    found: dict[str, str] = {}
    for path in annotations:
        problem = None
        for key, folder in folders.items():
            images = [image.relative_to(folder).as_posix() for image in find_images(folder)]
            try:
                document = load_truth(path, images=folder).read.document
            except Cuts3dError as error:
                problem = problem or error
                continue
            pairs, _ = pairs_by_name(
                dict(enumerate(images)), {n: i["file_name"] for n, i in enumerate(document.images)}
            )
            if not pairs:
                continue
            if key in found:
                raise Cuts3dError(f"--annotations {path}: {found[key]} is the ground truth of {folder} already")
            found[key] = str(path)
            n_paired = len({image for image, _ in pairs})
            logger.info("init: %s has ground truth of %d of the %d images of %s", path, n_paired, len(images), folder)
        if str(path) not in found.values():
            named = " or ".join(map(str, folders.values()))
            raise problem or Cuts3dError(
                f"--annotations {path}", expected=f"names of images of {named}", found="others"
            )
    return found


def _report_depth(files: list[Path], root: Path, depth_maps: Path | None, config: Config, name: str = "images") -> None:
    """Log how many images of a folder have a depth map, if maps are looked for, and what happens to the others."""
    from cuts3d_cli.backends.depth_files import has_depth_map
    from cuts3d_cli.config.backends import READS_FILES
    from cuts3d_cli.log import logger
    from cuts3d_cli.pipeline.declarations import LAST, upstream_of
    from cuts3d_cli.pipeline.depth_notes import tell_unread

    if "depth" not in upstream_of(LAST, config):
        return
    if config.depth.backend not in READS_FILES:
        tell_unread(depth_maps, config)
        return
    n_maps = sum(has_depth_map(path.relative_to(root).as_posix(), root, depth_maps) for path in files)
    others = "; the embedded model predicts depth for the others" if n_maps < len(files) else ""
    logger.info("init: %d of %d %s have a depth map%s", n_maps, len(files), name, others)
    if depth_maps and not n_maps:
        logger.warning(
            "init: none of the %s has a depth map in %s; maps need the relative path and stem of their images",
            name,
            depth_maps,
        )
