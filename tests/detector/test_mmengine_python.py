"""MMEngine and MMCV on Pythons and setuptools that lack what they ask for."""

import inspect
import pkgutil
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.utils import dl_utils, package_utils

import cuts3d_cli.detector  # noqa: F401  (installs the help)


@pytest.fixture(autouse=True)
def newer_python(monkeypatch):
    monkeypatch.delattr(pkgutil, "find_loader", raising=False)  # as Python 3.14
    monkeypatch.setitem(sys.modules, "pkg_resources", None)  # as with setuptools 82: its import fails


def test_help_is_still_needed():
    with pytest.raises(ModuleNotFoundError):
        package_utils.is_installed("mmdet")
    assert "pkgutil.find_loader" in inspect.getsource(dl_utils.misc)


@pytest.mark.parametrize(("package", "expected"), [("mmdet", 12), ("mmseg", None)])
def test_a_config_of_another_package(package, expected, tmp_path):
    (tmp_path / "mine.py").write_text(f"_base_ = '{package}::_base_/schedules/schedule_1x.py'")
    if expected is None:
        with pytest.raises(ModuleNotFoundError, match=r"mmseg.* is not installed"):
            Config.fromfile(tmp_path / "mine.py")
    else:
        assert Config.fromfile(tmp_path / "mine.py").train_cfg.max_epochs == expected


def test_whether_mmcv_is_compiled_is_asked_for_every_optimiser():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    settings = {
        "optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.01}, "paramwise_cfg": {"norm_decay_mult": 0.0},
    }  # fmt: skip
    groups = build_optim_wrapper(model, settings).optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {0.01, 0.0}
