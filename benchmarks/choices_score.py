"""Pseudo-masks of a scene under a configuration, and how good those of a whole set are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from choices_sets import KINDS, Scene
from pycocotools import mask as rle
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cuts3d_cli import config as settings
from cuts3d_cli.core.discover import discover
from cuts3d_cli.core.geometry import grid_points
from cuts3d_cli.core.localcut import semantic_graph
from cuts3d_cli.core.masks import enlarge, mask_iou
from cuts3d_cli.core.spatial_importance import spatial_importance
from cuts3d_cli.core.types import Discovery
from cuts3d_cli.evaluation.coco_eval import evaluate

METHODS = {
    "MaskCut": {"local_cut": False, "sharpen": False, "exclude": "features", "stop_at_rest": False},
    "LocalCut": {"local_cut": True, "sharpen": False},
    "CutS3D": {},
}
"""What each changes in the section localcut. MaskCut is CutLER's (and takes baseline.tau_ncut); LocalCut is the
configuration without Spatial Importance; CutS3D is the configuration itself."""

MET = 0.5
"""IoU from which a mask meets an object."""

COLUMNS = ("AP50", "AP", "R50", "small", "medium", "large", *KINDS, "prec", "flow", "found")


@dataclass(frozen=True)
class Masks:
    """Masks of one scene, in the order of the tries: run lengths at the size of the truth, the number of the try that
    found each, the IoU (objects, masks) with the truth; and for each cut in 3D whether the sink was in reach."""

    runs: list[dict]
    slots: list[int]
    iou: np.ndarray
    by_flow: list[bool]


def make_masks(scene: Scene, config: settings.Config, method: str, crf: bool = False) -> Masks:
    """Discover the instances of a scene and compare them with its objects.

    Args:
        scene: with its image, where the CRF is asked for.
        config: of the row.
        method: a key of METHODS.
        crf: refine the masks as the stage crf does; off, grid masks are only enlarged.
    """
    keywords = config.localcut.model_dump() | METHODS[method]
    if method == "MaskCut":
        keywords["tau_ncut"] = config.baseline.tau_ncut
    features = scene.features.astype(np.float32)
    importance = None
    if keywords["sharpen"]:
        importance = spatial_importance(scene.depth, features.shape[1:], **config.spatial_importance.model_dump())
    found = discover(features, scene.depth, importance, **keywords)
    size_hw = scene.masks.shape[1:]
    slots, masks = [], []
    for slot in np.flatnonzero(found.found):
        mask = _refined(scene, found.instance[slot], config) if crf else enlarge(found.instance[slot], size_hw)
        if mask is not None and mask.any():
            slots.append(int(slot))
            masks.append(mask)
    stacked = np.stack(masks) if masks else np.zeros((0, *size_hw), bool)
    by_flow = _decided_by_flow(found, scene.depth, keywords) if keywords["local_cut"] else []
    return Masks([_encoded(mask) for mask in masks], slots, mask_iou(scene.masks, stacked), by_flow)


def _decided_by_flow(found: Discovery, depth: np.ndarray, keywords: dict) -> list[bool]:
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


def _refined(scene: Scene, mask: np.ndarray, config: settings.Config) -> np.ndarray | None:
    """The mask after the CRF at the image's own size; None where the CRF's result is rejected."""
    from cuts3d_cli.core.crf import DenseCrf, refine
    from cuts3d_cli.store.images import image_sized_mask

    values = config.crf.model_dump(exclude={"enabled", "confidence"})
    how = {name: values.pop(name) for name in ("unary", "fill_holes", "min_iou")}
    refined, _, accepted = refine(DenseCrf(scene.image, **values), enlarge(mask, scene.image.shape[:2]), **how)
    return image_sized_mask(refined, scene.masks.shape[1:]) if accepted else None


def _encoded(mask: np.ndarray) -> dict:
    run = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": run["size"], "counts": run["counts"].decode()}


class Truth:
    """The objects of a set, for the judge and for the shares of recall.

    Args:
        scenes: all of the set.
    """

    def __init__(self, scenes: list[Scene]):
        runs = [[_encoded(mask) for mask in scene.masks] for scene in scenes]
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
                {"id": 0, "image_id": i, "category_id": 1, "segmentation": run, "iscrowd": 0}
                for i, of_image in enumerate(runs, start=1)
                for run in of_image
            ],
            "categories": [{"id": 1, "name": "object"}],
        }

    def score(self, masks: list[Masks]) -> dict[str, float | None]:
        """COLUMNS of the masks of all scenes, in their order; None where the set has no such object.

        Masks are ranked by the try that found them, the first one highest, since every method has that order.
        """
        last = max((slot for found in masks for slot in found.slots), default=0) + 1
        predictions = [
            {"image_id": i, "segmentation": run, "score": 1 - slot / last}
            for i, found in enumerate(masks, start=1)
            for run, slot in zip(found.runs, found.slots, strict=True)
        ]
        metrics = evaluate({"images": self.images, "annotations": predictions}, self.coco, iou_types=("segm",)).metrics
        best = np.concatenate([found.iou.max(axis=1, initial=0) for found in masks])
        of_mask = np.concatenate([found.iou.max(axis=0, initial=0) for found in masks])
        low, high = self.thirds
        groups = {"R50": np.ones(len(best), bool), "small": self.areas <= low, "large": self.areas > high}
        groups["medium"] = ~groups["small"] & ~groups["large"]
        groups |= {kind: self.kinds == kind for kind in KINDS}
        result = {name: metrics["segm"][name] for name in ("AP50", "AP")}
        result |= {name: float((best[of] >= MET).mean()) if of.any() else None for name, of in groups.items()}
        result["prec"] = float((of_mask >= MET).mean()) if len(of_mask) else None
        by_flow = [decided for found in masks for decided in found.by_flow]
        result["flow"] = float(np.mean(by_flow)) if by_flow else None
        result["found"] = len(of_mask) / len(masks)
        return result
