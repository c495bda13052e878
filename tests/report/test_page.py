import base64
import io
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli import __version__
from cuts3d_cli.cli.predict import command as predict
from cuts3d_cli.config import resolve
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.table import format_table
from cuts3d_cli.pipeline.graph import result_path
from cuts3d_cli.report import page as report
from cuts3d_cli.report.depth_facts import depth_facts
from cuts3d_cli.report.figures import ap_over_rounds, running_mean
from cuts3d_cli.report.panels import make_examples, spread
from cuts3d_cli.report.run_image import Detections, Truth
from cuts3d_cli.report.run_summary import detections_command, differences, failed_images, summarise_run
from cuts3d_cli.store.checksums import read_own
from cuts3d_cli.store.curve import read_curve
from cuts3d_cli.store.layout import ARRAYS, FORMAT_VERSION, OUTCOME_NAMES, manifest_path
from cuts3d_cli.store.manifest import read_manifest, write_manifest
from cuts3d_cli.store.store_writer import create_store
from cuts3d_cli.store.zarr_store import open_store

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are nested properly, and collects what the tests ask for."""

    def __init__(self, html):
        super().__init__()
        self.open, self.images, self.photos, self.references, self.ids, self.text = [], [], [], [], [], []
        self.layers, self.chips = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.references += [attrs[key] for key in ("src", "href", "srcset") if key in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "img":
            self.images.append(attrs)
        if tag == "image":
            self.photos.append(attrs)
        if tag == "path":
            self.layers.append(attrs["d"])
        if attrs.get("class") == "chip":
            self.chips.append(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def written(run, config, **more):
    text = report.run(run, run / "report.html", config=config, **more)
    html = (run / "report.html").read_text()
    return text, html, Page(html)


def test_one_file_without_network(tiny_run):
    run, config = tiny_run
    _, html, page = written(run, config)
    assert page.images and all(image["src"].startswith("data:image/") for image in page.images)
    for reference in page.references:
        assert reference.startswith(("data:", "#"))
        assert not reference.startswith("#") or reference[1:] in page.ids
    assert "<link" not in html and "<script src" not in html and "fetch(" not in html
    assert "http" not in html and "url(" not in html and "@import" not in html
    assert all(image["alt"] for image in page.images)
    assert len(html) < 1_000_000


def test_photographs_are_embedded_once_and_linked(tiny_run):
    run, config = tiny_run
    _, html, page = written(run, config)
    assert len(page.photos) == len({photo["data-original"] for photo in page.photos}) == 4 + 2  # a broken one has none
    for photo in page.photos:
        assert photo["href"].startswith("data:image/jpeg")
        assert (run / unquote(photo["data-original"])).resolve().is_file()
    assert html.count(f'href="#{page.photos[0]["id"]}"') > 1


def test_originals_can_be_embedded(tiny_run):
    run, config = tiny_run
    embedded = config.model_copy(update={"report": config.report.model_copy(update={"embed_originals": True})})
    _, _, page = written(run, embedded)
    original = next(photo["data-original"] for photo in page.photos)
    assert original.startswith("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(original.split(",")[1]))).size == (60, 40)


def test_embedded_pictures_open_at_their_size(tiny_run):
    _, _, page = written(*tiny_run)
    jpegs = [image for image in page.images if image["src"].startswith("data:image/jpeg")]
    # 2 good images of the held-out set with 4 maps and 2 strips each; masks are layers over the photographs
    assert len(jpegs) == 2 * (4 + 2)
    for image in jpegs:
        opened = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1])))
        assert opened.size == (int(image["width"]), int(image["height"]))
    assert {image["src"].split(";")[0] for image in page.images} == {"data:image/jpeg", "data:image/svg+xml"}


def test_every_row_image_and_setting_is_there(tiny_run):
    run, config = tiny_run
    text, html, page = written(run, config)
    for title in ("MaskCut pseudo-masks", "CutS3D pseudo-masks", "Detector trained on", "self-training round 1"):
        assert title in page.words
    for name in ("maskcut_train", "cuts3d_val", "round0_val", "round1_val"):
        assert name in text
    for name in ("a/one.png", "a/two <b>.png", "broken.png"):
        assert name in page.words
    assert "<b>.png" not in html  # escaped
    for section, key in (("localcut", "tau_knn"), ("localcut", "tau_ncut"), ("spatial_importance", "beta")):
        assert f"{section}.{key} {getattr(getattr(config, section), key)}" in page.words
    assert f"background_z: {config.localcut.background_z}" in page.words and f"cuts3d {__version__}" in page.words
    assert "no known image format" in page.words
    assert len(re.findall(r'<td class="[^"]*best"', html)) > 5


def with_values(config, section, **values):
    """A configuration with some other values in a section."""
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def test_masks_can_be_switched_on_and_off_one_by_one(tiny_run):
    _, html, page = written(*tiny_run)
    assert len(page.layers) == len(page.chips) > 10 and all(path.startswith("M") for path in page.layers)
    assert {chip["aria-pressed"] for chip in page.chips} == {"true", "false"}
    off = sum("ground truth" in label for label in re.findall(r'aria-pressed="false"[^>]*>([^<]*)<', html))
    assert off == sum(chip["aria-pressed"] == "false" for chip in page.chips) > 0  # nothing else is off at first


def test_training_images_and_detections_have_contact_sheets(tiny_run):
    run, config = tiny_run
    words = written(run, config)[2].words
    assert "Pseudo-masks, training images All 4 training images." in words
    assert "Detections, round 1, held-out images All 3 held-out images." in words
    assert "1 mask; buttons: cut and quality; overlap 1.00, 1 of 1 objects matched" in words
    assert (
        "2 of the 4 training images, evenly spaced" in written(run, with_values(config, "report", n_sheet=2))[2].words
    )
    assert "Contact sheets" not in written(run, with_values(config, "report", n_sheet=0))[2].words


def test_a_mask_shows_its_quality_and_without_one_its_stability(tiny_run):
    run, config = tiny_run
    chips = re.compile(r'aria-pressed="true"[^>]*>([^<]*)<')
    html = written(run, config)[1]
    assert {"1  0.31", "1  0.75"} <= set(chips.findall(html))  # pseudo-masks and detections
    assert "cut and stability" not in html
    for path in [*run.glob("**/crf/*.json"), *run.glob("**/masks/*/*.json")]:
        document = read_own(path)
        for entry in document["annotations"]:
            entry.pop("quality", None)
        path.write_text(json.dumps(document))
    _, html, page = written(run, config)
    assert "1  0.31" not in chips.findall(html) and "buttons: cut and stability" in page.words
    assert "cut and quality" not in page.words


def test_the_worst_image_is_the_one_without_its_mask(tiny_run):
    run, config = tiny_run
    path = result_path(run, "crf", "00001")
    document = read_own(path)
    document["annotations"].pop()  # of t3.png
    path.write_text(json.dumps(document))
    words = written(run, config)[2].words
    best, worst = (
        words.split(f"training images: {order} The 2 {order} of 4 training")[1] for order in ("best", "worst")
    )
    assert re.match(
        r" images with ground truth, best first\. 1 t0.png 1 mask; buttons: cut and quality; overlap 1.00", best
    )
    assert re.match(r" images with ground truth, worst first\. t3.png 0 masks; overlap 0.00", worst)


def test_without_ground_truth_there_are_sheets_but_no_scores(tiny_run):
    """Detections are shown on images without labels, too."""
    run, config = tiny_run
    words = written(run, with_values(config, "data", annotations=None, val_annotations=None))[2].words
    assert "Detections, round 1, held-out images" in words and "1 mask" in words
    assert "Best and worst" not in words and "1 of 1 objects matched" not in words


def test_detections_of_the_command_that_is_named_are_shown(tiny_run):
    run, config = tiny_run
    shutil.rmtree(run / "val")
    shutil.copy(result_path(run, "crf", "00000"), run / "detections.json")
    words = written(run, config)[2].words
    assert "Detections, training images" in words
    assert "the detector was not run on this image" in words  # those of the other shard


def test_weak_detections_are_drawn_from_the_top(tiny_run):
    run, config = tiny_run
    words = written(run, with_values(config, "report", min_score=0.8))[2].words
    # in the two good images step by step, on the contact sheet, and as best and worst
    assert (
        words.count("none of 1 detection reaches report.min_score 0.8, highest 0.75; the most confident drawn") == 3 * 2
    )
    assert "1 of 1 detection shown; report.min_score 0.3" in written(run, config)[2].words


def test_missing_depth_is_told(tiny_run):
    run, config = tiny_run
    assert "has no reading" not in written(run, config)[2].words
    path = result_path(run, "depth", "00000")
    store = open_store(path, "depth")
    arrays = {name: store.array(name)[:] for name in ARRAYS["depth"]}
    arrays["reading"][1, :12] = False
    sections = {"depth": config.depth.model_dump(mode="json")}
    images = {"images": store.attrs["images"]}
    with create_store(
        path, "depth", store.image_ids, sections=sections, inputs={}, fingerprint="depth", attrs=images
    ) as writer:
        for row in (0, 1):
            writer.write(row, **{name: values[row] for name, values in arrays.items()})
    words = written(run, config)[2].words
    assert "more than 20% of the depth has no reading in 1 of 4 images (most in t1.png, 25%)" in words
    assert "25% of the depth missing" in words


def test_the_glossary_gives_tau_knn_in_metres(tiny_run):
    """The depth of the run is from 0.5 to 2."""
    run, config = tiny_run
    words = written(run, config)[2].words
    assert f"or {1.5 * config.localcut.tau_knn:.2f} m straight back (of the 1.50 m from nearest to farthest)" in words
    assert "0.50 to 2.00 m" in words
    assert "ranks pseudo-masks without labels, from 0 to 1" in words
    assert "It is off in this run" in written(run, with_values(config, "crf", enabled=False))[2].words
    for base in (run, run / "val"):
        shutil.rmtree(base / "depth")
    words = written(run, config)[2].words
    assert "straight back" not in words and "A larger jump in space separates two objects" in words


def test_results_are_written_beside(tiny_run):
    run, config = tiny_run
    text, _, page = written(run, config)
    document = json.loads((run / "results.json").read_text())
    assert list(document["rows"]) == ["maskcut_train", "cuts3d_val", "round0_val", "round1_val"]
    assert document["rows"]["cuts3d_val"]["metrics"]["segm"]["AP"] == pytest.approx(1)
    assert document["version"] == __version__
    assert (run / "results.txt").read_text() == text + "\n" == format_table(document["rows"]) + "\n"
    assert "100.0" in page.words
    assert any("made of, 2 of the ground truth's 4" in note for note in document["notes"])


def test_the_same_run_gives_the_same_file(tiny_run):
    _, first, _ = written(*tiny_run)
    _, second, _ = written(*tiny_run)
    assert first == second


def test_given_evaluations_replace_those_of_the_run(tiny_run):
    run, config = tiny_run
    text, _, page = written(run, config, evaluations={"mine & yours": run / "evaluation/cuts3d_val.json"})
    assert "mine & yours" in text and "mine & yours" in page.words
    assert "maskcut_train" not in text


def test_rounds_beyond_the_configuration_are_left_out(tiny_run):
    run, config = tiny_run
    shutil.copy(run / "evaluation/round1_val.json", run / "evaluation/round2_val.json")
    assert "round2_val" not in written(run, config)[0]


def test_without_a_detector_its_parts_are_left_out(tiny_run):
    """Also where an earlier configuration of the run had one."""
    run, config = tiny_run
    config = config.model_copy(update={"train": config.train.model_copy(update={"detector": None})})
    text, _, page = written(run, config)
    assert "round0" not in text and "cuts3d_val" in text
    assert "no detector is trained (train.detector is null)" in page.words
    assert "Detection" not in page.words and "training" not in page.ids


def test_missing_rounds_are_named(tiny_run):
    run, config = tiny_run
    config = config.model_copy(update={"selftrain": config.selftrain.model_copy(update={"rounds": 3})})
    (run / "evaluation/round1_val.json").unlink()
    _, _, page = written(run, config)
    assert "Detector, round 1: not evaluated" in page.words
    assert "Detector, round 2: not trained" in page.words and "Detector, round 3: not trained" in page.words


@pytest.mark.parametrize(
    ("gone", "shown", "not_shown"),
    [
        ("detector", "self-training round 1", "Detections, round"),
        ("evaluation", "No evaluation", "MaskCut pseudo-masks"),
        ("masks/maskcut", "Held-out images, MaskCut", "Training images, MaskCut"),
        ("val", "t3.png", "a/one.png"),
        ("val/masks/cuts3d/confidence", "Final pseudo-masks", "in how many cuts"),
        ("val/masks/cuts3d/localcut", "Final pseudo-masks", "Eigenvector"),
        ("val/masks/cuts3d/crf", "Ground truth", "Final pseudo-masks"),
        ("val/depth", "Spatial Importance", "near is bright"),
    ],
)
def test_missing_pieces_do_not_stop_it(tiny_run, gone, shown, not_shown):
    run, config = tiny_run
    words = written(run, config)[2].words
    assert not_shown in words
    shutil.rmtree(run / gone)
    words = written(run, config)[2].words
    assert shown in words and not_shown not in words


def test_a_bare_image_list_is_enough(tiny_run, tmp_path):
    run, config = tiny_run
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run / "manifest.jsonl", bare)
    text, _, page = written(bare, config)
    assert text == "no scores, as nothing was compared with labels"
    assert "missing" in page.words and "No evaluation" in page.words and len(page.photos) == 3 and not page.images


def test_without_a_run_it_says_so(tmp_path):
    with pytest.raises(Cuts3dError, match="no run at"):
        report.run(tmp_path, tmp_path / "report.html", config=resolve({}))
    assert not (tmp_path / "report.html").exists()


def test_a_file_that_is_no_evaluation_is_named(tiny_run):
    run, config = tiny_run
    (run / "evaluation/cuts3d_train.json").write_text("[]")
    with pytest.raises(Cuts3dError, match=r"cuts3d_train\.json"):
        written(run, config)


def test_absent_things_are_said_in_one_flow(tiny_run, tmp_path):
    """The boxes are flex containers, which drop the spaces between text and elements that lie in them directly."""
    run, config = tiny_run
    shutil.rmtree(run / "evaluation")
    shutil.rmtree(run / "val/masks/cuts3d/crf")
    _, html, _ = written(run, config)
    boxes = re.findall(r'<(p|div) class="absent">(.*?)</\1>', html, re.DOTALL)
    assert len(boxes) > 1 and all(re.fullmatch(r"<span>.+</span>", inner, re.DOTALL) for _, inner in boxes)


def test_without_held_out_images_it_says_how_to_see_detections(tiny_run, monkeypatch):
    run, config = tiny_run
    (run / "detector/round1/checkpoint.pth").touch()
    assert "cuts3d predict" not in written(run, config)[2].words
    shutil.rmtree(run / "val")
    root = json.loads((run / "manifest.jsonl").open().readline())["image_root"]
    words = written(run, config)[2].words
    assert f"--checkpoint {run}/detector/round1/checkpoint.pth" in words and f"{run}/detections {root}" in words
    monkeypatch.chdir(run.parent)
    assert detections_command("run", range(2)).split() == [
        *("cuts3d", "predict", "--checkpoint", "run/detector/round1/checkpoint.pth", "--out", "run/detections.json"),
        *("--pictures", "run/detections", root),
    ]
    assert detections_command("run", range(1)) is None  # no such detector


def test_the_command_that_shows_detections_is_one(tiny_run):
    """All its options are known, with what they need."""
    run, _ = tiny_run
    run = run.rename(run.with_name("a run"))
    shutil.rmtree(run / "val")
    (run / "detector/round1/checkpoint.pth").touch()
    words = shlex.split(detections_command(run, range(2)))
    given = predict.make_context("predict", words[2:]).params
    assert words[:2] == ["cuts3d", "predict"] and given["checkpoint"].is_file() and given["images"][0].is_dir()


def test_an_image_without_any_cut_says_why(tiny_run):
    run, config = tiny_run
    path = result_path(run / "val", "localcut", "00000")
    store = open_store(path, "localcut")
    arrays = {name: store.array(name)[:] for name in ARRAYS["localcut"]}
    for name in ("fiedler", "semantic", "instance"):
        arrays[name][0] = 0
    arrays["outcome"][0] = [OUTCOME_NAMES.index("uniform"), OUTCOME_NAMES.index("stopped")]
    section = config.localcut.model_dump(mode="json")
    with create_store(
        path,
        "localcut",
        store.image_ids,
        sections={"localcut": section},
        inputs={},
        fingerprint="f",
        attrs={"images": store.attrs["images"]},
    ) as writer:
        for row in (0, 1):
            writer.write(row, **{name: values[row] for name, values in arrays.items()})
        writer.fail(2, "no image")
    first, second, _ = make_examples(run / "val", 3, side=64)
    found = {panel.title: panel for panel in first.panels}
    for title in ("Eigenvector of the first cut", "Semantic cut"):
        assert found[title].picture is None and found[title].missing == "no cut: all patches alike"
    assert found["Instances"].caption.startswith("0 of 0 attempts kept; end: all patches alike; localcut.")
    assert not first.cuts
    found = {panel.title: panel for panel in second.panels}
    assert found["Instances"].caption.startswith("1 of 2 attempts kept; localcut.")
    assert second.cuts[1].caption.startswith("nothing kept of the semantic cut's 108 patches; rejected: too small")


def test_settings_that_differ_from_the_shown_ones_are_named(tiny_run):
    run, config = tiny_run
    other = config.model_copy(update={"localcut": config.localcut.model_copy(update={"tau_knn": 0.2})})
    assert "settings other than" not in written(run, config)[2].words
    words = written(run, other)[2].words
    assert "Training images, CutS3D: localcut was made with settings other than those below" in words
    assert f"tau_knn: {config.localcut.tau_knn} instead of 0.2" in words


def test_a_store_of_another_version_is_named(tiny_run):
    run, config = tiny_run
    path = result_path(run / "val", "localcut", "00000") / "zarr.json"
    path.write_text(path.read_text().replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 99'))
    words = written(run, config)[2].words
    assert f"format version {FORMAT_VERSION}" in words and "rerun `cuts3d localcut`" in words


def test_stores_of_an_earlier_list_are_named_and_not_shown(tiny_run):
    """Their rows are those of other images: the pictures and failures would be too, or there is no such row."""
    run, config = tiny_run
    for base in (run, run / "val"):
        manifest = read_manifest(manifest_path(base))
        shards = [manifest.records(shard)[1:] for shard in range(manifest.n_shards)]
        write_manifest(manifest.path, manifest.image_root, shards)
    _, _, page = written(run, config)
    assert page.words.count("localcut: store") == 3, "two shards, and one of the held-out images"
    assert "was made from images other than those in the image list" in page.words
    assert not any(stage.failures for summary in summarise_run(run) for stage in summary.stages if stage.stage != "crf")
    assert depth_facts(run / "val") is None


def test_sums_of_the_run(tiny_run):
    run, config = tiny_run
    sets = {summary.title: summary for summary in summarise_run(run)}
    assert list(sets) == [f"{s} images, {m}" for s in ("Training", "Held-out") for m in ("CutS3D", "MaskCut")]
    train, val = sets["Training images, CutS3D"], sets["Held-out images, CutS3D"]
    assert (train.n_images, train.n_instances, dict(train.instances)) == (4, 4, {1: 4})
    assert (val.n_images, val.n_instances, dict(val.instances)) == (3, 2, {0: 1, 1: 2})
    for stage in val.stages:
        assert (stage.done, stage.no_object, list(stage.failures)) == (2, 0, ["broken.png"])
    assert [stage.stage for stage in sets["Training images, MaskCut"].stages] == ["crf"]
    localcut = next(stage for stage in train.stages if stage.stage == "localcut")
    assert (localcut.n_present, localcut.n_shards, len(localcut.configs)) == (2, 2, 1)
    assert differences(localcut, config.localcut.model_dump(mode="json")) == []


def test_an_image_and_its_reason_are_listed_once():
    steps = {"depth": {"a": "x"}, "features": {"a": "x", "b": "y"}, "crf": {"a": "failed in depth: x", "c": "z"}}
    assert failed_images(steps) == [("a", "x", "depth, features, crf"), ("b", "y", "features"), ("c", "z", "crf")]
    steps = {"depth": {"a": "x"}, "features": {"a": "y"}, "confidence": {"a": "failed in localcut: failed in depth: x"}}
    assert failed_images(steps) == [("a", "x; y", "depth, features, confidence")]


def test_examples_have_the_shape_of_their_photographs(tiny_run):
    run, _ = tiny_run
    predictions = run / "detector/round1/predictions_val.json"
    examples = list(make_examples(run / "val", 5, side=90, detections=Detections(predictions, "D", 0.9)))
    assert [example.image.record.file_name for example in examples] == ["a/one.png", "a/two <b>.png", "broken.png"]
    wide, tall, broken = examples
    assert wide.image.photo.shape == (60, 90, 3) and tall.image.photo.shape == (90, 60, 3)
    for example in (wide, tall):
        maps = [panel.picture for panel in example.panels if isinstance(panel.picture, np.ndarray)]
        assert {picture.shape for picture in maps} == {example.image.photo.shape}
    assert [panel.picture for panel in broken.panels] == [None] and "no known image format" in broken.panels[0].missing
    found = {panel.title: panel for panel in wide.panels}
    assert found["D"].caption == (
        "none of 1 detection reaches report.min_score 0.9, highest 0.75; the most confident drawn"
    )
    assert [len(found[title].picture) for title in ("Photograph", "D", "Final pseudo-masks")] == [0, 1, 1]
    assert "36 of the semantic cut's 36 patches kept, stability 0.75" in wide.cuts[0].caption
    assert "nothing kept" in wide.cuts[1].caption


@pytest.mark.parametrize(
    ("total", "n", "expected"), [(10, 2, [2, 7]), (3, 12, [0, 1, 2]), (1, 1, [0]), (12, 3, [2, 6, 10])]
)
def test_examples_are_spread(total, n, expected):
    assert spread(total, n) == expected


def test_running_mean_keeps_constants_and_length():
    np.testing.assert_allclose(running_mean(np.full(7, 3.0), 3), 3)
    np.testing.assert_allclose(running_mean(np.array([0.0, 3, 6]), 3), [1.5, 3, 4.5])
    np.testing.assert_allclose(running_mean(np.array([1.0, 5]), 1), [1, 5])


def test_a_curve_ends_at_a_damaged_line(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"iteration": 1, "loss": 2}\n{"iteration": 2, "lo')
    assert read_curve(tmp_path / "m.jsonl") == [{"iteration": 1, "loss": 2}]


def test_ap_curve_needs_a_round():
    row = {"metrics": {"segm": {"AP": 0.1, "AP50": None}}}
    assert ap_over_rounds({"cuts3d_val": row}) is None
    svg = ap_over_rounds({"cuts3d_val": row, "round0_val": row, "round1_val": row})
    assert re.search(rb"<svg", svg)


@pytest.fixture
def label_maps(tmp_path):
    """A folder of label maps with one map, of the second training image: objects 1 and 2."""
    values = np.zeros((40, 60), np.uint8)
    values[5:10, 5:10], values[20:30, 20:30] = 1, 2
    (tmp_path / "gt").mkdir()
    Image.fromarray(values).save(tmp_path / "gt/t1.png")
    return tmp_path / "gt"


def test_panels_show_ground_truth_of_a_folder(tiny_run, label_maps):
    run, _ = tiny_run
    manifest = read_manifest(manifest_path(run))
    made = make_examples(run, 4, side=60, truth=Truth(label_maps, manifest.image_root, None))
    panels = {e.image.record.file_name: next(p for p in e.panels if p.title.startswith("Ground truth")) for e in made}
    assert panels["t1.png"].caption == "2 objects"
    assert panels["t0.png"].missing == "the ground truth lacks this image"


@pytest.mark.parametrize(("ignored", "n_objects"), [(None, 2), ([2], 1)])
def test_sheets_compare_with_ground_truth_of_a_folder(tiny_run, label_maps, ignored, n_objects):
    run, config = tiny_run
    words = written(run, with_values(config, "data", annotations=str(label_maps), ignore_labels=ignored))[2].words
    assert "The 1 best of 1 training images with ground truth" in words
    assert (
        f"of {n_objects} objects matched"
        in words.split("training images: best The 1 best")[1].split("Contact sheets")[0]
    )
