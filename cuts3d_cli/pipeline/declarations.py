"""The stages that lead from images to masks, each declared once.

What a stage reads is said here alone: fingerprints, the workflow's rules, ``status`` and the search for missing
results follow from it. A test holds every stage to the settings that it declares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuts3d_cli.backends.base import EMBEDDED_WEIGHTS
from cuts3d_cli.config import Config, Section
from cuts3d_cli.config.backends import EMBEDDED, FILES, READS_FILES, needs_depth
from cuts3d_cli.store.files import digest_weights
from cuts3d_cli.store.layout import FORMAT_VERSION

if TYPE_CHECKING:  # the commands' help reads this table before --threads is known, so no array library is imported
    from cuts3d_cli.pipeline.runner import Source

Names = tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """A stage of one shard; its module in ``stages`` has its name, its arrays lie in `layout.ARRAYS`.

    Attributes:
        algorithm: raised when the stage gives other results from the same inputs and settings, so that older results
            are recomputed; ``tests/pipeline/test_algorithms.py`` notices.
        inputs: the stages that it reads under a configuration, nearest last.
        uses: the settings that it reads under a configuration: sections, of which all that `Section.used_keys` names
            counts, and single keys as ``section.key``. The device is no setting: results do not depend on it.
        files: hashes of the files that it reads beside the images and its inputs.
        files_of_image: what of ``files`` the result of an image depends on, given its file name.
        shared: common to all methods.
    """

    algorithm: int
    inputs: Callable[[Config], Names] = lambda config: ()
    uses: Callable[[Config], Names] = lambda config: ()
    files: Callable[[Config, Source], Any] = lambda config, source: None
    files_of_image: Callable[[Any, str], Any] = lambda files, name: files
    shared: bool = False


def has_confidence(config: Config) -> bool:
    """Whether the instances have a Spatial Confidence: it needs cuts in 3D."""
    return config.finder == "localcut" and config.localcut.local_cut


def _localcut_inputs(config: Config) -> Names:
    depth = ("depth",) if config.localcut.local_cut else ()
    importance = ("spatial-importance",) if config.localcut.sharpen else ()
    return ("features", *depth, *importance)


def _depth_files(config: Config, source: Source) -> Any:
    """The depth maps that are read, and the embedded model's head where it may run."""
    head = model_digest(config)
    if config.depth.backend in READS_FILES:
        from cuts3d_cli.backends.depth_files import depth_map_digests

        maps = depth_map_digests(source.records, source.image_root, source.depth_maps)
        return maps if config.depth.backend == FILES or None not in maps.values() else [maps, head]
    return head if config.depth.backend == EMBEDDED else digest_weights(config.depth.weights)


def _depth_files_of_image(files: Any, name: str) -> str | None:
    """The hash of an image's depth map, or of the model where it has none."""
    maps, model = files if isinstance(files, list) else (files, None)
    if not isinstance(maps, dict):
        return maps
    return maps[name] or model


def model_digest(config: Config) -> str | None:
    """Hash of the depth model that runs where the backend is the embedded one, or where an image has no depth map."""
    return digest_weights(config.depth.weights or EMBEDDED_WEIGHTS)


def _crf_inputs(config: Config) -> Names:
    return (config.finder, "confidence") if has_confidence(config) else (config.finder,)


def _crf_uses(config: Config) -> Names:
    return ("crf", "confidence.sc_min") if config.crf.confidence == "crf" else ("crf",)


STAGES: dict[str, Stage] = {
    "depth": Stage(
        2, uses=lambda config: ("depth",), files=_depth_files, files_of_image=_depth_files_of_image, shared=True
    ),
    "features": Stage(
        1,
        inputs=lambda config: ("depth",) if needs_depth(config.features.backend) else (),
        uses=lambda config: ("features",),
        files=lambda config, source: digest_weights(config.features.weights),
        shared=True,
    ),
    "spatial-importance": Stage(
        1,
        inputs=lambda config: ("depth",),
        uses=lambda config: ("spatial_importance", "features.image_size", "features.patch_size"),
        shared=True,
    ),
    "localcut": Stage(2, inputs=_localcut_inputs, uses=lambda config: ("localcut",)),
    "confidence": Stage(1, inputs=lambda config: ("localcut",), uses=lambda config: ("confidence",)),
    "crf": Stage(2, inputs=_crf_inputs, uses=_crf_uses),
}
"""The stages of one shard in the order they run; ``crf`` writes COCO JSON instead of a store."""

LAST = "crf"
"""The stage that gives the masks."""


def section_of(stage: str, config: Config) -> Section | None:
    """The config section named as the stage; None where it has no settings of its own."""
    return getattr(config, stage.replace("-", "_"), None)


def inputs_of(stage: str, config: Config) -> Names:
    """The stages that ``stage`` reads under this configuration, nearest last."""
    return STAGES[stage].inputs(config)


def upstream_of(stage: str, config: Config) -> list[str]:
    """All stages that must have run before ``stage``, in order."""
    needed: set[str] = set()
    queue = list(inputs_of(stage, config))
    while queue:
        name = queue.pop()
        if name not in needed:
            needed.add(name)
            queue.extend(inputs_of(name, config))
    return [name for name in STAGES if name in needed]


def settings_of(stage: str, config: Config) -> dict[str, dict[str, Any]]:
    """The settings that a stage's result depends on, by section; JSON-able."""
    result: dict[str, dict[str, Any]] = {}
    for name in STAGES[stage].uses(config):
        section, _, key = name.partition(".")
        model = getattr(config, section)
        values = model.model_dump(mode="json", include={key} if key else set(model.used_keys()))
        result.setdefault(section, {}).update(values)
    return result


def dependencies(stage: str, config: Config) -> Mapping[str, Any]:
    """What of a configuration the result of a stage depends on by itself: a rule's parameters; JSON-able."""
    return {"format": FORMAT_VERSION, "algorithm": STAGES[stage].algorithm, **settings_of(stage, config)}
