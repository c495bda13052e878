"""Checks of COCO's masks, polygons and run-length codes, made before pycocotools sees any.

pycocotools trusts what it is given: runs that do not fill the image send it into an endless loop, coordinates far
outside the image beyond its memory, and what is no number becomes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cuts3d_cli.store.json_files import is_number, shown

OVERHANG = 0.1
"""How far a polygon may reach outside its image, as a fraction of the image's longer side."""

FAR = 10
"""The same for boxes, which are not drawn: those of objects that the image cuts off may reach far."""

_BATCH = 2**18
"""Characters of run-length codes that are checked at once."""

_LONGEST = 7
"""Characters of the longest number in a run-length code: 35 bits, more than any image has pixels."""

Size = tuple[int, int]


class Fault(Exception):
    """What is wrong with a record: the key, what its value should be and what it is."""

    def __init__(self, key: str, *, expected: str, found: str, hint: str | None = None):
        super().__init__(key)
        self.key, self.expected, self.found, self.hint = key, expected, found, hint


def sides(size_hw: Sequence[Any]) -> str:
    """A size in words, so that nobody takes width for height."""
    return f"height {_side(size_hw[0])} and width {_side(size_hw[1])}"


def _side(value: Any) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else shown(value)


def size_hint(found_hw: Sequence[Any], right_hw: Sequence[int]) -> str | None:
    """A hint where a size is the right one but for the order of its sides."""
    exchanged = right_hw[0] != right_hw[1] and list(found_hw) == [right_hw[1], right_hw[0]]
    return "height and width exchanged?" if exchanged else None


def check_polygons(polygons: Sequence[Any], size_hw: Size, key: str = "segmentation") -> float:
    """Check polygons that make a mask, each x, y, x, y, ... in px.

    Args:
        polygons: the polygons, at least one.
        size_hw: height and width of their image.
        key: what errors call them.

    Returns:
        How far they reach outside the image, px; what lies there is cut off when they are drawn.

    Raises:
        Fault: a polygon is no list of three or more points, a coordinate is no finite number, or one lies further
            outside the image than `OVERHANG`.
    """
    reach = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list | tuple):
            hint = "each polygon is a list of its own: [[x, y, x, y, ...]]" if is_number(polygon) else None
            raise Fault(key, expected="polygons, each a list x, y, x, y, ...", found=shown(polygon), hint=hint)
        if not _all_numbers(polygon):
            wrong = next(value for value in polygon if not is_number(value))
            hint = "a polygon is one list x, y, x, y, ..., not pairs" if isinstance(wrong, list) else None
            raise Fault(key, expected="finite numbers as coordinates", found=shown(wrong), hint=hint)
        if len(polygon) < 6 or len(polygon) % 2:
            raise Fault(
                key,
                expected="polygons of x and y of three points or more",
                found=f"{len(polygon)} number{'' if len(polygon) == 1 else 's'}",
            )
        xs, ys = polygon[::2], polygon[1::2]
        reach = max(reach, further := _reach(xs, ys, size_hw))
        if further > OVERHANG * max(size_hw):
            exchanged = size_hw[0] != size_hw[1] and _reach(xs, ys, (size_hw[1], size_hw[0])) <= 1
            raise Fault(
                key,
                expected=f"coordinates inside the image, {sides(size_hw)}, or up to a tenth of the longer side outside",
                found=f"x from {min(xs):g} to {max(xs):g}, y from {min(ys):g} to {max(ys):g}",
                hint="height and width of the image exchanged?" if exchanged else None,
            )
    return reach


def check_box(box: Any, size_hw: Size | None) -> None:
    """Check a box x, y, width, height in px; ``size_hw`` is its image's, None where it is not known.

    Raises:
        Fault: it is no such list, or lies further outside the image than `FAR`.
    """
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise Fault("bbox", expected="x, y, width and height", found=shown(box))
    if not _all_numbers(box) or box[2] < 0 or box[3] < 0:
        wrong = next((side for side in box[2:] if not is_number(side) or side < 0), None)
        wrong = next((value for value in box if not is_number(value)), wrong)
        raise Fault("bbox", expected="four finite numbers, width and height at least 0", found=shown(wrong))
    x, y, width, height = box
    if size_hw is not None and _reach((x, x + width), (y, y + height), size_hw) > FAR * max(size_hw):
        raise Fault(
            "bbox",
            expected=f"at most {FAR} times the longer side outside the image, {sides(size_hw)}",
            found=f"{x:g}, {y:g}, {width:g}, {height:g}",
        )


def _reach(xs: Sequence[float], ys: Sequence[float], size_hw: Size) -> float:
    """How far points reach outside an image, px; negative where they lie inside."""
    return max(-min(xs), max(xs) - size_hw[1], -min(ys), max(ys) - size_hw[0])


def _all_numbers(values: Sequence[Any]) -> bool:
    """Whether all are finite numbers; quick where they are Python's own."""
    if set(map(type, values)) <= {int, float}:
        try:
            total = sum(values, 0.0)
        except OverflowError:  # an integer beyond every float
            return False
        if total - total == 0:  # not with NaN or an infinity
            return True
    return all(map(is_number, values))


def check_code_size(code: Mapping[str, Any], size_hw: Size) -> None:
    """Check that a run-length code is of its image's size.

    Raises:
        Fault: it is of another, or says none.
    """
    size = code.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise Fault(
            "segmentation",
            expected="polygons, or a run-length code with size [height, width] and counts",
            found="a code without size" if size is None else f"size {shown(size)}",
        )
    if [type(side) for side in size] != [int, int] or tuple(size) != tuple(size_hw):
        raise Fault(
            "size of the segmentation",
            expected=f"that of the image, {sides(size_hw)}",
            found=sides(size),
            hint=size_hint(size, size_hw),
        )


def check_runs(runs: Sequence[Any], n_pixels: int) -> None:
    """Check the runs of a run-length code that is not compressed.

    Raises:
        Fault: a run is no whole number, is negative or, unless it is the first, empty, or they do not add up.
    """
    if not runs or not set(map(type, runs)) <= {int}:
        wrong = next((run for run in runs if type(run) is not int), runs)
        raise Fault("counts of the segmentation", expected="whole numbers", found=shown(wrong))
    if problem := _problem(min(runs), 0 in runs[1:], sum(runs), n_pixels):
        raise Fault("counts of the segmentation", expected=_expected(n_pixels), found=problem)


def code_of(counts: Any) -> bytes:
    """Characters of a compressed run-length code, which `check_codes` checks.

    Raises:
        Fault: it is no text, holds characters that no code has, or ends within a number.
    """
    if not isinstance(counts, str | bytes):
        raise Fault("counts of the segmentation", expected="a list of runs, or a compressed code", found=shown(counts))
    code = counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts
    if not code or code.translate(None, _CHARACTERS) or (code[-1] - 48) & 32:
        found = shown(counts if isinstance(counts, str) else code.decode("latin-1"))
        raise Fault("counts of the segmentation", expected="a whole compressed run-length code", found=found)
    return code


_CHARACTERS = bytes(range(48, 48 + 64))
"""Those of compressed codes: six bits each."""


def check_codes(codes: Sequence[bytes], n_pixels: Sequence[int]) -> dict[int, Fault]:
    """Check the runs of compressed run-length codes, all at once.

    Args:
        codes: from `code_of`.
        n_pixels: pixels of the image of each.

    Returns:
        Faults by the place of their code; empty where all runs are positive (the first may be 0) and add up.
    """
    faults = {}
    for places in _batches(codes):
        runs, first = decode_codes([codes[place] for place in places])
        inner = np.ones(len(runs), bool)
        inner[first] = False
        least, total = np.minimum.reduceat(runs, first), np.add.reduceat(runs, first)
        empty = np.logical_or.reduceat(inner & (runs == 0), first)
        right = np.array([n_pixels[place] for place in places])
        for number in np.flatnonzero((least < 0) | empty | (total != right)):
            n = int(right[number])
            problem = _problem(int(least[number]), bool(empty[number]), int(total[number]), n)
            faults[places[number]] = Fault("counts of the segmentation", expected=_expected(n), found=problem)
    return faults


def decode_codes(codes: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Runs of compressed run-length codes, as pycocotools writes them.

    A character carries six bits: five of a number, the lowest first, and whether more of them follow; the fifth bit of
    the last one is the sign. From the fourth on a run is written as its difference to the last but one.

    Args:
        codes: codes of valid characters, none empty, each ending with a number.

    Returns:
        (R,) int64 runs of all codes in a row, and (n,) int64 where each code's first run is. A number of more
        characters than any run needs becomes -1.
    """
    bits = np.frombuffer(b"".join(codes), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((bits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    n_characters = ends + 1 - starts
    shift = 5 * (np.arange(len(bits)) - np.repeat(starts, n_characters))
    numbers = np.add.reduceat((bits & 31) << np.minimum(shift, 5 * _LONGEST), starts)
    numbers -= np.where(bits[ends] & 16, 1 << 5 * np.minimum(n_characters, _LONGEST), 0)
    first = np.searchsorted(starts, np.concatenate([[0], np.cumsum([len(code) for code in codes])[:-1]]))
    place = np.arange(len(numbers)) - np.repeat(first, np.diff(np.append(first, len(numbers))))
    runs = numbers.copy()
    for begins in (1, 2):
        chain = np.flatnonzero((place > 0) & (place % 2 == begins % 2))
        sums, begun = np.cumsum(numbers[chain]), place[chain] == begins
        before = (sums - numbers[chain])[begun]
        runs[chain] = sums - before[np.cumsum(begun) - 1]
    runs[n_characters > _LONGEST] = -1
    return runs, first


def _batches(codes: Sequence[bytes]) -> list[list[int]]:
    """Places of codes in groups of about `_BATCH` characters."""
    ends = np.cumsum([len(code) for code in codes])
    return [group.tolist() for group in np.split(np.arange(len(codes)), np.flatnonzero(np.diff(ends // _BATCH)) + 1)
            if len(group)]  # fmt: skip


def _problem(least: int, empty: bool, total: int, n_pixels: int) -> str:
    """What is wrong with runs, or nothing."""
    if least < 0:
        return "a negative run"
    if total != n_pixels:
        return f"a sum of {total}" if total.bit_length() < 64 else "a sum beyond any image"
    return "an empty run that is not the first" if empty else ""


def _expected(n_pixels: int) -> str:
    return f"runs above 0 (the first may be 0) that add up to the image's {n_pixels} pixels"
