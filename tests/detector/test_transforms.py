import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from cuts3d_cli.config import TrainConfig
from cuts3d_cli.detector.configs import build_detector
from cuts3d_cli.detector.dataset import PseudoMaskDataset, compose, seeded
from cuts3d_cli.detector.training import training_stream
from cuts3d_cli.detector.transforms import (
    ConfidenceResize,
    ConfidentCopyPaste,
    LoadPseudoMasks,
    TightBoxes,
    blend_alpha,
    choose_instances,
    cut_by_earlier,
    largest_cover,
    mask_boxes,
)
from cuts3d_cli.store.confidence import Confidence

H, W = 40, 60


def box_mask(top, bottom, left, right):
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


def sample(masks, scores, grey, confidence=None):
    masks = np.array(masks, bool).reshape(-1, H, W)
    n = len(masks)
    return {
        "img": np.full((H, W, 3), grey, np.uint8),
        "gt_masks": BitmapMasks(masks.astype(np.uint8), H, W),
        "gt_bboxes": HorizontalBoxes(mask_boxes(masks)),
        "gt_bboxes_labels": np.zeros(n, np.int64),
        "gt_ignore_flags": np.zeros(n, bool),
        "gt_scores": np.array(scores, np.float32),
        "gt_confidences": np.ones((n, H, W), np.float32) if confidence is None else confidence,
    }


def paste(target, source, **options):
    with seeded(0):
        return ConfidentCopyPaste(scale=(1.0, 1.0), **options)({**target, "partner": source})


class TestWholePipeline:
    def results(self, labelled, flip):
        detector = build_detector(TrainConfig(image_size=48))
        load = [
            {"type": "LoadRgb"},
            {"type": "LoadPseudoMasks"},
            *detector["load"],
            {"type": "ConfidenceFlip", "prob": flip},
        ]
        stream = training_stream(detector, labelled, TrainConfig(), 0)
        pack = compose([*load, {"type": "TightBoxes"}, {"type": "PackConfidenceInputs"}])
        return pack(stream.entries.get_data_info(0))

    @pytest.mark.parametrize("flip", [0.0, 1.0])
    def test_masks_and_confidences_match_in_number_size_and_content(self, labelled, flip):
        packed = self.results(labelled, flip)
        gt = packed["data_samples"].gt_instances
        assert packed["inputs"].shape == (3, 30, 48)
        masks = gt.masks.masks.astype(bool)
        assert masks.shape == tuple(gt.confidences.shape) == (2, 30, 48)
        torch.testing.assert_close(gt.scores, torch.tensor([0.8, 0.55]))
        # the first instance lies left and has a vertical ramp, the second is flat at 0.55
        columns = np.arange(48)
        centres = [(mask * columns).sum() / mask.sum() for mask in masks]
        assert (centres[0] < centres[1]) == (flip == 0.0)
        first, second = gt.confidences[0].numpy()[masks[0]], gt.confidences[1].numpy()[masks[1]]
        assert first.min() >= 0.6 - 1e-3 and first.max() <= 1 and np.ptp(first) > 0.1
        np.testing.assert_allclose(second, 0.55, atol=2e-3)
        rows = [gt.confidences[0].numpy()[row][masks[0][row]] for row in np.flatnonzero(masks[0].any(axis=1))]
        assert np.all(np.diff([row.mean() for row in rows]) > 0)

    def test_the_image_under_a_mask_is_its_object(self, labelled):
        packed = self.results(labelled, 1.0)
        bright, dark = packed["data_samples"].gt_instances.masks.masks.astype(bool)
        image = packed["inputs"].numpy()
        assert image[:, bright].mean() > 200 and image[:, dark].mean() < 60

    def test_boxes_are_those_of_the_masks(self, labelled):
        gt = self.results(labelled, 0.0)["data_samples"].gt_instances
        np.testing.assert_array_equal(gt.bboxes.tensor.numpy(), mask_boxes(gt.masks.masks.astype(bool)))

    def test_samples_of_a_training_stay_consistent(self, labelled):
        config = TrainConfig(image_size=64)
        stream = training_stream(build_detector(config), labelled, config, 0)
        pasted = 0
        for position in range(12):
            packed = stream[position]
            gt = packed["data_samples"].gt_instances
            n = len(gt.bboxes)
            assert n == len(gt.masks) == len(gt.confidences) == len(gt.scores) == len(gt.labels)
            assert gt.confidences.shape[1:] == packed["inputs"].shape[1:] == gt.masks.masks.shape[1:]
            assert gt.confidences.min() >= 0.5
            assert gt.masks.masks.sum(axis=0).max() <= 1
            pasted += n > 2
        assert pasted > 0

    @pytest.mark.parametrize("backend", ["cv2", "pillow"])
    @pytest.mark.parametrize("size_hw", [(5, 3000), (3000, 5), (1, 1)])
    def test_strips_of_images_keep_a_pixel(self, size_hw, backend):
        strip = sample([], [], 100) | {
            "img": np.full((*size_hw, 3), 100, np.uint8),
            "img_shape": size_hw,
            "gt_masks": BitmapMasks(np.ones((1, *size_hw), np.uint8), *size_hw),
            "gt_confidences": np.ones((1, *size_hw), np.float32),
        }
        for name in ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags", "gt_scores"):
            del strip[name]
        pipeline = compose(
            [
                {"type": "ConfidenceResize", "scale": (64, 64), "keep_ratio": True, "backend": backend},
                {"type": "ConfidenceFlip", "prob": 1.0},
                {"type": "PackConfidenceInputs", "meta_keys": ()},
            ]
        )
        packed = pipeline(strip)
        height, width = (max(1, round(side * 64 / max(size_hw))) for side in size_hw)
        gt = packed["data_samples"].gt_instances
        assert packed["inputs"].shape == (3, height, width)
        assert gt.masks.masks.shape == tuple(gt.confidences.shape) == (1, height, width) and gt.masks.masks.all()
        assert gt.masks.to_tensor(torch.bool, "cpu").all()

    def test_without_confidence_the_field_is_one(self, labelled):
        config = TrainConfig(loss="none", alpha_blend="none", image_size=64)
        stream = training_stream(build_detector(config), labelled, config, 0)
        assert (stream[0]["data_samples"].gt_instances.confidences == 1).all()


def disc(size, centre_yx, radius):
    rows, columns = np.mgrid[:size, :size]
    return (rows - centre_yx[0]) ** 2 + (columns - centre_yx[1]) ** 2 <= radius**2


def centre(weights):
    """Centre of mass, in shares of the sides, of (h, w) weights."""
    rows, columns = (np.arange(side) + 0.5 for side in weights.shape)
    at = (weights.sum(1) @ rows, weights.sum(0) @ columns)
    return np.array(at) / weights.sum() / np.array(weights.shape)


class TestAlignment:
    """A mask stays on the object that the image shows, whatever is resized."""

    def drawn(self, size=480):
        mask = disc(size, (201, 250), 90)
        ones = np.ones((1, size, size), np.float32)
        return {
            "img": np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=2),
            "img_shape": (size, size),
            "gt_masks": BitmapMasks(mask[None].astype(np.uint8), size, size),
            "gt_bboxes": HorizontalBoxes(mask_boxes(mask[None])),
            "gt_bboxes_labels": np.zeros(1, np.int64),
            "gt_ignore_flags": np.zeros(1, bool),
            "gt_scores": np.ones(1, np.float32),
            "gt_confidences": ones,
        }

    @pytest.mark.parametrize("side", [192, 333, 480, 640, 800])
    def test_after_a_resize(self, side):
        result = ConfidenceResize(scale=(side, side), keep_ratio=True)(self.drawn())
        mask, image = result["gt_masks"].masks[0].astype(float), result["img"][..., 0].astype(float)
        assert mask.shape == image.shape == (side, side)
        assert np.abs(centre(mask) - centre(image)).max() * side < 0.1
        assert mask.mean() == pytest.approx(image.mean() / 255, rel=0.01)

    @pytest.mark.parametrize("ratio", [0.3, 0.55, 0.8])
    def test_after_a_paste(self, ratio):
        with seeded(3):
            image, masks, _ = ConfidentCopyPaste(scale=(ratio, ratio))._placed(self.drawn(), np.array([0]), (480, 480))
        assert np.abs(centre(masks[0].astype(float)) - centre(image[..., 0].astype(float))).max() * 480 < 0.1

    def test_after_target_and_pasting_at_the_image_s_size(self):
        """What the mask head learns, were it learned perfectly, gives the object back."""
        result = ConfidenceResize(scale=(192, 192), keep_ratio=True)(self.drawn())
        boxes = torch.as_tensor(mask_boxes(result["gt_masks"].masks.astype(bool)))
        target = result["gt_masks"].crop_and_resize(boxes, (28, 28), torch.zeros(1, dtype=torch.long), device="cpu")
        target = torch.as_tensor(target.masks, dtype=torch.float32)[:, None]
        pasted = _do_paste_mask(target, boxes * (480 / 192), 480, 480, skip_empty=False)[0][0].numpy() > 0.5
        truth = self.drawn()["gt_masks"].masks[0].astype(bool)
        assert np.abs(centre(pasted.astype(float)) - centre(truth.astype(float))).max() * 480 < 0.5
        np.testing.assert_allclose(mask_boxes(pasted[None]), mask_boxes(truth[None]), atol=2.5)  # a pixel at 192 px
        assert pasted.sum() == pytest.approx(truth.sum(), rel=0.02)

    def test_the_confidence_at_the_outline_is_that_inside(self, labelled):
        """A grid that says 0.9 inside says 0.9 up to the mask's outline, not something nearer to SC_min."""
        cells = np.zeros((12, 12), np.float32)
        cells[3:9, 3:9] = 0.9
        instance = PseudoMaskDataset(labelled).get_data_info(0)["instances"][0]
        field = LoadPseudoMasks()._field({**instance, "confidence": Confidence(cells, 0.5).encode()}, (60, 96))
        np.testing.assert_allclose(field[15:45, 24:72], np.float16(0.9), atol=1e-5)
        assert field[:10].max() == field.min() == 0.5


class TestChoice:
    def test_one_of_one(self):
        assert choose_instances(np.array([0.3]), "confident").tolist() == [0]

    def test_none_of_none(self):
        assert len(choose_instances(np.zeros(0), "random")) == 0

    def test_the_best_and_never_all(self):
        scores = np.array([0.2, 0.9, 0.5, 0.7])
        counts = set()
        for seed in range(40):
            with seeded(seed):
                chosen = choose_instances(scores, "confident")
            assert chosen.tolist() == [1, 3, 2, 0][: len(chosen)]
            counts.add(len(chosen))
        assert counts == {1, 2, 3}

    def test_equal_scores_are_taken_at_random(self):
        first = set()
        for seed in range(40):
            with seeded(seed):
                first.add(int(choose_instances(np.ones(4), "confident")[0]))
        assert first == {0, 1, 2, 3}

    def test_random_takes_others_too(self):
        first = set()
        for seed in range(40):
            with seeded(seed):
                first.add(int(choose_instances(np.array([0.2, 0.9, 0.5]), "random")[0]))
        assert first == {0, 1, 2}


class TestCopyPaste:
    def test_blends_by_the_confidence_of_each_pixel(self):
        confidence = np.full((1, H, W), 0.5, np.float32)
        confidence[:, :, 30:] = 0.8
        mask = box_mask(10, 20, 20, 40)
        result = paste(sample([], [], 100, np.ones((0, H, W), np.float32)), sample([mask], [0.65], 200, confidence))
        expected = np.full((H, W), 100.0)
        expected[10:20, 20:30] = 0.5 * 200 + 0.5 * 100
        expected[10:20, 30:40] = 0.8 * 200 + 0.2 * 100
        np.testing.assert_array_equal(result["img"][..., 0], expected)
        np.testing.assert_array_equal(result["gt_masks"].masks[0], mask)
        np.testing.assert_array_equal(result["gt_confidences"], confidence)

    @pytest.mark.parametrize(("blend", "value"), [("scalar", 0.65 * 200 + 0.35 * 100), ("none", 200)])
    def test_other_blends(self, blend, value):
        mask = box_mask(10, 20, 20, 40)
        source = sample([mask], [0.65], 200, np.full((1, H, W), 0.5, np.float32))
        result = paste(sample([], [], 100, np.ones((0, H, W), np.float32)), source, blend=blend)
        assert (result["img"][mask] == round(value)).all() and (result["img"][~mask] == 100).all()

    def test_what_is_pasted_cuts_the_masks_below(self):
        below, above = box_mask(0, 20, 0, 30), box_mask(10, 30, 20, 40)
        result = paste(sample([below], [0.9], 50), sample([above], [0.9], 200))
        np.testing.assert_array_equal(result["gt_masks"].masks.astype(bool), [below & ~above, above])
        np.testing.assert_array_equal(result["gt_bboxes"].tensor.numpy(), [[0, 0, 30, 20], [20, 10, 40, 30]])

    def test_boxes_shrink_with_the_cut(self):
        below, above = box_mask(0, 20, 0, 30), box_mask(0, 20, 16, 40)
        result = paste(sample([below], [0.9], 50), sample([above], [0.9], 200))
        np.testing.assert_array_equal(result["gt_bboxes"].tensor.numpy(), [[0, 0, 16, 20], [16, 0, 40, 20]])

    @pytest.mark.parametrize(("right", "n"), [(19, 2), (20, 1)])
    def test_covering_half_of_an_object_is_refused(self, right, n):
        below, above = box_mask(0, 20, 0, 20), box_mask(0, 20, 10, right)
        result = paste(sample([below], [0.9], 50), sample([above], [0.9], 200))
        assert len(result["gt_masks"]) == len(result["gt_bboxes"]) == len(result["gt_scores"]) == n

    def test_an_emptied_mask_goes_with_all_it_has(self):
        # Two pastes, each below half of the object, that cover it together.
        left, right = box_mask(0, 4, 0, 4), box_mask(0, 4, 4, 8)
        target = sample([box_mask(0, 4, 1, 7)], [0.3], 50)
        source = sample([left, right, box_mask(30, 31, 0, 1)], [0.9, 0.8, 0.1], 200)
        for seed in range(20):
            with seeded(seed):
                result = ConfidentCopyPaste(scale=(1, 1), max_covered=0.6)({**target, "partner": source})
            if np.isclose(result["gt_scores"], 0.8).any():  # both were drawn
                break
        np.testing.assert_allclose(result["gt_scores"], [0.9, 0.8])
        np.testing.assert_array_equal(result["gt_masks"].masks.astype(bool), [left, right])
        assert len(result["gt_confidences"]) == len(result["gt_bboxes"]) == 2

    def test_the_whole_source_is_scaled_by_one_ratio(self):
        source = sample([box_mask(0, 20, 0, 30)], [0.9], 200)
        with seeded(3):
            result = ConfidentCopyPaste(scale=(0.5, 0.5))(
                {**sample([], [], 0, np.ones((0, H, W), np.float32)), "partner": source}
            )
        assert result["gt_masks"].masks[0].sum() == 10 * 15

    def test_the_source_takes_the_shape_of_the_target(self):
        # 20 x 80 into 40 x 60: at ratio 0.5 it becomes 20 x 30, so its aspect changes.
        mask = np.zeros((20, 80), np.uint8)
        mask[5:15, 20:60] = 1
        source = {
            "img": np.full((20, 80, 3), 200, np.uint8),
            "gt_masks": BitmapMasks(mask[None], 20, 80),
            "gt_bboxes_labels": np.zeros(1, np.int64),
            "gt_ignore_flags": np.zeros(1, bool),
            "gt_scores": np.ones(1, np.float32),
            "gt_confidences": np.ones((1, 20, 80), np.float32),
        }
        target = sample([], [], 0, np.ones((0, H, W), np.float32))
        with seeded(1):
            result = ConfidentCopyPaste(scale=(0.5, 0.5))({**target, "partner": source})
        left, top, right, bottom = result["gt_bboxes"].tensor.numpy()[0]
        assert (bottom - top, right - left) == (10, 15)
        assert result["gt_masks"].masks.sum() == 150 and (result["img"] == 200).sum() == 3 * 150

    def test_one_ratio_and_one_offset_for_all_objects(self):
        masks = [box_mask(0, 8, 0, 12), box_mask(20, 28, 36, 48), box_mask(30, 40, 0, 2)]
        source = sample(masks, [0.9, 0.8, 0.1], 200)
        shifts = set()
        for seed in range(30):
            with seeded(seed):
                result = ConfidentCopyPaste(scale=(0.5, 0.5))(
                    {**sample([], [], 0, np.ones((0, H, W), np.float32)), "partner": source}
                )
            if len(result["gt_masks"]) == 2:
                first, second = result["gt_bboxes"].tensor.numpy()
                np.testing.assert_array_equal(second - first, [18, 10, 18, 10])
                np.testing.assert_array_equal(first[2:] - first[:2], [6, 4])
                assert 0 <= first[0] <= W - 30 and 0 <= first[1] <= H - 20
                shifts.add(tuple(first[:2]))
        assert len(shifts) > 3

    def test_the_ratio_is_drawn_from_its_range(self):
        source = sample([box_mask(0, 40, 0, 60)], [0.9], 200)
        areas = []
        for seed in range(60):
            with seeded(seed):
                result = ConfidentCopyPaste(scale=(0.5, 1.0))(
                    {**sample([], [], 0, np.ones((0, H, W), np.float32)), "partner": source}
                )
            areas.append(result["gt_masks"].masks.sum() / (H * W))
        assert 0.24 < min(areas) < 0.35 and 0.8 < max(areas) <= 1

    def test_covering_is_judged_object_by_object(self):
        # Small beside the large object, the paste covers the small one whole and is refused.
        below = [box_mask(0, 40, 0, 40), box_mask(10, 14, 50, 54)]
        result = paste(sample(below, [0.9, 0.9], 50), sample([box_mask(8, 16, 48, 56)], [0.9], 200))
        assert len(result["gt_masks"]) == 2 and (result["img"] == 50).all()

    def test_a_source_without_objects_changes_nothing(self):
        target = sample([box_mask(0, 20, 0, 30)], [0.9], 50)
        result = paste(target, sample([], [], 200, np.ones((0, H, W), np.float32)))
        assert (result["img"] == 50).all() and len(result["gt_masks"]) == 1


def test_cover_is_a_share_of_the_existing():
    existing = np.stack([box_mask(0, 10, 0, 10), box_mask(0, 40, 0, 60)])
    masks = np.stack([box_mask(0, 5, 0, 10), box_mask(0, 40, 0, 60)])
    np.testing.assert_allclose(largest_cover(masks, existing), [0.5, 1.0])


def test_the_more_confident_keeps_shared_pixels():
    a, b = box_mask(0, 10, 0, 20), box_mask(0, 10, 10, 30)
    np.testing.assert_array_equal(cut_by_earlier(np.stack([a, b])), [a, b & ~a])


def test_alpha_is_zero_outside_masks():
    alpha = blend_alpha(box_mask(0, 10, 0, 10)[None], np.full((1, H, W), 0.7, np.float32), np.array([0.7]), "spatial")
    assert alpha.max() == pytest.approx(0.7) and alpha[20, 20] == 0


def test_tiny_instances_are_dropped():
    results = sample([box_mask(0, 1, 0, 3), box_mask(10, 20, 10, 20)], [0.9, 0.4], 50)
    TightBoxes(min_area=4)(results)
    assert results["gt_scores"].tolist() == [pytest.approx(0.4)]
    np.testing.assert_array_equal(results["gt_bboxes"].tensor.numpy(), [[10, 10, 20, 20]])
