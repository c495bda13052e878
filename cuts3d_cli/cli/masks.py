"""``cuts3d masks``."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from cuts3d_cli.cli.options import Share, build_config, config_options, formats_option, method_option, min_part_option

FILE, PICTURES = "masks.json", "pictures"


@click.command("masks")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for masks and pictures.")
@formats_option(default="coco")
@click.option(
    "--depth-map", type=click.Path(path_type=Path), help="Depth map of the image, or a folder with one per image."
)
@method_option
@click.option("--min-score", type=Share(), help="Leave out masks with a lower score.")
@min_part_option
@click.option("--cores", type=click.IntRange(1), help="Cores to use, an image on each. Default: all.")
@config_options
def command(images, out, formats, depth_map, method, min_score, min_part, cores, **options):
    """Find the objects in images and write their masks, all steps at once.

    IMAGES are files and folders. Every step is kept in .cuts3d/ of the working directory, so a second call with
    another setting recomputes only what depends on it, and one that was stopped goes on where it was.

    Writes OUT/masks.json (COCO JSON, run-length masks), OUT/FORMAT/ for every other format, OUT/pictures/ with an
    overlay of every image, and OUT/contact_sheet.jpg with all of them, small. Pictures that an earlier call wrote of
    images not named now are removed.

    \b
    Examples:
      cuts3d masks photos/ --out masks/
      cuts3d masks photos/ --out masks/ --format yolo --format png
      cuts3d masks rgb/ --depth-map depth/ --preset rgbd --out masks/
      cuts3d masks photos/ --out masks/ --set localcut.n_instances=6
    """
    from cuts3d_cli.cli.exports import check_is_folder
    from cuts3d_cli.export import check_folder
    from cuts3d_cli.pipeline.cache import check_depth_map, image_files
    from cuts3d_cli.pipeline.image_set import common_root, relative_name
    from cuts3d_cli.pipeline.methods import method_config
    from cuts3d_cli.store.names import distinct_names

    check_is_folder(out, f"{FILE}, pictures and the formats asked for")
    _check_earlier(out)
    max_failed = options["max_failed"] or 0.0  # images named by hand: none may fail, unless it is said here
    config = method_config(method, build_config(options, images=images))
    files, root = image_files(images), common_root(images)
    without = check_depth_map(depth_map, files, config)
    places = {name: out / name for name in formats if name != "coco"}
    for folder in places.values():
        check_folder(folder)
    names = [str(name) for name in distinct_names([relative_name(file.path, root) for file in files])]
    _make(files, root, names, out, places, config, depth_map=depth_map, without=without, min_score=min_score,
          min_part=min_part, cores=cores, max_failed=max_failed)  # fmt: skip


def _make(
    files, root, names, out, places, config, *, depth_map, without, min_score, min_part, cores, max_failed
) -> None:
    from cuts3d_cli.cli.exports import write_formats
    from cuts3d_cli.errors import Cuts3dError
    from cuts3d_cli.log import logger, progress
    from cuts3d_cli.pipeline.image_set import gathered, tell_depth, tell_failure, tell_predicted, tell_reuse
    from cuts3d_cli.pipeline.workers import Work, run_images
    from cuts3d_cli.report.contact_sheet import draw, write_contact_sheets
    from cuts3d_cli.report.output_record import OutputRecord
    from cuts3d_cli.store.image_files import counted
    from cuts3d_cli.store.masks import write_masks
    from cuts3d_cli.store.parts import without_specks

    out.mkdir(parents=True, exist_ok=True)
    targets = [out / PICTURES / f"{name}.jpg" for name in names]
    record = OutputRecord(out, len(files))
    record.begin(targets)
    work = Work(config, depth_map, then=partial(draw, min_score=min_score, min_part=min_part or 0))
    tell_predicted(files, without, config, depth_map)
    outcomes = {}
    for place, outcome in progress(run_images(files, targets, work, cores=cores), "masks", len(files)):
        outcomes[place] = outcome
        tell_failure(files[place], outcome)
    ended = [outcomes[place] for place in range(len(files))]
    tell_depth(files, ended, depth_map)
    rank = config.evaluate.pseudo_mask_rank
    masks = replace(gathered(files, root, ended), rank=rank)
    hint = "fix or remove these images, or raise --max-failed"
    if not masks.images:
        raise Cuts3dError(f"{counted(len(files), 'image')}, each failed as said above; nothing is written", hint=hint)
    if min_score is not None:
        kept = [entry for entry in masks.annotations if entry["score"] >= min_score]
        masks = _changed(masks, kept, "min_score", min_score)
    if min_part:
        kept, dropped = without_specks(masks.annotations, masks.images, min_part)
        masks = _changed(masks, kept, "min_part", min_part)
        parts = counted(dropped.parts, "part")
        logger.info("masks: %s of fewer than %d pixels left out of %s", parts, min_part,
                    counted(dropped.objects, "object"))  # fmt: skip
    write_masks(out / FILE, masks)
    found = counted(len(masks.annotations), "object")
    logger.info("masks: %s in %s (%s) -> %s", found, counted(len(files), "image"), masks.counts, out / FILE)
    tell_reuse(ended, config)
    write_formats(masks, places, min_part=min_part)
    _tell_stale(out, places)
    pictures = [
        (name, outcome.made.path, outcome.made.words) if outcome.made else (name, None, "failed")
        for name, outcome in zip(names, ended, strict=True)
    ]
    sheets = write_contact_sheets(pictures, out)
    if removed := record.finish([path for _, path, _ in pictures if path is not None]):
        logger.info("pictures: %s of an earlier call removed, as they are of other images", counted(removed, "picture"))
    logger.info("pictures: %s, all of them on %s", out / PICTURES, ", ".join(map(str, sheets)))
    failed = len(masks.counts.failures)
    if failed > max_failed * len(files):
        raise Cuts3dError(
            f"{failed} of {counted(len(files), 'image')} failed, as said above; the others are written",
            expected=f"at most {max_failed:g} of them (--max-failed)",
            hint=hint,
        )


def _tell_stale(out, places):
    """Name the exports of an earlier call that hold its masks still."""
    from cuts3d_cli.export import FORMATS, is_export
    from cuts3d_cli.log import logger

    stale = [name for name in FORMATS if name not in places and is_export(out / name)]
    if stale:
        logger.warning("masks: formats of an earlier call in %s, not written anew: %s; add %s", out, ", ".join(stale),
                       " ".join(f"--format {name}" for name in stale))  # fmt: skip


def _changed(masks, kept, option, value):
    """The masks with only these annotations; their fingerprint tells what was done."""
    from cuts3d_cli.store.files import fingerprint

    made = fingerprint([masks.provenance.fingerprint, option, value])
    return replace(masks, annotations=kept, provenance=replace(masks.provenance, fingerprint=made))


def _check_earlier(out: Path) -> None:
    """Check that the folder is new, empty, or of an earlier call: it counts as results from then on.

    Raises:
        Cuts3dError: it holds something else, the images for example.
    """
    from cuts3d_cli.errors import Cuts3dError
    from cuts3d_cli.report.output_record import is_of_masks

    there = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if there and not is_of_masks(out):
        raise Cuts3dError(
            f"--out {out}", expected="a new or empty folder, or that of an earlier `cuts3d masks`",
            found=f"other files, such as {there[0]}", hint="give another folder",
        )  # fmt: skip
