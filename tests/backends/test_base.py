"""The name tables list, load and refuse backends without importing more than is asked for."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from cuts3d_cli.backends import base
from cuts3d_cli.config import DepthConfig, FeaturesConfig, backends
from cuts3d_cli.errors import ConfigError


def test_defaults_are_listed():
    assert FeaturesConfig().backend in backends.feature_names()
    assert DepthConfig().backend in backends.depth_names()


@pytest.mark.parametrize("table", [backends.FEATURES, backends.DEPTH])
def test_every_module_exists(table):
    for name, entry in table.items():
        assert find_spec(f"cuts3d_cli.backends.{entry.module}") is not None, name
        assert entry.about and "\n" not in entry.about


@pytest.mark.parametrize(
    ("build", "wrong", "meant"),
    [
        (lambda name: base.feature_backend(FeaturesConfig(backend=name)), "dino_vits8", "dino-vits8"),
        (lambda name: base.depth_backend(DepthConfig(backend=name)), "zoedpeth", "zoedepth"),
        (lambda name: base.depth_backend(DepthConfig(backend=name)), "file", "files"),
    ],
)
def test_unknown_name_gives_the_choices_and_a_guess(build, wrong, meant):
    with pytest.raises(ConfigError) as caught:
        build(wrong)
    line = str(caught.value)
    assert "\n" not in line
    assert repr(wrong) in line and f"did you mean {meant}?" in line
    with pytest.raises(ConfigError) as caught:
        build("qqqqqq")
    assert "did you mean" not in str(caught.value) and meant in str(caught.value)


def test_names_and_embedded_features_need_no_torch():
    code = (
        "import sys\n"
        "from cuts3d_cli.backends import base\n"
        "from cuts3d_cli.config import backends\n"
        "from cuts3d_cli.config import FeaturesConfig\n"
        "backends.feature_names(), backends.depth_names()\n"
        "assert 'cv2' not in sys.modules and 'scipy' not in sys.modules\n"
        "base.feature_backend(FeaturesConfig(backend='kernel'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
