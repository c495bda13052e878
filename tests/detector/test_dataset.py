import json

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import build_detector
from cuts3d_cli.detector.dataset import PositionSampler, PseudoMaskDataset, seeded
from cuts3d_cli.detector.training import data_loader, training_stream
from cuts3d_cli.errors import Cuts3dError, ImageError, StoreError
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.coco import confidence_of


def stream_of(path, **values):
    config = TrainConfig(image_size=64, **values)
    return training_stream(build_detector(config), path, config, 0), config


def test_entries_carry_score_and_confidence(labelled):
    data = PseudoMaskDataset(labelled)
    assert len(data) == 5
    entry = data.get_data_info(2)
    assert (entry["height"], entry["width"]) == (60, 96)
    first, second = entry["instances"]
    assert (first["score"], second["score"]) == (0.8, 0.55)
    confidence = confidence_of(second)
    grid = confidence.grid
    assert grid.shape == (12, 12) and confidence.sc_min == 0.5
    assert grid[0, 11] == pytest.approx(0.55, abs=1e-3) and grid[0, 0] == 0


def test_images_without_masks_are_left_out(labelled):
    document = read_own(labelled)
    document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] != 3]
    labelled.write_text(json.dumps(document))
    assert [PseudoMaskDataset(labelled).get_data_info(i)["img_id"] for i in range(4)] == [1, 2, 4, 5]


def test_nothing_to_train_on(labelled):
    document = read_own(labelled)
    document["annotations"] = []
    labelled.write_text(json.dumps(document))
    with pytest.raises(Cuts3dError, match=r"no annotation to train on.*5 images"):
        PseudoMaskDataset(labelled)


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ([], "10 of 10 annotations are wrong, the first is annotation 1: segmentation; .* found none -> nothing can"),
        ([[1.2, 1.2, 1.3, 1.2, 1.3, 1.3]], "no mask has a pixel; expected masks to train on; found 10 empty"),
        ({"size": [60, 96], "counts": [5760]}, "no mask has a pixel; expected masks to train on; found 10 empty"),
    ],
)
def test_training_on_nothing(labelled, segmentation, told):
    document = read_own(labelled)
    for entry in document["annotations"]:
        entry["segmentation"] = segmentation
    labelled.write_text(json.dumps(document))
    with pytest.raises(Cuts3dError, match=told):
        PseudoMaskDataset(labelled)
    document["annotations"][7]["segmentation"] = [[10, 10, 30, 10, 30, 30]]
    labelled.write_text(json.dumps(document))
    if segmentation:
        assert len(PseudoMaskDataset(labelled)) == 5


def test_an_area_of_zero_makes_no_object_empty(labelled):
    document = read_own(labelled)
    for entry in document["annotations"]:
        entry["area"] = 0
    document["annotations"][0]["segmentation"] = {"size": [60, 96], "counts": [5760]}
    labelled.write_text(json.dumps(document))
    assert sum(len(image["instances"]) for image in PseudoMaskDataset(labelled).load_data_list()) == 9


def test_images_that_lie_elsewhere(labelled, tmp_path):
    """A JSON of others does not say where its images are."""
    document = read_own(labelled)
    del document["info"]
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere/masks.json"
    path.write_text(json.dumps(document))
    with pytest.raises(Cuts3dError, match=r"are not in .*elsewhere; found no 1.png -> .* --image-root DIR"):
        PseudoMaskDataset(path)
    found = PseudoMaskDataset(path, image_root=tmp_path / "images")
    assert found.get_data_info(0)["img_path"] == str(tmp_path / "images/1.png")
    (tmp_path / "images/1.png").unlink()  # one that is missing costs that image alone
    assert len(PseudoMaskDataset(path, image_root=tmp_path / "images")) == 5


def test_an_image_turned_against_its_record_is_told(labelled):
    document = read_own(labelled)
    for record in document["images"]:
        record |= {"height": 96, "width": 60}
    for entry in document["annotations"]:
        entry["segmentation"] = [[10, 10, 30, 10, 30, 30]]
    labelled.write_text(json.dumps(document))
    stream, _ = stream_of(labelled)
    with pytest.raises(ImageError, match=r"height 96 and width 60; found height 60 and width 96 -> .*exchanged\?"):
        stream[0]


@pytest.mark.parametrize("key", ["image_id", "segmentation"])
def test_an_incomplete_annotation(labelled, key):
    document = read_own(labelled)
    del document["annotations"][3][key]
    labelled.write_text(json.dumps(document))
    with pytest.raises(Cuts3dError, match=f"annotation 4: {key}; .* found none"):
        PseudoMaskDataset(labelled)


@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
def test_crowd_regions_are_no_objects(labelled, key):
    document = read_own(labelled)
    document["annotations"][0][key] = 1
    labelled.write_text(json.dumps(document))
    assert len(PseudoMaskDataset(labelled).get_data_info(0)["instances"]) == 1


def test_a_mask_of_another_size_and_one_on_no_image(labelled):
    document = read_own(labelled)
    document["images"][1]["width"] = 50
    labelled.write_text(json.dumps(document))
    with pytest.raises(
        Cuts3dError, match=r"2 of 10 .* annotation 3: size of the seg.* 60 and width 50; .* 60 and width 96"
    ):
        PseudoMaskDataset(labelled)
    document["images"].pop(1)
    labelled.write_text(json.dumps(document))
    with pytest.raises(Cuts3dError, match="annotation 3: image_id; expected the id of a listed image; found 2"):
        PseudoMaskDataset(labelled)


def test_sizes_exchanged_as_in_published_files_are_put_right(labelled):
    document = read_own(labelled)
    document["images"][1] |= {"width": 60, "height": 96}
    labelled.write_text(json.dumps(document))
    entry = PseudoMaskDataset(labelled).get_data_info(1)
    assert (entry["height"], entry["width"]) == (60, 96)


def test_a_damaged_confidence_stops_the_training_before_it_starts(labelled):
    document = read_own(labelled)
    document["annotations"][5]["confidence"]["codes"] = "eJw="
    labelled.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"pseudo_masks.json: annotation 6: damaged confidence .* -> rerun") as caught:
        stream_of(labelled)
    assert "\n" not in str(caught.value)
    stream_of(labelled, loss="none", alpha_blend="none")  # which reads no confidence


def test_masks_without_confidence_are_told(labelled, caplog):
    document = read_own(labelled)
    for entry in document["annotations"]:
        del entry["confidence"]
    labelled.write_text(json.dumps(document))
    with caplog.at_level("WARNING", logger="cuts3d"):
        stream_of(labelled, loss="none", alpha_blend="none")
        assert "no Spatial Confidence" not in caplog.text
        stream_of(labelled)
    assert "no Spatial Confidence" in caplog.text


def test_masks_of_an_older_cuts3d_say_what_to_rerun(labelled):
    document = read_own(labelled)
    del document["info"]
    document["annotations"][0]["confidence"] = {"store": "confidence/00000.zarr", "row": 0, "instance": 0}
    labelled.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"older cuts3d; expected format version \d; found 2 -> rerun `cuts3d crf`"):
        PseudoMaskDataset(labelled)


def test_the_file_alone_is_all_a_training_needs(labelled, tmp_path):
    """Moved to another folder, with a folder of images that is there, it gives the same samples."""
    expected = [stream_of(labelled)[0][position] for position in range(5)]
    document = read_own(labelled)
    document["info"]["image_root"] = str(tmp_path / "images")
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere/masks.json"
    moved.write_text(json.dumps(document))
    labelled.unlink()
    stream, _ = stream_of(moved)
    for position, before in enumerate(expected):
        now = stream[position]
        np.testing.assert_array_equal(now["inputs"], before["inputs"])
        pair = (sample["data_samples"].gt_instances for sample in (now, before))
        np.testing.assert_array_equal(*(found.confidences.numpy() for found in pair))


def test_a_missing_file(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        PseudoMaskDataset(tmp_path / "none.json")


def test_every_epoch_shows_every_image_once(labelled):
    stream, _ = stream_of(labelled)
    epochs = [[stream.image_at(position) for position in range(start, start + 5)] for start in (0, 5, 10)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_sample_depends_on_its_position_alone(labelled):
    stream, _ = stream_of(labelled)
    ahead = [stream[position] for position in range(4)]
    again = stream_of(labelled)[0][3]
    np.testing.assert_array_equal(ahead[3]["inputs"], again["inputs"])
    np.testing.assert_array_equal(
        ahead[3]["data_samples"].gt_instances.masks.masks, again["data_samples"].gt_instances.masks.masks
    )
    assert any(not np.array_equal(ahead[3]["inputs"], other["inputs"]) for other in ahead[:3])


def test_workers_and_start_do_not_change_batches(labelled):
    batches = {}
    for workers, start in ((0, 0), (2, 0), (1, 2)):
        stream, config = stream_of(labelled, iterations=4, batch_size=2, workers=workers)
        batches[workers] = list(data_loader(stream, config, start))
    assert [len(found) for found in batches.values()] == [4, 4, 2]
    for position in range(4):
        for expected, got in zip(batches[0][position]["inputs"], batches[2][position]["inputs"], strict=True):
            np.testing.assert_array_equal(expected, got)
    for expected, got in zip(batches[0][2]["inputs"], batches[1][0]["inputs"], strict=True):
        np.testing.assert_array_equal(expected, got)


def test_seeding_leaves_the_global_generators_as_they_were():
    np.random.seed(7)
    expected = np.random.rand(3)
    np.random.seed(7)
    with seeded(1, 2):
        np.random.rand(5)
    np.testing.assert_array_equal(np.random.rand(3), expected)


def test_an_image_that_broke_is_replaced_by_the_next(labelled, caplog):
    stream, _ = stream_of(labelled)
    broken = stream.entries.get_data_info(stream.image_at(0))["img_path"]
    with open(broken, "wb") as file:
        file.write(b"no image")
    assert stream[0]["inputs"].shape == (3, 40, 64)


def test_no_readable_image_at_all(labelled):
    stream, _ = stream_of(labelled)
    for path in (labelled.parent / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="consecutive images cannot be read"):
        stream[0]


def test_masks_are_upright_with_the_image(labelled):
    # An EXIF-rotated file: stored 96 x 60, upright 60 x 96 as the JSON says.
    path = labelled.parent / "images/1.png"
    upright = Image.open(path)
    exif = Image.Exif()
    exif[0x0112] = 8
    upright.transpose(Image.Transpose.ROTATE_270).save(path, exif=exif)
    stream, _ = stream_of(labelled, copy_paste=False)
    packed = next(stream[p] for p in range(5) if stream.image_at(p) == 0)
    bright = packed["data_samples"].gt_instances.masks.masks[0].astype(bool)
    assert packed["inputs"].numpy()[:, bright].mean() > 200


def test_sampler_counts_positions():
    assert list(PositionSampler(4, 8)) == [4, 5, 6, 7] and len(PositionSampler(4, 8)) == 4


def test_what_is_pasted_comes_from_any_image_of_the_set(labelled, monkeypatch):
    stream, _ = stream_of(labelled)
    loaded, load = [], type(stream)._loaded
    monkeypatch.setattr(type(stream), "_loaded", lambda self, index: loaded.append(index) or load(self, index))
    for position in range(40):
        stream[position]
    own, partners = loaded[::2], loaded[1::2]
    assert len(loaded) == 80 and own == [stream.image_at(position) for position in range(40)]
    assert set(partners) == set(range(5)) and any(a != b for a, b in zip(own, partners, strict=True))
