"""Readers on small files of the real formats."""

import json

import pytest
from PIL import Image

from cuts3d_cli.errors import CocoError
from cuts3d_cli.evaluation.coco_eval import evaluate
from cuts3d_cli.evaluation.readers.common import clip_box, one_category
from cuts3d_cli.evaluation.readers.formats import read_truth
from cuts3d_cli.store.coco_document import CocoDocument

VOC_OBJECT = """\
	<object>
		<name>{name}</name>
		<pose>Left</pose>
		<truncated>1</truncated>
		<difficult>{difficult}</difficult>
		<bndbox>
			<xmin>{box[0]}</xmin>
			<ymin>{box[1]}</ymin>
			<xmax>{box[2]}</xmax>
			<ymax>{box[3]}</ymax>
		</bndbox>
{part}	</object>
"""
PART = "\t\t<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>\n"
VOC_FILE = """\
<annotation>
	<folder>VOC2007</folder>
	<filename>{stem}.jpg</filename>
	<source>
		<database>The VOC2007 Database</database>
	</source>
	<owner><name>?</name></owner>
	<size>
		<width>353</width>
		<height>500</height>
		<depth>3</depth>
	</size>
	<segmented>0</segmented>
{objects}</annotation>
"""
IMAGENET_FILE = """\
<annotation>
	<folder>{folder}</folder>
	<filename>{stem}</filename>
	<source>
		<database>ILSVRC_2012</database>
	</source>
	<size>
		<width>500</width>
		<height>375</height>
		<depth>3</depth>
	</size>
	<segmented>0</segmented>
	<object>
		<name>{folder}</name>
		<pose>Unspecified</pose>
		<truncated>0</truncated>
		<difficult>0</difficult>
		<bndbox>
			<xmin>0</xmin>
			<ymin>14</ymin>
			<xmax>500</xmax>
			<ymax>300</ymax>
		</bndbox>
	</object>
</annotation>
"""
KITTI_LINES = """\
Truck 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 69.44 -1.56
Cyclist 0.98 3 -1.65 676.60 163.95 688.98 193.93 1.86 0.60 2.02 4.59 1.32 45.84 -1.55
DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10
"""
OPENIMAGES_HEAD = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)


def voc_object(name, box, difficult=0, part=""):
    return VOC_OBJECT.format(name=name, box=box, difficult=difficult, part=part)


@pytest.fixture
def voc_folder(tmp_path):
    """VOC2007 with three images in two lists; one object is difficult, one has parts."""
    folder = tmp_path / "VOC2007"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    objects = {
        "000001": voc_object("dog", (48, 240, 195, 371)) + voc_object("person", (8, 12, 352, 498), part=PART),
        "000002": voc_object("train", (139, 200, 207, 301)) + voc_object("train", (1, 1, 353, 500), difficult=1),
        "000003": voc_object("sofa", (1.5, 2, "30.25", 40)),
    }
    for stem, text in objects.items():
        (folder / "Annotations" / f"{stem}.xml").write_text(VOC_FILE.format(stem=stem, objects=text))
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text("000002\n000001\n")
    (folder / "ImageSets" / "Main" / "test.txt").write_text("000003 -1\n")
    return folder


@pytest.fixture
def kitti_folder(tmp_path):
    (tmp_path / "training" / "label_2").mkdir(parents=True)
    (tmp_path / "training" / "image_2").mkdir()
    (tmp_path / "training" / "label_2" / "000001.txt").write_text(KITTI_LINES)
    (tmp_path / "training" / "label_2" / "000002.txt").write_text("")
    for stem in ("000001", "000002"):
        Image.new("RGB", (1242, 375)).save(tmp_path / "training" / "image_2" / f"{stem}.png")
    return tmp_path / "training"


def boxes(truth, **selected):
    names = {record["id"]: record["name"] for record in truth.document.categories}
    return {
        names[record["category_id"]]: record["bbox"]
        for record in truth.document.annotations
        if all(record[key] == value for key, value in selected.items())
    }


def one_line(error):
    assert "\n" not in str(error.value)


def test_voc_pixels_count_from_one_with_the_last_inside(voc_folder):
    truth = read_truth(voc_folder, splits=("trainval", "test"))
    assert truth.format == "voc"
    assert [image["file_name"] for image in truth.document.images] == ["000002.jpg", "000001.jpg", "000003.jpg"]
    assert {(image["height"], image["width"]) for image in truth.document.images} == {(500, 353)}
    found = boxes(truth, ignore=0)
    assert found["dog"] == [47, 239, 148, 132]  # pixels 48 to 195 and 240 to 371
    assert found["sofa"] == [0.5, 1, 29.75, 39]
    assert boxes(truth, ignore=1) == {"train": [0, 0, 353, 500]}
    assert not any(record["iscrowd"] for record in truth.document.annotations)
    assert len(truth.document.annotations) == 5  # parts are no objects


def test_voc_lists_choose_images(voc_folder):
    assert len(read_truth(voc_folder, splits=("test",)).document.images) == 1
    assert len(read_truth(voc_folder / "Annotations").document.images) == 3
    with pytest.raises(CocoError, match=r"val\.txt.*a list of image ids") as error:
        read_truth(voc_folder, splits=("val",))
    one_line(error)
    (voc_folder / "Annotations" / "000003.xml").unlink()
    with pytest.raises(CocoError, match=r"000003\.xml.*no such file"):
        read_truth(voc_folder, splits=("test",))


def test_difficult_objects_count_neither_way_or_are_counted(voc_folder):
    truth = read_truth(voc_folder).document
    images = truth.images
    sure = [record for record in truth.annotations if not record["ignore"]]
    found = [{"image_id": r["image_id"], "bbox": r["bbox"], "score": 0.5} for r in sure]
    difficult = next(record for record in truth.annotations if record["ignore"])
    on_it = {"image_id": difficult["image_id"], "bbox": difficult["bbox"], "score": 0.9}

    def score(records, **options):
        return evaluate({"images": images, "annotations": records}, truth, iou_types=["bbox"], **options)

    for records in (found, [*found, on_it]):
        result = score(records)
        assert result.metrics["bbox"]["AP"] == pytest.approx(1)
        assert (result.n_objects, result.n_ignored) == (4, 1)
        assert any("1 objects flagged difficult" in note for note in result.notes)
    # a difficult object takes one detection in, a crowd region would take all that lie inside
    assert score([*found, on_it, {**on_it, "score": 0.8}]).metrics["bbox"]["AP"] < 1
    counted = score(found, difficult="count")
    assert counted.n_objects == 5
    assert counted.metrics["bbox"]["AR100"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:100], "VOC XML; found something else"),
        (lambda text: "<html></html>", "root <annotation>; found <html>"),
        (lambda text: text.replace("<width>353</width>", ""), "size.width; expected a number; found None"),
        (lambda text: text.replace("<width>353</width>", "<width>0</width>"), "at least 1 x 1 px; found 500 x 0"),
        (lambda text: text.replace("<xmin>48</xmin>", "<xmin>left</xmin>"), "bndbox.xmin; expected a number"),
        (lambda text: text.replace("<name>dog</name>", "<name/>"), "an object without name"),
        (lambda text: text.replace("<xmin>48</xmin>", "<xmin>nan</xmin>"), "expected a number; found 'nan'"),
    ],
)
def test_malformed_xml_is_named(voc_folder, change, message):
    file = voc_folder / "Annotations" / "000001.xml"
    file.write_text(change(file.read_text()))
    with pytest.raises(CocoError, match=message) as error:
        read_truth(voc_folder, format_name="voc")
    one_line(error)
    assert "000001.xml" in str(error.value)


def test_boxes_outside_are_cut_and_empty_ones_left_out(voc_folder):
    objects = voc_object("cat", (300, 400, 400, 600)) + voc_object("cat", (20, 20, 10, 30))
    (voc_folder / "Annotations" / "000003.xml").write_text(VOC_FILE.format(stem="000003", objects=objects))
    truth = read_truth(voc_folder, splits=("test",))
    assert boxes(truth) == {"cat": [299, 399, 54, 101]}
    assert truth.notes == [
        "1 objects without area inside their image were skipped",
        "1 boxes reach more than 10% beyond their image and were cut to it",
    ]
    assert clip_box((-5, -5, 20, 8), (10, 10)) == (0, 0, 10, 3)


def test_imagenet_corners_are_edges_and_names_follow_folders(tmp_path):
    train = tmp_path / "CLS-LOC" / "train" / "n01440764"
    train.mkdir(parents=True)
    (train / "n01440764_18.xml").write_text(IMAGENET_FILE.format(folder="n01440764", stem="n01440764_18"))
    truth = read_truth(tmp_path / "CLS-LOC" / "train")
    assert truth.format == "imagenet"
    assert truth.document.images == [{"id": 1, "file_name": "n01440764/n01440764_18.JPEG", "height": 375, "width": 500}]
    assert boxes(truth) == {"n01440764": [0, 14, 500, 286]}
    (train / "n01440764_18.xml").unlink()
    with pytest.raises(CocoError, match="XML files of ImageNet"):
        read_truth(tmp_path / "CLS-LOC", format_name="imagenet")


def test_kitti_regions_are_crowd_and_boxes_continuous(kitti_folder):
    for path in (kitti_folder, kitti_folder / "label_2"):
        truth = read_truth(path)
        assert truth.format == "kitti"
        assert [image["file_name"] for image in truth.document.images] == ["000001.png", "000002.png"]
        assert truth.document.images[0]["width"] == 1242
        assert boxes(truth, iscrowd=0)["Truck"] == pytest.approx([599.41, 156.40, 30.34, 32.85])
        assert set(boxes(truth, iscrowd=0)) == {"Truck", "Cyclist"}
        assert boxes(truth, iscrowd=1)["DontCare"] == pytest.approx([503.89, 169.71, 86.72, 20.42])


def test_detections_in_kitti_regions_count_neither_way(kitti_folder):
    truth = read_truth(kitti_folder).document
    found = [
        {"image_id": r["image_id"], "bbox": r["bbox"], "score": 0.5} for r in truth.annotations if not r["iscrowd"]
    ]
    inside = [{"image_id": 1, "bbox": [510 + 10 * n, 172, 9, 15], "score": 0.9} for n in range(4)]
    result = evaluate({"images": truth.images, "annotations": found + inside}, truth, iou_types=["bbox"])
    assert result.metrics["bbox"]["AP"] == pytest.approx(1)
    assert (result.n_objects, result.n_crowd) == (2, 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Car 0.00 0 1.5 1 2 3 4", r"000001\.txt, line 1; expected 15 columns of a KITTI label; found 8"),
        ("Car 0 0 0 1 2 x 4 1 1 1 1 1 1 1", r"000001\.txt, line 1: the box; expected a number; found 'x'"),
    ],
)
def test_malformed_kitti_lines_are_named(kitti_folder, line, message):
    (kitti_folder / "label_2" / "000001.txt").write_text(line + "\n")
    with pytest.raises(CocoError, match=message) as error:
        read_truth(kitti_folder)
    one_line(error)


def test_kitti_needs_its_images(kitti_folder, tmp_path):
    (kitti_folder / "image_2").rename(tmp_path / "elsewhere")
    with pytest.raises(CocoError, match=r"image of 000001, needed for its size, is missing.*--truth-images"):
        read_truth(kitti_folder)
    assert len(read_truth(kitti_folder, images=tmp_path / "elsewhere").document.images) == 2


def test_openimages_shares_become_pixels_and_groups_crowd(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "validation").mkdir()
    Image.new("RGB", (1000, 200)).save(tmp_path / "validation" / "0001eeaf4aed83f9.jpg")
    path = tmp_path / "annotations" / "validation-annotations-bbox.csv"
    path.write_text(
        OPENIMAGES_HEAD
        + "0001eeaf4aed83f9,xclick,/m/0cmf2,1,0.022,0.964,0.07,0.80,0,0,0,0,0\n"
        + "0001eeaf4aed83f9,xclick,/m/01g317,1,0.5,1.0,0.5,1.0,1,1,1,0,0\n"
    )
    truth = read_truth(path)
    assert truth.format == "openimages"
    assert boxes(truth, iscrowd=0)["/m/0cmf2"] == pytest.approx([22, 14, 942, 146])
    assert boxes(truth, iscrowd=1)["/m/01g317"] == pytest.approx([500, 100, 500, 100])
    path.write_text("ImageID,XMin\n")
    with pytest.raises(CocoError, match="found no LabelName"):
        read_truth(path)
    path.write_text(OPENIMAGES_HEAD)
    with pytest.raises(CocoError, match="a line per box; found none"):
        read_truth(path)


def test_lvis_names_come_from_urls_and_nothing_is_crowd(tmp_path, make_record):
    record = make_record(397133, (40, 60), (5, 5, 20, 20), id=1, category_id=793)
    del record["iscrowd"]
    image = {
        "id": 397133,
        "height": 40,
        "width": 60,
        "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
        "neg_category_ids": [7],
        "not_exhaustive_category_ids": [44],
    }
    path = tmp_path / "lvis_v1_val.json"
    categories = [{"id": 793, "name": "person", "frequency": "f", "synset": "person.n.01"}]
    path.write_text(json.dumps({"images": [image], "annotations": [record], "categories": categories}))
    truth = read_truth(path)
    assert truth.format == "lvis"
    assert truth.document.images[0]["file_name"] == "val2017/000000397133.jpg"
    assert truth.document.annotations[0]["iscrowd"] == 0
    assert "1 of 1 images are not annotated exhaustively" in truth.notes[0]
    assert one_category(truth.document).annotations[0]["category_id"] == 1
    predictions = {
        "images": [{"id": 1, "file_name": "val2017/000000397133.jpg", "height": 40, "width": 60}],
        "annotations": [{**record, "image_id": 1, "score": 0.5}],
    }
    assert evaluate(predictions, truth.document).metrics["segm"]["AP"] == pytest.approx(1)
    del image["coco_url"]
    path.write_text(json.dumps({"images": [image], "annotations": []}))
    with pytest.raises(CocoError, match="image 397133: file_name; expected a file name; found none"):
        read_truth(path)


def test_exchanged_sizes_of_image_records_are_put_right(tmp_path, truth):
    """As in the pseudo-masks published with CutLER."""
    for image in truth["images"]:
        image["width"], image["height"] = image["height"], image["width"]
    path = tmp_path / "cutler.json"
    path.write_text(json.dumps(truth))
    read = read_truth(path)
    sizes = {image["id"]: (image["height"], image["width"]) for image in read.document.images}
    assert sizes == {7: (120, 200), 3: (200, 120), 5: (90, 90)}
    assert read.notes == ["2 image records have width and height exchanged; the annotations' sizes were taken"]
    for record in truth["annotations"]:  # polygons do not tell, the annotation's own size does
        image = next(image for image in truth["images"] if image["id"] == record["image_id"])
        record |= {"segmentation": [[1, 1, 9, 1, 9, 9]], "height": image["width"], "width": image["height"]}
    path.write_text(json.dumps(truth))
    exchanged, boxes = read_truth(path).notes
    assert "exchanged" in exchanged and "bbox that is not that of their mask" in boxes
    truth["annotations"][0].update(height=1, width=2)
    path.write_text(json.dumps(truth))
    assert "1 image records" in read_truth(path).notes[0]  # where annotations disagree, the record stays


def test_right_coco_files_stay_as_they_are(tmp_path, truth):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(truth))
    read = read_truth(path)
    assert (read.document, read.notes, read.format) == (CocoDocument(**truth, notes=()), [], "coco")


@pytest.mark.parametrize("content", ["[]", "{}", '{"images": []}', '{"images": {}, "annotations": []}', "nonsense"])
def test_no_coco_file(tmp_path, content):
    path = tmp_path / "gt.json"
    path.write_text(content)
    with pytest.raises(CocoError, match=r"gt\.json; expected COCO JSON") as error:
        read_truth(path)
    one_line(error)


def test_unknown_paths_and_formats(tmp_path):
    with pytest.raises(CocoError, match="no such file"):
        read_truth(tmp_path / "gone.json")
    with pytest.raises(CocoError, match="found none"):
        read_truth(tmp_path / "gone", format_name="voc")
    with pytest.raises(CocoError, match="none of them"):
        read_truth(tmp_path)
    with pytest.raises(CocoError, match="auto or coco, lvis, voc"):
        read_truth(tmp_path, format_name="cityscapes")


def test_boxes_far_outside_are_told(voc_folder):
    objects = voc_object("cat", (10, 10, 4000, 30))
    (voc_folder / "Annotations" / "000003.xml").write_text(VOC_FILE.format(stem="000003", objects=objects))
    assert read_truth(voc_folder, splits=("test",)).notes == [
        "1 boxes reach more than 10% beyond their image and were cut to it"
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OPENIMAGES_HEAD.encode("utf-16"), "CSV of boxes in UTF-8; found something else"),
        (OPENIMAGES_HEAD.encode() + b'"' + b"x" * 200_000 + b'"\n', "CSV of boxes in UTF-8; found something else"),
        (OPENIMAGES_HEAD.encode("utf-8-sig"), "a line per box; found none"),
    ],
)
def test_other_csv_is_one_line(tmp_path, content, told):
    path = tmp_path / "validation-annotations-bbox.csv"
    path.write_bytes(content)
    with pytest.raises(CocoError, match=told) as error:
        read_truth(path, format_name="openimages")
    one_line(error)


def test_xml_of_an_unknown_encoding_is_one_line(voc_folder):
    file = voc_folder / "Annotations" / "000001.xml"
    file.write_text('<?xml version="1.0" encoding="foo"?>' + file.read_text())
    with pytest.raises(CocoError, match="VOC XML; found something else") as error:
        read_truth(voc_folder, format_name="voc")
    one_line(error)
