import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuts3d_cli.store.division import UNEVEN, divided, even_sizes, good_n_shards, numbered, spans_of

NAMES = [f"{number:03d}.png" for number in range(60)]


def by_shard(names, sizes):
    return [list(names[start:stop]) for start, stop in spans_of(sizes)]


@given(st.integers(1, 500), st.integers(1, 50))
def test_shards_cover_all_images_once_and_evenly(n, shards):
    sizes = even_sizes(n, shards)
    assert [i for start, stop in spans_of(sizes) for i in range(start, stop)] == list(range(n))
    assert max(sizes) - min(sizes) <= 1 and len(sizes) == shards


SHARDS = [(1, 1), (5, 1), (10, 2), (72, 4), (200, 7), (10_000, 100), (100_000, 100), (1_300_000, 1300)]


@pytest.mark.parametrize(("n", "shards"), SHARDS)
def test_good_numbers_of_shards(n, shards):
    assert good_n_shards(n) == shards


@given(st.sets(st.sampled_from(NAMES), min_size=4), st.sets(st.sampled_from(NAMES), min_size=4), st.integers(1, 4))
def test_images_that_stay_keep_their_shard_unless_all_are_divided_anew(before, now, n_shards):
    before, now = sorted(before), sorted(now)
    earlier = by_shard(before, even_sizes(len(before), n_shards))
    sizes = divided(now, earlier, n_shards)
    assert sum(sizes) == len(now) and min(sizes) > 0 and max(sizes) <= UNEVEN * -(-len(now) // n_shards)
    if sizes != even_sizes(len(now), n_shards):
        for there, was in zip(by_shard(now, sizes), earlier, strict=True):
            assert set(there) & set(before) == set(was) & set(now)
    assert divided(now, by_shard(now, sizes), n_shards) == sizes, "made again, a list is as it was"


@pytest.mark.parametrize(
    ("new", "sizes"),
    [
        ((), [3, 3, 4]),
        (("000a",), [4, 3, 4]),
        (("/first",), [4, 3, 4]),
        (("009z", "010"), [3, 3, 6]),
        (("002a",), [4, 3, 4]),  # between two shards of the same size: that of the name before
        (("005a",), [3, 4, 4]),  # the smaller one
        ([f"009{letter}" for letter in "abcdefghijk"], [7, 7, 7]),  # uneven, so all anew
    ],
)
def test_where_new_images_go(new, sizes):
    names = [f"{number:03d}" for number in range(10)]
    earlier = by_shard(names, [3, 3, 4])
    assert divided(sorted([*names, *new]), earlier, 3) == sizes


def test_without_an_earlier_list_or_with_another_number_of_shards_all_are_divided_evenly():
    assert divided(NAMES, [], 7) == even_sizes(60, 7)
    assert divided(NAMES, by_shard(NAMES, [10, 50]), 3) == [20, 20, 20]
    assert divided(["a", "b", "c", "d"], [["x"], ["y", "z"]], 2) == [2, 2], "none of the images stays"
    assert divided(NAMES[:4], by_shard(NAMES, [20, 20, 20]), 3) == [1, 1, 2], "two shards would be empty"


def test_images_keep_their_ids():
    assert numbered(["a", "b"], {}) == {"a": 1, "b": 2}
    assert numbered(["a", "b", "c", "e"], {"b": 1, "d": 2, "e": 3}) == {"b": 1, "e": 3, "a": 4, "c": 5}
