"""Join the mask files of all shards into one COCO JSON; a missing or outdated shard is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cuts3d_cli.config import fingerprint
from cuts3d_cli.errors import StoreError
from cuts3d_cli.store.coco import moved_confidence, read_masks, write_masks
from cuts3d_cli.store.layout import manifest_path, pseudo_masks_path, shard_name, stage_path
from cuts3d_cli.store.manifest import read_manifest


def run(run_dir: Path, branch: str | None = None) -> dict[str, int]:
    """Write ``pseudo_masks.json`` of a run or branch; gives its counts.

    Raises:
        StoreError: a shard is missing, holds other images than the image list, or was made otherwise than
            the first.
    """
    manifest = read_manifest(manifest_path(run_dir))
    out = pseudo_masks_path(run_dir, branch)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    infos: list[dict[str, Any]] = []
    for index in range(manifest.n_shards):
        path = stage_path(run_dir, "crf", shard_name(index), branch)
        document = read_masks(path)
        _check_shard(path, document, [record.id for record in manifest.records(index)], infos)
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


def _check_shard(path: Path, document: dict[str, Any], ids: list[int], before: list[dict[str, Any]]) -> None:
    if [image["id"] for image in document["images"]] != ids:
        raise StoreError(f"masks {path}: other images than the image list", hint="rerun `cuts3d crf`")
    if before and document["info"]["config"] != before[0]["config"]:
        raise StoreError(
            f"masks {path} were made with other settings than the first shard",
            hint="rerun the shard with the same settings",
        )
