"""What came into a list of regions and what went out of it since somebody looked.

The kernel keeps no such record; a step of a boot is told by it.
"""

from __future__ import annotations

from mmtool.linux.mm.memblock.ledger import Ranges

Pieces = list[tuple[int, int]]
"""Bytes [start, end), ascending and apart."""


class Journal:
    """The difference to the list as it was: bytes that are new in it, and bytes that are not in it any more.

    What comes and goes again (or goes and comes again) is neither.
    """

    def __init__(self) -> None:
        self._came, self._went = Ranges(), Ranges()

    def came(self, start: int, end: int) -> None:
        """Bytes [start, end), which were not in the list, are."""
        _move(start, end, self._went, self._came)

    def went(self, start: int, end: int) -> None:
        """Bytes [start, end), which were in the list, are not."""
        _move(start, end, self._came, self._went)

    def take(self) -> tuple[Pieces, Pieces]:
        """(what went, what came) since the last time."""
        taken = _joined(self._went), _joined(self._came)
        self._came, self._went = Ranges(), Ranges()
        return taken


def _move(start: int, end: int, undone: Ranges, done: Ranges) -> None:
    """Take [start, end) out of `undone`, and put into `done` what was not there."""
    found = undone.overlapping(start, end)
    if found.start < found.stop:
        there = list(zip(undone.starts[found], undone.ends[found], strict=True))
        undone.cut(start, end)
        for low, high in there:
            if start < low:
                done.add(start, low)
            start = max(start, high)
    if start < end:
        done.add(start, end)


def _joined(ranges: Ranges) -> Pieces:
    """The ranges, those that touch as one."""
    pieces: Pieces = []
    for start, end in zip(ranges.starts, ranges.ends, strict=True):
        if pieces and pieces[-1][1] == start:
            pieces[-1] = pieces[-1][0], end
        else:
            pieces.append((start, end))
    return pieces
