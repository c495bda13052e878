"""Tables as text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabulate import SEPARATING_LINE, DataRow, Line, TableFormat, tabulate

from cuts3d_cli.errors import printable

Rows = Sequence[Sequence[object]]

_CELLS = DataRow("", "  ", "")
_TEXT = TableFormat(None, Line("", "-", "  ", ""), None, None, _CELLS, _CELLS, padding=0, with_header_hide=None)


def text_table(head: Sequence[str], rows: Rows, *, left: int | None = 1, rule: bool = True) -> str:
    """Rows as aligned text.

    Args:
        head: names of the columns.
        rows: their cells, shown as ``str`` gives them; trailing spaces count in the alignment.
        left: how many of the first columns are aligned left; the others are aligned right. None: all left.
        rule: put a line below the names.
    """
    # tabulate makes a column two wider than its header; names given as a row leave it as narrow as it can be.
    lines = [list(head), *([SEPARATING_LINE] if rule else []), *_texts(rows)]
    text = tabulate(lines, tablefmt=_TEXT, **_options(head, left))
    return "\n".join(line.rstrip() for line in text.splitlines())


def markdown_table(head: Sequence[str], rows: Rows, *, left: int | None = 1) -> str:
    """Rows as a Markdown table whose source is aligned too; arguments as for :func:`text_table`."""
    return tabulate(_texts(rows), list(head), tablefmt="pipe", **_options(head, left))


def _texts(rows: Rows) -> list[list[str]]:
    return [[printable(str(cell)) for cell in row] for row in rows]


def _options(head: Sequence[str], left: int | None) -> dict[str, Any]:
    left = len(head) if left is None else left
    sides = ["left" if column < left else "right" for column in range(len(head))]
    return {"disable_numparse": True, "preserve_whitespace": True, "colalign": sides}
