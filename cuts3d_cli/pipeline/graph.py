"""Which stage reads what, and running one stage on a shard of a run or on an image's cache alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from cuts3d_cli.backends.base import EMBEDDED_WEIGHTS
from cuts3d_cli.config import Config, Section
from cuts3d_cli.config.backends import EMBEDDED, FILES, READS_FILES, needs_depth
from cuts3d_cli.log import logger
from cuts3d_cli.pipeline.results import Damaged, read_result
from cuts3d_cli.pipeline.runner import Counts, Job, Source, stage_fingerprint
from cuts3d_cli.store.files import digest_weights
from cuts3d_cli.store.layout import ORDER
from cuts3d_cli.store.manifest import Manifest
from cuts3d_cli.store.zarr_store import Store, open_store


def depth_maps_of(manifest: Manifest, config: Config) -> Path | None:
    """Folder of the depth maps that the configuration names for the images of a list; None: beside the images."""
    data = config.data
    for images, maps in ((data.images, data.depth_maps), (data.val_images, data.val_depth_maps)):
        if images and maps and Path(images).resolve() == manifest.image_root:
            return Path(maps)
    return None


def section_of(stage: str, config: Config) -> Section:
    """The config section of a stage."""
    return getattr(config, stage.replace("-", "_"))


def inputs_of(stage: str, config: Config) -> tuple[str, ...]:
    """The stages that ``stage`` reads under this configuration, nearest last."""
    if stage == "spatial-importance" or (stage == "features" and needs_depth(config.features.backend)):
        return ("depth",)
    if stage == "localcut":
        sharpen = ("spatial-importance",) if config.localcut.sharpen else ()
        depth = ("depth",) if config.localcut.local_cut else ()
        return ("features", *depth, *sharpen)
    if stage == "confidence":
        return ("localcut",)
    if stage == "crf":
        return ("localcut", "confidence") if config.localcut.local_cut else ("localcut",)
    return ()


def upstream_of(stage: str, config: Config) -> list[str]:
    """All stages that must have run before ``stage``, in order."""
    needed: set[str] = set()
    queue = list(inputs_of(stage, config))
    while queue:
        name = queue.pop()
        if name not in needed:
            needed.add(name)
            queue.extend(inputs_of(name, config))
    return [name for name in ORDER if name in needed]


def expected_fingerprints(config: Config, source: Source, upto: str = "crf") -> dict[str, str]:
    """The fingerprint each stage's result has when made from these images with this configuration."""
    result: dict[str, str] = {}
    for stage in [*upstream_of(upto, config), upto]:
        inputs = {name: result[name] for name in inputs_of(stage, config)}
        result[stage] = stage_fingerprint(
            stage, section_of(stage, config), inputs, source.records, extra_of(stage, config, source)
        )
    return result


def extra_of(stage: str, config: Config, source: Source) -> object:
    """What a stage's result depends on beside its config section, inputs and images."""
    if stage == "spatial-importance":
        return {"grid": config.features.grid}
    if stage == "crf":
        return {"sc_min": config.confidence.sc_min} if config.crf.confidence == "crf" else None
    if stage == "depth" and config.depth.backend in READS_FILES:
        from cuts3d_cli.backends.depth_files import depth_map_digests

        digests = depth_map_digests(source.records, source.image_root, source.depth_maps)
        return digests if config.depth.backend == FILES or None not in digests.values() else [digests, _head(config)]
    if stage == "depth" and config.depth.backend == EMBEDDED:
        return _head(config)
    weights = getattr(section_of(stage, config), "weights", None)
    return None if weights is None else {"weights": digest_weights(weights)}


def _head(config: Config) -> str | None:
    """Hash of the embedded depth model's head: of the package, or the file that is named."""
    return digest_weights(config.depth.weights or EMBEDDED_WEIGHTS)


def execute(
    stage: str, source: Source, config: Config, path_of: Callable[[str], Path], *, force: bool = False
) -> tuple[Counts, bool]:
    """Run one stage from the results of the stages before it, unless its result is there already.

    Args:
        stage: one of ``layout.ORDER``.
        source: the images.
        config: the whole configuration; the stage takes its own section (and the device).
        path_of: where a stage's result on these images lies.
        force: compute even what is there.

    Returns:
        How the images ended, and whether an earlier result was kept.

    Raises:
        StoreError: an input is missing or was made from something else than the others.
    """
    stores = {name: open_store(path_of(name), name) for name in inputs_of(stage, config)}
    _check_lineage(stores)
    section, out = section_of(stage, config), path_of(stage)
    extra = extra_of(stage, config, source)
    expected = stage_fingerprint(stage, section, fingerprints_of(stores), source.records, extra)
    if not force and (counts := counts_of(stage, out, expected)) is not None:
        return counts, True
    module = import_module(f"cuts3d_cli.stages.{stage.replace('-', '_')}")
    job = Job(source, stores, out, expected, section, config)
    return module.run(job), False


def fingerprints_of(stores: Mapping[str, Store]) -> dict[str, str]:
    """Fingerprints by stage."""
    return {name: store.fingerprint for name, store in stores.items()}


def counts_of(stage: str, path: Path, fingerprint: str) -> Counts | None:
    """Counts of the result at ``path`` if it is whole and the one with this fingerprint, else None."""
    result = read_result(stage, path)
    if isinstance(result, Damaged):
        logger.warning("%s: made again, as %s", stage, result.reason)
        return None
    return result.counts if result is not None and result.fingerprint == fingerprint else None


def _check_lineage(stores: dict[str, Store]) -> None:
    """Among the inputs, whatever was made from another input was made from this very one."""
    for store in stores.values():
        store.require_made_from(*(other for other in stores.values() if other.stage in store.inputs))
