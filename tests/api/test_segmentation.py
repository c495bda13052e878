"""``cuts3d.segment`` gives the masks of ``cuts3d crf``, from whatever an image and its depth are given as."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import cuts3d
from cuts3d_cli.config import resolve
from cuts3d_cli.pipeline.cache import run_image
from cuts3d_cli.pipeline.methods import method_config
from cuts3d_cli.store.coco import decode_mask
from cuts3d_cli.store.zarr_store import open_store

SMALL = {
    "features": {"image_size": 96},
    "depth": {"size": 96},
    "crf": {"image_size": 96, "iterations": 3},
    "localcut": {"tau_knn": 0.115},  # a grid of 12 x 12 has longer edges
    "confidence": {"tau_knn_min": 0.05},
}


class Slope:
    """A depth model: near on the left, so that no two patches beside each other are at one depth."""

    description, convention = "slope", "inverse"

    def predict(self, rgb, size):
        return np.tile(np.linspace(2, 1, size, dtype=np.float32) ** 3, (size, 1))


@pytest.fixture
def small(tmp_path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({"preset": "embedded", **SMALL}))
    return path


@pytest.fixture
def slope(monkeypatch):
    """The embedded depth model, replaced."""
    from cuts3d_cli.api import segmentation
    from cuts3d_cli.backends import depth_embedded

    monkeypatch.setattr(depth_embedded, "load", lambda config, device: Slope())
    segmentation._depth_backend.cache_clear()
    yield
    segmentation._depth_backend.cache_clear()


def crf_of(cuts3d_command, *arguments) -> list[dict]:
    """The annotations that ``cuts3d crf`` writes for the image in the working directory."""
    before = set(Path(".cuts3d/crf").glob("*.json"))
    code, _, err = cuts3d_command("crf", "--no-picture", *arguments)
    assert code == 0, err
    (made,) = set(Path(".cuts3d/crf").glob("*.json")) - before
    return json.loads(made.read_text())["annotations"]


def assert_same(found: cuts3d.Segmentation, annotations: list[dict]) -> None:
    """Masks, boxes, areas and scores are those of the command's annotations, in their order."""
    ours = found.to_coco()["annotations"]
    assert len(ours) == len(annotations) > 0
    for own, expected in zip(ours, annotations, strict=True):
        for key in ("segmentation", "bbox", "area", "score", "quality", "cut", "iscrowd", "category_id"):
            assert own[key] == expected[key]
    np.testing.assert_allclose(found.quality, [entry["quality"] for entry in annotations], atol=1e-6)
    assert found.cuts.min() == 1 and [entry["cut"] + 1 for entry in annotations] == found.cuts.tolist()


def test_a_file_with_depth_beside_it(photo, cuts3d, small):
    found = segment(photo, config=small)
    assert_same(found, crf_of(cuts3d, photo, "--config", small))
    assert found.depth_source == "file" and found.masks.shape == (len(found), 120, 160)


@pytest.mark.parametrize("given", ["array", "float", "view", "picture"])
def test_arrays_and_pictures_give_what_their_files_give(photo, cuts3d, small, given):
    expected = crf_of(cuts3d, photo, "--config", small)
    rgb, depth = np.array(Image.open("s.png")), np.array(Image.open("s_depth.png"))
    image = {"picture": Image.open("s.png"), "view": rgb[:, ::-1][:, ::-1]}.get(given, rgb)
    depth = {"float": depth.astype(np.float64), "picture": "s_depth.png"}.get(given, depth)
    found = segment(image, depth, config=small)
    assert_same(found, expected)
    assert found.depth_source == "given" and np.array_equal(found.rgb, rgb)


@pytest.mark.parametrize(
    "more",
    [
        ["--preset", "maskcut", "--set", "features.backend=kernel"],
        ["--preset", "rgbd"],
        ["--set", "localcut.sharpen=false", "--set", "crf.enabled=false"],
        ["--set", "crf.unary=confidence", "--set", "crf.confidence=crf", "--set", "confidence.sc_min=0.6"],
        ["--set", "crf.solver=torch", "--set", "localcut.eigensolver=torch"],
    ],
    ids=["maskcut", "rgbd", "no sharpening, no CRF", "confidence of the CRF", "torch"],
)
def test_other_settings(photo, cuts3d, small, more):
    expected = crf_of(cuts3d, photo, "--config", small, *more)
    overrides: dict = {}
    for text in more[1::2]:
        if "=" in text:
            key, value = text.split("=")
            section, name = key.split(".")
            overrides.setdefault(section, {})[name] = yaml.safe_load(value)
    preset = more[1] if more[0] == "--preset" else None
    found = segment(photo, preset=preset, config=small, **overrides)
    assert_same(found, expected)
    has_confidence = preset != "maskcut"
    assert (found.confidence is not None) == (found.depth is not None) == has_confidence


def test_without_a_map_the_depth_model_is_asked(photo, cuts3d, small, slope):
    Path("s_depth.png").unlink()
    expected = crf_of(cuts3d, photo, "--config", small)
    for image in (photo, np.array(Image.open(photo))):
        found = segment(image, config=small)
        assert_same(found, expected)
        assert found.depth_source == "model"


def test_features_of_depth_need_a_map(photo, small):
    Path("s_depth.png").unlink()
    with pytest.raises(cuts3d.ImageError, match=r'made for sensor depth; found none -> .* preset="photo"'):
        segment(photo, preset="rgbd", config=small)


def test_the_preset_photo_with_real_weights(photo, cuts3d, real_weights):
    changes = {"features": {"image_size": 168}, "crf": {"image_size": 96, "min_iou": 0}, "localcut": {"tau_knn": 0.2}}
    sets = [f"{section}.{key}={value}" for section, keys in changes.items() for key, value in keys.items()]
    expected = crf_of(cuts3d, photo, "--preset", "photo", *(word for text in sets for word in ("--set", text)))
    assert_same(segment(photo, **changes), expected)  # files other than the sample's take `photo`
    assert_same(segment(np.array(Image.open(photo)), np.array(Image.open("s_depth.png")), **changes), expected)


def test_maskcut_is_that_of_a_run(photo, small):
    config = resolve({"preset": "embedded", **SMALL})
    changed = method_config("maskcut", config)
    document = json.loads(run_image("crf", photo, changed).paths["crf"].read_text())
    found = segment(photo, config=config, method="maskcut")
    assert_same(found, document["annotations"])
    assert found.depth is None and found.confidence is None and (found.scores == 1).all()
    assert not segment(photo, config=config, method="localcut").config.localcut.sharpen


def test_every_intermediate_is_that_of_the_stores(photo, cuts3d, small):
    annotations = crf_of(cuts3d, photo, "--config", small)
    found = segment(photo, config=small)
    stored = {path.parent.name: open_store(path) for path in Path(".cuts3d").glob("*/*.zarr")}
    for stage, name, ours in [
        ("depth", "depth", found.depth), ("features", "features", found.features),
        ("spatial-importance", "importance", found.importance), ("localcut", "semantic", found.semantic),
        ("localcut", "instance", found.instance), ("localcut", "fiedler", found.fiedler),
        ("localcut", "terminals", found.terminals), ("confidence", "confidence", found.cut_confidence),
    ]:  # fmt: skip
        theirs = stored[stage].array(name)[0]
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    assert [a["cut"] + 1 for a in annotations] == found.cuts.tolist()
    np.testing.assert_array_equal(found.confidence, found.cut_confidence[found.cuts - 1])
    assert found.probability.shape == (len(found), 96, 96) and found.outcomes[found.cuts[0] - 1] == "kept"
    assert len(found.outcomes) == found.config.localcut.n_instances
    assert (np.array([decode_mask(a["segmentation"]) for a in annotations]) == found.masks).all()


def test_what_the_crf_refuses_is_told(photo, small):
    found = segment(photo, config=small, crf={"min_iou": 1.0})
    assert len(found) == 0 and "rejected: changed too much by the CRF" in found.outcomes
    assert found.masks.shape == (0, 120, 160) and found.scores.shape == found.quality.shape == (0,)
    assert found.overlay().shape == found.rgb.shape and found.to_coco()["annotations"] == []
    assert repr(found) == "<Segmentation 0 masks of 120 x 160 px>"


def test_masks_are_drawn_with_the_numbers_of_their_cuts(photo, small):
    found = segment(photo, config=small)
    drawn = found.overlay()
    assert drawn.dtype == np.uint8 and (drawn != found.rgb).any(axis=2)[found.masks.any(axis=0)].mean() > 0.9


def test_the_number_on_a_mask_is_its_quality_and_without_one_its_named_stability(photo, small, monkeypatch):
    from cuts3d_cli.report import annotations

    shown = []
    monkeypatch.setattr(
        annotations, "overlay", lambda rgb, masks, numbers, score_name: shown.append(numbers) or score_name
    )
    found = segment(photo, config=small)
    without = replace(found, quality=np.full(len(found), np.nan, np.float32))
    flat = segment(photo, config=small, method="maskcut")
    assert [each.overlay() for each in (found, without, flat)] == ["quality", "stability", "quality"]
    for each, numbers, expected in zip((found, without), shown, (found.quality, found.scores), strict=False):
        assert [numbers[cut - 1] for cut in each.cuts] == pytest.approx(expected.tolist())


def test_coco_takes_the_document(photo, small, tmp_path):
    from pycocotools.coco import COCO

    path = tmp_path / "found.json"
    found = segment(photo, config=small)
    path.write_text(json.dumps(found.to_coco("s.png", image_id=7)))
    coco = COCO(str(path))
    assert coco.imgs[7]["file_name"] == "s.png"
    for entry, mask in zip(coco.anns.values(), found.masks, strict=True):
        np.testing.assert_array_equal(coco.annToMask(entry).astype(bool), mask)
    again = cuts3d.read_masks(path)[0]
    np.testing.assert_array_equal(again.masks, found.masks)


def test_what_a_masked_array_masks_is_no_reading(photo, small):
    depth = np.array(Image.open("s_depth.png"))
    mask = np.zeros(depth.shape, bool)
    mask[40:60, 30:50] = True
    wrong = np.where(mask, 60000, depth)
    holed = segment(photo, np.where(mask, 0, depth), config=small)
    np.testing.assert_array_equal(segment(photo, np.ma.array(wrong, mask=mask), config=small).depth, holed.depth)
    assert not np.array_equal(segment(photo, wrong, config=small).depth, holed.depth)


def test_what_is_odd_about_the_depth_is_logged(photo, small, caplog):
    depth = np.array(Image.open("s_depth.png")).astype(int)
    with caplog.at_level("WARNING", logger="cuts3d"):
        segment(photo, np.where(depth > 1500, -1.0, depth), config=small)
    assert [record.getMessage() for record in caplog.records] == [f"depth: values below 0 are taken as holes ({photo})"]


def test_settings_of_depth_without_effect_are_logged(photo, small, caplog):
    with caplog.at_level("WARNING", logger="cuts3d"):
        segment(photo, config=small, depth_settings={"weights": "head.safetensors"})
    (record,) = caplog.records
    assert record.getMessage() == "depth.weights has no effect, as every image has a depth map (1 image)"


GOOD = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "settings", "kind", "message"),
    [
        (["nosuch.png"], {}, cuts3d.ImageError, "image nosuch.png does not exist"),
        ([GOOD[..., 0]], {}, cuts3d.ImageError, r"expected \(H, W, 3\) uint8 RGB; found shape \(8, 8\) of uint8"),
        ([GOOD / 255], {}, cuts3d.ImageError, r"found shape \(8, 8, 3\) of float64.*\(rgb \* 255\).astype\('uint8'\)"),
        ([GOOD + 200.0], {}, cuts3d.ImageError, r"rgb.astype\('uint8'\), as the values are from 0 to 255"),
        ([GOOD + np.uint16(4000)], {}, cuts3d.ImageError, r"\(rgb / 257\).astype\('uint8'\) if"),
        ([GOOD - 1.0], {}, cuts3d.ImageError, "scale the values to 0 to 255"),
        ([GOOD * np.nan], {}, cuts3d.ImageError, "scale the values to 0 to 255"),
        ([np.moveaxis(GOOD, 2, 0)], {}, cuts3d.ImageError, r"rgb.transpose\(1, 2, 0\)"),
        ([np.zeros((8, 8, 4), np.uint8)], {}, cuts3d.ImageError, r"transparency give PIL.Image.fromarray\(array\)"),
        ([GOOD, np.ones((8, 4))], {}, cuts3d.ImageError, "different shape from its image"),
        ([GOOD, np.zeros((8, 8))], {}, cuts3d.ImageError, "reading"),
        (
            [GOOD, np.eye(8)[..., None] * [1, 2, 3]],
            {},
            cuts3d.ImageError,
            r"a single channel; expected \(H",
        ),
        ([GOOD, [[1, 2], [3]]], {}, cuts3d.ImageError, "depth; expected an array; found list"),
        ([GOOD, {"a": 1}], {}, cuts3d.ImageError, "does not contain numbers; found object"),
        ([[[1, 2], [3]]], {}, cuts3d.ImageError, "image; expected an array; found list"),
        ([GOOD], {"depth_settings": "inverse"}, cuts3d.ConfigError, "depth_settings; expected settings by name"),
        ([GOOD], {"config": 3}, cuts3d.ConfigError, "config; expected a YAML file, settings by section, or a Config"),
        ([GOOD], {"method": []}, cuts3d.ConfigError, "method; expected one of"),
        ([GOOD, "nosuch.png"], {}, cuts3d.ImageError, "depth map nosuch.png; expected a file or a folder"),
        ([GOOD], {"depth_settings": {"backend": "files"}}, cuts3d.ImageError, "expected a map, as depth.backend is"),
        ([GOOD], {"depth_settings": {"kind": "far"}}, cuts3d.ConfigError, "settings: depth.kind"),
        ([GOOD], {"preset": "embeded"}, cuts3d.ConfigError, "config key preset; expected one of embedded"),
        ([GOOD], {"method": "votecut"}, cuts3d.ConfigError, "method; expected one of maskcut, localcut, cuts3d"),
        ([GOOD], {"localcut": {"n_instance": 3}}, cuts3d.ConfigError, "did you mean n_instances"),
        ([GOOD], {"config": resolve()}, cuts3d.ConfigError, "preset; expected none with a Config"),
        ([GOOD], {"tau_knn": 0.1}, cuts3d.ConfigError, "unknown key tau_knn"),
        ([GOOD], {"localcut": {"tau_knn": 0.01}}, cuts3d.ConfigError, "confidence.tau_knn_min"),
        (
            [GOOD],
            {"localcut": {"local_cut": False}, "crf": {"unary": "confidence"}},
            cuts3d.ConfigError,
            "crf.unary confidence; expected Spatial Confidence",
        ),
    ],
)
def test_mistakes_end_in_one_line(arguments, settings, kind, message):
    with pytest.raises(kind, match=message) as caught:
        cuts3d.segment(*arguments, **{"preset": "embedded"} | settings)
    assert "\n" not in str(caught.value)


def segment(*arguments, **settings) -> cuts3d.Segmentation:
    return cuts3d.segment(*arguments, **settings)


def test_other_weights_in_the_same_file_are_another_model(photo, monkeypatch):
    from cuts3d_cli.api import segmentation
    from cuts3d_cli.backends import depth_embedded

    loaded = []
    monkeypatch.setattr(depth_embedded, "load", lambda config, device: loaded.append(config.weights) or Slope())
    Path("s_depth.png").unlink()
    settings = {**SMALL, "preset": "embedded", "depth": {"backend": "embedded", "weights": "w.safetensors", "size": 96}}
    for content in (b"one", b"one", b"two"):
        Path("w.safetensors").write_bytes(content)
        cuts3d.segment("s.png", config=settings)
    assert loaded == ["w.safetensors"] * 2
    segmentation._depth_backend.cache_clear()
