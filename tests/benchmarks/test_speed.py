"""The command that measures the budgets, and its ways of measuring."""

import mmap
import os
import time

import numpy as np
import pytest
from click.testing import CliRunner

from cuts3d_cli.config import resolve


def test_every_budget_has_its_row(in_process, small):
    pytest.importorskip("pydensecrf", reason="the original CRF needs the extra crf-oracle")
    import speed

    arguments = [
        "--config",
        str(small),
        "--repeat",
        "1",
        "--images",
        "1",
        "--shard-images",
        "1",
        "--worker-images",
        "1",
    ]
    result = CliRunner().invoke(speed.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    rows = [line for line in result.output.splitlines() if line.endswith(("pass |", "miss |"))]
    names = [row.split("|")[1] for row in rows]
    expected = [
        "second eigenvector", "LocalCut, confidence", "CRF on both sides", "on ours only", "one min-cut",
        "the longest min-cut", "3D parts",
        "Zarr in localcut", "Zarr in confidence", "Zarr in crf", "all six", "two workers", "peak memory",
    ]  # fmt: skip
    assert len(names) == len(expected) and all(text in name for text, name in zip(expected, names, strict=True))
    assert "2 of 2 bipartitions equal" in names[0]


def test_a_budget_is_met_from_its_side(benchmarks):
    from speed import Budget

    assert Budget("ratio", 20, "x", [19, 21, 30], at_least=True).row() == [
        "ratio", ">= 20 x", "21.0", "19.0 to 30.0", "pass",
    ]  # fmt: skip
    assert Budget("share", 5, "%", [4, 6, 7]).row()[1:] == ["<= 5 %", "6.0", "4.0 to 7.0", "miss"]
    assert Budget("memory", 1.2, "GB", [1.25]).row()[2:] == ["1.25", "1.25 to 1.25", "miss"]


def test_original_maskcut_finds_what_our_preset_finds(benchmarks):
    """The baseline that is measured against is MaskCut: it gives the masks of the preset."""
    import cutler_maskcut
    from measuring import Stopwatch

    from cuts3d_cli.core.find_instances import find_instances

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 3))
    labels = np.zeros((16, 16), int)
    labels[2:8, 2:8], labels[9:14, 8:15] = 1, 2
    features = (centres[:, labels] + 0.1 * rng.normal(size=(8, 16, 16))).astype(np.float32)
    masks = cutler_maskcut.maskcut(features, 0.15, 3, Stopwatch())
    found = find_instances(features, **resolve({"preset": "maskcut"}).localcut.model_dump())
    np.testing.assert_array_equal(masks, found.instance[found.found])


def test_stopwatch_takes_callees_out(benchmarks):
    from measuring import Stopwatch

    class Work:
        @staticmethod
        def inner():
            time.sleep(0.02)

        @classmethod
        def outer(cls):
            cls.inner()

    watch, inner = Stopwatch(), Work.inner
    with watch.watching((Work, "inner", "in"), (Work, "outer", "out")), watch.part("all"):
        Work.outer()
    assert Work.inner is inner
    assert watch.seconds["in"] >= 0.02 > watch.seconds["out"] and watch.calls["out"][0] >= 0.02
    np.testing.assert_allclose(sum(watch.seconds.values()), watch.calls["all"][0], rtol=1e-6)


def fill_pages(n_bytes):
    """Take memory from the system and give it back; an array may lie in what the process has freed earlier."""
    with mmap.mmap(-1, n_bytes) as pages:
        for start in range(0, n_bytes, mmap.PAGESIZE):
            pages[start] = 1


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="resets the peak through /proc")
def test_peak_memory_belongs_to_the_part_that_took_it(benchmarks):
    from measuring import Stopwatch

    watch = Stopwatch(memory=True)
    with watch.part("outer"):
        with watch.part("large"):
            fill_pages(240_000_000)
        with watch.part("small"):
            fill_pages(4096)
    assert watch.peaks["large"] > max(watch.peaks["small"], watch.peaks["outer"]) + 0.2


def test_a_child_has_its_threads_and_leaves_ours(benchmarks, monkeypatch):
    import measuring

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert measuring.in_child(os.getenv, "OMP_NUM_THREADS", threads=2) == "2"
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_command_that_fails_is_not_measured(benchmarks):
    import measuring

    with pytest.raises(RuntimeError, match="exit code 2"):
        measuring.cuts3d("localcut")
