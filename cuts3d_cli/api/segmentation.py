"""Masks of one image with everything they were found with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cuts3d_cli.api.inputs import ImageLike, array_of, described, pixels
from cuts3d_cli.config import (
    Config,
    DepthConfig,
    FeaturesConfig,
    check_thresholds,
    check_unary,
    merge_values,
    preset_of_images,
    read_values,
    resolve,
)
from cuts3d_cli.config.backends import FILES, READS_FILES, needs_depth
from cuts3d_cli.config.loading import PHOTO
from cuts3d_cli.core import segment as core
from cuts3d_cli.core.image_sizes import working_image
from cuts3d_cli.errors import ConfigError, ImageError, missing_package
from cuts3d_cli.log import logger
from cuts3d_cli.pipeline.memory import check_memory
from cuts3d_cli.pipeline.methods import OWN, method_config
from cuts3d_cli.store.files import digest_weights

if TYPE_CHECKING:
    from cuts3d_cli.backends.base import DepthBackend, DepthFeatureBackend, FeatureBackend
    from cuts3d_cli.backends.depth_values import DepthMap

DepthLike = np.ndarray | str | os.PathLike[str]
"""(H, W) integers or floats, or the path of a depth map or of a folder of them."""


@dataclass(frozen=True, repr=False, eq=False)
class Segmentation:
    """What `segment` found in an image, and everything it was found with.

    M masks are left of N attempts; S is the side of a working size, h x w the patch grid, patches numbered row by row.

    Attributes:
        rgb: (H, W, 3) uint8, the image.
        masks: (M, H, W) bool, disjoint on the patch grid; none is empty.
        scores: (M,) float32 in (0, 1], the mean confidence inside the instance; 1 without cuts in 3D.
        quality: (M,) float32 in [0, 1], a ranking of the masks without labels, see `core.quality`.
        confidence: (M, h, w) float32 in {0} or [sc_min, 1] on the patch grid: Spatial Confidence (Sec. 3.4, Eq. 4), or
            with ``crf.confidence: crf`` the CRF's probability (Table 11b); None where there is neither.
        cuts: (M,) int, the number of the attempt that found each mask, from 1.
        outcomes: N texts, the outcome of each attempt.
        depth: (S, S) float16 in [0, 1], 0 nearest, normalised; None where the settings need none.
        depth_source: ``given``, ``file`` or ``model``; None without depth.
        features: (C, h, w) float16, patch features (Sec. 3.1).
        importance: (h, w) float32 in [beta, 1], Spatial Importance (Sec. 3.3, Eq. 1-2); None without sharpening.
        semantic: (N, h, w) bool, the foreground of NCut (Sec. 3.1).
        instance: (N, h, w) bool, what LocalCut kept of it (Sec. 3.2); empty where the attempt found nothing.
        fiedler: (N, h, w) float32, second eigenvectors, max |x| = 1; 0 at removed patches and where nothing was solved.
        terminals: (N, 2) int32, patches of source and sink; -1: none.
        cut_confidence: (N, h, w) float16, Spatial Confidence of every attempt; None without cuts in 3D.
        probability: (M, S, S) float32, the CRF's foreground probability of each mask at the CRF's working size.
        config: the settings.
    """

    rgb: np.ndarray
    masks: np.ndarray
    scores: np.ndarray
    quality: np.ndarray
    confidence: np.ndarray | None
    cuts: np.ndarray
    outcomes: tuple[str, ...]
    depth: np.ndarray | None
    depth_source: Literal["given", "file", "model"] | None
    features: np.ndarray
    importance: np.ndarray | None
    semantic: np.ndarray
    instance: np.ndarray
    fiedler: np.ndarray
    terminals: np.ndarray
    cut_confidence: np.ndarray | None
    probability: np.ndarray
    config: Config

    def __len__(self) -> int:
        return len(self.masks)

    def __repr__(self) -> str:
        return f"<Segmentation {described(self.masks, self.scores)}>"

    def overlay(self) -> np.ndarray:
        """The image with its masks, the numbers of their cuts and their quality drawn over it, (H, W, 3) uint8.

        Masks without a quality have their stability, named as such, where they were cut in 3D.
        """
        from cuts3d_cli.report.annotations import drawn_cuts, score_name, shown_number

        score = score_name(self.config.model_dump(include={"crf", "localcut"}))
        qualities = [None if np.isnan(value) else value for value in self.quality.tolist()]
        name, values = shown_number(qualities, self.scores.tolist(), score)
        return drawn_cuts(self.rgb, self.masks, (self.cuts - 1).tolist(), values, name=name)

    def to_coco(self, file_name: str = "", *, image_id: int = 1) -> dict[str, Any]:
        """The masks as a COCO document, JSON-able: run-length masks, boxes (xywh, px), areas, scores and quality.

        ``cut`` of an annotation is the number in `cuts` less 1: the index of the attempt, as in all mask files.

        Args:
            file_name: of the image.
            image_id: of the image.
        """
        from cuts3d_cli.store.coco import CATEGORIES, annotation

        height, width = self.rgb.shape[:2]
        found = [
            annotation(image_id, mask, float(score), quality=quality, cut=cut - 1)
            for mask, score, quality, cut in zip(self.masks, self.scores, self.quality, self.cuts, strict=True)
        ]
        return {
            "images": [{"id": image_id, "file_name": file_name, "width": width, "height": height}],
            "categories": list(CATEGORIES),
            "annotations": [{"id": number, **entry} for number, entry in enumerate(found, start=1)],
        }


def segment(
    rgb: ImageLike,
    depth: DepthLike | None = None,
    *,
    preset: str | None = None,
    config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    method: str = OWN,
    depth_settings: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> Segmentation:
    """Find and segment the objects of one image: the masks that ``cuts3d crf`` makes of the same file.

    Models stay loaded from one call to the next.

    Args:
        rgb: (H, W, 3) uint8 RGB, a Pillow image, or the path of an image file.
        depth: depth of the image, (H, W) numbers or the path of a map (see `depth_reading`); of any size, but the
            aspect ratio of the image. What they hold says ``depth.kind``: distances in any unit (``metric``, far is
            large), or inverse depth (``inverse``, near is large); 0 and NaN are holes (``depth.holes``), and what a
            masked array masks. None: what
            ``depth.backend`` names; for an image file also a map beside it.
        preset: name of a preset, see `presets`; by default that of ``config``, else ``photo`` (``embedded``, which
            needs no weights, for files of the sample).
        config: settings beside it: a YAML file or its nested values; or a whole `Config`, which takes no preset.
        method: a key of `pipeline.methods.METHODS`: ``cuts3d``; ``maskcut``, CutLER's MaskCut on the same features,
            without depth; or ``localcut``, CutS3D without Spatial Importance.
        depth_settings: settings of the section ``depth``, such as ``{"kind": "inverse"}``, as ``depth`` is the map.
        overrides: settings of other sections, such as ``localcut={"n_instances": 6}``, and ``device="cpu"``; every key
            is explained in config.yaml.

    Raises:
        ConfigError: an unknown preset, method, key or value.
        ImageError: an image or a depth map that cannot be used.
        ModelError: weights are missing, or cannot be fetched.
        Cuts3dError: a package is missing.
    """
    path = Path(rgb) if isinstance(rgb, str | os.PathLike) else None
    if depth_settings is not None:
        if not isinstance(depth_settings, Mapping):
            raise ConfigError(
                "depth_settings", expected='settings by name, such as {"kind": "inverse"}', found=repr(depth_settings)
            )
        overrides["depth"] = dict(depth_settings)
    settings = method_config(method, _config(preset, config, overrides, path))
    cut = settings.localcut
    check_unary(settings.crf.unary, cut.local_cut)
    if cut.local_cut:
        check_thresholds(settings.confidence.tau_knn_min, cut.tau_knn)
    check_memory(settings)
    image = pixels(rgb)
    try:
        return _segmented(image, path, depth, settings)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error


def mask_settings(config: Config) -> core.Settings:
    """The settings of the way from features to masks, as `core.segment` takes them, on the device of ``config``.

    Raises:
        ConfigError: a solver is to run on a device that is not here.
    """
    from cuts3d_cli.pipeline.runner import solver_and_device

    eigensolver, first = solver_and_device(config, config.localcut.eigensolver)
    solver, second = solver_and_device(config, config.crf.solver)
    return core.Settings(
        spatial_importance=config.spatial_importance.model_dump(),
        localcut={**config.localcut.model_dump(), "eigensolver": eigensolver},
        confidence=config.confidence.model_dump(),
        crf={**config.crf.model_dump(), "solver": solver},
        device=second if first == "cpu" else first,
    )


def _segmented(image: np.ndarray, path: Path | None, depth: DepthLike | None, config: Config) -> Segmentation:
    from cuts3d_cli.backends.base import surface_of
    from cuts3d_cli.pipeline.depth_notes import tell_unused
    from cuts3d_cli.threads import for_masks

    cut, features = config.localcut, config.features
    height, width = size_hw = image.shape[:2]
    found, source, kept = None, None, None
    if cut.sharpen or cut.local_cut or needs_depth(features.backend):
        found, source = _depth(image, path, depth, config)
        _tell(found, path)
        tell_unused(config.depth, int(source == "model"), 1)
        kept = core.half(found.depth, "values of depth")
    working = working_image(image, features.image_size)[None]
    backend: Any = _feature_backend(features, config.device, digest_weights(features.weights))
    if needs_depth(features.backend) and found is not None and kept is not None:
        scale = {"relative_range": features.relative_range, "aspect": width / height}
        patches = backend.extract_batch(working, [surface_of(kept, found.near_far, found.reading, **scale)])[0]
    else:
        patches = backend.extract_batch(working)[0]
    patches = core.half(patches)
    with for_masks():
        refined_on = working_image(image, config.crf.image_size)
        result = core.segment(patches, kept, refined_on, size_hw, mask_settings(config))
    cuts, final = result.found.cuts, result.instances
    return Segmentation(
        rgb=image,
        masks=final.masks,
        scores=final.scores,
        quality=final.quality,
        confidence=final.confidence,
        cuts=final.slots + 1,
        outcomes=_outcomes(result, config),
        depth=kept,
        depth_source=source,
        features=patches,
        importance=result.found.importance,
        semantic=cuts.semantic,
        instance=cuts.instance,
        fiedler=cuts.fiedler,
        terminals=cuts.terminals,
        cut_confidence=result.confidence,
        probability=result.refined.probability[np.isin(result.candidates.slots, final.slots)],
        config=config,
    )


def _config(
    preset: str | None,
    config: Config | Mapping[str, Any] | str | os.PathLike[str] | None,
    overrides: Mapping[str, Any],
    path: Path | None,
) -> Config:
    """The settings of a call, in the order of the command line: file, preset, single keys."""
    if config is None:
        values: dict[str, Any] = {}
    elif isinstance(config, Config):
        if preset is not None:
            raise ConfigError(
                "preset", expected="none with a Config, which sets every key", found=repr(preset),
                hint="give single settings by section",
            )  # fmt: skip
        values = config.model_dump()
    elif not isinstance(config, Mapping | str | os.PathLike):
        expected = "a YAML file, settings by section, or a Config"
        raise ConfigError("config", expected=expected, found=f"{config!r} of type {type(config).__name__}")
    else:
        values = dict(config) if isinstance(config, Mapping) else read_values(Path(config))
        resolve(values, source="config" if isinstance(config, Mapping) else str(config))  # its mistakes under its name
    if preset is not None:
        values["preset"] = preset
    elif not values.keys() & {"preset", "data"}:
        values["preset"] = PHOTO if path is None else preset_of_images([path])
        logger.info("preset %s, as none was named", values["preset"])
    return resolve(merge_values(values, dict(overrides)), source="settings")


def _depth(
    image: np.ndarray, path: Path | None, depth: DepthLike | None, config: Config
) -> tuple[DepthMap, Literal["given", "file", "model"]]:
    """Depth of an image, normalised, and where it is from."""
    from cuts3d_cli.backends import depth_files
    from cuts3d_cli.backends.depth_reading import read_raw
    from cuts3d_cli.backends.depth_values import depth_of_array, predicted_depth

    settings, size_hw = config.depth, (image.shape[0], image.shape[1])
    if isinstance(depth, str | os.PathLike):
        place = Path(depth)
        if not place.exists():
            raise ImageError(f"depth map {place}", expected="a file or a folder", found="nothing")
        if path is None and place.is_dir():
            raise ImageError(f"depth map {place}", expected="a file, as the image has no name", found="a folder")
        if path is not None:
            return depth_files.depth_of_image(path.name, path.parent, place, settings), "given"
        return depth_of_array(read_raw(place), size_hw, settings, what=f"depth map {place}"), "given"
    if depth is not None:
        return depth_of_array(array_of(depth, "depth"), size_hw, settings), "given"
    from_depth = needs_depth(config.features.backend)
    if path is not None and settings.backend in READS_FILES:
        beside = depth_files.has_depth_map(path.name, path.parent)
        if beside or (settings.backend == FILES and not from_depth):
            return depth_files.depth_of_image(path.name, path.parent, None, settings), "file"
    if settings.backend == FILES and from_depth:
        raise ImageError(
            "depth", expected=f"a map, as features.backend {config.features.backend} is made for sensor depth",
            found="none", hint='give it as `depth`, or take preset="photo"',
        )  # fmt: skip
    if settings.backend == FILES:
        raise ImageError(
            "depth", expected="a map, as depth.backend is files", found="none",
            hint='give it as `depth`, or a model: depth_settings={"backend": "auto"}',
        )  # fmt: skip
    return predicted_depth(
        _depth_backend(settings, config.device, digest_weights(settings.weights)), image, settings
    ), "model"


def _tell(depth: DepthMap, path: Path | None) -> None:
    """Log what is odd about a depth map."""
    from cuts3d_cli.pipeline.depth_notes import tell

    tell([{note: ["the image" if path is None else str(path)]} for note in depth.notes], 1, None)


# By the hash of the weights too, as another file in their place is another model.


@lru_cache(maxsize=2)
def _feature_backend(config: FeaturesConfig, device: str, _digest: str | None) -> FeatureBackend | DepthFeatureBackend:
    from cuts3d_cli.backends.base import feature_backend

    return feature_backend(config, device=device)


@lru_cache(maxsize=2)
def _depth_backend(config: DepthConfig, device: str, _digest: str | None) -> DepthBackend:
    from cuts3d_cli.backends.base import depth_backend

    return depth_backend(config, device=device)


def _outcomes(result: core.Segmentation, config: Config) -> tuple[str, ...]:
    from cuts3d_cli.report.preview import CRF_REJECTED
    from cuts3d_cli.report.words import outcome_text

    settings = config.localcut.model_dump()
    words = [outcome_text(attempt.outcome, settings, attempt.area) for attempt in result.found.cuts.info]
    for slot in np.setdiff1d(result.candidates.slots, result.instances.slots):
        words[slot] = CRF_REJECTED
    return tuple(words)
