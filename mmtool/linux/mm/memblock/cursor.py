"""Where searches for a free range ended, so that the next one for the same need not begin anew."""

from __future__ import annotations

from mmtool.linux.mm.memblock.regions import MemblockType

Wish = tuple[int, ...]
"""All that a search goes by: its window, size, alignment, node, flags."""


class FreeCursor:
    """The end of the last top-down search for each wish: where the place that it found ends, 0 where it found none.

    What holds: at or above it nothing fits the wish. A new reservation only takes room away, so that it goes on
    holding; it ends when memory changes (regions, nodes, flags) or a reservation goes, which both lists count.
    """

    def __init__(self, memory: MemblockType, reserved: MemblockType) -> None:
        self._memory, self._reserved = memory, reserved
        self._ends: dict[Wish, int] = {}
        self._holds_at = 0

    def ends(self) -> dict[Wish, int]:
        """The ends that hold, by wish; whoever searches notes the new one."""
        counted = self._memory.changed + self._memory.removed + self._reserved.removed
        if counted != self._holds_at:
            self._ends, self._holds_at = {}, counted
        return self._ends
