"""The profile of an image: every step that runs has a clock on it."""

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from cuts3d_cli.stages import depth

NOT_BEFORE = {"read depth", "Spatial Importance", "k-NN graph", "LocalCut: min-cut", "Spatial Confidence: T min-cuts"}


def test_every_step_takes_time_on_both_sides(in_process, small):
    pytest.importorskip("pydensecrf", reason="the original CRF needs the extra crf-oracle")
    import stage_profile

    result = CliRunner().invoke(stage_profile.main, ["--config", str(small), "--images", "2"], catch_exceptions=False)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.output.splitlines()[3:-1]]
    assert [row[0] for row in rows] == [*(step for step in stage_profile.STEPS if step != "depth model"), "all"]
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
        assert set(watch.seconds) <= {*stage_profile.STEPS, stage_profile.LOADING}


def test_depth_of_a_model_has_its_own_step(in_process, small, tmp_path, monkeypatch):
    import measuring
    import stage_profile

    from cuts3d_cli.backends import base

    class Model:
        description, convention = "drawn", "metric"

        def predict(self, rgb, size):
            return np.broadcast_to(np.linspace(1, 2, size, dtype=np.float32), (size, size))

    values = yaml.safe_load(small.read_text())
    values["data"]["depth_maps"] = None
    small.write_text(yaml.safe_dump(values))
    config = measuring.configuration(small)
    names = measuring.image_names(config, 1)
    monkeypatch.setattr(base, "depth_backend", lambda *args, **keywords: Model())
    monkeypatch.setattr(depth, "depth_backend", base.depth_backend)
    watches = stage_profile.run_stages(names, config, str(tmp_path / "run"))
    assert len(watches["depth"].calls["depth model"]) == 1 and "read depth" not in watches["depth"].calls
    assert watches["features"].seconds["features"] > 0 and watches["features"].seconds[stage_profile.LOADING] > 0
    text = stage_profile.profile_table(
        dict.fromkeys(stage_profile.STEPS, 0.0) | {"rest": 1.0}, stage_profile.after(names, config)
    )
    assert "| depth model " in text and "| read depth " not in text
