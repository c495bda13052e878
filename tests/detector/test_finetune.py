"""Learning from labels with classes: what is chosen, checked and kept of a checkpoint, and the way to AP."""

import json
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from PIL import Image
from pycocotools import mask as mask_api

from cuts3d_cli.config import Config, TrainConfig
from cuts3d_cli.detector import checkpoints
from cuts3d_cli.detector.configs import build_detector
from cuts3d_cli.detector.finetune import OF_CLASSES, new_layers, with_classes
from cuts3d_cli.detector.labels import draw, read_labels
from cuts3d_cli.detector.training import optimizer, training_stream
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.coco import encode_mask
from cuts3d_cli.training import train

HEIGHT, WIDTH = 60, 96
MICRO = """
from cuts3d_cli.detector.configs import embedded_cascade


def build(train):
    return embedded_cascade.build(train, width=16, channels=16, hidden=32, mask_convs=1)
"""
CLASSES = [{"id": 7, "name": "moon"}, {"id": 3, "name": "box"}, {"id": 40, "name": "bar"}]
COLOURS = {3: (230, 40, 40), 7: (40, 230, 40), 40: (40, 40, 230)}
SHAPES = {3: (28, 28), 7: (24, 24), 40: (40, 20)}  # width, height


def shape(category: int, left: int, top: int) -> tuple[np.ndarray, list[float]]:
    """Mask (60, 96) and polygon of a red box, a blue bar or a green disc."""
    width, height = SHAPES[category]
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    if category == 7:
        centre, angles = (left + 12, top + 12), np.linspace(0, 2 * np.pi, 24, endpoint=False)
        polygon = [value for a in angles for value in (centre[0] + 12 * np.cos(a), centre[1] + 12 * np.sin(a))]
        return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 144, polygon
    inside = (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
    return inside, [left, top, left + width, top, left + width, top + height, left, top + height]


def draw_labels(folder, n: int = 20, seed: int = 0):
    """COCO JSON of n images with two shapes each, polygons and run-length masks in turn, and a crowd region."""
    rng = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, n + 1):
        picture = rng.integers(100, 140, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        for left in (2, 50):
            category = int(rng.choice(list(COLOURS)))
            mask, polygon = shape(category, left + int(rng.integers(0, 5)), int(rng.integers(4, 28)))
            picture[mask] = COLOURS[category]
            rle = encode_mask(mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": [polygon] if number % 2 else rle,
                    "bbox": mask_api.toBbox(rle).tolist(),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                }
            )
        images.append({"id": number, "file_name": f"{number:02d}.png", "height": HEIGHT, "width": WIDTH})
        Image.fromarray(picture).save(folder / f"photos/{number:02d}.png")
    counts = [0, HEIGHT * WIDTH]
    annotations.append(
        {**annotations[0], "id": 999, "iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}
    )
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": CLASSES}))
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Twenty labelled images of three classes; read only."""
    return draw_labels(tmp_path_factory.mktemp("labels"))


@pytest.fixture
def changed(labels, tmp_path):
    """The labels with one thing changed."""

    def write(change):
        document = json.loads(labels.read_text())
        change(document)
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(document))
        return read_labels(path, root=labels.parent / "photos")

    return write


class TestChoice:
    def test_smaller_shares_are_part_of_larger_ones(self):
        shares = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0]
        drawn = [draw(1000, share, 5) for share in shares]
        assert [len(found) for found in drawn] == [round(1000 * share) for share in shares]
        for small, large in pairwise(drawn):
            assert set(small) < set(large)
        assert drawn[-1] == list(range(1000))

    def test_the_seed_decides(self):
        assert draw(100, 0.1, 1) == draw(100, 0.1, 1) != draw(100, 0.1, 2)

    @pytest.mark.parametrize(("n", "share", "count"), [(10, 0.01, 1), (10, 0.25, 3), (3, 0.5, 2), (1, 1.0, 1)])
    def test_at_least_one_image(self, n, share, count):
        assert len(draw(n, share, 0)) == count

    def test_the_order_in_the_file_does_not_matter(self, labels, changed):
        photos = labels.parent / "photos"
        straight = read_labels(labels, root=photos, fraction=0.2, seed=3).record
        assert straight["images"] == 4 and straight["of"] == 20
        document = json.loads(labels.read_text())
        document["images"].reverse()
        path = labels.parent / "reversed.json"
        path.write_text(json.dumps(document))
        assert read_labels(path, root=photos, fraction=0.2, seed=3).record == straight
        assert read_labels(path, root=photos, fraction=0.2, seed=4).record["digest"] != straight["digest"]


class TestReading:
    def test_classes_are_numbered_by_id(self, labels):
        found = read_labels(labels, root=labels.parent / "photos")
        assert [(c["id"], c["name"]) for c in found.categories] == [(3, "box"), (7, "moon"), (40, "bar")]
        document = json.loads(labels.read_text())
        expected = [{3: 0, 7: 1, 40: 2}[entry["category_id"]] for entry in document["annotations"][:2]]
        assert [entry["bbox_label"] for entry in found.entries[0]["instances"]] == expected

    def test_crowd_and_ignored_objects_are_left_out_and_an_area_of_0_is_not_believed(self, labels, changed):
        assert read_labels(labels, root=labels.parent / "photos").record["left_out"] == 1

        def change(document):
            document["annotations"][2]["ignore"] = 1
            document["annotations"][3]["iscrowd"] = 1
            document["annotations"][4]["area"] = 0  # what its mask says counts

        found = changed(change).record  # both objects of the second image
        assert found["left_out"] == 3 and found["of"] == 19 and found["objects"] == 38

    def test_polygons_and_run_length_masks_become_the_drawn_masks(self, labels, micro):
        found = read_labels(labels, root=labels.parent / "photos")
        stream = training_stream(build_detector(micro), labels, micro, 0, found)
        document = json.loads(labels.read_text())
        for index in (0, 1):
            results = stream.entries.get_data_info(index)
            for transform in stream.load.transforms[:2]:
                results = transform(results)
            areas = [entry["area"] for entry in document["annotations"] if entry["image_id"] == index + 1]
            assert results["gt_masks"].masks.sum(axis=(1, 2)) == pytest.approx(areas[:2], rel=0.12)
            assert np.all(results["gt_scores"] == 1) and np.all(results["gt_confidences"] == 1)

    def test_an_image_of_another_size_is_passed_over(self, tmp_path, micro, caplog, monkeypatch):
        monkeypatch.setattr("cuts3d_cli.log.logger.propagate", True)
        path = draw_labels(tmp_path, 2)
        Image.new("RGB", (WIDTH, HEIGHT + 2)).save(tmp_path / "photos/01.png")
        stream = training_stream(build_detector(micro), path, micro, 0, read_labels(path, root=tmp_path / "photos"))
        assert {stream[position]["data_samples"].img_path[-6:] for position in range(4)} == {"02.png"}
        assert "differs in size from its masks" in caplog.text

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d.pop("categories"), r"has no categories; expected .*--annotations"),
            (lambda d: d.update(categories=[]), "has no categories"),
            (lambda d: d["categories"].append({"id": 3, "name": "twice"}), "category id 3 occurs twice"),
            (
                lambda d: d["annotations"][4].update(category_id=99),
                "annotation 5: category_id; expected one of the 3 categories listed; found 99",
            ),
            (lambda d: d["annotations"][4].update(image_id=99), "annotation 5: image_id; .* listed image; found 99"),
            (lambda d: d["annotations"][4].pop("segmentation"), r"annotation 5: segmentation; .* found none"),
            (
                lambda d: d["annotations"][4].update(segmentation={"size": [2, 3], "counts": [6]}),
                r"annotation 5: size of the segmentation; .*height 60 and width 96; found height 2 and width 3",
            ),
            (
                lambda d: d["annotations"][4].update(segmentation=[1, 2, 3]),
                r"annotation 5: segmentation; expected polygons, .* found 1 -> each polygon is a list of its own",
            ),
            (lambda d: d["annotations"].append(3), r"annotations\[41\]; expected an object; found 3"),
            (lambda d: d.update(annotations=[]), "has no object to train on"),
            (lambda d: d["images"][0].pop("width"), "image 1: width; expected a whole number"),
            (lambda d: d["images"][0].update(file_name="gone.png"), r"1 of 20 images .*no gone.png.*--image-root DIR"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, changed, change, message):
        with pytest.raises(Cuts3dError, match=message) as caught:
            changed(change)
        assert "\n" not in str(caught.value)

    def test_a_share_outside_0_to_1(self, labels, cuts3d, tmp_path):
        for fraction in ("0", "1.5"):
            code, _, err = cuts3d("train", "--labels", labels, "--fraction", fraction, "--out", tmp_path / "out")
            assert code == 1 and "--fraction; expected a number above 0, up to 1" in err
            assert len(err.strip().splitlines()) == 1
            with pytest.raises(Cuts3dError, match="above 0 and at most 1"):
                read_labels(labels, fraction=float(fraction))

    def test_a_share_of_pseudo_masks_is_refused(self, labelled, micro, tmp_path):
        for key, value in (("fraction", 0.5), ("predictor_lr", 2.0)):
            with pytest.raises(Cuts3dError, match=rf"train.{key}; expected 1, unless .*--labels.*; found {value}"):
                train.run(labelled, tmp_path, config=micro.model_copy(update={key: value}), device="cpu")


def model_of(config: TrainConfig, n_classes: int):
    detector = with_classes(build_detector(config), n_classes)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(ConfigDict(detector["model"]))
    model.init_weights()
    return model


class TestStart:
    def classes(self, *names):
        return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]

    @pytest.mark.parametrize(
        ("detector", "n_new"), [("embedded_cascade", 2 * 3 + 2), ("embedded_mask_rcnn", 2 + 2), ("paper_cascade", 8)]
    )
    def test_everything_but_the_classes_is_loaded(self, tmp_path, detector, n_new):
        config = TrainConfig(detector=detector)
        torch.manual_seed(0)
        before = model_of(config, 1).state_dict()
        checkpoints.save(tmp_path / "a.pth", {"state_dict": before, "meta": {"detector": {}}})
        torch.manual_seed(1)
        model = model_of(config, 3)
        own = {key: value.clone() for key, value in model.state_dict().items()}
        categories = self.classes("a", "b", "c")
        new = {}

        def start(model, meta):
            new.update(new_layers(model, meta, categories))
            return new

        assert checkpoints.start_from(model, tmp_path / "a.pth", start) == "detector"
        after = model.state_dict()
        assert len(new) == n_new and all(OF_CLASSES.fullmatch(key) for key in new)
        assert all(torch.equal(after[key], own[key] if key in new else before[key]) for key in after)
        assert {key for key in after if after[key].shape != before[key].shape} == set(new)

    @pytest.mark.parametrize(
        ("before", "now", "kept"),
        [
            (None, ["dog"], True),
            (["cat"], ["dog"], True),
            (None, ["dog", "cat"], False),
            (["cat", "dog"], ["cat", "dog"], True),
            (["cat", "dog"], ["dog", "cat"], False),
        ],
    )
    def test_a_classifier_is_kept_where_it_means_the_same(self, micro, before, now, kept):
        meta = {"categories": self.classes(*before)} if before else {}
        found = new_layers(model_of(micro, len(now)), meta, self.classes(*now))
        assert (not found) == kept

    def test_a_backbone_tensor_that_lacks_is_still_an_error(self, micro, tmp_path):
        weights = model_of(micro, 1).state_dict()
        del weights["backbone.conv1.weight"]
        checkpoints.save(tmp_path / "a.pth", {"state_dict": weights, "meta": {"detector": {}}})
        with pytest.raises(Cuts3dError, match=r"missing; found first backbone.conv1.weight"):
            checkpoints.start_from(
                model_of(micro, 2),
                tmp_path / "a.pth",
                partial(new_layers, categories=self.classes("a", "b")),
            )

    def test_last_layers_learn_at_their_own_rate(self, micro):
        wrapper = optimizer(with_classes(build_detector(micro), 3, 4.0), micro, torch.device("cpu"))
        model = model_of(micro, 3)
        names = {id(value): name for name, value in model.named_parameters()}
        with DefaultScope.overwrite_default_scope("mmdet"):
            built = build_optim_wrapper(model, ConfigDict(wrapper))
        fast = {names[id(group["params"][0])] for group in built.param_groups if group["lr"] == 4 * micro.lr}
        assert fast == {
            f"roi_head.{head}.{parameter}"
            for head in [*(f"bbox_head.{s}.{layer}" for s in range(3) for layer in ("fc_cls", "fc_reg")),
                         "mask_head.0.conv_logits"]
            for parameter in ("weight", "bias")
        }  # fmt: skip


def test_an_objects_own_mask_is_trained(micro):
    """The loss of a class depends on its own map alone."""
    from types import SimpleNamespace

    detector = with_classes(build_detector(micro), 3)["model"]["roi_head"]["mask_head"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = MODELS.build(ConfigDict({**detector, "confidence": "none"}))
    head.get_targets = lambda *_: torch.ones(2, 4, 4)
    predicted = torch.zeros(2, 3, 4, 4, requires_grad=True)
    sampled = [SimpleNamespace(pos_gt_labels=torch.tensor([2])), SimpleNamespace(pos_gt_labels=torch.tensor([0]))]
    loss = head.loss_and_target(predicted, sampled, [None, None], None)["loss_mask"]["loss_mask"]
    loss.backward()
    touched = predicted.grad.abs().sum(dim=(2, 3)) > 0
    assert touched.tolist() == [[False, False, True], [True, False, False]]


def test_the_papers_detector_resizes_labelled_images_as_cutler():
    detector = build_detector(TrainConfig(detector="paper_mask_rcnn"))
    sides = [[side for _, side in scales["load"][0]["scales"]] for scales in (detector, with_classes(detector, 2))]
    assert sides[0][0] == 240 and sides[0][-1] == 1024 and sides[1] == [640, 672, 704, 736, 768, 800]
    assert "load_labels" not in with_classes(detector, 2)


class TestWholeWay:
    """Train on a share with classes from a class-agnostic checkpoint, predict and score."""

    @pytest.fixture(scope="class")
    @staticmethod
    def finetuned(tmp_path_factory):
        folder = tmp_path_factory.mktemp("whole")
        (folder / "micro.py").write_text(MICRO)
        first, second = draw_labels(folder / "train", 30, 0), draw_labels(folder / "val", 12, 1)
        config = TrainConfig(
            detector=str(folder / "micro.py"), iterations=2, batch_size=2, lr=0.03, lr_steps=[], warmup_iterations=0,
            image_size=64, workers=0, **train.SUPERVISED,
        )  # fmt: skip
        one = json.loads(first.read_text())
        one |= {"categories": [{"id": 1, "name": "object"}], "info": {"image_root": "photos"}}
        one["annotations"] = [{**e, "category_id": 1, "score": 1.0} for e in one["annotations"] if not e["iscrowd"]]
        masks = folder / "train/masks.json"
        masks.write_text(json.dumps(one))
        train.run(masks, folder / "agnostic", config=config, device="cpu", threads=1)
        longer = config.model_copy(
            update={
                "iterations": 80, "warmup_iterations": 5, "lr_steps": [66], "fraction": 0.8, "predictor_lr": 10.0,
                "precise_bn": 10,
            }
        )  # fmt: skip
        train.run(
            first, folder / "out", config=longer, device="cpu", threads=1, labels=True, images=folder / "train/photos",
            init=folder / "agnostic/checkpoint.pth",
        )  # fmt: skip
        return folder, second

    @pytest.fixture(scope="class")
    @staticmethod
    def predicted(finetuned):
        from cuts3d_cli.config import PredictConfig
        from cuts3d_cli.store.image_files import make_records
        from cuts3d_cli.training import predict

        folder, truth = finetuned
        root = folder / "val/photos"
        predict.run(
            folder / "out/checkpoint.pth", folder / "found.json", records=make_records(sorted(root.iterdir()), root),
            image_root=root, config=PredictConfig(score_threshold=0.05), device="cpu", threads=1,
        )  # fmt: skip
        return json.loads((folder / "found.json").read_text()), truth

    def test_the_record_names_share_and_classes(self, finetuned):
        folder, _ = finetuned
        meta = checkpoints.load(folder / "out/checkpoint.pth")["meta"]
        assert meta == read_own(folder / "out/config.json")
        assert [c["id"] for c in meta["categories"]] == [3, 7, 40] and meta["labels"]["images"] == 24
        assert meta["labels"]["of"] == 30 and meta["train"]["fraction"] == 0.8 and meta["labels"]["digest"]

    def test_predictions_carry_the_labels_own_ids_and_names(self, predicted):
        found, _ = predicted
        assert found["categories"] == sorted(CLASSES, key=lambda c: c["id"])
        assert {entry["category_id"] for entry in found["annotations"]} <= set(COLOURS)
        assert "no human annotation" not in found["info"]["description"]
        assert min(entry["score"] for entry in found["annotations"]) >= 0.05

    def test_the_classes_are_learned(self, predicted):
        from cuts3d_cli.evaluation.coco_eval import evaluate

        found, truth = predicted
        document = json.loads(truth.read_text())
        scores = evaluate(found, document, class_agnostic=False)
        assert set(scores.per_class["bbox"]) == {"moon", "box", "bar"}
        turned = {3: 7, 7: 40, 40: 3}
        mixed = [{**entry, "category_id": turned[entry["category_id"]]} for entry in found["annotations"]]
        wrong = evaluate({**found, "annotations": mixed}, document, class_agnostic=False)
        for kind in ("bbox", "segm"):
            assert scores.metrics[kind]["AP50"] > max(0.4, wrong.metrics[kind]["AP50"] + 0.05)


def test_supervised_settings_are_keys_of_the_section():
    plain = Config().train
    assert TrainConfig(**{**plain.model_dump(), **train.SUPERVISED}).loss == "none"
    assert set(train.SUPERVISED) <= set(TrainConfig.model_fields)
