"""A grid whose affinities do not fit into memory is refused before anything is computed, in one line."""

import pytest

from cuts3d_cli.config import resolve
from cuts3d_cli.errors import ConfigError
from cuts3d_cli.pipeline import memory


@pytest.fixture
def gigabytes(monkeypatch):
    def give(n):
        monkeypatch.setattr(memory, "memory_of_machine", lambda: n * 2**30)

    return give


def config(size, solver="lanczos"):
    return resolve({"features": {"image_size": size}, "localcut": {"eigensolver": solver}})


def test_the_line_names_keys_values_and_the_limit(gigabytes):
    gigabytes(4)
    memory.check_memory(config(480))
    with pytest.raises(ConfigError) as error:
        memory.check_memory(config(4096))
    assert str(error.value) == (
        "config key features.image_size 4096 with features.patch_size 8: 512 x 512 patches, whose affinities take "
        "70 GB; expected at most 249 x 249 patches, as this process may use 4.0 GB -> choose a smaller "
        "features.image_size or a larger features.patch_size"
    )
    memory.check_memory(config(8 * 249))
    with pytest.raises(ConfigError, match=r"or localcut.eigensolver = lanczos"):
        memory.check_memory(config(960, "dense"))


def test_an_unknown_size_of_memory_refuses_nothing(monkeypatch):
    monkeypatch.setattr(memory, "memory_of_machine", lambda: None)
    memory.check_memory(config(4096))


def test_the_memory_of_this_machine_is_known():
    assert memory.memory_of_machine() > 2**27


@pytest.mark.parametrize(
    ("own", "files", "limits"),
    [
        ("0::/a/b\n", {"memory.max": "900", "a/memory.max": "700", "a/b/memory.max": "max"}, [700, 900]),
        ("3:cpu:/x\n4:memory:/job\n", {"memory/job/memory.limit_in_bytes": "500"}, [500]),
        ("0::/\n", {}, []),
    ],
)
def test_limits_of_control_groups_as_slurm_and_containers_set_them(tmp_path, own, files, limits):
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_text(own)
    assert memory._limits(tmp_path / "root", tmp_path / "own") == limits
    assert memory._limits(tmp_path / "none", tmp_path / "nothing") == []


def test_commands_and_the_library_check_it_before_they_begin(cuts3d, photo, gigabytes, monkeypatch):
    import numpy as np

    import cuts3d as library

    gigabytes(0.001)
    for command in ("features", "localcut", "crf"):
        code, _, err = cuts3d(command, "--no-picture", photo)
        (line,) = [line for line in err.splitlines() if "error" in line]
        assert code == 1 and "60 x 60 patches" in line and "expected at most 31 x 31" in line
    assert "--image-size 480 with --patch-size 8" in cuts3d("features", "--force", "--no-picture", photo)[2]
    with pytest.raises(ConfigError, match="60 x 60 patches"):
        library.segment(np.zeros((8, 8, 3), np.uint8), preset="embedded")
