"""What is said of progress: the pace without the start, and how long the rest takes."""

import io
import logging
import sys

import pytest

from cuts3d_cli import log


@pytest.fixture
def slow(monkeypatch):
    """Items of which the first takes 100 s by the clock that `log` reads, each other 2 s."""
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])

    def items(n):
        for number in range(n):
            now[0] += 2 if number else 100
            yield number

    return items


@pytest.mark.parametrize(
    ("n", "lines"),
    [
        (1, ["work: 1/1, 100.00 s each"]),
        (8, ["work: 1/8", "work: 6/8, 2.00 s each, about 4 s left", "work: 8/8, 2.00 s each"]),
        (600, ["work: 1/600", "work: 6/600, 2.00 s each, about 20 min left"]),
    ],
)
def test_the_start_is_no_part_of_the_pace(slow, caplog, n, lines):
    with caplog.at_level(logging.INFO, logger="cuts3d"):
        assert list(log.progress(slow(n), "work", n)) == list(range(n))
    assert caplog.messages[: len(lines)] == lines


def test_a_bar_counts_from_the_first_item_on(slow, monkeypatch):
    import tqdm

    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            bars.append((self, self.start_t))

    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(tqdm, "tqdm", Bar)
    monkeypatch.setattr(log.logger, "level", logging.INFO)
    assert list(log.progress(slow(5), "work", 5)) == list(range(5))
    ((bar, started),) = bars
    assert bar.n == 5 and bar.initial == 1 and bar.start_t >= started and "work" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (99, "99 s"), (120, "2 min"), (7200, "2.0 h")])
def test_durations(seconds, text):
    assert log.duration(seconds) == text
