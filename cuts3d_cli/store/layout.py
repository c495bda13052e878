"""What lies where: stages, array names, axes, dtypes, units, the format version and the paths of a run.

One letter per axis: n images of a shard, N instances tried, S side of the depth map in px,
G side of the patch grid, C feature channels, 2 (source, sink) or (near, far).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FORMAT_VERSION = 5
"""Raised whenever the layout of a run, or the meaning of a store or mask file changes; a reader of another version says
what to rerun."""

OWN_PICTURES = ".cuts3d-"
"""Part of the name of every picture that cuts3d writes beside an image; such files are no input."""

DONE, NO_OBJECT, FAILED = 0, 1, 2
STATUS_NAMES = ("done", "no object", "failed")

OUTCOME_NAMES = ("stopped", "kept", "overlap", "small", "covered", "rest", "uniform", "few")
"""What the codes in localcut's ``outcome`` stand for; see `core.types.Outcome`."""

SOLVER_NAMES = ("none", "lanczos", "lanczos float64", "dense", "torch", "ritz")
"""What the codes in localcut's ``solver`` stand for; see `core.ncut.second_eigenvector`."""

TOO_SMALL = "too_small"
"""Attribute of localcut's stores: by row and attempt the fraction of the patches that a rejected candidate covered."""

DEPTH_SOURCES = ("file", "model")
"""What the codes in depth's ``source`` stand for."""


@dataclass(frozen=True)
class ArraySpec:
    """An array of a store: its axes (the first is always n), dtype, meaning, and what its codes stand for."""

    axes: tuple[str, ...]
    dtype: str
    meaning: str
    values: tuple[str, ...] = ()


ARRAYS: dict[str, dict[str, ArraySpec]] = {
    "depth": {
        "depth": ArraySpec(("n", "S", "S"), "float16", "0 = nearest, 1 = farthest, normalised per image"),
        "range": ArraySpec(("n", "2"), "float32", "what 0 and 1 stand for, in the source's unit; NaN = relative"),
        "reading": ArraySpec(("n", "S", "S"), "bool", "False where the source has no reading"),
        "source": ArraySpec(("n",), "uint8", "source of the depth, a code", DEPTH_SOURCES),
    },
    "features": {"features": ArraySpec(("n", "C", "G", "G"), "float16", "patch features")},
    "spatial-importance": {"importance": ArraySpec(("n", "G", "G"), "float32", "Eq. 2, in [beta, 1]")},
    "localcut": {
        "semantic": ArraySpec(("n", "N", "G", "G"), "bool", "NCut's bipartition of each instance"),
        "instance": ArraySpec(("n", "N", "G", "G"), "bool", "the instance; an empty slot is all False"),
        "depth": ArraySpec(("n", "G", "G"), "float32", "depth of each patch as it was cut; 0 without cuts in 3D"),
        "terminals": ArraySpec(("n", "N", "2"), "int32", "flat patch index of source and sink; -1 = none"),
        "fiedler": ArraySpec(("n", "N", "G", "G"), "float32", "second eigenvector; 0 at removed patches"),
        "contrast": ArraySpec(("n", "N"), "float32", "how unlike the rest of the image the instance is, in [0, 1]"),
        "outcome": ArraySpec(("n", "N"), "uint8", "outcome of each attempt, a code", OUTCOME_NAMES),
        "solver": ArraySpec(("n", "N"), "uint8", "eigensolver of each attempt, a code", SOLVER_NAMES),
    },
    "confidence": {
        "confidence": ArraySpec(("n", "N", "G", "G"), "float16", "Eq. 4, in {0} or [sc_min, 1]"),
        "score": ArraySpec(("n", "N"), "float32", "mean confidence inside the instance; 0 = empty slot"),
    },
}
"""The arrays of each stage that writes stores."""


def shard_name(index: int) -> str:
    """Name of shard ``index`` in paths: five digits."""
    return f"{index:05d}"


def manifest_path(run: str | Path) -> Path:
    """The image list of a run."""
    return Path(run) / "manifest.jsonl"


def listing_path(run: str | Path) -> Path:
    """The listing of a folder that was touched, but whose images are those of the list."""
    return Path(run) / "listing.json"


DEFAULT_METHOD = "cuts3d"
"""The method that commands work on unless told otherwise."""


def method_root(run: str | Path, method: str) -> Path:
    """Folder of a method's own results."""
    return Path(run) / "masks" / method


def stage_path(run: str | Path, stage: str, shard: str, method: str | None = None) -> Path:
    """Where a stage's result for a shard lies: a method's own, or what all methods share."""
    root = Path(run) if method is None else method_root(run, method)
    return root / stage / f"{shard}{'.zarr' if stage in ARRAYS else '.json'}"


def failed_path(result: str | Path) -> Path:
    """Where the files of the images that failed in a result are noted, see `pipeline.retries`."""
    result = Path(result)
    if result.parent.name not in (*ARRAYS, "crf"):  # predictions
        return result.with_name(f"{result.stem}.failed.json")
    return result.parents[1] / "failed" / f"{result.parent.name}-{result.stem}.json"


def changed_path(result: str | Path) -> Path:
    """Where it is noted that files of the images that failed in a stage have changed since."""
    path = failed_path(result)
    return path.with_name(f"{path.stem}.changed.json")


def command_for(stage: str, path: str | Path) -> str:
    """The command that writes a stage's result at a path, for messages; it names the method whose result it is."""
    parts = Path(path).parts
    method = parts[-3] if len(parts) >= 4 and parts[-4] == "masks" else None
    return f"cuts3d {stage}" + (f" --method {method}" if method not in (None, DEFAULT_METHOD) else "")


def how_to_remake(path: str | Path) -> str:
    """How a damaged file or store is made again, for the hint of an error; names the command that writes it."""
    path = Path(path)
    folder = path.parent.name
    if folder == "failed" or ".failed." in path.name:
        return "delete it: what failed is then tried again by hand alone"
    by_name = {
        "manifest.jsonl": "prepare",
        "masks.json": "masks",
        "predictions_val.json": "predict",
        "pseudo_masks.json": "merge",
        "results.json": "report",
    }
    by_folder = {"evaluation": "evaluate", "in-domain": "selftrain", "round0": "train", "settings": "run"}
    command = by_name.get(path.name) or by_folder.get(folder)
    if command == "merge":
        command = command_for(command, path.parent / command / path.name).removeprefix("cuts3d ")
    elif command is None and (folder in ARRAYS or folder == "crf"):
        command = command_for(folder, path).removeprefix("cuts3d ")
    elif command is None and folder.startswith("round"):
        command = "selftrain"
    return f"delete it and rerun `cuts3d {command}`" if command else "make or fetch it again"


def pseudo_masks_path(run: str | Path, method: str) -> Path:
    """The merged pseudo-masks of a method."""
    return method_root(run, method) / "pseudo_masks.json"


def round_path(run: str | Path, number: int) -> Path:
    """Folder of the detector after self-training round ``number``; 0 is the first training."""
    return Path(run) / "detector" / f"round{number}"


def predictions_path(run: str | Path, number: int) -> Path:
    """What that detector finds in the held-out images."""
    return round_path(run, number) / "predictions_val.json"
