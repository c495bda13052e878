"""Rankings of the same masks: on drawn scenes, whose masks and their overlap are known."""

import numpy as np
import pytest
from click.testing import CliRunner

from tests.benchmarks.conftest import written

HALVES = ("choose", "report")


@pytest.fixture
def ranking(benchmarks):
    import ranking

    return ranking


def run(ranking, *arguments):
    return CliRunner().invoke(ranking.main, [str(word) for word in arguments], catch_exceptions=False)


def tables(output):
    """The tables of an output by their heading: rows by ranking, cells by column."""
    found, heading = {}, ""
    for part in output.strip().split("\n\n"):
        if part.startswith("|"):
            lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()]
            header, _rule, *rows = lines
            found[heading] = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
        heading = part.splitlines()[-1]
    return found


def test_rankings_of_photographs(ranking, kernel_file, photos):
    """A method without cuts in 3D has no stability to rank by; no order is better than that by IoU."""
    result = run(ranking, "--set", "photos", "--data", photos, "--config", kernel_file, "--bootstrap", 20)
    assert result.exit_code == 0, result.output
    assert "photos: 4 images, 2 to choose on and 2 to report on, 12 objects\n" in result.stdout
    by_method = tables(result.stdout)
    assert [heading.split(",")[0] for heading in by_method] == ["MaskCut", "CutS3D"]
    for rows in by_method.values():
        assert tuple(rows) == ranking.RANKINGS
        for half in HALVES:
            assert rows["IoU"][f"rho, {half}"] == "+1.00" and rows["attempts"][f"dAP, {half}"] == ""
            best = float(rows["IoU"][f"AP, {half}"])
            assert all(float(row[f"AP, {half}"]) <= best for row in rows.values())
            assert " to " in rows["quality"][f"dAP, {half}"]
    maskcut, cuts3d = by_method.values()
    assert maskcut["stability"]["rho, report"] == "-" != cuts3d["stability"]["rho, report"]


def test_sensor_depth_and_a_setting_that_varies(ranking, rgbd, tmp_path):
    sizes = {"features": {"image_size": 168, "patch_size": 6}, "depth": {"size": 168}, "crf": {"image_size": 96}}
    config = written(tmp_path, {"preset": ranking.PRESETS["rgbd"], **sizes})
    arguments = ("--set", "rgbd", "--data", rgbd, "--methods", "CutS3D", "--vary", "crf.enabled=false")
    result = run(ranking, *arguments, "--config", config)
    assert result.exit_code == 0, result.output
    by_row = tables(result.stdout)
    on, off = (rows["agreement"]["rho, report"] for rows in by_row.values())
    first, second = by_row
    assert first.startswith("CutS3D, as configured:") and second.startswith("CutS3D, enabled false:")
    assert off == "-" != on  # without the CRF there is nothing to agree with
    assert not any("dAP" in name for name in by_row[first]["quality"])


def test_the_values_are_those_of_the_masks(ranking, kernel_file, photos):
    from choices import data_of
    from choices_sets import SceneOptions, load_scene

    from cuts3d_cli import config as settings

    config = settings.resolve(settings.read_values(kernel_file) | {"data": data_of("photos", photos)})
    scene = load_scene("s1.png", "photos", config, SceneOptions(), photos / "cache", with_image=True)
    found = ranking.ranked_masks(scene, config, "CutS3D")
    product = np.prod([found.values[name] for name in ("contrast", "agreement", "1 - border")], axis=0)
    np.testing.assert_allclose(found.values["quality"], product, rtol=1e-5)
    assert set(found.values) == set(ranking.RANKINGS) and len(product) == len(found.masks.runs) > 1
    np.testing.assert_array_equal(found.values["IoU"], found.masks.iou.max(axis=0))
    assert (np.diff(found.values["attempts"]) < 0).all()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--methods", "TokenCut"), "--methods"),
        (("--vary", "localcut.tau=1"), "unknown key localcut.tau"),
        (("--vary", "train.iterations=1"), "changes no mask here"),
        (("--n", "1"), "images to report on; expected at least one"),
    ],
)
def test_a_mistake_is_one_line(ranking, kernel_file, photos, words, told):
    result = run(ranking, "--set", "photos", "--data", photos, "--config", kernel_file, *words)
    (line,) = result.output.splitlines()
    assert result.exit_code == 1 and told in line


def test_a_folder_of_another_kind_is_refused(ranking, photos):
    result = run(ranking, "--set", "rgbd", "--data", photos)
    assert result.exit_code == 1 and "no rgb" in result.output


def test_no_mask_at_all(ranking, kernel_file, photos, tmp_path):
    """Every instance is rejected by the CRF."""
    from cuts3d_cli import config as settings

    values = settings.merge_values(settings.read_values(kernel_file), {"crf": {"min_iou": 1.0, "iterations": 5}})
    result = run(ranking, "--set", "photos", "--data", photos, "--config", written(tmp_path, values))
    assert result.exit_code == 0, result.output
    for rows in tables(result.stdout).values():
        assert {row["AP, report"] for row in rows.values()} == {"0.00"}
        assert {row["rho, report"] for row in rows.values()} == {"-"}
