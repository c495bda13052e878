"""Which steps of a run use each setting, found by changing it and comparing what each step depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from cuts3d_cli.config import Config, Section, resolve
from cuts3d_cli.config.backends import DEPTH, FEATURES
from cuts3d_cli.config.loading import EMBEDDED
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.plan import scoring
from cuts3d_cli.pipeline.declarations import LAST, STAGES, dependencies, upstream_of
from cuts3d_cli.pipeline.methods import OWN, method_config, methods_of
from cuts3d_cli.training import selftrain, train

NOTES = {
    "run": "another run",
    "experiments": "the ablations, made on request",
    "finetune": "fine-tuning, made on request",
    "selftrain.target": "in-domain self-training, made on request",
    "selftrain.rounds": "rounds that are missing; none is made again",
    "baseline.enabled": "the masks of MaskCut, which are made or left out",
    "report": "`report`",
}
"""What else there is to say of settings, by how their names start; the first that fits."""

DATA = {"images": "images", "depth_maps": "maps", "annotations": "labels.json", "val_images": "held",
        "val_depth_maps": "held maps", "val_annotations": "held.json", "ignore_labels": [0]}  # fmt: skip


@cache
def steps_by_setting() -> dict[str, list[str]]:
    """The steps that use each setting, in the order they run; the report, which shows all settings, is left out."""
    bases = [("", {"preset": EMBEDDED})]
    bases += [("crf. confidence.", {"crf": {"confidence": "crf", "solver": solver}}) for solver in ("lattice", "dense")]
    bases += [("features.", {"features": {"backend": name}}) for name in FEATURES]
    bases += [("depth.", {"depth": {"backend": name}}) for name in DEPTH]
    found: dict[str, dict[str, None]] = {key: {} for key in keys()}
    for sections, base in bases:
        try:
            values = resolve({"preset": EMBEDDED, **base, "data": DATA}).model_dump(mode="json")
        except Cuts3dError:  # a backend that needs more than its name
            continue
        before = depends(resolve(values))
        for key, field in keys().items():
            if sections and key.partition(".")[0] + "." not in sections.split():
                continue
            if (after := _changed(values, key, field)) is not None:
                found[key] |= dict.fromkeys(step for step in before if _differ(before[step], after.get(step)))
    order = ["prepare", *STAGES, "train", "selftrain", "predict", "evaluate"]
    return {key: sorted(steps, key=order.index) for key, steps in found.items()}


def keys() -> dict[str, FieldInfo]:
    """Every setting by its name with section."""
    found = {}
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= {f"{name}.{key}": inner for key, inner in field.annotation.model_fields.items()}
        else:
            found[name] = field
    return found


def depends(config: Config) -> dict[str, Any]:
    """What each step depends on by itself, as in the rules."""
    data, found = config.data, {"prepare": [config.data.images, config.data.n_shards]}
    found["prepare"] += [data.val_images, data.val_shards]
    for method in methods_of(config):
        used = method_config(method, config)
        for stage in [*upstream_of(LAST, used), LAST]:
            found.setdefault(stage, {})[method] = dependencies(stage, used)
    if "depth" in found:
        found["depth"]["maps"] = [data.depth_maps, data.val_depth_maps]
    found["train"] = train.dependencies(config.train, config.seed)
    found["selftrain"] = selftrain.dependencies(config.selftrain, config.train, config.seed, 1)
    found["predict"] = config.predict.model_dump(mode="json")
    found["evaluate"] = [scoring(config, None), data.annotations, data.val_annotations, data.ignore_labels]
    return found


def _differ(before: Any, after: Any) -> bool:
    """Whether a step depends on something else; of a stage those methods count that need it before and after."""
    if isinstance(before, dict) and isinstance(after, dict) and OWN in before and OWN in after:
        return any(before[method] != after[method] for method in before.keys() & after.keys())
    return after is not None and before != after


def _changed(values: Mapping[str, Any], key: str, field: FieldInfo) -> dict[str, Any] | None:
    """What the steps depend on with another value of a setting; None where there is none."""
    section, _, name = key.rpartition(".")
    value = values[section][name] if section else values[name]
    for other in _others(value, field):
        changed = {**values[section], name: other} if section else other
        try:
            return depends(resolve({**values, section or name: changed}))
        except (Cuts3dError, OSError):  # out of range, or without effect with this backend
            continue
    return None


def _others(value: Any, field: FieldInfo) -> Iterator[Any]:
    """Values that a setting may have instead of its own, one of which should be valid."""
    kinds = [field.annotation, *get_args(field.annotation)]
    yield from (choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind) if choice != value)
    if field.annotation is str and value in {*FEATURES, *DEPTH}:
        yield from (name for name in (*FEATURES, *DEPTH) if name != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value - 1, value * 0.9, value * 1.1, 0.5, 0.001)
    elif isinstance(value, str):
        yield f"{value}x"
    elif isinstance(value, list | tuple):
        yield from ([], list(value)[:-1], [each * 0.9 for each in value if isinstance(each, float)])
        yield from ([each + 1 for each in value if isinstance(each, int)], [*value, 1], ["tensorboard"])
    else:
        yield from ("x", 1, 0.5, [1], *FEATURES)


def table() -> str:
    """The table of the documentation."""
    found = steps_by_setting()
    rows: dict[tuple[str, str], list[str]] = {}
    for key, steps in found.items():
        notes = [text for start, text in NOTES.items() if key.startswith(start)]
        used = ", ".join(f"`{step}`" for step in steps) or (notes[0] if notes else "none")
        rows.setdefault((key.partition(".")[0] if "." in key else "", used), []).append(key)
    lines = ["| setting | steps that use it |", "| --- | --- |"]
    lines += [f"| {', '.join(f'`{key}`' for key in keys)} | {used} |" for (_, used), keys in rows.items()]
    return "\n".join(lines)
