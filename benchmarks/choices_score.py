"""Pseudo-masks of a scene under a configuration, and how good those of a whole set are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from choices_sets import KINDS, Scene
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cuts3d_cli import config as settings
from cuts3d_cli.core.geometry import grid_points
from cuts3d_cli.core.localcut import semantic_graph
from cuts3d_cli.core.masks import enlarge_all, mask_iou
from cuts3d_cli.core.segment import Section, Settings, candidates, find, finish, refine
from cuts3d_cli.core.types import Cuts
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.evaluation.coco_eval import Judge, judged, read_metrics
from cuts3d_cli.evaluation.matching import match
from cuts3d_cli.store.coco import encode_mask

METHODS = {
    "MaskCut": {"local_cut": False, "sharpen": False, "exclude": "features", "stop_at_rest": False},
    "LocalCut": {"local_cut": True, "sharpen": False},
    "CutS3D": {},
}
"""What each changes in the section localcut. MaskCut is CutLER's (and takes baseline.tau_ncut); LocalCut is the
configuration without Spatial Importance; CutS3D is the configuration itself."""

MET = 0.5
"""IoU from which a mask matches an object."""

COLUMNS = ("AP50", "AP", "R50", "small", "medium", "large", *KINDS, "prec", "flow", "found")

COCO_COLUMNS = (
    "AP", "AP50", "AP75", "AR100", "APs", "APm", "APl", "R50", "small", "medium", "large", "prec", "flow", "found"
)  # fmt: skip
"""Columns of sets whose objects have no kinds, and which are scored as COCO does."""


@dataclass(frozen=True)
class Masks:
    """Masks of one scene, in the order of the attempts: run lengths at the size of the truth, the attempt that found
    each, the IoU (objects, masks) with the truth; and for each cut in 3D whether the sink was in reach."""

    runs: list[dict]
    slots: list[int]
    iou: np.ndarray
    by_flow: list[bool]


def method_settings(config: settings.Config, method: str) -> Settings:
    """What a method, a key of METHODS, finds masks with under a configuration."""
    localcut = config.localcut.model_dump() | METHODS[method]
    if method == "MaskCut":
        localcut["tau_ncut"] = config.baseline.tau_ncut
    others = {name: getattr(config, name).model_dump() for name in ("spatial_importance", "confidence", "crf")}
    return Settings(localcut=localcut, **others)


def chosen_methods(text: str) -> list[str]:
    """Methods named with commas.

    Raises:
        ConfigError: one that is none.
    """
    chosen = text.split(",")
    for method in chosen:
        if method not in METHODS:
            raise ConfigError("--methods", expected=f"of {', '.join(METHODS)}", found=repr(method))
    return chosen


def make_masks(scene: Scene, config: settings.Config, method: str, crf: bool = False) -> Masks:
    """Find the instances of a scene and compare them with its objects.

    Args:
        scene: with its image, where the CRF is asked for.
        config: of the row.
        method: a key of METHODS.
        crf: refine the masks as the stage crf does; off, grid masks are only enlarged.
    """
    own = method_settings(config, method)
    found = find(scene.features, scene.depth, own).cuts
    chosen, size_hw = candidates(found.instance), scene.masks.shape[1:]
    if crf:
        refined = refine([scene.image], [chosen], own.crf)[0]
        final = finish(chosen, refined, size_hw, crf=own.crf, confidence=own.confidence)
        slots, masks = final.slots, final.masks
    else:
        masks = enlarge_all(chosen.masks, size_hw)
        kept = masks.any(axis=(1, 2))
        slots, masks = chosen.slots[kept], masks[kept]
    by_flow = _decided_by_flow(found, scene.depth, own.localcut) if own.localcut["local_cut"] else []
    return Masks([encode_mask(mask) for mask in masks], slots.tolist(), mask_iou(scene.masks, masks), by_flow)


def _decided_by_flow(found: Cuts, depth: np.ndarray, keywords: Section) -> list[bool]:
    """For each cut whether its graph joins source and sink. Where it does not, the minimum cut has value 0, and the
    instance is what the graph joins to the source, whatever the capacities."""
    points = grid_points(depth, found.instance.shape[1:], xy_extent=keywords["xy_extent"])
    cut = {"k": keywords["k"], "background_z": keywords["background_z"], "longest": keywords["tau_knn"]}
    joined = []
    for semantic, (source, sink) in zip(found.semantic, found.terminals, strict=True):
        if source >= 0:
            graph = semantic_graph(points, semantic, **cut)
            links = coo_array((np.ones(len(graph.edges)), tuple(graph.edges.T)), shape=(graph.n, graph.n))
            part = connected_components(links, directed=False)[1]
            joined.append(bool(sink >= 0 and part[source] == part[sink]))
    return joined


class Truth:
    """The objects of a set, for the judge and for recall.

    Args:
        scenes: all of the set.
    """

    def __init__(self, scenes: list[Scene]):
        self.areas = np.concatenate([scene.masks.sum(axis=(1, 2)) for scene in scenes])
        self.kinds = np.array([kind for scene in scenes for kind in scene.kinds])
        self.thirds = np.quantile(self.areas, [1 / 3, 2 / 3])
        self.images = [
            {"id": i, "file_name": scene.name, "height": scene.masks.shape[1], "width": scene.masks.shape[2]}
            for i, scene in enumerate(scenes, start=1)
        ]
        self.coco = {
            "images": self.images,
            "annotations": [
                {**record, "id": 0, "image_id": i, "category_id": 1}
                for i, scene in enumerate(scenes, start=1)
                for record in scene.annotations
            ],
            "categories": [{"id": 1, "name": "object"}],
        }

    def judged(self, masks: list[Masks], values: list[np.ndarray] | None = None) -> Judge:
        """pycocotools' comparison of the masks of all scenes, in their order, with the objects.

        Masks are ranked by ``values``, (M,) in [0, 1] for each scene; if None, by the attempt that found them, the
        first one highest, since every method has that order.
        """
        if values is None:
            last = max((slot for found in masks for slot in found.slots), default=0) + 1
            values = [1 - np.array(found.slots) / last for found in masks]
        predictions = [
            {"image_id": i, "segmentation": run, "score": float(value)}
            for i, (found, own) in enumerate(zip(masks, values, strict=True), start=1)
            for run, value in zip(found.runs, own, strict=True)
        ]
        return judged(match({"images": self.images, "annotations": predictions}, self.coco), iou_type="segm")

    def score(self, masks: list[Masks], judge: Judge | None = None) -> dict[str, float | None]:
        """All columns of the masks of all scenes, in their order; None where the set has no such object.

        ``judge`` is that of `judged`, where it is at hand.
        """
        best = np.concatenate([found.iou.max(axis=1, initial=0) for found in masks])
        of_mask = np.concatenate([found.iou.max(axis=0, initial=0) for found in masks])
        low, high = self.thirds
        groups = {"R50": np.ones(len(best), bool), "small": self.areas <= low, "large": self.areas > high}
        groups["medium"] = ~groups["small"] & ~groups["large"]
        groups |= {kind: self.kinds == kind for kind in KINDS}
        result = read_metrics(judge or self.judged(masks))
        result |= {name: float((best[of] >= MET).mean()) if of.any() else None for name, of in groups.items()}
        result["prec"] = float((of_mask >= MET).mean()) if len(of_mask) else None
        by_flow = [decided for found in masks for decided in found.by_flow]
        result["flow"] = float(np.mean(by_flow)) if by_flow else None
        result["found"] = len(of_mask) / len(masks)
        return result


class Bootstrap:
    """Uncertainty of a score: images resampled with replacement, the same draws for every row of a table.

    Args:
        images: numbers of the images to draw from.
        draws: how often as many as there are are drawn.
        seed: of the draws.
    """

    def __init__(self, images: np.ndarray, draws: int, seed: int = 0):
        places = np.random.default_rng(seed).integers(len(images), size=(draws, len(images)))
        self.rows = images[np.sort(places, axis=1)]

    def scores(self, judge: Judge) -> np.ndarray:
        """RESAMPLED of every draw, (draws, 2); NaN where a draw has no object."""
        metrics = [judge.on_images(rows) for rows in self.rows]
        return np.array([[of_draw[name] for name in RESAMPLED] for of_draw in metrics], float)


RESAMPLED = ("AP", "AP50")
"""What a `Bootstrap` gives."""


def interval(draws: np.ndarray) -> np.ndarray:
    """Ends (..., 2) of the 95 % interval of draws (n, ...), by percentiles."""
    return np.moveaxis(np.nanpercentile(draws, [2.5, 97.5], axis=0), 0, -1)
