"""Names of results: those of the images where these can be written everywhere, else safe ones, all different."""

import pytest

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.names import LONGEST_NAME, LONGEST_PART, distinct_names, safe_part


def named(*file_names):
    return [str(name) for name in distinct_names(file_names)]


def test_a_name_loses_its_suffix_unless_it_tells_images_apart():
    assert named("a.jpg", "sub/b.c.png", "é 1.jpg") == ["a", "sub/b.c", "é 1"]
    assert named("a.jpg", "A.png", "b.jpg") == ["a.jpg", "A.png", "b"]
    assert named("/x/../a.jpg") == ["x/a"]
    assert named("a.jpg", "a.png", "a.jpg.png") == ["a.jpg", "a.png", "a.jpg.png"]
    assert named("a.jpg.png", "a.jpg") == ["a.jpg", "a"]
    assert named("cuts3d-output.jpg", "objects.csv.png") == ["cuts3d-output.jpg", "objects.csv.png"]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("new\nline", "new_line-"),
        ("esc\x1b[31mred", "esc_[31mred-"),
        ("no\udcffutf", "no_utf-"),
        ("turned\u202egpj", "turned_gpj-"),
        ("nul\0", "nul_-"),
        ("L" * 300, "LLL"),
        ("é" * 125, "ééé"),
        ("\U0001f600" * 60, "\U0001f600"),
    ],
)
def test_other_names_are_replaced(name, start):
    safe = safe_part(name)
    assert safe.startswith(start) and safe.isprintable() and len(safe.encode()) <= LONGEST_PART
    assert safe == safe_part(name) and named(f"a/{name}.jpg") == [f"a/{safe}"]
    assert safe != safe_part(name.replace("\n", "\t").replace("\x1b", "\x07").replace("\udcff", "\udcfe") + "x")


def test_names_that_are_cut_alike_stay_apart():
    names = [f"{'x' * 250}{number}" for number in range(200)]
    assert len(set(map(safe_part, names))) == 200
    assert safe_part("x" * LONGEST_PART) == "x" * LONGEST_PART


def test_a_path_that_is_too_long_loses_its_folders():
    deep = "/".join(["folder" * 20] * 20)
    first, second = named(f"{deep}/a.jpg", f"{deep}/b/a.jpg")
    assert first != second and first.endswith("/a") and second.endswith("/a")
    assert max(len(first), len(second)) < LONGEST_NAME


@pytest.mark.parametrize("name", ["", "/", "..", "."])
def test_an_image_without_a_name_is_refused(name):
    with pytest.raises(Cuts3dError, match="the name of a file"):
        distinct_names(["a.jpg", name])


def test_two_images_of_one_name_are_refused():
    with pytest.raises(Cuts3dError, match=r"two images are called a\.jpg"):
        distinct_names(["a.jpg", "../a.jpg"])
