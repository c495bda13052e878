"""Join the mask files of all shards into one COCO JSON; a missing or outdated shard is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cuts3d_cli.errors import StoreError
from cuts3d_cli.pipeline.declarations import LAST
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.pipeline.runner import images_fingerprint
from cuts3d_cli.store.coco import image_entry, moved_confidence, read_masks, write_masks
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.layout import manifest_path, pseudo_masks_path, shard_name
from cuts3d_cli.store.manifest import ImageRecord, read_manifest
from cuts3d_cli.store.zarr_store import open_store

INFO = ("algorithm", "config", "images", "fingerprint", "inputs", "counts")
"""What the crf stage records of its masks and this module reads."""


def run(run_dir: Path, method: str = OWN) -> dict[str, int]:
    """Write ``pseudo_masks.json`` of a method; gives its counts.

    Raises:
        StoreError: a shard is missing, holds other images than the image list, was made from other stores than
            those of the run, or otherwise than the first.
    """
    manifest = read_manifest(manifest_path(run_dir))
    out = pseudo_masks_path(run_dir, method)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    infos: list[dict[str, Any]] = []
    for index in range(manifest.n_shards):
        path = result_path(run_dir, LAST, shard_name(index), method)
        document = read_masks(path)
        _check_info(path, document.get("info"))
        _check_images(path, document, manifest.records(index))
        _check_inputs(path, document["info"], run_dir, method)
        if infos:
            _check_alike(path, document["info"], infos[0])
        infos.append(document["info"])
        images += document["images"]
        annotations += [moved_confidence(entry, path, out) for entry in document["annotations"]]
    counts = {key: sum(_count(info["counts"][key]) for info in infos) for key in ("done", "no_object", "failures")}
    write_masks(
        out,
        kind="pseudo-masks",
        image_root=manifest.image_root,
        images=images,
        annotations=annotations,
        info={
            "config": infos[0]["config"],
            "fingerprint": fingerprint([info["fingerprint"] for info in infos]),
            "shards": [info["fingerprint"] for info in infos],
            "counts": counts,
            "failures": {name: text for info in infos for name, text in info["counts"]["failures"].items()},
        },
    )
    return {**counts, "masks": len(annotations)}


def _count(value: Any) -> int:
    return len(value) if isinstance(value, dict) else value


def _check_info(path: Path, info: Any) -> None:
    missing = [key for key in INFO if not isinstance(info, dict) or key not in info]
    if missing:
        raise StoreError(
            f"masks {path} are damaged or of an older cuts3d",
            expected=f"info.{missing[0]}",
            found="none",
            hint="rerun `cuts3d crf` for this shard",
        )


def _check_images(path: Path, document: dict[str, Any], records: list[ImageRecord]) -> None:
    images = [image_entry(record) for record in records]
    if document["images"] != images or document["info"]["images"] != images_fingerprint(records):
        raise StoreError(
            f"masks {path} were made from other images than the image list now holds",
            expected=f"the {len(images)} images of this shard",
            found=f"{len(document['images'])} images, some of them others",
            hint="rerun the stages from `cuts3d depth` on for this shard",
        )


def _check_inputs(path: Path, info: dict[str, Any], run_dir: Path, method: str) -> None:
    """The stores that the masks were made from are those that lie there now, unless they were deleted."""
    for stage, made_from in info["inputs"].items():
        store = result_path(run_dir, stage, path.stem, method)
        if store.exists() and (found := open_store(store, stage).fingerprint) != made_from:
            raise StoreError(
                f"masks {path} were made from another {stage} store than {store}",
                expected=made_from,
                found=found,
                hint="rerun `cuts3d crf` for this shard",
            )


def _check_alike(path: Path, info: dict[str, Any], first: dict[str, Any]) -> None:
    for stage, section in {**first["config"], **info["config"]}.items():
        before, now = (config.get(stage, {}) for config in (first["config"], info["config"]))
        changed = [key for key in section if before.get(key) != now.get(key)]
        if changed:
            raise StoreError(
                f"masks {path} were made with other settings than those of the first shard: {stage} {changed[0]}",
                expected=str(before.get(changed[0])),
                found=str(now.get(changed[0])),
                hint="rerun the shard with the same settings",
            )
    if info["algorithm"] != first["algorithm"]:
        raise StoreError(
            f"masks {path} were made by another version of the CRF stage than those of the first shard",
            expected=f"algorithm {first['algorithm']}",
            found=f"algorithm {info['algorithm']}",
            hint="rerun `cuts3d crf` for the older shards",
        )
