"""How a list of images is numbered and divided into shards, so that little moves when images come and go.

Ids and shards of images that stay are kept: only shards that gain or lose an image are computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

UNEVEN = 2
"""How many times as large as the mean a shard may grow before the images are divided anew."""


def even_sizes(n_images: int, n_shards: int) -> list[int]:
    """Sizes of shards that differ by one image at most."""
    return [(shard + 1) * n_images // n_shards - shard * n_images // n_shards for shard in range(n_shards)]


def good_n_shards(n_images: int) -> int:
    """Shards that keep the cores of one machine or a cluster busy while starting a job stays cheap.

    Some 32 images a shard, up to 100 shards; beyond 100 000 images, 1000 a shard; of a few images four shards, of at
    least five images each, so that they use a laptop's cores.
    """
    return max(min(-(-n_images // 32), 100), min(-(-n_images // 5), 4), -(-n_images // 1000))


def spans_of(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """First and past-the-last position of each shard."""
    ends = list(accumulate(sizes))
    return list(zip([0, *ends], ends, strict=False))


def divided(names: Sequence[str], earlier: Sequence[Sequence[str]], n_shards: int) -> list[int]:
    """Sizes of the shards of a list; its shards follow each other, as do those of the earlier list.

    An image that is new joins the shard of the name before it, or the next shard where that is smaller and begins
    right after the new names. The list is divided evenly where the number of shards differs from that of the earlier
    list, a shard would be left empty, or one would grow to more than `UNEVEN` times the mean.

    Args:
        names: of the images, sorted.
        earlier: names by shard in an earlier list, sorted; empty without one.
        n_shards: number of shards wanted.
    """
    even = even_sizes(len(names), n_shards)
    if len(earlier) != n_shards:
        return even
    shard_of = {name: shard for shard, there in enumerate(earlier) for name in there}
    sizes = [0] * n_shards
    waiting, before = 0, None  # new names since the last known one, and the shard of that
    for name in names:
        shard = shard_of.get(name)
        if shard is None:
            waiting += 1
            continue
        sizes[shard] += 1
        if waiting:
            sizes[_joined(before, shard, earlier)] += waiting
            waiting = 0
        before = shard
    if before is None:
        return even
    sizes[before] += waiting
    if min(sizes) == 0 or max(sizes) > UNEVEN * -(-len(names) // n_shards):
        return even
    return sizes


def _joined(before: int | None, after: int, earlier: Sequence[Sequence[str]]) -> int:
    """The shard of new names between two that are known: the smaller one before any came or went."""
    if before is None:
        return after
    return min((before, after), key=lambda shard: len(earlier[shard]))


def numbered(names: Sequence[str], earlier: Mapping[str, int]) -> dict[str, int]:
    """Ids of images by name: those of an earlier list are kept, the others follow the largest of them."""
    kept = {name: earlier[name] for name in names if name in earlier}
    new = (name for name in names if name not in kept)
    return kept | {name: number for number, name in enumerate(new, start=max(kept.values(), default=0) + 1)}
