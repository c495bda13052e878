import json
import random
import zipfile

import numpy as np
import pytest

from cuts3d_cli.errors import Cuts3dError, DamagedError
from cuts3d_cli.store.checksums import check_zip, is_sound, parsed, read_own, sealed
from cuts3d_cli.store.coco import annotation
from cuts3d_cli.store.files import write_json
from cuts3d_cli.store.layout import how_to_remake
from cuts3d_cli.store.manifest import ImageRecord, read_manifest, write_manifest
from cuts3d_cli.store.masks import PSEUDO_MASKS, MaskFile, read_masks, write_masks
from cuts3d_cli.store.settings import check_settings, settings_path


def flipped(content, bit):
    return content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]


def bits(content, n=300):
    return random.Random(0).sample(range(8 * len(content)), n)


def every_bit(content):
    return range(8 * len(content))


def unnoticed(path, read, bits_of=bits):
    """Bits of a file that, flipped one at a time, change what is read of it, without an error."""
    whole, content = read(path), path.read_bytes()
    found = []
    for bit in bits_of(content):
        path.write_bytes(flipped(content, bit))
        try:
            same = read(path) == whole
        except Cuts3dError:
            continue
        if not same:
            found.append(bit)
    path.write_bytes(content)
    assert read(path) == whole
    return found


@pytest.fixture
def mask_file(tmp_path):
    masks = [annotation(1, np.eye(16, dtype=bool), 0.5, cut=number) for number in range(3)]
    images = [{"id": 1, "file_name": "a.png", "width": 16, "height": 16}]
    write_masks(tmp_path / "pseudo_masks.json", MaskFile(PSEUDO_MASKS, tmp_path, images, masks))
    return tmp_path / "pseudo_masks.json"


@pytest.mark.parametrize("indent", [None, 2])
def test_no_flipped_bit_of_json_changes_a_value(tmp_path, indent):
    path = tmp_path / "results.json"
    written = {"a": 1.25, "text": "ä", "nested": {"b": [1, 2, 3]}}
    write_json(path, written, indent=indent)
    assert not unnoticed(path, lambda path: {key: read_own(path).get(key) for key in written}, every_bit)


def test_no_flipped_bit_of_a_mask_file_changes_it(mask_file):
    assert not unnoticed(mask_file, read_masks)


def test_no_flipped_bit_of_an_image_list_changes_it(tmp_path):
    records = [ImageRecord(number, f"{number}.png", 20, 30, "ab" * 10, stamp="1 2 3") for number in range(1, 6)]
    write_manifest(tmp_path / "manifest.jsonl", tmp_path, [records[:2], records[2:]])
    assert not unnoticed(tmp_path / "manifest.jsonl", lambda path: (read_manifest(path), read_manifest(path).records()))


def test_an_image_list_that_is_cut_off_is_damaged(tmp_path):
    records = [ImageRecord(number, f"{number}.png", 20, 30, "ab" * 10) for number in range(1, 6)]
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, tmp_path, [records[:2], records[2:]])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    assert len(read_manifest(path).records(0)) == 2
    with pytest.raises(DamagedError, match=r"damaged; found 4 of 5 records -> rerun `cuts3d prepare`"):
        read_manifest(path).records(1)


def test_an_edited_file_says_how_to_go_on(mask_file):
    document = json.loads(mask_file.read_text())
    assert next(iter(document)) == "crc32"  # an editor shows it first
    del document["annotations"][0]
    mask_file.write_text(json.dumps(document, indent=1))
    with pytest.raises(DamagedError) as caught:
        read_masks(mask_file)
    assert str(caught.value) == (
        f"file {mask_file} is damaged, or was edited; expected content that fits its checksum -> delete it and rerun "
        "`cuts3d merge`; if it was edited on purpose, delete its first key, crc32"
    )
    del document["crc32"]
    mask_file.write_text(json.dumps(document))
    assert len(read_masks(mask_file, own=True).annotations) == 2


def test_json_of_others_has_no_checksum(tmp_path):
    assert is_sound(b'{"images": []}') and is_sound(b"[1]") and is_sound(b'\xef\xbb\xbf{"crc32": "0", "a": 1}')
    (tmp_path / "a.json").write_text('{"images": [], "crc32": 3}')
    assert parsed(tmp_path / "a.json", (tmp_path / "a.json").read_bytes()) == {"images": []}


def test_sealed_text_keeps_its_form():
    for text in ('{"a": 1}\n', '{\n  "a": 1\n}\n'):
        content = b"".join(sealed(text))
        assert is_sound(content) and len(json.loads(content)) == 2
        assert content.decode().count("\n") == text.count("\n") + (text.count("\n") > 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_what_we_wrote_is_missing_or_other(tmp_path, content):
    with pytest.raises(DamagedError, match=r"round0/config.json; expected .*; found none -> .*`cuts3d train`"):
        read_own(tmp_path / "round0/config.json")
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"a.json; expected what cuts3d wrote; found .* -> make or fetch it again"):
        read_own(tmp_path / "a.json")


def test_zip_files_are_compared_with_their_checksums(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data/0", bytes(4000))
        file.writestr("data/1", b"x" * 40)
    check_zip(path)
    content = path.read_bytes()
    path.write_bytes(flipped(content, 8 * 1000))
    with pytest.raises(DamagedError, match=r"a.pth is damaged; found BadZipFile: Bad CRC-32 for file 'data/0' -> make"):
        check_zip(path)
    path.write_bytes(b"no zip")
    check_zip(path)


@pytest.mark.parametrize("size", [0, 1, 2, 2000, -1])
def test_a_zip_file_that_is_cut_off_is_damaged(tmp_path, size):
    path = tmp_path / "checkpoint.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data/0", bytes(4000))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(
        DamagedError, match=r"checkpoint.pth is damaged; found BadZipFile: .*file -> make or fetch it again"
    ):
        check_zip(path)


def test_settings_that_their_name_does_not_fit_are_refused(tmp_path):
    values = {"seed": 1, "train": {"lr": 1e-05}}
    check_settings(settings_path(tmp_path, values), values)
    check_settings(tmp_path / "mine.yaml", values)
    with pytest.raises(DamagedError, match=r"settings/\w+.yaml are damaged, or were edited.*`cuts3d run`"):
        check_settings(settings_path(tmp_path, values), {**values, "seed": 3})


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("run/manifest.jsonl", "prepare"),
        ("run/depth/00000.zarr", "depth"),
        ("run/masks/maskcut/localcut/00000.zarr", "localcut --method maskcut"),
        ("run/masks/cuts3d/crf/00000.json", "crf"),
        ("run/masks/maskcut/pseudo_masks.json", "merge --method maskcut"),
        ("run/val/masks/cuts3d/pseudo_masks.json", "merge"),
        ("run/detector/round0/checkpoint.pth", "train"),
        ("run/detector/round1/annotations.json", "selftrain"),
        ("run/detector/round1/predictions_val.json", "predict"),
        ("run/detector/in-domain/checkpoint.pth", "selftrain"),
        ("run/evaluation/cuts3d_val.json", "evaluate"),
        ("run/results.json", "report"),
        ("out/masks.json", "masks"),
    ],
)
def test_what_is_damaged_names_the_command_that_writes_it(path, command):
    assert how_to_remake(path) == f"delete it and rerun `cuts3d {command}`"


def test_what_others_wrote_names_no_command():
    assert how_to_remake("weights/cutler.pth") == "make or fetch it again"
