"""The list of photographs (sample/photos.json), the script that gets them, and the run that photos.yaml describes."""

import hashlib
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import urllib.error
import zipfile
from pathlib import Path

import pytest
import yaml

from cuts3d_cli.config import load
from cuts3d_cli.errors import Cuts3dError

ROOT = Path(__file__).resolve().parents[1]
COCO = ROOT.parent / "shared/coco"
FREE = {4: "by/2.0", 5: "by-sa/2.0", 7: "commons/usage", 8: "usa.gov"}
"""COCO's licences that allow to share and to change."""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("get_photos", ROOT / "scripts/get_photos.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def listed():
    return json.loads((ROOT / "sample/photos.json").read_text())


@pytest.fixture
def photos():
    """A list of four: two of either half, one of either of COCO's sets each."""
    made = []
    for number in range(1, 5):
        name, folder = f"{number:012}.jpg", ("train2017", "val2017")[number > 2]
        digest = hashlib.sha256(content(name)).hexdigest()
        split = ("choose", "report")[number % 2]
        made.append({"id": number, "file_name": name, "split": split, "sha256": digest, "set": folder})
    return made


def content(name):
    return f"picture {name}".encode()


def coco_document(numbers):
    """COCO keys, with an image and an annotation too many, and one of a crowd."""
    numbers = [*numbers, numbers[0] + 90]
    images = [{"id": n, "file_name": f"{n:012}.jpg", "width": 8, "height": 6, "coco_url": "x"} for n in numbers]
    annotations = [{"id": 10 * n + crowd, "image_id": n, "iscrowd": crowd, "category_id": 1, "bbox": [0, 0, 2, 2],
                    "segmentation": {"size": [6, 8], "counts": [48]}} for n in numbers for crowd in (0, 1)]  # fmt: skip
    licenses, categories = [{"id": 4, "name": "a", "url": "u"}], [{"id": 1, "name": "person"}]
    return {"images": images, "annotations": annotations, "licenses": licenses, "categories": categories}


@pytest.fixture
def source(tmp_path, photos):
    """A folder laid out like COCO's, with a photograph that is not listed."""
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    for number in (1, 2, 3, 4, 91):
        (folder / f"images/{number:012}.jpg").write_bytes(content(f"{number:012}.jpg"))
    (folder / "annotations.json").write_text(json.dumps(coco_document([1, 2, 3, 4])))
    return folder


@pytest.fixture
def coco(tmp_path, source, photos, script, monkeypatch):
    """COCO's addresses as files."""
    archive = tmp_path / "annotations.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name, numbers in (("train2017", [1, 2]), ("val2017", [3, 4])):
            file.writestr(f"annotations/instances_{name}.json", json.dumps(coco_document(numbers)))
    monkeypatch.setattr(script, "ARCHIVE", archive.as_uri())
    for photo in photos:
        folder = tmp_path / "coco" / photo["set"]
        folder.mkdir(parents=True, exist_ok=True)
        path = shutil.copy(source / "images" / photo["file_name"], folder)
        photo["coco_url"] = Path(path).as_uri()
    return archive


def test_the_list_is_whole(listed):
    photos = listed["images"]
    assert len(photos) == len({photo["id"] for photo in photos}) == 96
    assert [photo["id"] for photo in photos] == sorted(photo["id"] for photo in photos)
    for at, photo in enumerate(photos):
        assert photo["file_name"] == f"{photo['id']:012}.jpg" == photo["coco_url"].split("/")[-1]
        assert photo["coco_url"].split("/")[-2] in ("train2017", "val2017") and len(photo["sha256"]) == 64
        assert photo["flickr_url"].startswith("http") and "staticflickr.com/" in photo["flickr_url"]
        assert min(photo["width"], photo["height"]) >= 240 and max(photo["width"], photo["height"]) <= 640
        assert photo["split"] == ("choose", "report")[at % 2]


def test_only_free_photographs_are_listed(listed):
    licenses = {entry["id"]: entry["url"] for entry in listed["licenses"]}
    assert {photo["license"] for photo in listed["images"]} == set(licenses) <= set(FREE)
    assert all(FREE[number] in url for number, url in licenses.items())


def test_from_a_folder(script, photos, source, tmp_path):
    out = tmp_path / "out"
    script.get(out, source, photos=photos)
    assert {path.name for path in (out / "images").iterdir()} == {photo["file_name"] for photo in photos}
    whole, *halves = (json.loads(script.annotations_path(out, name).read_text()) for name in (None, *script.SPLITS))
    assert [image["id"] for image in whole["images"]] == [1, 2, 3, 4]
    assert [(a["image_id"], a["iscrowd"]) for a in whole["annotations"]] == [
        (n, c) for n in (1, 2, 3, 4) for c in (0, 1)
    ]
    assert [[image["id"] for image in half["images"]] for half in halves] == [[2, 4], [1, 3]]
    assert all({a["image_id"] for a in half["annotations"]} == {i["id"] for i in half["images"]} for half in halves)


def test_both_ways_give_the_same(script, photos, source, coco, tmp_path):
    script.get(tmp_path / "a", source, photos=photos)
    script.get(tmp_path / "b", photos=photos)
    files = [path.relative_to(tmp_path / "a") for path in sorted((tmp_path / "a").rglob("*.*"))]
    assert len(files) == 4 + 3 and files == [
        p.relative_to(tmp_path / "b") for p in sorted((tmp_path / "b").rglob("*.*"))
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_what_is_there_is_kept(script, photos, source, tmp_path):
    out = tmp_path / "out"
    script.get(out, source, photos=photos)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    script.get(out, tmp_path / "gone", photos=photos)  # needs its source no more
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*")} == before
    (out / "images" / photos[0]["file_name"]).write_bytes(b"damaged")
    (out / "annotations.json").unlink()
    script.get(out, source, photos=photos)
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert {path.name for path in changed if path.suffix == ".jpg"} == {photos[0]["file_name"]}
    assert (out / "annotations.json").is_file()


def test_a_photograph_that_is_missing_or_another_is_named(script, photos, source, tmp_path):
    out, last = tmp_path / "out", source / "images" / photos[-1]["file_name"]
    last.write_bytes(b"another")
    with pytest.raises(Cuts3dError, match=rf"{last.name}; expected the listed file, SHA-256 \w+; found another"):
        script.get(out, source, photos=photos)
    last.unlink()
    with pytest.raises(Cuts3dError, match=f"no photograph {last}.*PHOTOS=DIR"):
        script.get(out, source, photos=photos)
    assert len(list((out / "images").iterdir())) == 3 and not (out / "annotations.json").exists()


def test_annotations_that_lack_a_photograph_are_an_error(script, photos, source, tmp_path):
    (source / "annotations.json").write_text(json.dumps(coco_document([1, 2, 3])))
    with pytest.raises(Cuts3dError, match=r"annotations lack 1 of 4 photographs, first 000000000004\.jpg"):
        script.get(tmp_path / "out", source, photos=photos)


def test_other_files_in_the_folder_are_an_error(script, photos, source, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/mine.jpg").touch()
    with pytest.raises(Cuts3dError, match=r"contains 1 other files, first mine\.jpg"):
        script.get(tmp_path, source, photos=photos)
    assert (tmp_path / "images/mine.jpg").exists()


def test_a_damaged_archive_is_an_error(script, photos, coco, tmp_path):
    coco.write_bytes(coco.read_bytes()[:100])
    with pytest.raises(Cuts3dError, match=r"archive .* expected COCO's annotations"):
        script.get(tmp_path / "out", photos=photos)
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize(
    "error", [urllib.error.URLError(socket.gaierror(-2, "no such name")), TimeoutError("timed out")]
)
def test_without_network_one_line_names_the_way_out(script, monkeypatch, capsys, tmp_path, error):
    def fail(url, timeout):
        assert timeout <= 10
        raise error

    monkeypatch.setattr(script.urllib.request, "urlopen", fail)
    monkeypatch.setattr(sys, "argv", ["get_photos.py", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        script.main()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and len(lines) == 1 and lines[0].startswith("cuts3d: error: cannot get http://images.")
    assert "make photos PHOTOS=DIR" in lines[0]


@pytest.mark.skipif(not COCO.is_dir(), reason="no COCO photographs beside the repository")
def test_the_listed_photographs_are_those_beside_the_repository(script, tmp_path):
    script.get(tmp_path, COCO)
    assert len(list((tmp_path / "images").iterdir())) == 96


def test_the_run_is_of_these_photographs_and_ends_with_masks(script, source, photos, tmp_path):
    config = load(ROOT / "photos.yaml")
    data = Path(config.data.images).parent
    assert config.data.annotations == str(script.annotations_path(data)) and not config.trainings
    assert f"python scripts/get_photos.py {data} " in (ROOT / "Makefile").read_text()
    script.get(tmp_path / data, source, photos=photos)
    values = yaml.safe_load((ROOT / "photos.yaml").read_text())
    (tmp_path / "photos.yaml").write_text(yaml.safe_dump(values))
    words = [sys.executable, "-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "-d", tmp_path, "--cores", "2"]
    words += ["--configfile", tmp_path / "photos.yaml"]
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0 and "report" in ended.stdout and "train" not in ended.stdout.split("total")[0], ended
