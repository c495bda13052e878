"""Lines that users read."""

import pytest

from cuts3d_cli.errors import Cuts3dError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 日本, \U0001f600", "plain, é, 日本, \U0001f600"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("no\udcff\udc80utf", r"no\xff\x80utf"),
        ("\ud800", r"\ud800"),
        ("turned\u202egpj\u2028", r"turned\u202egpj\u2028"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_what_would_move_the_cursor_is_shown_as_an_escape(text, shown):
    assert printable(text) == shown
    shown.encode()


def test_an_error_is_one_line_whatever_it_names():
    error = Cuts3dError("image a\nb\x1b[2J.png", expected="x", found="no\udcffutf\x00")
    assert str(error) == r"image a b\x1b[2J.png; expected x; found no\xffutf\x00"
