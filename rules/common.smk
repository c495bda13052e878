# Paths, shards and parameters that the rules share. What can be tested lives in the package.

import re
from pathlib import Path

from cuts3d_cli import __version__ as VERSION
from cuts3d_cli.store.layout import BASELINE, ORDER, round_path, shard_name
from cuts3d_cli.workflow import checked_config, flags, settings

CONFIG = checked_config(config, "config")
RUN = CONFIG.run.rstrip("/")
VAL = f"{RUN}/val"
ROUNDS = CONFIG.selftrain.rounds
HAS_VAL = CONFIG.data.val_images is not None
LOCAL_CUT = CONFIG.localcut.local_cut
HAS_BASELINE = CONFIG.baseline.enabled and LOCAL_CUT
BASES = [RUN, VAL] if HAS_VAL else [RUN]


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
    return f"--depth-map {folder}" if folder and CONFIG.depth.backend == "files" else ""


def previous_round(wildcards):
    return int(wildcards.round) - 1


def labels_of(number):
    """The masks that a round trained on."""
    return f"{RUN}/pseudo_masks.json" if number == 0 else f"{RUN}/detector/round{number}/annotations.json"
