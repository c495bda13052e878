"""The documentation's table of what each setting makes again equals the declarations of the stages."""

import re

from cuts3d_cli.config import resolve
from cuts3d_cli.config.backends import DEPTH, FEATURES
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.pipeline.declarations import STAGES, settings_of
from scripts.rerun_table import keys, steps_by_setting, table
from tests.test_docs import ROOT


def declared() -> dict[str, set[str]]:
    """The settings that each stage declares under some backend."""
    found: dict[str, set[str]] = {stage: set() for stage in STAGES}
    variants = [{}, {"crf": {"confidence": "crf"}}]
    variants += [
        {section: {"backend": name}} for section, of in (("depth", DEPTH), ("features", FEATURES)) for name in of
    ]
    for variant in variants:
        try:
            config = resolve({"preset": "embedded", **variant})
        except Cuts3dError:  # it needs weights
            continue
        for stage in STAGES:
            used = settings_of(stage, config)
            found[stage] |= {f"{section}.{key}" for section, values in used.items() for key in values}
    return found


def test_the_table_has_what_the_stages_declare():
    told = steps_by_setting()
    named = {stage: {key for key, steps in told.items() if stage in steps} for stage in STAGES}
    named["depth"].remove("features.backend")  # which it does not read; geometry makes files of auto
    apart = {"baseline.tau_ncut", "data.depth_maps", "data.val_depth_maps"}  # of a method, and of files
    assert {stage: named[stage] - apart for stage in STAGES} == declared()


def test_every_setting_has_its_place():
    lines = table().splitlines()[2:]
    assert sorted(key for line in lines for key in re.findall(r"`([\w.]+)`", line.split("|")[1])) == sorted(keys())
    assert "| `train.checkpoint_every`, `train.workers`, `train.loggers` | none |" in lines


def test_the_page_names_every_step():
    text = (ROOT / "docs/reruns.md").read_text()
    steps = [*STAGES, "prepare", "merge", "train", "selftrain", "predict", "evaluate", "report"]
    first = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    assert first == set(steps)
    for stage in STAGES:
        read = re.search(rf"^\| `{stage}` \| (.*?) \|", text, re.MULTILINE)[1]
        inputs = STAGES[stage].inputs(resolve({"preset": "rgbd"})) or ("prepare",)
        assert set(inputs) <= set(re.findall(r"`([\w-]+)`", read)), stage
