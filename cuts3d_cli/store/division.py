"""How a list of images is numbered and divided into shards, so that little moves when images come and go.

Ids and shards of images that stay are kept: only shards that gain or lose an image are looked at again.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise


def good_n_shards(n_images: int) -> int:
    """Shards that keep the cores of one machine or a cluster busy while starting a job stays cheap.

    Some 32 images a shard, up to 100 shards; beyond 100 000 images, 1000 a shard; of a few images four shards, of at
    least five images each, so that they use a laptop's cores.
    """
    return max(min(-(-n_images // 32), 100), min(-(-n_images // 5), 4), -(-n_images // 1000))


def spans_of(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """First and past-the-last position of each shard in a list."""
    ends = list(accumulate(sizes))
    return list(zip([0, *ends], ends, strict=False))


def divided(names: Sequence[str], n_shards: int, earlier: Sequence[Sequence[str]] = ()) -> list[list[str]]:
    """Names of the images of each shard, sorted.

    Images that an earlier list has stay in their shard; a new one joins the smallest. Without an earlier list, with
    another number of shards, or where a shard has lost all its images, shards are even and follow each other by name.

    Args:
        names: of all images.
        n_shards: number of shards wanted.
        earlier: names by shard in an earlier list.
    """
    names = sorted(names)
    shard_of = {name: shard for shard, there in enumerate(earlier) for name in there}
    shards: list[list[str]] = [[] for _ in range(n_shards)]
    if len(earlier) == n_shards:
        for name in names:
            if name in shard_of:
                shards[shard_of[name]].append(name)
        smallest = [(len(there), shard) for shard, there in enumerate(shards)]
        heapq.heapify(smallest)
        for name in names:
            if name not in shard_of:
                size, shard = smallest[0]
                shards[shard].append(name)
                heapq.heapreplace(smallest, (size + 1, shard))
    if not all(shards):
        cuts = [shard * len(names) // n_shards for shard in range(n_shards + 1)]
        shards = [names[start:stop] for start, stop in pairwise(cuts)]
    return [sorted(there) for there in shards]


def numbered(names: Sequence[str], earlier: Mapping[str, int]) -> dict[str, int]:
    """Ids of images by name: those of an earlier list are kept, the others follow the largest of them."""
    kept = {name: earlier[name] for name in names if name in earlier}
    new = (name for name in names if name not in kept)
    return kept | {name: number for number, name in enumerate(new, start=max(kept.values(), default=0) + 1)}
