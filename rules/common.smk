# Paths, shards and parameters that the rules share. What can be tested lives in the package.

import re
import shlex
import sys
import time
from pathlib import Path

from cuts3d_cli import __version__ as VERSION
from cuts3d_cli.config.backends import READS_FILES
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.experiments import ablations as ex
from cuts3d_cli.experiments import finetune as ft
from cuts3d_cli.pipeline.graph import inputs_of
from cuts3d_cli.store.layout import BASELINE, shard_name
from cuts3d_cli.workflow import (
    checked_config,
    crf_flags,
    failures,
    flags,
    settings,
)
from cuts3d_cli.pipeline.methods import (
    baseline_crf,
    baseline_localcut,
    unsharpened_localcut,
)

CONFIG = checked_config(config, "config", full=not workflow.overwrite_configfiles)
STARTED = time.time()
RUN = CONFIG.run.rstrip("/")
VAL = f"{RUN}/val"
ROUNDS = CONFIG.selftrain.rounds
TRAININGS = CONFIG.trainings
HAS_VAL = CONFIG.data.val_images is not None
LOCAL_CUT = CONFIG.localcut.local_cut
HAS_BASELINE = CONFIG.baseline.enabled and LOCAL_CUT
COMMON = f"--max-failed {CONFIG.max_failed}"
GRID = f"--set features.image_size={CONFIG.features.image_size} --set features.patch_size={CONFIG.features.patch_size}"
BASELINE_LOCALCUT = baseline_localcut(CONFIG)
BASES = [RUN, VAL] if HAS_VAL else [RUN]
INIT = [CONFIG.train.init] if Path(CONFIG.train.init or "").is_file() else []
EXPERIMENT = f"{RUN}/{ex.FOLDER}/detector/{{variant}}/seed{{seed}}"


wildcard_constraints:
    base="|".join(re.escape(base) for base in BASES),
    shard=r"\d{5}",
    round=r"[1-9]\d*",
    anyround=r"\d+",


def shards(base):
    """Names of the shards of a set of images."""
    count = CONFIG.data.n_shards if base == RUN else CONFIG.data.val_shards
    return [shard_name(index) for index in range(count)]


def data_of(base, key):
    """A data setting of the training or the held-out images."""
    return getattr(CONFIG.data, key if base == RUN else f"val_{key}")


def shard_number(wildcards):
    return int(wildcards.shard)


def depth_map_flag(wildcards):
    folder = data_of(wildcards.base, "depth_maps")
    if CONFIG.depth.backend not in READS_FILES:
        return ""
    return (
        f"--depth-map {shlex.quote(folder)}" if folder else "--set data.depth_maps=null"
    )


def previous_round(wildcards):
    return int(wildcards.round) - 1


def masks_to_learn(_wildcards):
    """What the first training learns from; a configuration without detector ends the workflow in words."""
    if not TRAININGS:
        raise WorkflowError("no detector to train: config key train.detector is null")
    return f"{RUN}/pseudo_masks.json"


def labels_of(number):
    """The masks that a round trained on."""
    return (
        f"{RUN}/pseudo_masks.json"
        if number == 0
        else f"{RUN}/detector/round{number}/annotations.json"
    )


def features_inputs(wildcards):
    stages = inputs_of("features", CONFIG)
    return [f"{wildcards.base}/{stage}/{wildcards.shard}.zarr" for stage in stages]


def localcut_inputs(wildcards):
    stages = ["features"]
    if LOCAL_CUT:
        stages.append("depth")
    if CONFIG.localcut.sharpen:
        stages.append("spatial-importance")
    return [f"{wildcards.base}/{stage}/{wildcards.shard}.zarr" for stage in stages]


def crf_inputs(wildcards):
    stages = ["localcut", "confidence"] if LOCAL_CUT else ["localcut"]
    return [f"{wildcards.base}/{stage}/{wildcards.shard}.zarr" for stage in stages]


def evaluations():
    """Names of the evaluations and the masks they score: <method>_<split>."""
    bases = [(RUN, "train"), (VAL, "val")] if HAS_VAL else [(RUN, "train")]
    scored = {}
    for base, split in bases:
        if data_of(base, "annotations") is None:
            continue
        if HAS_BASELINE:
            scored[f"{BASELINE}_{split}"] = f"{base}/{BASELINE}/pseudo_masks.json"
        scored[f"cuts3d_{split}"] = f"{base}/pseudo_masks.json"
    if HAS_VAL and CONFIG.data.val_annotations is not None:
        for number in TRAININGS:
            scored[f"round{number}_val"] = (
                f"{RUN}/detector/round{number}/predictions_val.json"
            )
    return scored


def masks_of(kind, base=RUN):
    """Pseudo-masks of a kind."""
    branch = ex.masks_branch(kind)
    return (
        f"{base}/{branch}/pseudo_masks.json" if branch else f"{base}/pseudo_masks.json"
    )


def experiment_labels(wildcards):
    """The masks that the round before trained on."""
    if (before := previous_round(wildcards)) == 0:
        return masks_of(ex.VARIANTS[wildcards.variant].masks)
    return f"{EXPERIMENT}/round{before}/annotations.json".format(**wildcards)


def experiment_scores(wildcards):
    """Scores of the detectors that a table compares."""
    if problem := ex.unmet(CONFIG):
        raise WorkflowError(problem)
    return [
        str(ex.evaluation_path(RUN, training))
        for training in ex.trainings(wildcards.table, CONFIG)
    ]


def experiment_mask_scores(wildcards):
    """Scores of the pseudo-masks that Table 4 compares."""
    splits = ["train", "val"] if CONFIG.data.annotations is not None else ["val"]
    if wildcards.table not in ("table4", "results"):
        return []
    return [
        str(ex.masks_evaluation_path(RUN, kind, split))
        for kind in ex.MASKS
        for split in splits
    ]


def finetune_source(_wildcards):
    """Labels and images to learn from; a configuration without any ends the workflow in words."""
    try:
        return ft.source(CONFIG)
    except Cuts3dError as error:
        raise WorkflowError(str(error)) from None


def finetune_start(wildcards):
    return (
        f"{RUN}/detector/round{ROUNDS}/checkpoint.pth"
        if wildcards.start == "detector"
        else []
    )


def finetune_flags(wildcards, input):
    images = finetune_source(wildcards)[1]
    words = [f"--image-root {shlex.quote(images)}"] if images else []
    words += [f"--init {shlex.quote(str(input.start))}"] if input.start else []
    return " ".join(
        [*words, flags(ft.train_section(CONFIG, wildcards.share, wildcards.start))]
    )
