"""COCO JSON with one thing wrong: every command says the same in one line; none hangs, crashes or goes on."""

import copy
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.store.coco import encode_mask
from tests.isolated import isolated

HEIGHT, WIDTH = 96, 128
N_PIXELS = HEIGHT * WIDTH


def rectangle(x, y, w, h):
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def code(x, y, w, h):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + h, x : x + w] = True
    return encode_mask(mask)


def documents():
    """Ground truth of four images and eight rectangles, polygons and codes in turn, and perfect predictions."""
    images = [{"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in range(1, 5)]
    annotations = []
    for image in images:
        for box in ((10, 10, 40, 30), (70, 40, 45, 50)):
            n = len(annotations) + 1
            annotations.append(
                {
                    "id": n, "image_id": image["id"], "category_id": 1, "bbox": list(box), "area": box[2] * box[3],
                    "iscrowd": 0, "segmentation": [rectangle(*box)] if n % 2 else code(*box),
                }
            )  # fmt: skip
    truth = {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    predictions = copy.deepcopy(truth)
    for entry in predictions["annotations"]:
        entry["score"] = 1 - entry["id"] / 10
    return truth, predictions


def annotation(number=5, **values):
    """Change values of an annotation; 5 has a polygon, 6 a compressed code."""

    def change(document):
        document["annotations"][number - 1].update(values)

    return change


def without(key, number=5, records="annotations"):
    def change(document):
        document[records][number - 1].pop(key)

    return change


def image(**values):
    def change(document):
        document["images"][2].update(values)

    return change


def segmentation(value):
    return annotation(segmentation=value)


def counts(value, size=(HEIGHT, WIDTH)):
    return annotation(segmentation={"size": list(size), "counts": value})


def nested(document):
    document["info"]["deep"] = "DEEP"


def exchanged(document):
    """Height and width of an image whose masks are polygons, which do not tell its size."""
    document["images"][2].update(height=WIDTH, width=HEIGHT)
    document["annotations"][5].update(segmentation=[rectangle(70, 40, 45, 50)])


class Text(str):
    """The text of a file, in place of a change."""


NAN, INFINITY = math.nan, math.inf

RUNS = f"expected runs above 0 .* add up to the image's {N_PIXELS} pixels; found"

WRONG = {
    # hung for good
    "code without its last run": (counts([970, 30, 66, 30]), rf"annotation 5: counts .*; {RUNS} a sum of 1096"),
    "code of one long run": (counts([0, 1000000000]), f"annotation 5: counts .*; {RUNS} a sum of 1000000000"),
    "code that is a sentence": (counts("this is not rle!!"), r"annotation 5: counts .* code; found .*this is not"),
    "code that never fills": (counts("\x01zz~"), r"annotation 5: counts .* code; found the string \"\\u0001zz~\""),
    "code that breaks off": (counts("0P"), "annotation 5: counts .* whole compressed run-length code; found .*0P"),
    "polygon with NaN": (segmentation([[10, 10, 50, NAN, 50, 40]]), "annotation 5: seg.* numbers .*; found NaN"),
    "polygon with null": (segmentation([[10, 10, 50, None, 50, 40]]), "annotation 5: segmentation; .*; found null"),
    # crashed
    "polygon beyond memory": (
        segmentation([[1e9, 1e9, 50, 10, 50, 40]]),
        r"annotation 5: segmentation; expected coordinates inside the image, height 96 and width 128, .* found x from",
    ),
    "code of an image without rows": (counts("0", size=(0, WIDTH)), "annotation 5: size of the seg.*; found height 0"),
    # wrong in silence
    "code of negative runs": (counts([N_PIXELS + 5, -5]), f"annotation 5: counts .*; {RUNS} a negative run"),
    "code of an empty run": (counts([N_PIXELS - 7, 0, 7]), f"annotation 5: counts .*; {RUNS} an empty run"),
    "code in half characters": (counts("\udc80"), "annotation 5: counts of the segmentation; .*udc80"),
    "compressed code that is short": (
        annotation(6, segmentation={"size": [HEIGHT, WIDTH], "counts": "PS1"}),
        f"annotation 6: counts .*; {RUNS} a sum of",
    ),
    "runs as text": (counts(["970", "30"]), 'annotation 5: counts .* whole numbers; found the string "970"'),
    "runs as fractions": (counts([N_PIXELS - 0.5, 0.5]), "annotation 5: counts .* whole numbers; found 12287.5"),
    "counts a number": (counts(12288), "annotation 5: counts of the seg.* a list of runs, or a compr.*; found 12288"),
    "no counts": (segmentation({"size": [HEIGHT, WIDTH]}), "annotation 5: counts of the segmentation; .*; found null"),
    "no size": (segmentation({"counts": "0"}), "annotation 5: segmentation; .* found a code without size"),
    "another size": (counts([4800], size=(60, 80)), "annotation 5: size .*; found height 60 and width 80$"),
    "size exchanged": (
        counts([N_PIXELS], size=(WIDTH, HEIGHT)),
        r"annotation 5: size .* height 96 and width 128; found height 128 and width 96 -> height and width exchanged\?",
    ),
    "size as text": (counts([N_PIXELS], size=("96", "128")), 'found height the string "96" and width the string "128"'),
    "size a fraction": (counts([N_PIXELS], size=(96.0, 128.5)), "found height 96.0 and width 128.5"),
    "size of the image exchanged": (
        exchanged, r"annotation 6: segmentation; .*, height 128 and width 96, .* -> height and width .* exchanged\?",
    ),
    "coordinates as text": (segmentation([["10", "10", "50", "10", "50", "40"]]), 'found the string "10"'),
    "coordinate of a thousand digits": (segmentation([[10**400, 10, 50, 10, 50, 40]]), "found a number of more than"),
    "infinite coordinate": (segmentation([[INFINITY, 10, 50, 10, 50, 40]]), "annotation 5: seg.*; found Infinity"),
    "polygon beside the image": (segmentation([[150, 10, 190, 10, 190, 40]]), "annotation 5: seg.* x from 150 to 190"),
    "score NaN": (annotation(score=NAN), "annotation 5: score; expected a number from 0 to 1; found NaN"),
    "score infinite": (annotation(score=-INFINITY), "annotation 5: score; .* found -Infinity"),
    "score above 1": (annotation(score=1.5), "annotation 5: score; expected a number from 0 to 1; found 1.5"),
    "score below 0": (annotation(score=-0.1), "annotation 5: score; expected a number from 0 to 1; found -0.1"),
    "score text": (annotation(score="high"), 'annotation 5: score; .* found the string "high"'),
    "score a list": (annotation(score=[0.5]), "annotation 5: score; .* found a list of 1"),
    "score true": (annotation(score=True), "annotation 5: score; .* found true"),
    "id true": (annotation(id=True), r"annotations\[4\]: id; expected a whole number or a text; found true"),
    "image_id true": (annotation(image_id=True), "annotation 5: image_id; .* found true"),
    "image_id a list": (annotation(image_id=[3]), "annotation 5: image_id; .* found a list of 1"),
    "image_id null": (annotation(image_id=None), "annotation 5: image_id; .* found null"),
    "image_id missing": (without("image_id"), "annotation 5: image_id; .* found none"),
    "image_id of no image": (annotation(image_id=99), "annotation 5: image_id; .* listed image; found 99"),
    "image_id as text": (annotation(image_id="3"), 'annotation 5: image_id; .* found the string "3" -> images has 3'),
    "iscrowd as text": (annotation(iscrowd="0"), 'annotation 5: iscrowd; expected 0 or 1; found the string "0"'),
    "iscrowd 2": (annotation(iscrowd=2), "annotation 5: iscrowd; expected 0 or 1; found 2"),
    "ignore as text": (annotation(ignore="no"), 'annotation 5: ignore; expected 0 or 1; found the string "no"'),
    "category_id a list": (annotation(category_id=[1]), "annotation 5: category_id; .* found a list of 1"),
    # tracebacks
    "area a list": (annotation(area=[1200]), "annotation 5: area; expected a number of at least 0; found a list of 1"),
    "area text": (annotation(area="1200"), 'annotation 5: area; .* found the string "1200"'),
    "area NaN": (annotation(area=NAN), "annotation 5: area; .* found NaN"),
    "area below 0": (annotation(area=-1), "annotation 5: area; .* found -1"),
    "segmentation [[]]": (segmentation([[]]), "annotation 5: segmentation; .* three points or more; found 0 numbers"),
    "segmentation [[x, y]]": (segmentation([[10, 10]]), "annotation 5: segmentation; .* found 2 numbers"),
    "polygon of two points": (segmentation([[10, 10, 50, 40]]), "annotation 5: segmentation; .* found 4 numbers"),
    "odd number of coordinates": (segmentation([[10, 10, 50, 10, 50, 40, 10]]), "annotation 5: seg.* found 7 numbers"),
    "segmentation not nested": (
        segmentation(rectangle(10, 10, 40, 30)), r"annotation 5: seg.* found 10 -> each polygon is a list of its own",
    ),
    "segmentation a text": (segmentation("10 10 50 10"), 'annotation 5: seg.* found the string "10 10 50 10"'),
    "points as pairs": (
        segmentation([[[10, 10], [50, 10], [50, 40]]]), "found a list of 2 -> a polygon is one list",
    ),
    "width null": (image(width=None), "image 3: width; expected a whole number of pixels; found null"),
    "width missing": (without("width", 3, "images"), "image 3: width; expected a whole number of pixels; found none"),
    "width as text": (image(width="128"), 'image 3: width; .* found the string "128"'),
    "width a fraction": (image(width=128.5), "image 3: width; .* found 128.5"),
    "height true": (image(height=True), "image 3: height; .* found true"),
    "height negative": (image(height=-96), "image 3: height; .* found -96"),
    "image without size": (image(height=0, width=0), "annotation 5: image_id; .* could be read; found one of 0 x 0"),
    "image without columns": (image(width=0), "image 3: height x width; expected 1 to .*; found 96 x 0"),
    "image of a million sides": (image(width=10**6, height=10**6), "image 3: height .* found 1000000 x 1000000"),
    "file_name missing": (without("file_name", 3, "images"), "image 3: file_name; expected a file name; found none"),
    "file_name a number": (image(file_name=3), "image 3: file_name; expected a file name; found 3"),
    "file_name with a null": (image(file_name="3\0.png"), r'image 3: file_name; .* found the string "3\\u0000.png"'),
    "file_name twice": (image(file_name="./1.png"), "file name 1.png occurs twice"),
    "image id twice": (image(id=1), "image id 1 occurs twice"),
    "image id true": (image(id=True), r"images\[2\]: id; expected a whole number or a text; found true"),
    "image id missing": (without("id", 3, "images"), r"images\[2\]: id; .* found none"),
    "image id text among numbers": (image(id="3"), "ids of images; expected numbers alone, or text alone; found both"),
    "image a text": (lambda d: d["images"].append("5.png"), r'images\[4\]; .*; found the string "5.png"'),
    "annotation null": (lambda d: d["annotations"].append(None), r"annotations\[8\]; expected an object; found null"),
    "bbox of three": (annotation(bbox=[1, 2, 3]), "annotation 5: bbox; expected x, y.*; found a list of 3"),
    "bbox as text": (annotation(bbox=["1", 2, 3, 4]), 'annotation 5: bbox; expected four .*; found the string "1"'),
    "bbox NaN": (annotation(bbox=[1, 2, NAN, 4]), "annotation 5: bbox; expected four finite .*; found NaN"),
    "bbox negative": (annotation(bbox=[50, 40, -40, -30]), "annotation 5: bbox; .* at least 0; found -40"),
    "bbox in space": (annotation(bbox=[1e300, 2, 3, 4]), r"annotation 5: bbox; .* found 1e\+300, 2, 3, 4"),
    "neither mask nor box": (annotation(segmentation=None, bbox=None), "annotation 5; expected a seg.* or a bbox"),
    "categories an object": (lambda d: d.update(categories={"1": "thing"}), "categories; .* a list; found an object"),
    "category without name": (lambda d: d["categories"][0].pop("name"), "category 1: name; .* a text; found none"),
    "category id twice": (lambda d: d["categories"].append({"id": 1, "name": "b"}), "category id 1 occurs twice"),
    "no images": (lambda d: d.pop("images"), "expected COCO JSON with images and annotations; found no images"),
    "annotations null": (lambda d: d.update(annotations=None), "found null as annotations"),
    # no JSON of the kind
    "empty file": (Text(""), "expected COCO JSON; found an empty file"),
    "half a file": (Text('{"images": [{"id": 1,'), "expected COCO JSON; found something else"),
    "a number": (Text("12"), "expected COCO JSON with images and annotations; found 12"),
    "nested ten thousand lists": (Text("[" * 10000 + "]" * 10000), "found lists or objects nested too deeply"),
    "UTF-16": (Text("\udcff\udcfe["), "expected COCO JSON in UTF-8; found text in UTF-16"),
    "not UTF-8": (Text("[\udcff]"), "expected COCO JSON in UTF-8; found other bytes"),
    "integer of ten thousand digits": (Text('{"images": ' + "1" * 10000 + "}"), "found something else"),
}  # fmt: skip
"""What is wrong by name, and what every command says of it."""

ACCEPTED = {
    "info null": lambda d: d.update(info=None),
    "info a list": lambda d: d.update(info=[1]),
    "info missing": lambda d: d.pop("info"),
    "area null": annotation(area=None),
    "area missing": without("area"),
    "bbox null": annotation(bbox=None),
    "bbox empty": annotation(bbox=[]),
    "iscrowd false": annotation(iscrowd=False),
    "iscrowd null": annotation(iscrowd=None),
    "iscrowd missing": without("iscrowd"),
    "ids that are floats": lambda d: [r.update(image_id=float(r["image_id"])) for r in d["annotations"]],
    "sizes that are floats": image(height=96.0, width=128.0),
    "ids of annotations twice": annotation(id=1),
    "polygon a pixel outside": annotation(4, segmentation=[rectangle(70, 40, 45, 50), [-1] * 6]),
    "size of image records exchanged": lambda d: (
        d["images"][2].update(height=WIDTH, width=HEIGHT),
        d["annotations"][4].update(segmentation=code(10, 10, 40, 30)),
    ),
    "byte order mark": Text("\ufeff"),
    "extra keys": annotation(attributes={"a": [1]}, extra=None, confidence=0.5),
}  # fmt: skip
"""What is odd and has one meaning: the scores are those of the right file."""

COMMANDS = {
    "evaluate, ground truth": ("evaluate", "--annotations", "{truth}", "--predictions", "predictions.json"),
    "evaluate, predictions": ("evaluate", "--annotations", "truth.json", "--predictions", "{predictions}"),
    "train --annotations": ("train", "--annotations", "{predictions}", "--image-root", "images", "--out", "out"),
    "train --labels": ("train", "--labels", "{truth}", "--image-root", "images", "--out", "out"),
    "selftrain": (
        "selftrain", "--annotations", "{predictions}", "--image-root", "images", "--checkpoint", "no.pth",
        "--out", "out",
    ),
    "export": ("export", "{predictions}", "--format", "coco", "--out", "out/export"),
}  # fmt: skip


def write(path, document, change):
    """A file with a change, in bytes that may be no UTF-8."""
    document = copy.deepcopy(document)
    text = change if isinstance(change, Text) else None
    if text is None:
        change(document)
    if text is None or text == "\ufeff":
        text = (text or "") + json.dumps(document)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    (folder / "images").mkdir()
    for n in range(1, 5):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"images/{n}.png")
    truth, predictions = documents()
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "predictions.json").write_text(json.dumps(predictions))
    for number, change in enumerate([entry for entry, _ in WRONG.values()] + list(ACCEPTED.values())):
        write(folder / f"truth{number}.json", truth, change)
        write(folder / f"predictions{number}.json", predictions, change)
    return folder


@pytest.fixture(scope="module")
def outcomes(folder):
    """What every command does with every file: code, stdout and stderr."""
    jobs = {}
    for number, name in enumerate([*WRONG, *ACCEPTED]):
        files = {"truth": f"truth{number}.json", "predictions": f"predictions{number}.json"}
        for command, words in COMMANDS.items():
            if name in WRONG or command.startswith(("evaluate", "export")):
                jobs[name, command] = {"cwd": str(folder), "args": [word.format(**files) for word in words]}
    right = {"cwd": str(folder), "args": [word.format(truth="truth.json", predictions="predictions.json")
                                          for word in COMMANDS["evaluate, ground truth"]]}  # fmt: skip
    found = isolated("tests.isolated:command", [right, *jobs.values()])
    return dict(zip(["right", *jobs], found, strict=True))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", WRONG)
def test_every_command_names_what_is_wrong_in_one_line(outcomes, name, command):
    found = outcomes[name, command]
    assert found.get("code") == 1, found
    (line,) = [line for line in found["err"].splitlines() if "error:" in line]
    assert re.search(WRONG[name][1], line), line
    assert re.search(r"(truth|predictions)\d+\.json", line), line
    assert "Traceback" not in found["err"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name.startswith("evaluate")])
@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_written_differently_scores_the_same(outcomes, name, command):
    found, right = outcomes[name, command], outcomes["right"]
    assert found.get("code") == 0, found

    def scores(text):
        return [line.split()[1:] for line in text.splitlines() if line.startswith("predictions")]

    assert scores(found["out"]) == scores(right["out"]) != []


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_written_differently_is_exported_whole(outcomes, name):
    found = outcomes[name, "export"]
    assert found.get("code") == 0 and "8 objects of 4 images" in found["err"], found


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ids of annotations twice", "1 annotations have the id of an earlier one"),
        ("size of image records exchanged", "1 image records have width and height exchanged"),
    ],
)
def test_what_is_odd_is_told(outcomes, name, told):
    for command in ("evaluate, ground truth", "evaluate, predictions", "export"):
        assert told in outcomes[name, command]["err"]
