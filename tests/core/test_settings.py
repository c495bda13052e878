"""Settings have one source, the configuration: a caller of ``core`` that forgets one gets an error, not other masks."""

import dataclasses
import inspect
import pkgutil
from importlib import import_module

import pytest

from cuts3d_cli import core
from cuts3d_cli.config import Config

SECTIONS = ("depth", "features", "spatial_importance", "localcut", "confidence", "crf", "selftrain")
KEYS = {key for section in SECTIONS for key in Config.model_fields[section].annotation.model_fields}
"""What masks depend on; ``device`` and ``seed`` belong to no section."""


def public_functions(module):
    """Functions, constructors and methods that a module defines, by name; results (dataclasses) hold no settings."""
    for name, item in vars(module).items():
        if name.startswith("_") or getattr(item, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(item):
            yield name, item
        elif inspect.isclass(item) and not dataclasses.is_dataclass(item):
            for member, method in inspect.getmembers(item, inspect.isfunction):
                if member == "__init__" or not member.startswith("_"):
                    yield f"{name}.{member}", method


def settings_with_a_default(module):
    for name, function in public_functions(module):
        for parameter in inspect.signature(function).parameters.values():
            array = "ndarray" in str(parameter.annotation)  # the map `confidence`, not the key crf.confidence
            if parameter.name in KEYS and parameter.default is not parameter.empty and not array:
                yield f"{name}({parameter.name}={parameter.default!r})"


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(core.__path__)])
def test_no_setting_of_the_configuration_has_a_default(name):
    assert not list(settings_with_a_default(import_module(f"cuts3d_cli.core.{name}")))


def test_a_default_would_be_found(monkeypatch):
    from cuts3d_cli.core import localcut

    def local_cut(*, tau_knn=0.115, semantic=None):
        """As it was."""

    local_cut.__module__ = localcut.__name__
    monkeypatch.setattr(localcut, "local_cut", local_cut)
    assert list(settings_with_a_default(localcut)) == ["local_cut(tau_knn=0.115)"]
