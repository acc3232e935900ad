"""Who took which bytes.

The kernel keeps no such record; it stands beside the region lists, whose merging it must not disturb.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Ledger:
    """The owners of reserved bytes: entries (start, end, owner), in the order in which they were taken."""

    entries: list[tuple[int, int, str]] = field(default_factory=list)
    _owners: dict[str, None] = field(default_factory=dict)

    @property
    def owners(self) -> list[str]:
        """Whoever took something, in the order of the first time."""
        return list(self._owners)

    def take(self, start: int, end: int, owner: str) -> None:
        """Note that bytes [start, end) belong to `owner`; they may belong to others too."""
        if start < end:
            self.entries.append((start, end, owner))
            self._owners.setdefault(owner)

    def give_back(self, start: int, end: int) -> None:
        """Cut bytes [start, end) out of every entry."""
        if start >= end or not any(s < end and start < e for s, e, _ in self.entries):
            return
        kept = []
        for s, e, owner in self.entries:
            if e <= start or end <= s:
                kept.append((s, e, owner))
                continue
            kept += [(a, b, owner) for a, b in ((s, min(e, start)), (max(s, end), e)) if a < b]
        self.entries = kept

    def overlapping(self, start: int, end: int) -> list[tuple[int, int, str]]:
        """The entries that share a byte with [start, end), by address, then in the order they were taken."""
        return sorted((e for e in self.entries if e[0] < end and start < e[1]), key=lambda e: e[0])
