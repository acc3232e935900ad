"""Where slabs get their pages: a machine of so much memory of which only the amount is known."""

from __future__ import annotations

from mmtool.linux.mm.slab_common import KmemCache


class PlainPages:
    """Pages of nodes that have nothing but free memory: any block can be had while memory lasts.

    `fragmented`: there is no block above a single page.
    """

    def __init__(self, memory: int, nodes: int, page_shift: int) -> None:
        """`memory` in bytes, shared out evenly."""
        each = (memory >> page_shift) // nodes
        self.left = [each] * nodes
        self.next_pfn = [nid * each for nid in range(nodes)]
        self.free_blocks: dict[tuple[int, int], list[int]] = {}
        self.fragmented = False

    def request(self, gfp: int, cpu: int) -> None:
        """Who asks makes no difference here."""

    def of(self, cache: KmemCache | None) -> PlainPages:
        """All caches' pages are the same."""
        return self

    def alloc(self, order: int, nid: int, *, thisnode: bool = False, last: bool = True) -> tuple[int, int] | None:
        if order and self.fragmented:
            return None
        nodes = [nid] if thisnode else [(nid + n) % len(self.left) for n in range(len(self.left))]
        for node in nodes:
            if self.left[node] >> order:
                self.left[node] -= 1 << order
                return self._block(order, node), node
        return None

    def _block(self, order: int, nid: int) -> int:
        again = self.free_blocks.get((order, nid))
        if again:
            return again.pop()
        pfn = self.next_pfn[nid] = (self.next_pfn[nid] + (1 << order) - 1) & -(1 << order)
        self.next_pfn[nid] += 1 << order
        return pfn

    def free(self, pfn: int, order: int, nid: int) -> None:
        self.left[nid] += 1 << order
        self.free_blocks.setdefault((order, nid), []).append(pfn)
