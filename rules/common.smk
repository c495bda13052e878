# Paths, shards and parameters shared by the rules. Whatever can be tested is in the package.

import atexit
import re
import shlex
import shutil
import sys
import time
from functools import cache
from pathlib import Path

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.plan import evaluations, predicting, scoring
from cuts3d_cli.experiments import ablations as ex
from cuts3d_cli.experiments import finetune as ft
from cuts3d_cli.pipeline.declarations import LAST, STAGES, dependencies, inputs_of
from cuts3d_cli.pipeline.depth_listing import DepthMaps
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.pipeline.methods import METHODS, OWN, method_config, methods_of
from cuts3d_cli.pipeline.retries import tell_changed, tell_unreadable_list
from cuts3d_cli.report.record import VERSION as REPORT_RECORD
from cuts3d_cli.store.layout import predictions_path, pseudo_masks_path, shard_name
from cuts3d_cli.store.listing import current_listing
from cuts3d_cli.store.settings import note_settings
from cuts3d_cli.training import selftrain as rounds
from cuts3d_cli.training import train as training
from cuts3d_cli.workflow import (
    checked_config,
    ending,
    failed_images,
    failures,
    settings,
    settings_file,
    take_back,
)

CONFIG = checked_config(
    config,
    "config",
    files=workflow.configfiles,
    full=not workflow.overwrite_configfiles,
)
SETTINGS = settings_file(CONFIG)
STARTED = time.time()
RUN = Path(CONFIG.run).as_posix()
VAL = f"{RUN}/val"
ROUNDS = CONFIG.selftrain.rounds
TRAININGS = CONFIG.trainings
HAS_VAL = CONFIG.data.val_images is not None
BASES = [RUN, VAL] if HAS_VAL else [RUN]
# Whether they are others is said by their hash, a parameter.
INIT = [ancient(CONFIG.train.init)] if Path(CONFIG.train.init or "").is_file() else []
EXPERIMENT = f"{RUN}/{ex.FOLDER}/detector/{{variant}}/seed{{seed}}"


wildcard_constraints:
    base="|".join(re.escape(base) for base in BASES),
    method="|".join(METHODS),
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


def settings_path(wildcards, input):
    """The full configuration, which all jobs read.

    What a job depends on is in the parameter ``depends``: when it changes, the job is rerun. This function also takes
    ``input``, so that for Snakemake a change of its value alone reruns nothing.
    """
    return SETTINGS


def shard_number(wildcards):
    return int(wildcards.shard)


def inputs_of_stage(stage):
    """The results that a stage reads for a shard, the image list, and what says that failed images changed since."""

    def inputs(wildcards):
        method = getattr(wildcards, "method", OWN)
        stages = inputs_of(stage, method_config(method, CONFIG))
        paths = [
            result_path(wildcards.base, name, wildcards.shard, method)
            for name in stages
        ]
        result = result_path(wildcards.base, stage, wildcards.shard, method)
        maps = data_of(wildcards.base, "depth_maps")
        again = tell_changed(stage, result, wildcards.base, maps)
        return [*paths, f"{wildcards.base}/manifest.jsonl", *again]

    return inputs


def depends_on(stage):
    """The settings and the algorithm that a stage's result depends on."""
    return lambda wildcards: dependencies(
        stage, method_config(getattr(wildcards, "method", OWN), CONFIG)
    )


def depth_maps(base):
    """The depth maps of a set of images."""
    maps = data_of(base, "depth_maps")
    return DepthMaps(
        CONFIG,
        Path(base),
        Path(data_of(base, "images")),
        Path(maps) if maps else None,
        len(shards(base)),
    )


DEPTH_MAPS = {base: depth_maps(base) for base in BASES}


# Hashes and listings of files are parameters of many jobs: each is made once, where a job of the rule is planned.


@cache
def feature_weights():
    return STAGES["features"].files(CONFIG, None)


@cache
def initial_weights():
    return training.init_digest(CONFIG.train)


@cache
def scored_against(labels):
    return scoring(CONFIG, labels)


def previous_round(wildcards):
    return int(wildcards.round) - 1


def masks_to_learn(_wildcards):
    """The masks of the first training; a configuration without a detector ends the workflow with a message."""
    if not TRAININGS:
        raise WorkflowError("no detector to train: config key train.detector is null")
    return masks_of(OWN)


def labels_of(number):
    """The masks on which a round was trained."""
    if number == 0:
        return masks_of(OWN)
    return f"{RUN}/detector/round{number}/annotations.json"


def masks_of(method, base=RUN):
    """The pseudo-masks of a method."""
    return pseudo_masks_path(base, method)


def experiment_labels(wildcards):
    """The masks on which the previous round was trained."""
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
        str(ex.masks_evaluation_path(RUN, method, split))
        for method in ex.MASKS
        for split in splits
    ]


def finetune_source(_wildcards):
    """Labels and images to train on; a configuration without them ends the workflow with a message."""
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


def finetune_overrides(wildcards, input):
    images = finetune_source(wildcards)[1]
    words = [f"--image-root {shlex.quote(images)}"] if images else []
    words += [f"--init {shlex.quote(str(input.start))}"] if input.start else []
    section = ft.train_section(CONFIG, wildcards.fraction, wildcards.start)
    return " ".join([*words, settings("train", section)])
