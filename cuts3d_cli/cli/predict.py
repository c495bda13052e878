"""``cuts3d predict``."""

import os
from pathlib import Path

import click

from cuts3d_cli.cli.options import Share, build_config, config_options, section_options


@click.command("predict")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="Predict on all images of a run.")
@click.option(
    "--checkpoint",
    "--weights",
    "checkpoint",
    required=True,
    type=click.Path(path_type=Path),
    help="A trained detector, ours or in CutLER's format.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="COCO JSON to write.")
@click.option("--pictures", type=click.Path(path_type=Path, file_okay=False), help="Folder for one overlay per image.")
@click.option(
    "--picture-score",
    type=Share(),
    default=0.5,
    show_default=True,
    help="Minimum score of drawn instances; of an image where none reaches it, the five most confident are drawn.",
)
@config_options
@section_options("predict")
def command(images, run_dir, checkpoint, out, pictures, picture_score, **options):
    """Detect instances in images and write COCO JSON with scores. Needs no depth.

    \b
    Examples:
      cuts3d predict --checkpoint runs/sample/detector/round2/checkpoint.pth --out found.json photos/
      cuts3d predict --checkpoint detector/checkpoint.pth --out found.json --pictures overlays/ photo.jpg
      cuts3d predict --checkpoint detector/checkpoint.pth --run runs/sample/val --out found.json
      cuts3d predict --weights cutler_cascade_final.pth --out found.json photos/
    """
    from cuts3d_cli.errors import Cuts3dError
    from cuts3d_cli.log import logger
    from cuts3d_cli.pipeline.cache import expand
    from cuts3d_cli.pipeline.image_set import common_root
    from cuts3d_cli.pipeline.retries import files_of, note_failed
    from cuts3d_cli.report.preview import write_overlays
    from cuts3d_cli.store.files import check_not_input
    from cuts3d_cli.store.image_files import counted, make_records
    from cuts3d_cli.store.layout import manifest_path
    from cuts3d_cli.store.manifest import read_manifest
    from cuts3d_cli.training import predict

    if bool(images) == bool(run_dir):
        raise click.UsageError("give either images or --run DIR")
    asked = options["max_failed"] or 0.0  # images given by name: none may fail unless this option allows it
    check_not_input(out, "--out", [checkpoint, *(images if not run_dir else [manifest_path(run_dir)])])
    config = build_config(options, "predict")
    if run_dir:
        manifest = read_manifest(manifest_path(run_dir))
        records, root = manifest.records(), manifest.image_root
    else:
        root = common_root(images)
        records = make_records([Path(os.path.abspath(path)) for path in expand(list(images))], root)
    if os.path.realpath(out) in {os.path.join(os.path.realpath(root), each.file_name) for each in records}:
        raise Cuts3dError(f"--out {out} is one of the images", expected="another path")
    # As they are before: those that come back meanwhile have changed.
    files = {each.file_name: files_of("predict", each.file_name, root) for each in records} if run_dir else {}
    counts = predict.run(
        checkpoint,
        out,
        records=records,
        image_root=root,
        config=config.predict,
        device=config.device,
        least_score=picture_score,
        max_failed=config.max_failed if run_dir else asked,
    )
    if run_dir:
        unread = {each.file_name for each in records if each.error}
        note_failed(out, {name: files[name] for name in counts.failures if name not in unread})
    if pictures:
        n_pictures, n_weak = write_overlays(out, pictures, least_score=picture_score)
        weak = f"; on {n_weak} of them no detection reaches {picture_score:g}, so the most confident are drawn"
        logger.info("pictures: %s in %s%s", counted(n_pictures, "picture"), pictures, weak if n_weak else "")
