"""Whether the depth maps of a shard are still those that its depth was made from; content is read on doubt only.

As `store.listing` does for images: a short text stands for the maps, which the workflow keeps as a parameter of the
rule that makes the depth, so that maps which were added, removed or replaced since make it run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cuts3d_cli.backends.depth_files import find_depth_map
from cuts3d_cli.config import Config
from cuts3d_cli.config.backends import FILES, READS_FILES
from cuts3d_cli.errors import Cuts3dError, ImageError, OutputError, StoreError
from cuts3d_cli.pipeline.declarations import STAGES, model_digest
from cuts3d_cli.pipeline.graph import result_path, stage_fingerprint
from cuts3d_cli.pipeline.results import Found, read_result
from cuts3d_cli.pipeline.runner import Source
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.files import fingerprint, write_json
from cuts3d_cli.store.image_files import find_stamps, stamp_of
from cuts3d_cli.store.layout import manifest_path, shard_name
from cuts3d_cli.store.listing import earlier_list, relisted, shards_now
from cuts3d_cli.store.manifest import ImageRecord, read_manifest


def maps_are_gone(images: Path, depth_maps: Path | None) -> bool:
    """Whether the place of the depth maps is no more; a finished run does not need them."""
    return not (images if depth_maps is None else depth_maps).exists()


@dataclass(frozen=True)
class DepthMaps:
    """The depth maps of a set of images, which need not be listed yet.

    Attributes:
        config: the configuration of the run.
        base: folder of the image list.
        images: folder of the images.
        depth_maps: folder of their depth maps; None: beside the images.
        n_shards: number of shards.
    """

    config: Config
    base: Path
    images: Path
    depth_maps: Path | None
    n_shards: int

    def current(self, shard: int) -> str:
        """What stands for the depth maps of a shard, or for the model: the same text while they are the same.

        Maps count as the same after a mere touch, and when their folder is gone.
        """
        if self.config.depth.backend not in READS_FILES:
            return self._of_the_model
        noted = _noted(self.base, shard)
        if maps_are_gone(self.images, self.depth_maps):
            return noted.get("text", "")
        now = _listing(self.config, self._shards[shard], self.images, self.depth_maps, lambda: self._model)
        if now == noted.get("stamps"):
            return noted["text"]
        if noted and self._is_made_of_them(shard):
            _note(self.base, shard, noted["text"], now)
            return noted["text"]
        return now

    def _is_made_of_them(self, shard: int) -> bool:
        """Whether the depth that is there was made from the maps as they are, by content."""
        found = read_result("depth", result_path(self.base, "depth", shard_name(shard)))
        records = {record.file_name: record for record in self._records}
        if not isinstance(found, Found) or len(records) != len(self._names):
            return False
        source = Source([records[name] for name in self._shards[shard]], self.images, self.depth_maps)
        return found.fingerprint == stage_fingerprint("depth", self.config, {}, source)

    @cached_property
    def _shards(self) -> list[list[str]]:
        """Names by shard in a list that is made now."""
        return shards_now(self._names, earlier_list(manifest_path(self.base), self.images), self.n_shards)

    @cached_property
    def _of_the_model(self) -> str:
        return fingerprint(STAGES["depth"].files(self.config, Source([], self.images)))

    @cached_property
    def _model(self) -> str | None:
        """Hash of the model, which every shard with an image without a map asks for."""
        return model_digest(self.config)

    @cached_property
    def _names(self) -> list[str]:
        """Names of the images in their folder; where it is gone, of those that were listed."""
        with suppress(Cuts3dError):
            if self.images.is_dir():
                return list(find_stamps(self.images))
        return [record.file_name for record in self._records]

    @cached_property
    def _records(self) -> list[ImageRecord]:
        with suppress(Cuts3dError):
            manifest = read_manifest(manifest_path(self.base))
            return relisted(manifest) if manifest.image_root.is_dir() else manifest.records()
        return []


def maps_before(config: Config, source: Source) -> str:
    """What stands for the depth maps of a source as they are now, to be given to `note_maps` after they were read."""
    if config.depth.backend not in READS_FILES:
        return ""
    names = [record.file_name for record in source.records]
    return _listing(config, names, source.image_root, source.depth_maps, lambda: model_digest(config))


def note_maps(base: Path, index: int, before: str, *, kept: bool) -> None:
    """Note which depth maps the depth of a shard was made from.

    Args:
        base: folder of the image list.
        index: number of the shard.
        before: what `maps_before` gave.
        kept: the depth was there, and made from maps of the same content.
    """
    noted = _noted(base, index)
    if before and noted.get("stamps") != before:
        _note(base, index, noted.get("text", before) if kept else before, before)


def _listing(
    config: Config, names: Sequence[str], images: Path, depth_maps: Path | None, of_the_model: Callable[[], str | None]
) -> str:
    stamps: list[str | None] = []
    for name in names:
        try:
            stamps.append(stamp_of(find_depth_map(name, images, depth_maps).stat()))
        except (ImageError, OSError):
            stamps.append(None)
    model = of_the_model() if config.depth.backend != FILES and None in stamps else None
    return fingerprint([list(names), stamps, model])


def _place(base: Path, index: int) -> Path:
    return base / "depth" / f"{shard_name(index)}.json"


def _noted(base: Path, index: int) -> dict[str, str]:
    with suppress(StoreError):
        noted = read_own(_place(base, index))
        if noted.keys() >= {"text", "stamps"}:
            return noted
    return {}


def _note(base: Path, index: int, text: str, stamps: str) -> None:
    with suppress(OutputError):  # without it the depth is made again once more
        write_json(_place(base, index), {"text": text, "stamps": stamps})
