"""Join the mask files of all shards into one COCO JSON; a missing or outdated shard is an error."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path

from cuts3d_cli.errors import StoreError
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.pipeline.graph import check_algorithm, result_path
from cuts3d_cli.pipeline.methods import METHODS, OWN
from cuts3d_cli.pipeline.runner import check_failed, images_fingerprint
from cuts3d_cli.store.coco import image_entry
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.layout import command_for, manifest_path, pseudo_masks_path, shard_name
from cuts3d_cli.store.manifest import ImageRecord, read_manifest
from cuts3d_cli.store.masks import PSEUDO_MASKS, Counts, MaskFile, Provenance, read_masks, write_masks
from cuts3d_cli.store.zarr_store import open_store


def run(run_dir: Path, method: str = OWN, *, max_failed: float = 1.0) -> tuple[Counts, int]:
    """Write ``pseudo_masks.json`` of a method.

    Args:
        run_dir: folder of the run.
        method: the method.
        max_failed: fraction of all images that may have failed.

    Returns:
        How the images ended, and how many masks there are.

    Raises:
        StoreError: a shard is missing, holds other images than the image list, was made from other stores than
            those of the run, or otherwise than the first.
        TooManyFailedError: more images failed than ``max_failed`` allows; an earlier file stays.
    """
    manifest = read_manifest(manifest_path(run_dir))
    shards: dict[str, MaskFile] = {}
    for index in range(manifest.n_shards):
        path = result_path(run_dir, LAST, shard_name(index), method)
        shard = read_masks(path, own=True)
        _check_images(path, shard, manifest.records(index))
        check_algorithm(path, LAST, shard.provenance.algorithm)
        _check_inputs(path, shard.provenance, run_dir, method)
        _check_method(path, shard.provenance, method)
        for first in list(shards.values())[:1]:
            _check_alike(path, shard.provenance, first.provenance)
        shards[shard_name(index)] = shard
    found = list(shards.values())
    counts = sum((shard.counts for shard in found), Counts())
    check_failed(counts, max_failed, "merge")
    images = sorted((image for shard in found for image in shard.images), key=itemgetter("file_name"))
    masks_of = {image_id: masks for shard in found for image_id, masks in shard.by_image().items()}
    masks = MaskFile(
        PSEUDO_MASKS,
        manifest.image_root,
        images=images,
        annotations=[entry for image in images for entry in masks_of[image["id"]]],
        provenance=Provenance(
            fingerprint=fingerprint([shard.provenance.fingerprint for shard in found]),
            images=images_fingerprint(manifest.records()),
            algorithm=found[0].provenance.algorithm,
            config=found[0].provenance.config,
            inputs={f"{LAST}/{name}": shard.provenance.fingerprint for name, shard in shards.items()},
        ),
        counts=counts,
    )
    write_masks(pseudo_masks_path(run_dir, method), masks)
    return counts, len(masks.annotations)


def _check_images(path: Path, shard: MaskFile, records: list[ImageRecord]) -> None:
    images = [image_entry(record) for record in records]
    if shard.images != images or shard.provenance.images != images_fingerprint(records):
        raise StoreError(
            f"masks {path} were made from images other than those in the image list",
            expected=f"the {len(images)} images of this shard",
            found=f"{len(shard.images)} images, some of them different",
            hint="rerun the stages from `cuts3d depth` on for this shard",
        )


def _check_inputs(path: Path, made: Provenance, run_dir: Path, method: str) -> None:
    """The stores that the masks were made from are those that lie there now, unless they were deleted."""
    for stage, made_from in made.inputs.items():
        store = result_path(run_dir, stage, path.stem, method)
        if store.exists() and (found := open_store(store, stage).fingerprint) != made_from:
            raise StoreError(
                f"masks {path} were made from a different {stage} store than {store}",
                expected=made_from,
                found=found,
                hint=f"rerun `{command_for(LAST, path)}` for this shard",
            )


def _check_method(path: Path, made: Provenance, method: str) -> None:
    """The masks were cut as the method cuts."""
    cut = made.config.get("localcut", {})
    for key, value in METHODS[method].cuts.items():
        if key in cut and cut[key] != value:
            raise StoreError(
                f"masks {path} were made by another method than {method}",
                expected=f"localcut.{key} {value}",
                found=str(cut[key]),
                hint=f"rerun `{command_for(LAST, path)}`",
            )


def _check_alike(path: Path, made: Provenance, first: Provenance) -> None:
    for stage, section in {**first.config, **made.config}.items():
        before, now = (config.get(stage, {}) for config in (first.config, made.config))
        changed = [key for key in section if before.get(key) != now.get(key)]
        if changed:
            raise StoreError(
                f"masks {path} were made with settings other than those of the first shard: {stage} {changed[0]}",
                expected=str(before.get(changed[0])),
                found=str(now.get(changed[0])),
                hint="rerun the shard with the same settings",
            )
