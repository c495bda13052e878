"""The texts of the report: its introduction and the legend of the pictures."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cuts3d_cli.config import Config
from cuts3d_cli.pipeline.methods import METHODS, OWN
from cuts3d_cli.report.run_summary import SetSummary

LEGEND = {
    "Depth": "distance from the camera, scaled to [0, 1] in each image.",
    "Spatial Importance": "where depth changes fast; affinities there get a smaller exponent (Eq. 3).",
    "Eigenvector of the first cut": (
        "the solution of the normalised cut before it is split in two at its mean: red and blue are the two sides, "
        "strong colours the more certain patches. The source is where the cut in 3D starts, the sink is what it must "
        "not reach."
    ),
    "Semantic cut": "the foreground side of that split: everything that looks alike, whether one object or several.",
    "Instances": (
        "what the cut in 3D kept of each semantic cut, on the patch grid; numbers and colours are those of the cuts."
    ),
    "Spatial Confidence": "in how many cuts at different thresholds a patch was kept; grey is outside all instances.",
    "Final pseudo-masks": "the instances with outlines refined to pixels, each with the number of its cut "
    "and its score.",
    "MaskCut, for comparison": "pseudo-masks of the earlier method from the same features, without depth.",
    "Ground truth, never used above": "what people (or the renderer) annotated; used only for evaluation and "
    "this picture.",
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


def legend(titles: Collection[str], detections: str | None = None) -> list[tuple[str, str]]:
    """Explanation of each kind of picture that is shown; ``detections`` is the title of the detector's."""
    known = [*LEGEND.items()]
    if detections:
        known.insert(-1, (detections, DETECTIONS))  # the ground truth comes last
    return [(title, text) for title, text in known if title in titles]


def introduction(config: Config, sets: Sequence[SetSummary]) -> list[str]:
    """Paragraphs that explain what was done to someone who knows neither paper nor code."""
    n_train, n_val = _n_images(sets, "Training"), _n_images(sets, "Held-out")
    n = config.localcut.n_instances
    tried = f"This is attempted {n} times per image" if n > 1 else "This is done once per image"
    if config.localcut.local_cut:
        cut = (
            "the group is then cut in 3D with the help of a depth map, so that two similar things at different "
            f"distances become two objects (LocalCut). {tried}; each object gets a confidence and a refined outline."
        )
    else:
        cut = f"the group is taken as one object, without using depth (MaskCut). {tried}."
    found = (
        f"This run looked for objects in {n_train} images without any human annotation. In each image, patches that "
        f"look alike are grouped first (a normalised cut of patch features); {cut} The results are called pseudo-masks."
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
    return learned + (f" It is evaluated on {n_val} held-out images that it has not seen." if n_val else "")


def _n_images(sets: Sequence[SetSummary], name: str) -> int:
    return next((s.n_images for s in sets if s.method == OWN and s.title.startswith(name)), 0)
