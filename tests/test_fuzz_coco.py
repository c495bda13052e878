"""The fuzz test of the readers of COCO JSON, and the process apart that it runs in."""

import ctypes
import itertools

from tests.fuzz_coco import DOCUMENTS, mutated, run
from tests.isolated import isolated


def test_two_thousand_documents():
    accepted, errors, wrong = run(seed=0, n=2000)
    assert not wrong, "\n".join(wrong)
    assert accepted > 2000 and errors.total() > 2000  # neither is all refused nor all taken


def test_seed_and_number_decide_a_document():
    documents = [mutated(3, number) for number in range(200)]
    assert documents == [mutated(3, number) for number in range(200)]
    assert len(set(documents)) > 190 and mutated(4, 0) != mutated(3, 0)
    assert all(document() == document() for document in DOCUMENTS)


def odd(job):
    """Hangs, crashes, or works."""
    if job == "hang":
        all(itertools.repeat(True))
    if job == "crash":
        ctypes.string_at(0)
    return job


def test_hangs_and_crashes_are_found_and_the_others_go_on():
    found = isolated("tests.test_fuzz_coco:odd", ["a", "crash", "b", "hang", "c"], seconds=8)
    assert found[::2] == ["a", "b", "c"]
    assert "exit code -11" in found[1]["died"] and "Timeout" in found[3]["died"]
