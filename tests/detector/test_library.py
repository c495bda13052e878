"""``cuts3d.load_detector``: what ``cuts3d predict`` finds, on arrays as well as files."""

import json

import numpy as np
import pytest
from PIL import Image

import cuts3d
from cuts3d_cli.config import PredictConfig
from cuts3d_cli.store.coco import decode_mask
from cuts3d_cli.store.manifest import ImageRecord
from cuts3d_cli.training import predict, train


@pytest.fixture
def checkpoint(labelled, micro, tmp_path):
    train.run(labelled, tmp_path / "round0", config=micro, device="cpu", threads=1)
    return tmp_path / "round0/checkpoint.pth"


def test_detections_are_those_of_the_command(checkpoint, labelled, tmp_path):
    folder = labelled.parent / "images"
    records = [ImageRecord(number, f"{number}.png", 60, 96, "") for number in range(1, 6)]
    predict.run(
        checkpoint, tmp_path / "p.json", records=records, image_root=folder, config=PredictConfig(), device="cpu",
        threads=1,
    )  # fmt: skip
    detector = cuts3d.load_detector(checkpoint, device="cpu")
    assert detector.classes == ("object",) and "detector" in detector.meta
    expected = json.loads((tmp_path / "p.json").read_text())["annotations"]
    for number in range(1, 6):
        path = folder / f"{number}.png"
        own = [entry for entry in expected if entry["image_id"] == number]
        for image in (path, str(path), Image.open(path), np.array(Image.open(path))):
            found = detector.predict(image)
            assert len(found) == len(own) > 0 and found.masks.dtype == bool and not found.labels.any()
            for mask, score, box, entry in zip(found.masks, found.scores, found.boxes, own, strict=True):
                np.testing.assert_array_equal(mask, decode_mask(entry["segmentation"]))
                assert round(float(score), 6) == entry["score"]
                assert [round(value, 3) for value in box.tolist()] == entry["bbox"]
    masks = cuts3d.read_masks(tmp_path / "p.json")["5.png"]
    np.testing.assert_array_equal(masks.masks, found.masks)
    assert masks.confidence == (None,) * len(found)


def test_settings_are_those_of_the_section_predict(checkpoint, labelled):
    image = labelled.parent / "images/1.png"
    everything = cuts3d.load_detector(checkpoint, device="cpu").predict(image)
    best = cuts3d.load_detector(checkpoint, device="cpu", max_detections=1).predict(image)
    assert len(best) == 1 < len(everything) and best.scores[0] == pytest.approx(everything.scores[0])
    none = cuts3d.load_detector(checkpoint, device="cpu", score_threshold=1.0).predict(image)
    assert len(none) == 0 and none.masks.shape == (0, 60, 96) and none.boxes.shape == (0, 4)
    assert repr(none) == "<Detections 0 masks of 60 x 96 px>" and np.array_equal(none.overlay(), none.rgb)


@pytest.mark.parametrize("size_hw", [(5, 3000), (3000, 5), (1, 1), (1, 20000), (700, 2)])
def test_strips_of_images_are_predicted_on(checkpoint, size_hw):
    rgb = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    found = cuts3d.load_detector(checkpoint, device="cpu").predict(rgb)
    assert found.masks.shape[1:] == size_hw and (found.boxes[:, 2:] <= size_hw[::-1]).all()


def test_mistakes_end_in_one_line(checkpoint, tmp_path):
    (tmp_path / "x.pth").write_bytes(b"x")
    with pytest.raises(cuts3d.ModelError):
        cuts3d.load_detector(tmp_path / "x.pth", device="cpu")
    with pytest.raises(cuts3d.ModelError):
        cuts3d.load_detector(tmp_path / "nosuch.pth", device="cpu")
    with pytest.raises(cuts3d.ConfigError, match=r"settings: unknown key predict.threshold; expected one of"):
        cuts3d.load_detector(checkpoint, threshold=0.5)
    with pytest.raises(cuts3d.ImageError, match=r"expected \(H, W, 3\) uint8"):
        cuts3d.load_detector(checkpoint, device="cpu").predict(np.zeros((4, 4)))
