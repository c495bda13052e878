"""What the report says in words: its introduction and how to read the pictures."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cuts3d_cli.config import Config
from cuts3d_cli.pipeline.methods import METHODS, OWN
from cuts3d_cli.report.run_summary import SetSummary

LEGEND = {
    "Depth": "distance from the camera, scaled to [0, 1] in each image.",
    "Spatial Importance": "where depth changes fast; affinities there get a smaller exponent (Eq. 3).",
    "Eigenvector of the first cut": (
        "the normalised cut's answer before it is split in two at its mean: red and blue are the two sides, strong "
        "colours the sure ones. The source is where the cut in space starts, the sink what it must not reach."
    ),
    "Semantic cut": "the foreground side of that split: all that looks alike, be it one object or several.",
    "Instances": (
        "what the cut in space kept of each semantic cut, on the patch grid; numbers and colours are those of the cuts."
    ),
    "Spatial Confidence": "in how many cuts at different thresholds a patch stayed; grey is outside all instances.",
    "Final pseudo-masks": (
        "the instances with outlines refined to pixels, each with its cut's number and its stability: how far the "
        "cut stays the same as tau_knn falls, not how likely it is an object."
    ),
    "MaskCut, for comparison": "pseudo-masks of the older method from the same features, without depth.",
    "Ground truth, never used above": "what people (or the renderer) marked; for scores and this picture alone.",
}
DETECTIONS = "what the detector finds on its own, surest first, with its scores."

OUTCOME_WORDS = {
    "kept": "kept",
    "overlap": "rejected: overlaps the mask before",
    "small": "rejected: too small",
    "covered": "rejected: covered by earlier ones",
    "rest": "end: only the rest is left",
    "uniform": "end: all patches alike",
    "few": "end: too few patches left",
    "stopped": "not tried",
}
"""What became of a try to find an instance, by its outcome."""


def legend(titles: Collection[str], detections: str | None = None) -> list[tuple[str, str]]:
    """Explanation of each kind of picture that is shown; ``detections`` is the title of the detector's."""
    known = [*LEGEND.items()]
    if detections:
        known.insert(-1, (detections, DETECTIONS))  # the ground truth comes last
    return [(title, text) for title, text in known if title in titles]


def introduction(config: Config, sets: Sequence[SetSummary]) -> list[str]:
    """Paragraphs that tell someone who knows neither paper nor code what was done."""
    n_train, n_val = _n_images(sets, "Training"), _n_images(sets, "Held-out")
    tried = f"This is tried {config.localcut.n_instances} times an image"
    if config.localcut.local_cut:
        cut = (
            "the group is then cut apart in space with the help of a depth map, so that two things of a kind at "
            f"different distance become two objects (LocalCut). {tried}; each gets a confidence and a clean outline."
        )
    else:
        cut = f"the group is taken as an object, without looking at depth (MaskCut). {tried}."
    found = (
        f"This run looked for objects in {n_train} images without any human annotation. In each image, patches that "
        f"look alike are grouped first (a normalised cut of patch features); {cut} The outcome is called pseudo-masks."
    )
    scored = "Annotation, where there is any, is used to score: never to find objects, never to learn."
    for name in dict.fromkeys(summary.method for summary in sets if summary.method != OWN):
        scored += f" Rows called {METHODS[name].title} show another method: {METHODS[name].about}."
    return [found, _learned(config, n_val), scored]


def _learned(config: Config, n_val: int) -> str:
    """What was learned from the pseudo-masks."""
    if not config.trainings:
        also = f", which it made of {n_val} held-out images too" if n_val else ""
        return f"The run ends with the pseudo-masks{also}: it trains no detector (train.detector is null)."
    learned = "A detector that knows no classes is trained on the pseudo-masks as if they were annotations."
    if rounds := config.selftrain.rounds:
        learned += (
            f" It is then trained on in {rounds} round{'s' if rounds > 1 else ''} of self-training, "
            "on what it finds with confidence itself."
        )
    return learned + (f" It is tried on {n_val} held-out images that it has not seen." if n_val else "")


def _n_images(sets: Sequence[SetSummary], name: str) -> int:
    return next((s.n_images for s in sets if s.method == OWN and s.title.startswith(name)), 0)
