"""Mattson's stack distances: how often a strict LRU of any size would miss, from one pass over the accesses.

An access hits in a memory of n pages if fewer than n other pages were used since the page's last use. That is exact
for strict LRU, which no kernel has; so it is a first estimate of what a kernel does, not a bound of it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

BLOCK_SHIFT = 12
"""log2 of the moments that one bitmap covers."""


class StackDistances:
    """How many accesses have each stack distance, by the number of their page."""

    def __init__(self, ids: Iterable[int], pages: int) -> None:
        """`ids` in the order of the accesses, each below `pages`."""
        self._pages = pages
        self._moments = max(2 * pages, 1 << BLOCK_SHIFT)
        self._last = array("q", [-1]) * pages
        self.accesses = self.cold = 0
        self._hits = array("Q", [0]) * (pages + 1)
        """By how many other pages were used in between."""
        self._measure(ids)
        self._up_to = array("Q", accumulate(self._hits))

    def _measure(self, ids: Iterable[int]) -> None:
        """For each page its last use is a bit at a moment; the distance is the number of bits behind it.

        Bits lie in bitmaps of some thousand moments with a sum of each, so that both are counted fast. When the
        moments are used up, the pages' last uses are numbered anew.
        """
        shift, width = BLOCK_SHIFT, 1 << BLOCK_SHIFT
        mask, last, hits, moments = width - 1, self._last, self._hits, self._moments
        bit = [1 << i for i in range(width)]
        bitmaps, sums = self._empty()
        now, before, cold, accesses = 0, -1, 0, 0
        for page in ids:
            accesses += 1
            if page == before:
                continue
            before = page
            then = last[page]
            if now == moments:
                now, bitmaps, sums = self._renumber()
                then = last[page]
            if then < 0:
                cold += 1
            else:
                block = then >> shift
                behind = bitmaps[block] >> (then & mask)
                hits[behind.bit_count() - 1 + sum(sums[block + 1 : (now >> shift) + 1])] += 1
                bitmaps[block] ^= bit[then & mask]
                sums[block] -= 1
            last[page] = now
            bitmaps[now >> shift] |= bit[now & mask]
            sums[now >> shift] += 1
            now += 1
        self.accesses, self.cold = accesses, cold
        hits[0] += accesses - cold - sum(hits)

    def _empty(self) -> tuple[list[int], list[int]]:
        blocks = (self._moments >> BLOCK_SHIFT) + 1
        return [0] * blocks, [0] * blocks

    def _renumber(self) -> tuple[int, list[int], list[int]]:
        """The last uses in their order, from moment 0 on."""
        last = self._last
        used = sorted((page for page in range(self._pages) if last[page] >= 0), key=last.__getitem__)
        for now, page in enumerate(used):
            last[page] = now
        bitmaps, sums = self._empty()
        full, rest = divmod(len(used), 1 << BLOCK_SHIFT)
        for block in range(full):
            bitmaps[block], sums[block] = (1 << (1 << BLOCK_SHIFT)) - 1, 1 << BLOCK_SHIFT
        bitmaps[full], sums[full] = (1 << rest) - 1, rest
        return len(used), bitmaps, sums

    def misses(self, size: int) -> int:
        """Accesses that miss in a strict LRU of `size` pages, first uses among them."""
        if size <= 0:
            return self.accesses
        return self.accesses - self._up_to[min(size, self._pages) - 1]

    def smallest(self, reloads: int) -> int:
        """The smallest strict LRU, in pages, that misses at most `reloads` times beside the first uses."""
        return self._first_with(self.accesses - self.cold - reloads)

    def _first_with(self, hits: int) -> int:
        """The smallest size that hits so often."""
        return bisect_left(self._up_to, hits) + 1 if hits > 0 else 1

    def steps(self, most: int) -> list[tuple[int, int]]:
        """(size, misses) at up to `most` + 1 sizes that divide what can be gained into equal parts."""
        least, top = self.accesses - self.misses(1), self.accesses - self.cold
        sizes = sorted({self._first_with(least + (top - least) * k // most) for k in range(most + 1)})
        return [(size, self.misses(size)) for size in sizes]
