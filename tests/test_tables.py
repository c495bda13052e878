"""Tables: alignment, and cells that stay as they are."""

from cuts3d_cli.tables import markdown_table, text_table


def test_columns_are_aligned_and_numbers_are_not_rounded():
    text = text_table(["name", "AP", "n"], [["short", "25.10*", 1], ["a longer name", "5.00 ", 100]])
    assert text.splitlines() == [
        "name               AP    n",
        "-------------  ------  ---",
        "short          25.10*    1",
        "a longer name   5.00   100",
    ]


def test_all_left_without_a_line():
    assert text_table(["a", "b"], [["x", "1"], ["yy", "22"]], left=None, rule=False) == "a   b\nx   1\nyy  22"


def test_markdown_says_the_alignment():
    lines = markdown_table(["", "AP"], [["x", "1.50"]]).splitlines()
    assert lines == ["|    |   AP |", "|:---|-----:|", "| x  | 1.50 |"]
