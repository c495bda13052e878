import json
import math

import pytest

from cuts3d_cli.errors import CocoError
from cuts3d_cli.store.json_files import is_number, is_text, read_json, shown, whole


def test_with_and_without_a_byte_order_mark(tmp_path):
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "a.json").write_bytes(mark + '{"é": 1}'.encode())
        assert read_json(tmp_path / "a.json") == {"é": 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "expected COCO JSON; found an empty file"),
        (b" \n", "found an empty file"),
        (b"{]", "expected COCO JSON; found something else"),
        (b'["\xff"]', "expected COCO JSON in UTF-8; found other bytes"),
        ('{"a": 1}'.encode("utf-16"), "found text in UTF-16 or UTF-32 -> save it as UTF-8"),
        (b"[" * 10**5, "nested too deeply"),
        (b"1" * 5000, "found something else"),
    ],
)
def test_what_is_no_json_is_one_line(tmp_path, content, told):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CocoError, match=told) as caught:
        read_json(tmp_path / "a.json")
    assert "a.json" in str(caught.value) and "\n" not in str(caught.value)


def test_no_file_a_folder_and_an_impossible_name(tmp_path):
    (tmp_path / "file").write_text("1")
    for path, told in (
        (tmp_path / "gone.json", "no such file"),
        (tmp_path / "file/a.json", "no such file"),
        (tmp_path, "found a folder"),
        (tmp_path / ("a" * 300), "cannot be read"),
        ("a\0.json", "cannot be read"),
    ):
        with pytest.raises(CocoError, match=told):
            read_json(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (96, "96"),
        (0.5, "0.5"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        ("96", 'the string "96"'),
        ("a\n\ud800", r'the string "a\n\ud800"'),
        ([], "an empty list"),
        ([1, 2], "a list of 2"),
        ({}, "an empty object"),
        ({"a": 1, "b": 2}, 'an object with keys "a", "b"'),
        (10**4000, "a number of more than 60 digits"),
    ],
)
def test_what_was_found_in_words(value, text):
    assert shown(value) == text


def test_long_values_are_cut():
    for value in ("x" * 1000, {"x" * 1000: 1}, 10**59):
        assert len(shown(value)) < 90


def test_numbers():
    assert [is_number(value) for value in (0, -1.5, True, None, "1", math.nan, math.inf, 10**400)] == [True] * 2 + [
        False
    ] * 6
    values = (3, 3.0, 3.5, True, "3", None, 2**63, -(2**63), math.nan, math.inf, 1e30, 10**400)
    assert [whole(value) for value in values] == [3, 3, None, None, None, None, None, -(2**63)] + [None] * 4


def test_texts():
    assert is_text("a b\n") and not any(map(is_text, ("", "a\0", "\ud800", "\udcff", 3, None)))
    assert is_text("\udcff.png", path=True) and not is_text("\ud800", path=True)
    json.dumps(shown("\udcff"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"images": [], "annotations": [1], "annotations": []}', "annotations"),
        ('{"images": [], "info": {"annotations": 1}, "annotations": []}', None),
        ('[{"images": 1}, {"images": 2}]', None),
    ],
)
def test_a_repeated_key_is_refused(tmp_path, text, key):
    (tmp_path / "a.json").write_text(text)
    if key is None:
        assert read_json(tmp_path / "a.json") == json.loads(text)
    else:
        with pytest.raises(CocoError, match=f"found the key {key} more than once"):
            read_json(tmp_path / "a.json")
