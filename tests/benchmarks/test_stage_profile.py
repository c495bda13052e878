"""The profile of an image: every step that runs has a clock on it."""

import pytest
from click.testing import CliRunner

NOT_BEFORE = {"read depth", "Spatial Importance", "k-NN graph", "LocalCut: min-cut", "Spatial Confidence: T min-cuts"}


def test_every_step_takes_time_on_both_sides(in_process, small):
    pytest.importorskip("pydensecrf", reason="the original CRF needs the extra crf-oracle")
    import stage_profile

    result = CliRunner().invoke(stage_profile.main, ["--config", str(small), "--images", "2"], catch_exceptions=False)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.output.splitlines()[3:-1]]
    assert [row[0] for row in rows] == [*stage_profile.STEPS, "all"]
    assert all(float(row[3]) > 0 for row in rows), rows
    zero = {row[0] for row in rows if float(row[1]) == 0}
    assert NOT_BEFORE <= zero <= NOT_BEFORE | {"Zarr", "rest", "bipartition", "RLE", "resize to the image's size"}


def test_the_clocks_account_for_the_whole_stage(in_process, small, tmp_path):
    import measuring
    import stage_profile

    config = measuring.configuration(small)
    names = measuring.image_names(config, 1)
    watches = stage_profile.run_stages(names, config, str(tmp_path / "run"))
    assert set(watches) == set(stage_profile.STAGES)
    for stage, watch in watches.items():
        (whole,) = [calls[-1:] for calls in [watch.calls["rest"]]]
        assert abs(sum(watch.seconds.values()) - whole[0]) < 1e-3 * whole[0], stage
        assert set(watch.seconds) <= set(stage_profile.STEPS)
