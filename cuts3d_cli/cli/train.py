"""``cuts3d train``."""

from pathlib import Path

import click

from cuts3d_cli.cli.options import build_config, config_options, ignore_labels_option, launcher_option, section_options


@click.command("train")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--annotations", type=click.Path(path_type=Path), help="COCO JSON of masks to train on.")
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Labels to train on instead: COCO JSON with classes, or a folder of label maps (PNG), YOLO or labelme "
    "files; without classes all objects are of one, `object`.",
)
@click.option(
    "--image-root",
    type=click.Path(path_type=Path),
    help="Folder of the images of --annotations or --labels, where the file does not say it.",
)
@ignore_labels_option
@click.option("--depth-map", type=click.Path(path_type=Path), help="Folder with one depth map per image of IMAGES.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the checkpoint and loss curve.",
)
@click.option("--fresh", is_flag=True, help="Start over instead of resuming an interrupted training from OUT/work.")
@launcher_option
@config_options
@section_options("train")
def command(images, annotations, labels, image_root, ignore_labels, depth_map, out, fresh, launcher, **options):
    """Train the class-agnostic detector on pseudo-masks (paper Sec. 3.4 and 4), or a detector with classes on --labels.

    Given IMAGES, their pseudo-masks are made first and cached. An interrupted training resumes from OUT/work when
    the same command is run again, with the same loss curve.

    With --labels, training is standard: what is specific to pseudo-masks (confidence, DropLoss, copy-paste) is off
    unless enabled by its own option (such as --copy-paste); the configuration file and --set do not enable it.

    \b
    Examples:
      cuts3d train --annotations runs/sample/masks/cuts3d/pseudo_masks.json --out runs/sample/detector/round0
      cuts3d train --iterations 1000 --lr 0.005 --annotations masks.json --out detector/
      cuts3d train --depth-map depth/ --out detector/ photos/
      cuts3d train --labels labels/ --image-root photos/ --init checkpoint.pth --out finetuned/
      cuts3d train --labels coco.json --image-root photos/ --fraction 0.05 --init checkpoint.pth --out finetuned/
      torchrun --nproc_per_node 4 --no-python cuts3d train --launcher pytorch --batch-size 16 --lr-batch 4 \\
          --annotations masks.json --out detector/
    """
    from cuts3d_cli.evaluation import evaluate
    from cuts3d_cli.pipeline.image_set import pseudo_masks
    from cuts3d_cli.training import train

    if [bool(images), bool(annotations), bool(labels)].count(True) != 1:
        raise click.UsageError("give either --annotations FILE, --labels FILE or images")
    if not labels and ignore_labels is not None:
        raise click.UsageError("--ignore-labels goes with --labels")
    if images and image_root:
        raise click.UsageError("--image-root goes with --annotations or --labels")
    if labels:
        options |= {key: value for key, value in train.SUPERVISED.items() if options[key] is None}
    config = build_config(options, "train", images=images)
    if labels and labels.is_dir():
        ignored = config.data.ignore_labels if ignore_labels is None else ignore_labels
        labels, image_root = evaluate.labels_file(labels, image_root, out, ignore_labels=ignored)
    if images:
        annotations = pseudo_masks(images, config, depth_map=depth_map)
    train.run(
        labels or annotations,
        out,
        config=config.train,
        seed=config.seed,
        device=config.device,
        resume=not fresh,
        launcher=launcher,
        labels=bool(labels),
        images=image_root,
    )
