"""Every stage reads the settings that it declares and no others, and what is declared leads to the right reruns."""

import json

import pytest

from cuts3d_cli.config import Section, preset_names, resolve
from cuts3d_cli.pipeline import graph
from cuts3d_cli.pipeline.cache import image_source
from cuts3d_cli.pipeline.declarations import LAST, STAGES, dependencies, inputs_of, settings_of, upstream_of
from cuts3d_cli.pipeline.graph import execute, expected_fingerprints
from cuts3d_cli.pipeline.methods import METHODS, OWN, method_config, methods_of
from cuts3d_cli.pipeline.runner import Job
from cuts3d_cli.store.layout import ARRAYS

SMALL = {
    "features": {"image_size": 96, "patch_size": 8},
    "depth": {"size": 96},
    "localcut": {"tau_knn": 0.115},
    "crf": {"iterations": 2, "image_size": 96},
}

NO_SETTINGS = {"device", "finder", "max_failed"}
"""What a stage may read all the same: results do not depend on it, or its inputs follow from it."""


class Recorder:
    """A configuration or section that notes which keys are read."""

    def __init__(self, model, name, seen):
        self._model, self._name, self._seen = model, name, seen

    def __getattr__(self, key):
        found = getattr(type(self._model), key, None)
        if isinstance(found, property):
            return found.fget(self)
        if key in ("model_dump", "model_copy"):
            self._seen.update(f"{self._name}.{used}" for used in self._model.used_keys())
            return getattr(self._model, key)
        value = getattr(self._model, key)
        if isinstance(value, Section):
            return Recorder(value, key, self._seen)
        self._seen.add(f"{self._name}.{key}" if self._name else key)
        return value


VARIANTS = {
    "cuts3d": {},
    "grid": {"spatial_importance": {"resolution": "grid"}},
    "geometry": {"features": {"backend": "geometry", "image_size": 96, "patch_size": 6}},
    "crf": {"crf": {"confidence": "crf", "iterations": 2, "image_size": 96}},
    "unary": {"crf": {"unary": "confidence", "iterations": 2, "image_size": 96}},
    "off": {"crf": {"enabled": False}},
    "maskcut": {"localcut": {"local_cut": False, "sharpen": False}},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_stage_reads_what_it_declares(dataset, tmp_path, monkeypatch, name):
    config = resolve({**SMALL, **VARIANTS[name], "preset": "embedded"})
    source = image_source(dataset / "images/s1.png", dataset / "depth")
    read: dict[str, set[str]] = {}

    def job(source, stores, out, fingerprint, config, *more):
        seen = read.setdefault(out.stem, set())
        return Job(source, stores, out, fingerprint, Recorder(config, "", seen), *more)

    monkeypatch.setattr(graph, "Job", job)
    for stage in [*upstream_of(LAST, config), LAST]:
        execute(stage, source, config, lambda s: tmp_path / f"{s}{'.zarr' if s in ARRAYS else '.json'}")
        declared = {f"{section}.{key}" for section, keys in settings_of(stage, config).items() for key in keys}
        assert read[stage] - NO_SETTINGS <= declared
        assert read[stage], stage


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("method", METHODS)
def test_stages_run_in_the_order_of_the_table(preset, method):
    config = method_config(method, resolve({"preset": preset}))
    order = list(STAGES)
    for stage in [*upstream_of(LAST, config), LAST]:
        assert all(order.index(before) < order.index(stage) for before in inputs_of(stage, config))
        json.dumps(dependencies(stage, config))


@pytest.mark.parametrize(("changed", "stale"), [
    ({"localcut": {"tau_knn": 0.1}}, {"localcut", "confidence", "crf"}),
    ({"confidence": {"sc_min": 0.4}}, {"confidence", "crf"}),
    ({"crf": {"iterations": 3}}, {"crf"}),
    ({"spatial_importance": {"beta": 0.5}}, {"spatial-importance", "localcut", "confidence", "crf"}),
    ({"features": {"image_size": 240}}, {"features", "spatial-importance", "localcut", "confidence", "crf"}),
    ({"features": {"kernel_dims": 64}}, {"features", "localcut", "confidence", "crf"}),
    ({"depth": {"size": 240}}, {"depth", "spatial-importance", "localcut", "confidence", "crf"}),
    ({"train": {"iterations": 3}, "seed": 3, "device": "cpu", "max_failed": 0.1, "baseline": {"tau_ncut": 0.3}}, set()),
])  # fmt: skip
def test_a_changed_setting_makes_what_uses_it_stale_and_what_follows(photo, changed, stale):
    source = image_source(photo, None)
    before = expected_fingerprints(resolve({"preset": "embedded"}), source)
    after = expected_fingerprints(resolve({"preset": "embedded", **changed}), source)
    assert {stage for stage in before if before[stage] != after[stage]} == stale


def test_a_raised_algorithm_makes_its_results_stale(photo, monkeypatch):
    from dataclasses import replace

    config, source = resolve({"preset": "embedded"}), image_source(photo, None)
    before = expected_fingerprints(config, source)
    monkeypatch.setitem(STAGES, "confidence", replace(STAGES["confidence"], algorithm=99))
    after = expected_fingerprints(config, source)
    assert {stage for stage in before if before[stage] != after[stage]} == {"confidence", "crf"}


def test_methods_differ_from_the_run_where_they_say(photo):
    config, source = resolve({"preset": "embedded"}), image_source(photo, None)
    own = expected_fingerprints(config, source)
    maskcut = expected_fingerprints(method_config("maskcut", config), source)
    assert maskcut["features"] == own["features"] and maskcut["localcut"] != own["localcut"]
    assert set(maskcut) == {"features", "localcut", "crf"}
    unsharpened = method_config("localcut", config)
    assert unsharpened == config.model_copy(update={"localcut": config.localcut.model_copy(update={"sharpen": False})})
    assert method_config(OWN, config) is config


def test_maskcut_keeps_clear_of_a_confidence_it_does_not_have():
    config = resolve({"crf": {"confidence": "crf"}})
    assert method_config("maskcut", config).crf.confidence == "cuts"
    config = resolve({"crf": {"unary": "confidence"}, "baseline": {"tau_ncut": 0.3}, "localcut": {"n_instances": 2}})
    made = method_config("maskcut", config)
    assert made.crf.unary == "softmax" and (made.localcut.tau_ncut, made.localcut.n_instances) == (0.3, 2)


def test_a_run_makes_the_methods_that_its_configuration_asks_for():
    assert methods_of(resolve({})) == ["maskcut", OWN]
    assert methods_of(resolve({"baseline": {"enabled": False}})) == [OWN]
    assert methods_of(resolve({"preset": "maskcut"})) == [OWN]
