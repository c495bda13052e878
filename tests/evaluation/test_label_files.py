"""Label maps, YOLO and labelme files: a file per image, matched by stem."""

import base64
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.detector.labels import read_labels
from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.evaluate import labels_file
from cuts3d_cli.evaluation.readers.common import Remark
from cuts3d_cli.evaluation.readers.formats import read_truth
from cuts3d_cli.store.coco import decode_mask

SIZE_HW = (40, 60)


@pytest.fixture
def rings():
    """Values (H, W): object 1 with a hole, object 2 in two parts."""
    values = np.zeros(SIZE_HW, np.uint16)
    values[5:25, 5:25] = 1
    values[10:20, 10:20] = 0
    values[30:38, 2:10] = values[30:38, 40:50] = 2
    return values


@pytest.fixture
def photos(tmp_path):
    """Three photographs in a folder and one below."""
    for name in ("a.jpg", "b.jpg", "day/c.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE_HW[::-1]).save(path)
    return tmp_path / "photos"


def write_map(path, values, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0] + [i % 256 for i in range(762)])
    image.save(path)


def masks(truth, image=0):
    image_id = truth.document.images[image]["id"]
    found = [record for record in truth.document.annotations if record["image_id"] == image_id]
    return [decode_mask(record["segmentation"]) for record in found]


def assert_rings(truth, rings):
    first, second = masks(truth)
    assert np.array_equal(first, rings == 1) and np.array_equal(second, rings == 2)


def test_holes_and_parts_of_a_label_map_stay(tmp_path, rings):
    write_map(tmp_path / "labels/a.png", rings)
    truth = read_truth(tmp_path / "labels")
    assert truth.format == "png"
    assert_rings(truth, rings)
    assert truth.document.annotations[1]["bbox"] == [2, 30, 48, 8]
    assert truth.document.categories == [{"id": 1, "name": "object"}]
    assert [note for note in truth.notes if "0 (background)" in note]


def test_depth_maps_given_as_labels_are_told(tmp_path, rings):
    rng = np.random.default_rng(0)
    write_map(tmp_path / "labels/a.png", rings)
    write_map(tmp_path / "labels/b.png", (700 + rng.integers(0, 300, SIZE_HW)).astype(np.uint16))
    (note,) = [note for note in read_truth(tmp_path / "labels").notes if "check that they are labels" in note]
    assert note.startswith("1 of 2 label maps have many values") and note.endswith("b.png)")
    assert not isinstance(note, Remark)  # a warning


@pytest.mark.parametrize("kind", ["uint8", "uint16", "palette", "tiff32", "colour"])
def test_every_bit_depth_gives_the_same_masks(tmp_path, rings, kind):
    path = tmp_path / "labels" / ("a.tif" if kind == "tiff32" else "a.png")
    if kind == "colour":
        write_map(path, np.stack([rings * 7, rings, rings * 30], axis=2).astype(np.uint8))
    elif kind == "palette":
        write_map(path, rings.astype(np.uint8), "P")
    else:
        write_map(path, rings.astype({"tiff32": np.int32}.get(kind, kind)))
    assert_rings(read_truth(tmp_path / "labels"), rings)


def packed_png(values, bits):
    """A grey PNG of 1, 2 or 4 bit a pixel, which Pillow does not write."""
    import struct
    import zlib

    height, width = values.shape
    per_byte = 8 // bits
    rows = values.reshape(height, width // per_byte, per_byte).astype(np.uint8)
    packed = sum(rows[..., i] << (bits * (per_byte - 1 - i)) for i in range(per_byte)).astype(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [2, 4])
def test_values_of_few_bits_are_not_scaled(tmp_path, rings, bits):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.png").write_bytes(packed_png(rings, bits))
    assert_rings(read_truth(tmp_path / "labels"), rings)
    assert len(read_truth(tmp_path / "labels", ignore_labels=[0, 2]).document.annotations) == 1


def _lossy(path, values):
    Image.fromarray(values.astype(np.uint8)).save(path, "JPEG")


def _deep_colours(path, values):
    cv2.imwrite(str(path), np.stack([values * 300] * 3, axis=2).astype(np.uint16))


def _two_pages(path, values):
    page = Image.fromarray(values.astype(np.uint8))
    page.save(path, "TIFF", save_all=True, append_images=[page])


def _infinite(path, values):
    Image.fromarray(np.where(values == 1, np.inf, values).astype(np.float32)).save(path, "TIFF")


@pytest.mark.parametrize(
    ("save", "found"),
    [
        (_lossy, "JPEG, which changes values"),
        (_deep_colours, "colours of 16 bit"),
        (_two_pages, "2 pages"),
        (_infinite, "fractions, NaN or infinity"),
    ],
)
def test_maps_that_do_not_keep_their_values_are_refused(tmp_path, rings, save, found):
    (tmp_path / "labels").mkdir()
    save(tmp_path / "labels/a.png", rings)
    with pytest.raises(CocoError, match=found):
        read_truth(tmp_path / "labels", format_name="png")


@pytest.mark.parametrize("name", ["\u00b2", "9" * 5000])
def test_class_numbers_that_are_none_are_refused(tmp_path, photos, name):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text(f"{name} 0.1 0.1 0.5 0.1 0.5 0.5", encoding="utf-8")
    with pytest.raises(CocoError, match="expected a class number"):
        read_truth(tmp_path / "labels", images=photos, format_name="yolo")


def test_255_is_the_outline_beside_other_values_and_an_object_alone(tmp_path, rings):
    outlined = rings.astype(np.uint8)
    outlined[:2] = 255
    write_map(tmp_path / "voc/a.png", outlined, "P")
    truth = read_truth(tmp_path / "voc")
    assert_rings(truth, rings)
    assert any("255 (outline, as in VOC)" in note for note in truth.notes)
    assert len(masks(read_truth(tmp_path / "voc", ignore_labels=[0]))) == 3
    write_map(tmp_path / "binary/a.png", np.where(rings == 1, 255, 0).astype(np.uint8))
    assert np.array_equal(masks(read_truth(tmp_path / "binary"))[0], rings == 1)
    write_map(tmp_path / "wide/a.png", np.where(rings == 1, 255, rings))  # 16 bit: a number like others
    assert len(masks(read_truth(tmp_path / "wide"))) == 2


def test_every_value_is_an_object_where_none_is_ignored(tmp_path, rings):
    write_map(tmp_path / "labels/a.png", rings)
    assert len(masks(read_truth(tmp_path / "labels", ignore_labels=[]))) == 3


def test_images_are_matched_by_stem_and_the_rest_is_told(tmp_path, photos, rings):
    for name in ("a.png", "day/c.png", "nobody.png"):
        write_map(tmp_path / "gt" / name, rings)
    truth = read_truth(tmp_path / "gt", images=photos)
    assert [image["file_name"] for image in truth.document.images] == ["a.jpg", "day/c.jpg"]
    assert any("1 of 3 label files have no image" in note and "nobody.png" in note for note in truth.notes)
    assert any("1 of 3 images" in note and "b.jpg" in note for note in truth.notes)
    with pytest.raises(CocoError, match="none has an image in"):
        (tmp_path / "gt/a.png").unlink(), (tmp_path / "gt/day/c.png").unlink()
        read_truth(tmp_path / "gt", images=photos)


def test_a_map_of_another_size_than_its_image_is_refused(tmp_path, photos, rings):
    write_map(tmp_path / "gt/a.png", rings.T.copy())
    with pytest.raises(CocoError, match=r"expected height x width 40 x 60 .*found 60 x 40") as error:
        read_truth(tmp_path / "gt", images=photos)
    assert "\n" not in str(error.value)


def test_maps_of_classes_and_photographs_are_told_from_label_maps(tmp_path, rings):
    blobs = np.zeros(SIZE_HW, np.uint8)
    for x in range(0, 60, 10):
        blobs[5:10, x : x + 5] = 1
    write_map(tmp_path / "classes/a.png", blobs)
    assert any("1 objects lie in 6 separate parts" in note for note in read_truth(tmp_path / "classes").notes)
    write_map(tmp_path / "photo/a.png", np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8))
    with pytest.raises(CocoError, match="one colour or value per object"):
        read_truth(tmp_path / "photo")
    write_map(tmp_path / "empty/a.png", np.zeros(SIZE_HW, np.uint8))
    with pytest.raises(CocoError, match="no object to find"):
        read_truth(tmp_path / "empty")


@pytest.fixture
def yolo(tmp_path, photos):
    """YOLO's layout: a triangle, a rectangle, an image without objects."""
    photos.rename(tmp_path / "images")
    (tmp_path / "labels/day").mkdir(parents=True)
    (tmp_path / "labels/a.txt").write_text("1 0.5 0.25 0.75 0.25 0.75 0.75 0.5 0.75\n0 0 0 0.25 0 0 0.25\n")
    (tmp_path / "labels/b.txt").write_text("")
    (tmp_path / "labels/classes.txt").write_text("cup\nbox\n")
    (tmp_path / "data.yaml").write_text("names: {0: cup, 1: box}\nnc: 2\n")
    return tmp_path


def test_yolo_polygons_have_the_size_of_their_image(yolo):
    for path in (yolo, yolo / "labels"):
        truth = read_truth(path)
        assert truth.format == "yolo"
        assert [image["file_name"] for image in truth.document.images] == ["a.jpg", "b.jpg"]
        names = {c["id"]: c["name"] for c in truth.document.categories}
        assert [names[a["category_id"]] for a in truth.document.annotations] == ["box", "cup"]
        box = masks(truth)[0]
        assert box[10:31, 30:46].all() and box.sum() == 21 * 16  # the outline is part of it, as for Ultralytics
    assert any("such as c.jpg" in note for note in truth.notes)


def test_yolo_boxes_and_malformed_lines(yolo):
    file = yolo / "labels/a.txt"
    file.write_text("0 0.5 0.5 0.2 0.5\n")
    assert read_truth(yolo).document.annotations[0]["bbox"] == pytest.approx([24, 10, 12, 20])
    for line, message in (
        ("0 0.5 0.5 0.2 0.5\n0 0 0 1 0 1 1\n", "1 objects are boxes"),
        ("0 0.1 0.2 0.3\n", r"line 1.*found 3 numbers"),
        ("0 10 20 30 40 50 60\n", "0 to 1"),
        ("cup 0 0 1 0 1 1\n", "15 columns"),  # taken for KITTI's
    ):
        file.write_text(line)
        with pytest.raises(CocoError, match=message):
            read_truth(yolo / "labels")
    (yolo / "labels/b.txt").write_text("0 0 0 1 0 1 1\n")
    with pytest.raises(CocoError, match=r"a.txt, line 1.*found cup"):  # one file does not make it KITTI's
        read_truth(yolo / "labels")


def test_yolo_without_images_says_so(yolo):
    (yolo / "images").rename(yolo / "elsewhere")
    with pytest.raises(CocoError, match="--truth-images"):
        read_truth(yolo / "labels")
    assert len(read_truth(yolo / "labels", images=yolo / "elsewhere").document.images) == 2


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def test_labelme_shapes(tmp_path):
    png = io.BytesIO()
    Image.fromarray(np.full((5, 4), 255, np.uint8)).save(png, "PNG")
    shapes = [
        shape("cup", [[0, 0], [10, 0], [10, 10], [0, 10]], group_id=3),
        shape("cup", [[20, 20], [30, 30]], "rectangle", group_id=3),
        shape("ball", [[40, 20], [45, 20]], "circle"),
        shape("bit", [[50, 30], [53, 34]], "mask", mask=base64.b64encode(png.getvalue()).decode()),
        shape("mark", [[1, 1]], "point"),
    ]
    content = {"shapes": shapes, "imagePath": "..\\photos\\a.jpg", "imageHeight": 40, "imageWidth": 60}
    (tmp_path / "json").mkdir()
    (tmp_path / "json/a.json").write_text(json.dumps(content))
    truth = read_truth(tmp_path / "json")
    assert truth.format == "labelme" and truth.document.images[0]["file_name"] == "a.jpg"
    cup, ball, bit = masks(truth)
    assert cup.sum() == 2 * 11 * 11 and cup[25, 25] and cup[5, 5]  # the outline is part of it, as for labelme
    assert ball.sum() == pytest.approx(np.pi * 25, rel=0.1)
    assert bit.sum() == 20 and bit[30:35, 50:54].all()
    assert truth.notes == ["1 labelme shapes of type point were left out: they have no area"]
    assert len(read_truth(tmp_path / "json/a.json").document.annotations) == 3
    content["shapes"] = [shape("cup", [[0, 0], [1, 1]])]
    (tmp_path / "json/a.json").write_text(json.dumps(content))
    with pytest.raises(CocoError, match="three points or more"):
        read_truth(tmp_path / "json")
    content["shapes"] = shapes
    for written in ("/", ".", "a/..", "C:\\"):
        (tmp_path / "json/a.json").write_text(json.dumps({**content, "imagePath": written}))
        assert len(read_truth(tmp_path / "json").document.images) == 1


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ("abc", 'found the string "abc"'),
        (None, "found null"),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], "found a list of 3"),
        ([[1, float("nan")], [4, 5], [7, 8]], "found NaN"),
        ([["1", 2], [4, 5], [7, 8]], 'found the string "1"'),
        ([1, 2, 3], "found 1$|found 1 "),
    ],
)
def test_labelme_points_that_are_none(tmp_path, points, found):
    content = {"shapes": [shape("cup", points)], "imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 60}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(CocoError, match=rf"shape cup 0; expected points, each .* x and y; {found}"):
        read_truth(tmp_path)


def test_labelme_masks_that_are_none(tmp_path):
    for mask, found in ((None, "found null"), ("!", "expected a mask of labelme")):
        content = {"shapes": [shape("cup", [[0, 0], [5, 5]], "mask", mask=mask)], "imageHeight": 40, "imageWidth": 60}
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(CocoError, match=found):
            read_truth(tmp_path)


def test_scores_against_label_maps(tmp_path, photos, rings, cuts3d, monkeypatch):
    """Predictions equal to the maps score 100, with the images named or not; the truth is written as scored."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        write_map(tmp_path / "gt" / name, rings)
    code, _, err = cuts3d("evaluate", "--annotations", "gt", "--truth-images", "photos", "--write-truth", "t.json")
    assert code == 0 and "0 (background)" in err
    for more in ((), ("--truth-images", "photos", "--format", "png", "--ignore-labels", "0,255")):
        code, out, err = cuts3d("evaluate", "--annotations", "gt", "--predictions", "t.json", "--json", *more)
        assert code == 0, err
        assert json.loads(out)["t"]["metrics"]["segm"]["AP"] == 1
    code, _, err = cuts3d("evaluate", "--annotations", "gt", "--predictions", "t.json", "--ignore-labels", "x")
    assert code == 2 and "integers with commas" in err


def test_a_training_reads_a_folder_of_labels(tmp_path, photos, yolo, rings):
    """Label maps have one class, YOLO's files their own; the images are those of the folder."""
    write_map(tmp_path / "gt/a.png", rings)
    for folder, names, n_objects in (("gt", ["object"], 2), ("labels", ["box", "cup"], 2)):
        path, images = labels_file(tmp_path / folder, tmp_path / "images", tmp_path / "out")
        labels = read_labels(path, root=images)
        assert [category["name"] for category in labels.categories] == names
        assert labels.record["objects"] == n_objects
        assert labels.entries[0]["img_path"] == str(tmp_path / "images/a.jpg")


def test_the_record_of_an_export_is_no_label(tmp_path):
    """An export to labelme is read back as it lies there."""
    content = {
        "shapes": [shape("cup", [[0, 0], [10, 0], [10, 10]])],
        "imagePath": "b.jpg",
        "imageHeight": 40,
        "imageWidth": 60,
    }
    (tmp_path / "b.json").write_text(json.dumps(content))
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "cuts3d-output.json").write_text("{}")
    (tmp_path / "b2.json").write_text(json.dumps({**content, "imagePath": "c.jpg"}))
    assert len(read_truth(tmp_path).document.images) == 2
    assert len(read_truth(tmp_path, format_name="labelme").document.images) == 2
