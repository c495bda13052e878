"""What failed in a run and the files it was read from: once these change, the workflow tries again by itself.

A stage run by hand tries what failed every time; the workflow must not, as everything after it would run again too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cuts3d_cli.errors import ImageError, StoreError
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.files import remove, write_json
from cuts3d_cli.store.image_files import stamp_at
from cuts3d_cli.store.layout import changed_path, failed_path, manifest_path
from cuts3d_cli.store.manifest import read_manifest

Files = dict[str, str]
"""Files that an image was read from and what tells that each is as it was; empty for one that is missing."""


def files_of(stage: str, file_name: str, image_root: Path, depth_maps: Path | None = None) -> Files:
    """The files that a stage reads of an image: the image itself, and for ``depth`` its depth map.

    Args:
        stage: name of the stage.
        file_name: the image's path relative to ``image_root``.
        image_root: folder of the images.
        depth_maps: folder of the depth maps, see `runner.Source`.
    """
    found = {"image": stamp_at(image_root / file_name)}
    if stage == "depth":
        from cuts3d_cli.backends.depth_files import find_depth_map

        try:
            path = find_depth_map(file_name, image_root, depth_maps)
            found["depth map"] = f"{path.name} {stamp_at(path)}"
        except ImageError:
            found["depth map"] = ""
    return found


def note_failed(result: Path, tried: Mapping[str, Files]) -> None:
    """Keep, beside a result, the files of the images that failed in it; of those lost before there is nothing.

    Args:
        result: where the result lies.
        tried: the files by the image's name.
    """
    path = failed_path(result)
    if not tried:
        remove(path)
    elif dict(tried) != failed_here(result):
        write_json(path, {"failed": dict(tried)})


def failed_here(result: Path) -> dict[str, Files]:
    """What `note_failed` kept: the images that failed in this stage itself, and their files then."""
    return _content(failed_path(result)).get("failed", {})


def changed_since(stage: str, result: Path, image_root: Path, depth_maps: Path | None = None) -> dict[str, Files]:
    """The images that failed in a stage and whose files have changed since, with what tells the files now."""
    failed = failed_here(result) if result.exists() else {}
    now = {name: files_of(stage, name, image_root, depth_maps) for name in failed}
    return {name: files for name, files in now.items() if files != failed[name]}


def tell_changed(stage: str, result: Path, base: str | Path, depth_maps: str | Path | None = None) -> list[Path]:
    """A file that is written when `changed_since` finds something new: an input of the stage's rule in the workflow.

    It stays, as Snakemake would take its end for a change too.

    Args:
        stage: name of the stage.
        result: where its result lies.
        base: folder with the image list.
        depth_maps: folder of depth maps, or None.

    Returns:
        The file, which may be one of `tell_replaced`, or nothing where there never was a change.
    """
    path = changed_path(result)
    if failed_path(result).exists() and result.exists():
        try:
            root = read_manifest(manifest_path(base)).image_root
        except StoreError:  # without a list all is made again
            return [path] if path.exists() else []
        changed = changed_since(stage, result, root, None if depth_maps is None else Path(depth_maps))
        told = {"changed": changed, "result": _made_at(result)}
        if changed and told != _content(path):
            write_json(path, told)
    return [path] if path.exists() else []


def tell_replaced(result: Path, settings: Mapping[str, Any]) -> None:
    """Let the workflow make a result again that was made by hand with settings other than the workflow's.

    Args:
        result: where it lies.
        settings: the settings.
    """
    told = {"settings": settings, "result": _made_at(result)}
    if told != _content(changed_path(result)):
        write_json(changed_path(result), told)


def tell_unreadable_list(base: str | Path) -> list[Path]:
    """A file that is written when an image list is damaged or of another version: an input of its rule in the workflow.

    Its images may be as they were, so that nothing else makes it anew.

    Args:
        base: folder with the list.

    Returns:
        The file, or nothing where the list always could be read.
    """
    path = manifest_path(base)
    told = changed_path(path)
    try:
        read_manifest(path)
    except StoreError:
        if path.exists() and (unreadable := {"unreadable": _made_at(path)}) != _content(told):
            write_json(told, unreadable)
    return [told] if told.exists() else []


def _made_at(result: Path) -> int:
    """When a result was made [ns]: equal changes of two results are two."""
    return (result / "zarr.json" if result.is_dir() else result).stat().st_mtime_ns


def _content(path: Path) -> dict[str, Any]:
    """Content of a file of ours; nothing where it is missing or damaged: a stage run by hand still tries all."""
    try:
        return read_own(path) if path.exists() else {}
    except StoreError:
        return {}
