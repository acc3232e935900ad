"""Where searches for a free range ended, so that the next one for the same need not begin anew."""

from __future__ import annotations

from mmtool.linux.mm.memblock.regions import MemblockType

Wish = tuple[int, ...]
"""All that a search goes by: its window, size, alignment, node, flags."""


class FreeCursor:
    """The end of the last top-down search for each wish.

    What holds: at or above `high(wish, end)` nothing fits the wish. A new reservation only takes room away, so that it
    goes on holding; it ends when memory changes (regions, nodes, flags) or a reservation goes, which both lists count.
    """

    def __init__(self, memory: MemblockType, reserved: MemblockType) -> None:
        self._memory, self._reserved = memory, reserved
        self._ends: dict[Wish, int] = {}
        self._holds_at = self._counted()

    def _counted(self) -> int:
        return self._memory.changed + self._memory.removed + self._reserved.removed

    def high(self, wish: Wish, end: int) -> int:
        """Below which address a search for `wish` has to look: `end` for one that is new, 0 for one that is in vain."""
        counted = self._counted()
        if counted != self._holds_at:
            self._ends, self._holds_at = {}, counted
        return self._ends.get(wish, end)

    def ended(self, wish: Wish, found: int, size: int) -> None:
        """A search for `size` bytes ended at `found`, or found nothing (0)."""
        self._ends[wish] = found and found + size
