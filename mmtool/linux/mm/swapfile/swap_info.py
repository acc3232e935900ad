"""A swap area and its map (struct swap_info_struct of mm/swapfile.c)."""

from __future__ import annotations

from abc import ABC, abstractmethod

SWAP_HAS_CACHE = 0x40
"""The slot's page is in the swap cache, or the slot waits to be given out or to be freed."""
SWAP_MAP_BAD = 0x3F
SWAPFILE_CLUSTER = 512
"""The slots of a cluster: with CONFIG_THP_SWAP a huge page's pages (x86-64)."""
TYPE_SHIFT = 40


def swp_entry(area: int, offset: int) -> int:
    """swp_entry(): an area and a page of it as one number."""
    return area << TYPE_SHIFT | offset


def swp_type(entry: int) -> int:
    """The number of the area."""
    return entry >> TYPE_SHIFT


def swp_offset(entry: int) -> int:
    """The page in the area."""
    return entry & (1 << TYPE_SHIFT) - 1


class SwapInfo(ABC):
    """A swap area: how it gives out slots is a matter of the subclass.

    `max` are its pages with the header; a device that is not rotational is `solidstate`, and one that reads and writes
    without waiting is `synchronous`.
    """

    def __init__(self, area: int, pages: int, prio: int, *, solidstate: bool, synchronous: bool) -> None:
        self.type = area
        self.max = pages
        self.pages = pages - 1
        self.prio = prio
        self.solidstate = solidstate
        self.synchronous = synchronous
        self.swap_map = [0] * pages
        self.swap_map[0] = SWAP_MAP_BAD
        self.inuse_pages = 0
        self.owner = [-1] * pages
        """The slot of the workload whose page is here; -1 for none."""
        self.shadow: dict[int, int] = {}
        """By offset, what is kept of an evicted page."""

    @abstractmethod
    def alloc(self, count: int) -> list[int]:
        """Give out up to `count` offsets, marked SWAP_HAS_CACHE."""

    @abstractmethod
    def free(self, offset: int) -> None:
        """Take an offset back."""

    def _take(self, offset: int) -> None:
        self.swap_map[offset] = SWAP_HAS_CACHE
        self.inuse_pages += 1

    def _give_back(self, offset: int) -> None:
        self.swap_map[offset] = 0
        self.inuse_pages -= 1
        self.shadow.pop(offset, None)
