"""The texts of the report: its introduction and the legend of the pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cuts3d_cli.config import Config
from cuts3d_cli.pipeline.methods import METHODS, OWN
from cuts3d_cli.report.depth_facts import DepthFacts
from cuts3d_cli.report.run_summary import SetSummary
from cuts3d_cli.store.layout import OUTCOME_NAMES, TOO_SMALL
from cuts3d_cli.store.zarr_store import Store

LEGEND = {
    "Depth": "distance from the camera, scaled to [0, 1] in each image.",
    "Spatial Importance": "where depth changes fast; affinities there get a smaller exponent (Eq. 3).",
    "Eigenvector of the first cut": (
        "the solution of the normalised cut before it is split in two at its mean: red and blue are the two sides, "
        "strong colours the more certain patches. The source is where the cut in 3D starts, the sink is what it must "
        "not reach."
    ),
    "Semantic cut": "the foreground side of that split: everything whose features are alike, one object or several.",
    "Instances": "what is kept of each semantic cut, on the patch grid; numbers and colours are those of the cuts.",
    "Spatial Confidence": "in how many cuts at different thresholds a patch was kept; grey is outside all instances.",
    "MaskCut, for comparison": "pseudo-masks of the earlier method from the same features, without depth.",
    "Ground truth, never used above": "what people (or the renderer) annotated; used only for evaluation and "
    "this picture. Its colours are its own, not those of the masks.",
}
DETECTIONS = "what the detector finds on its own, most confident first, with its scores."

OUTCOME_WORDS = {
    "kept": "kept",
    "overlap": "rejected: overlaps the previous mask",
    "small": "rejected: too small",
    "covered": "rejected: covered by earlier ones",
    "rest": "end: only the rest is left",
    "uniform": "end: all patches alike",
    "few": "end: too few patches left",
    "stopped": "not attempted",
}
"""The outcomes of an attempt to find an instance, in words."""


def outcome_text(outcome: str, settings: Mapping[str, Any], area: float | None = None) -> str:
    """The outcome of an attempt with the setting that decided.

    Args:
        outcome: a key of `OUTCOME_WORDS`.
        settings: those of ``localcut``.
        area: fraction of the patches that the candidate covered, where it is known.
    """
    key = {"small": "min_area", "overlap": "max_overlap"}.get(outcome)
    found = f", {100 * area:.2g} % of the patches" if outcome == "small" and area is not None else ""
    limit = f" (localcut.{key} {settings[key]:g})" if key in settings else ""
    return f"{OUTCOME_WORDS[outcome]}{found}{limit}"


def outcome_texts(cuts: Store, row: int = 0) -> list[str]:
    """`outcome_text` of each attempt for an image, from a store of localcut."""
    areas = cuts.attrs.get(TOO_SMALL, {}).get(str(row), {})
    names = [OUTCOME_NAMES[code] for code in cuts.array("outcome")[row]]
    return [outcome_text(name, cuts.config, areas.get(str(slot))) for slot, name in enumerate(names)]


def legend(titles: Collection[str], config: Config, detections: str | None = None) -> list[tuple[str, str]]:
    """Explanation of each kind of picture that is shown; ``detections`` is the title of the detector's."""
    known = [*LEGEND.items()]
    known.insert(-2, ("Final pseudo-masks", _final_masks(config)))  # before those of the other method
    if detections:
        known.insert(-1, (detections, DETECTIONS))  # the ground truth comes last
    return [(title, text) for title, text in known if title in titles]


def _refines(config: Config) -> bool:
    """Whether the final masks have the outlines of the CRF."""
    return config.crf.enabled and config.crf.outlines == "refined"


def _final_masks(config: Config) -> str:
    """What the final masks are under a configuration."""
    masks = (
        "the instances with outlines refined to pixels"
        if _refines(config)
        else "the instances with the outlines of patches"
    )
    without = ", or its stability where it has none" if config.localcut.local_cut else ""
    return f"{masks}, each with the number of its cut and its quality{without} (see the glossary)."


def glossary(config: Config, depth: DepthFacts | None) -> list[tuple[str, str]]:
    """The terms that the report and its settings use, with their values in this run."""
    cut, grid = config.localcut, config.features.grid
    tau_ncut = "the backend's own" if cut.tau_ncut is None else f"{cut.tau_ncut:g}"
    crf_used = "" if config.crf.outlines == "refined" else " In this run it only judges the masks (crf.outlines)."
    if not config.crf.enabled:
        crf_used = " It is off in this run (crf.enabled)."
    return [
        (
            "pseudo-mask",
            "the outline of an object that the method found on its own; a detector learns from it as from a label.",
        ),
        ("patch", f"one of {grid} x {grid} equal parts of an image; features, cuts and confidence have a value each."),
        (
            "affinity, tau_ncut",
            f"how alike the features of two patches are (their cosine); above tau_ncut ({tau_ncut}) they are alike.",
        ),
        (
            "normalised cut (NCut)",
            "splits the patches in two where the affinity between the sides is least, relative to the sides' own.",
        ),
        ("scene cube", _cube(config, depth)),
        ("tau_knn", _tau_knn(config, depth)),
        (
            "Spatial Importance",
            f"how fast depth changes at a patch, from beta ({config.spatial_importance.beta:g}) to 1; borders between "
            "things at different distances stand out.",
        ),
        (
            "Spatial Confidence, stability",
            "how often a patch stays in its mask when the cut is repeated with smaller thresholds, up to tau_knn; a "
            "mask's stability is the mean inside, and its score where depth was used. It does not tell how likely the "
            "mask is an object. A picture names it where a mask has no quality.",
        ),
        (
            "quality",
            "ranks pseudo-masks without labels, from 0 to 1: how unlike the rest of the image the mask's patches are, "
            "times the IoU of the mask before and after the CRF, times the fraction of the image's border outside the "
            "mask. Its scale depends on the features, so compare only masks of one run. Training does not use it. "
            "Pictures and buttons of pseudo-masks show it.",
        ),
        ("CRF", f"moves the outline of a mask from the patch grid to the photograph's edges of colour.{crf_used}"),
        (
            "IoU, overlap",
            "area shared by mask and object over the area of both together; 1 is a perfect fit. The overlap of an "
            "image is the mean over its objects of the best IoU that any mask has.",
        ),
    ]


def _cube(config: Config, depth: DepthFacts | None) -> str:
    extent = config.localcut.xy_extent
    text = (
        f"where patches are points: x and y run from 0 to {extent:g} across the picture, z from 0 at the nearest to 1 "
        "at the farthest depth of the image."
    )
    if depth is None or depth.near_far is None or depth.metres is None:
        return text
    far_m = depth.near_far[1] * depth.metres / (depth.near_far[1] - depth.near_far[0])
    return f"{text} In this run z from 0 to 1 is {far_m - depth.metres:.2f} to {far_m:.2f} m (median of the images)."


def _tau_knn(config: Config, depth: DepthFacts | None) -> str:
    cut, spacing = config.localcut, config.localcut.xy_extent / max(1, config.features.grid - 1)
    text = (
        f"longest step from patch to patch within an object, in sides of the scene cube: {cut.tau_knn:g} here, "
        f"{cut.tau_knn / spacing:.1f} patches sideways at one depth"
    )
    if not cut.local_cut:
        return f"{text}. Not used in this run (localcut.local_cut is false)."
    if depth is None:
        return f"{text}. A larger jump in space separates two objects."
    if depth.metres is None:
        return f"{text}. A larger jump separates two objects. The depth of this run is relative, so it has no metres."
    unit = "; the files' values read as millimetres" if depth.in_millimetres else ""
    return (
        f"{text}, or {cut.tau_knn * depth.metres:.2f} m straight back (of the {depth.metres:.2f} m from nearest to "
        f"farthest{unit}). A larger jump separates two objects."
    )


def introduction(config: Config, sets: Sequence[SetSummary]) -> list[str]:
    """Paragraphs that explain what was done to someone who knows neither paper nor code."""
    n_train, n_val = _n_images(sets, "Training"), _n_images(sets, "Held-out")
    n = config.localcut.n_instances
    alike = "form one smooth or convex surface" if config.features.backend == "geometry" else "look alike"
    tried = f"This is attempted {n} times per image" if n > 1 else "This is done once per image"
    if config.localcut.local_cut:
        cut = (
            "the group is then cut in 3D with the help of a depth map, so that two similar things at different "
            f"distances become two objects (LocalCut). {tried}; each object gets a confidence"
            f"{' and a refined outline' if _refines(config) else ''}."
        )
    else:
        cut = f"the group is taken as one object, without using depth (MaskCut). {tried}."
    found = (
        f"This run looked for objects in {n_train} images without any human annotation. In each image, patches that "
        f"{alike} are grouped first (a normalised cut of patch features); {cut} The results are called pseudo-masks."
    )
    scored = "Annotations, if there are any, are used only for evaluation, never to find objects or to train."
    for name in dict.fromkeys(summary.method for summary in sets if summary.method != OWN):
        scored += f" Rows named {METHODS[name].title} show another method: {METHODS[name].about}."
    return [found, _learned(config, n_val), scored]


def _learned(config: Config, n_val: int) -> str:
    """What was learned from the pseudo-masks."""
    if not config.trainings:
        also = f", also those of {n_val} held-out images" if n_val else ""
        return f"The run ends with the pseudo-masks{also}: no detector is trained (train.detector is null)."
    learned = "A class-agnostic detector is trained on the pseudo-masks as if they were annotations."
    if rounds := config.selftrain.rounds:
        learned += (
            f" It is then trained on in {rounds} round{'s' if rounds > 1 else ''} of self-training, "
            "on its own confident detections."
        )
    if not n_val:
        return learned
    unseen = f"{n_val} held-out images that it has not seen"
    if config.data.val_annotations is None:
        return f"{learned} It detects objects in {unseen}; they have no labels, so it has no scores."
    return f"{learned} It is evaluated on {unseen}."


def _n_images(sets: Sequence[SetSummary], name: str) -> int:
    return next((s.n_images for s in sets if s.method == OWN and s.title.startswith(name)), 0)
