"""``cuts3d selftrain``."""

from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, launcher_option, section_options


@click.command("selftrain")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--round", "number", type=click.IntRange(1), default=1, show_default=True, help="Round number, t.")
@click.option("--annotations", type=click.Path(path_type=Path), help="COCO JSON of the current masks.")
@click.option(
    "--image-root",
    type=click.Path(path_type=Path),
    help="Folder of the images of --annotations, where the file does not say it.",
)
@click.option("--checkpoint", required=True, type=click.Path(path_type=Path), help="Detector of the previous round.")
@click.option("--depth-map", type=click.Path(path_type=Path), help="Folder with one depth map per image of IMAGES.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for masks, checkpoint and curves.",
)
@click.option("--fresh", is_flag=True, help="Start over instead of resuming an interrupted training from OUT/work.")
@launcher_option
@config_options
@section_options("selftrain")
def command(images, number, annotations, image_root, checkpoint, depth_map, out, fresh, launcher, **options):
    """Run one round of self-training: predict, keep confident masks, merge with the current ones, train (paper Sec. 4).

    Round t keeps predictions above score_threshold - score_step * t, and every earlier mask whose IoU with each of
    them is at most merge_iou. Given IMAGES, the current masks are their pseudo-masks.

    With --target-images and neither of these, run in-domain self-training (Sec. 4.3): the detector's predictions above
    target_threshold become the labels of that folder's images, and it is trained on them for target_iterations.

    \b
    Examples:
      cuts3d selftrain --round 1 --annotations runs/sample/masks/cuts3d/pseudo_masks.json \\
          --checkpoint runs/sample/detector/round0/checkpoint.pth --out runs/sample/detector/round1
      cuts3d selftrain --checkpoint detector/checkpoint.pth --depth-map depth/ --out round1/ photos/
      cuts3d selftrain --checkpoint detector/checkpoint.pth --target-images coco/train2017/ --out in-domain/
    """
    from cuts3d_cli.pipeline.image_set import pseudo_masks
    from cuts3d_cli.store.files import check_not_input
    from cuts3d_cli.training import selftrain

    if images and annotations:
        raise click.UsageError("give either --annotations FILE or images")
    if image_root and not annotations:
        raise click.UsageError("--image-root goes with --annotations")
    for name in ("annotations.json", "checkpoint.pth"):  # of the round
        check_not_input(out / name, "result", [annotations, checkpoint])
    config = build_config(options, "selftrain", images=images)
    target = config.selftrain.target_images
    if not (images or annotations or target):
        raise click.UsageError("give --annotations FILE, images, or --target-images FOLDER")
    shared = {
        "config": config.selftrain,
        "train": config.train,
        "seed": config.seed,
        "device": config.device,
        "resume": not fresh,
        "launcher": launcher,
        "max_failed": config.max_failed,
    }
    if not (images or annotations):
        selftrain.run_target(checkpoint, [Path(target)], out, **shared)
        return
    if images:
        annotations = pseudo_masks(images, config, depth_map=depth_map)
    selftrain.run(checkpoint, annotations, out, round_number=number, images=image_root, **shared)
