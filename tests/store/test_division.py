import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuts3d_cli.store.division import divided, good_n_shards, numbered, spans_of

NAMES = [f"{number:03d}.png" for number in range(60)]
SETS = st.sets(st.sampled_from(NAMES), min_size=4)


@given(st.integers(1, 500), st.integers(1, 50))
def test_shards_cover_all_images_once_and_evenly(n, n_shards):
    shards = divided(list(map(str, range(n))), n_shards)
    assert [name for shard in shards for name in shard] == sorted(map(str, range(n)))
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1 and len(sizes) == n_shards


SHARDS = [(1, 1), (5, 1), (10, 2), (72, 4), (200, 7), (10_000, 100), (100_000, 100), (1_300_000, 1300)]


@pytest.mark.parametrize(("n", "shards"), SHARDS)
def test_good_numbers_of_shards(n, shards):
    assert good_n_shards(n) == shards


@given(SETS, SETS, st.integers(1, 4))
def test_images_that_stay_keep_their_shard_unless_one_has_lost_all(before, now, n_shards):
    earlier = divided(before, n_shards)
    shards = divided(now, n_shards, earlier)
    assert sorted(name for shard in shards for name in shard) == sorted(now) and all(shards)
    if all(set(shard) & now for shard in earlier):
        for there, was in zip(shards, earlier, strict=True):
            assert set(there) & before == set(was) & now and there == sorted(there)
    assert divided(now, n_shards, shards) == shards, "made again, a list is as it was"


@given(st.sets(st.sampled_from(NAMES), min_size=4), st.integers(1, 4))
def test_shards_stay_even_while_images_come(before, n_shards):
    sizes = [len(shard) for shard in divided(NAMES, n_shards, divided(before, n_shards))]
    assert max(sizes) - min(sizes) <= 1


def test_new_images_join_the_smallest_shard():
    earlier = [["b", "c", "d"], ["e"], ["f", "g"]]
    assert divided("abcdefg", 3, earlier) == [["b", "c", "d"], ["a", "e"], ["f", "g"]]
    assert divided("abcdfg", 3, earlier) == [["b", "c", "d"], ["a"], ["f", "g"]], "one may lose all and gain another"
    assert divided("bcdfg", 3, earlier) == [["b"], ["c", "d"], ["f", "g"]], "one has none, so all anew"


def test_with_another_number_of_shards_all_are_divided_anew():
    assert divided("abcd", 2, [["a"], ["b"], ["c", "d"]]) == [["a", "b"], ["c", "d"]]


def test_positions_of_shards():
    assert spans_of([2, 3, 1]) == [(0, 2), (2, 5), (5, 6)]


def test_images_keep_their_ids():
    assert numbered(["a", "b"], {}) == {"a": 1, "b": 2}
    assert numbered(["a", "b", "c", "e"], {"b": 1, "d": 2, "e": 3}) == {"b": 1, "e": 3, "a": 4, "c": 5}
