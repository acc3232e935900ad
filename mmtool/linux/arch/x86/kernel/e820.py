"""The E820 table as Linux keeps and edits it: arch/x86/kernel/e820.c.

Ranges are half-open [start, end) in bytes; what the log shows is inclusive, as the kernel prints it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heappop, heappush

from mmtool.build.release import Release
from mmtool.firmware.machine import E820Entry, E820Type
from mmtool.late import dataclass
from mmtool.linux.arch.x86.page import PAGE_SHIFT
from mmtool.linux.kernel.printk import KernelLog
from mmtool.units import U64_MAX, memparse

FOUR_GIB = 1 << 32
MIN_PCI_GAP = 4 << 20
BIOS_BEGIN, BIOS_END = 0xA0000, 0x100000

# Types whose neighbours stay apart: they may mark different devices or nodes.
NOT_MERGEABLE = frozenset({E820Type.PRAM, E820Type.SOFT_RESERVED})


@dataclass(slots=True)
class Entry:
    """One entry of the kernel's own table, changed in place by updates."""

    start: int
    size: int
    type: int

    @property
    def end(self) -> int:
        return self.start + self.size


def type_name(kind: int, release: Release) -> str:
    """The word that the kernel's log has for an E820 type.

    Models e820_print_type(): "usable", "reserved" and so on up to 6.18, "System RAM", "device reserved" later.
    """
    words = _LATER_WORDS if release.e820_prints_gaps else _WORDS
    return words.get(kind) or f"type {kind}"


_WORDS: dict[int, str] = {
    E820Type.RAM: "usable", E820Type.RESERVED_KERN: "usable", E820Type.RESERVED: "reserved",
    E820Type.PMEM: "persistent (type 7)", E820Type.PRAM: "persistent (type 12)",
    E820Type.SOFT_RESERVED: "soft reserved", E820Type.ACPI: "ACPI data", E820Type.NVS: "ACPI NVS",
    E820Type.UNUSABLE: "unusable",
}  # fmt: skip
_LATER_WORDS: dict[int, str] = {
    **_WORDS, E820Type.RAM: "System RAM", E820Type.RESERVED_KERN: "System RAM", E820Type.RESERVED: "device reserved",
    E820Type.PMEM: "persistent RAM (type 7)", E820Type.PRAM: "persistent RAM (type 12)",
}  # fmt: skip


class E820Table:
    """struct e820_table with the operations of arch/x86/kernel/e820.c on it.

    `capacity` is E820_MAX_ENTRIES: what does not fit is dropped with the kernel's message.
    """

    def __init__(self, release: Release, log: KernelLog, capacity: int) -> None:
        self.release, self.log, self.capacity = release, log, capacity
        self.entries: list[Entry] = []

    def snapshot(self) -> tuple[E820Entry, ...]:
        """The table's entries in its order, as values."""
        return tuple(E820Entry(e.start, e.end, e.type) for e in self.entries)

    def range_add(self, start: int, size: int, kind: int) -> None:
        """e820__range_add(): append bytes [start, start + size) without any check for overlaps."""
        if len(self.entries) >= self.capacity:
            full = "E820 table full; ignoring" if self.release.e820_prints_gaps else "e820: too many entries; ignoring"
            self.log.err(f"{full} [mem {start:#010x}-{start + size - 1:#010x}]")
            return
        self.entries.append(Entry(start, size, kind))

    def append(self, entries: Iterable[E820Entry]) -> None:
        """append_e820_table(): take over the firmware's entries up to the first that wraps round 2**64."""
        for e in entries:
            if e.end > U64_MAX + 1 or e.end < e.start:
                return
            self.range_add(e.start, e.end - e.start, e.type)

    def update_table(self) -> bool:
        """e820__update_table(): sort, resolve overlaps in favour of the highest type, merge neighbours.

        False when the table was left as it was: fewer than two entries, or one that wraps round 2**64.
        """
        if len(self.entries) < 2 or any(e.end > U64_MAX + 1 for e in self.entries):
            return False
        points: list[tuple[int, int, int]] = []
        for index, e in enumerate(self.entries):
            if e.size:
                points += [(e.start, 0, index), (e.end, 1, index)]
        points.sort(key=lambda p: p[:2])
        self.entries = self._sweep(points)
        return True

    def _sweep(self, points: list[tuple[int, int, int]]) -> list[Entry]:
        """Walk the change points (address, 0 for start or 1 for end, entry) upwards and emit the new map."""
        open_types: Counter[int] = Counter()
        highest: list[int] = []
        out: list[Entry] = []
        last_type, last_addr = 0, 0
        for addr, is_end, index in points:
            kind = self.entries[index].type
            open_types[kind] += -1 if is_end else 1
            if not is_end:
                heappush(highest, -kind)
            while highest and not open_types[-highest[0]]:
                heappop(highest)
            current = -highest[0] if highest else 0
            if current == last_type and current not in NOT_MERGEABLE:
                continue
            if last_type and addr > last_addr:
                out.append(Entry(last_addr, addr - last_addr, last_type))
                if len(out) >= self.capacity:
                    break
            last_type, last_addr = current, addr
        return out

    def range_update(self, start: int, size: int, old: int, new: int) -> int:
        """e820__range_update(): turn what is of type `old` in [start, start + size) into `new`.

        Prints the kernel's line, returns the bytes that changed. The table is neither sorted nor merged:
        pieces that are split off are appended, and are looked at again, as in the kernel.
        """
        size = min(size, U64_MAX - start)
        end = start + size
        old_name, new_name = type_name(old, self.release), type_name(new, self.release)
        self.log.debug(f"e820: update [mem {start:#010x}-{end - 1:#010x}] {old_name} ==> {new_name}")
        return self._carve(start, end, old, new)

    def range_remove(self, start: int, size: int, old: int | None) -> int:
        """e820__range_remove(): take [start, start + size) out of the map, only entries of type `old` unless None.

        Prints the kernel's line, returns the bytes that went. Whole entries stay behind with size 0.
        """
        size = min(size, U64_MAX - start)
        end = start + size
        name = "" if old is None else type_name(old, self.release)
        self.log.debug(f"e820: remove [mem {start:#010x}-{end - 1:#010x}] {name}".rstrip())
        return self._carve(start, end, old, None)

    def _carve(self, start: int, end: int, old: int | None, new: int | None) -> int:
        """Give [start, end) the type `new` where it was `old`, or cut it out when `new` is None."""
        changed = 0
        index = 0
        while index < len(self.entries):
            e = self.entries[index]
            index += 1
            if old is not None and e.type != old:
                continue
            if e.start >= start and e.end <= end:
                changed += e.size
                if new is None:
                    e.start = e.size = e.type = 0
                else:
                    e.type = new
                continue
            if e.start < start and e.end > end:
                if new is not None:
                    self.range_add(start, end - start, new)
                self.range_add(end, e.end - end, e.type)
                e.size = start - e.start
                changed += end - start
                continue
            low, high = max(start, e.start), min(end, e.end)
            if low >= high:
                continue
            if new is not None:
                self.range_add(low, high - low, new)
            changed += high - low
            e.size -= high - low
            if e.start >= low:
                e.start = high
        return changed

    def mapped_all(self, start: int, end: int, kind: int) -> bool:
        """e820__mapped_all(): is every byte of [start, end) of type `kind`? Needs a sorted table."""
        for e in self.entries:
            if e.type != kind or e.start >= end or e.end <= start:
                continue
            if e.start <= start:
                start = e.end
            if start >= end:
                return True
        return False

    def print_table(self, who: str) -> None:
        """e820__print_table(): one line an entry; 7.x shows the gaps between them too."""
        previous = 0
        for e in self.entries:
            if self.release.e820_prints_gaps and e.start > previous:
                self.log.info(f"{who}: [gap {previous:#018x}-{e.start - 1:#018x}]")
            wide = " " if self.release.e820_prints_gaps else ""
            name = type_name(e.type, self.release)
            self.log.info(f"{who}: [mem {e.start:#018x}-{e.end - 1:#018x}] {wide}{name}")
            previous = e.end

    def announce(self, what: str) -> None:
        """The line before a map: "BIOS-provided physical RAM map:" and the like."""
        self.log.info(("e820: " if self.release.e820_log_prefix else "") + what)

    def end_pfn(self, limit_pfn: int, max_arch_pfn: int) -> int:
        """e820_end_pfn(): one past the last page frame of RAM below `limit_pfn`; prints the last_pfn line.

        From 6.11 on ACPI tables count as well, because they can be mapped like RAM.
        """
        kinds = {E820Type.RAM, E820Type.ACPI} if self.release.e820_end_counts_acpi else {E820Type.RAM}
        last = 0
        for e in self.entries:
            if e.type not in kinds or e.start >> PAGE_SHIFT >= limit_pfn:
                continue
            last = max(last, min(e.end >> PAGE_SHIFT, limit_pfn))
        last = min(last, max_arch_pfn)
        self.announce(f"last_pfn = {last:#x} max_arch_pfn = {max_arch_pfn:#x}")
        return last

    def setup_pci_gap(self, max_pfn: int, is_64bit: bool) -> int:
        """e820__setup_pci_gap(): the largest gap below 4 GiB, of 4 MiB or more, is for PCI; returns its start."""
        found = self._highest_gap() if self.release.e820_gap_search_ascends else self._lowest_gap()
        size = MIN_PCI_GAP
        if found is None:
            start = (max_pfn << PAGE_SHIFT) + 0x100000 if is_64bit else 0x10000000
            if is_64bit:
                self.log.err("e820: Cannot find an available gap in the 32-bit address range")
                self.log.err("e820: PCI devices with unassigned 32-bit BARs may not work!")
        else:
            start, size = found
        word = "gap" if self.release.e820_prints_gaps else "mem"
        self.announce(f"[{word} {start:#010x}-{start + size - 1:#010x}] available for PCI devices")
        return start

    def _lowest_gap(self) -> tuple[int, int] | None:
        """e820_search_gap() up to 6.18: downwards, of equal gaps the lowest; below the first entry is none."""
        best: tuple[int, int] | None = None
        last = FOUR_GIB
        for e in reversed(self.entries):
            gap = last - e.end
            if gap >= (best[1] if best else MIN_PCI_GAP):
                best = (e.end, gap)
            last = min(last, e.start)
        return best

    def _highest_gap(self) -> tuple[int, int] | None:
        """e820_search_gap() from 7.0 on: upwards from 0, so that of equal gaps the highest wins."""
        best: tuple[int, int] | None = None
        previous = 0
        for start, end in [(e.start, e.end) for e in self.entries] + [(FOUR_GIB, FOUR_GIB)]:
            gap = min(start, FOUR_GIB) - previous
            if gap >= (best[1] if best else MIN_PCI_GAP):
                best = (previous, gap)
            previous = max(end, previous)
        return best


def parse_memopt(table: E820Table, value: str) -> bool:
    """mem=SIZE: parse_memopt(). RAM above SIZE bytes goes. True when the map is now the user's."""
    if value == "nopentium":
        return False
    limit, _ = memparse(value)
    if limit:
        table.range_remove(limit, U64_MAX - limit, E820Type.RAM)
    return True


def parse_memmap_opt(table: E820Table, value: str) -> bool:
    """memmap=...: parse_memmap_opt(), several by comma. True when the map is now the user's."""
    results = [_parse_memmap_one(table, one) for one in value.split(",")]
    return any(results)


def _parse_memmap_one(table: E820Table, text: str) -> bool:
    """One nn[KMG], nn@ss, nn#ss, nn$ss, nn!ss, nn%ss[-old][+new] or exactmap: parse_memmap_one()."""
    if text.startswith("exactmap"):
        table.entries.clear()
        return True
    size, at = memparse(text)
    if at == 0:
        return False
    mark = text[at : at + 1]
    adds = {"@": E820Type.RAM, "#": E820Type.ACPI, "$": E820Type.RESERVED, "!": E820Type.PRAM}
    if mark in adds:
        start, _ = memparse(text, at + 1)
        table.range_add(start, size, adds[mark])
    elif mark == "%":
        _retype(table, text, at, size)
    else:
        table.range_remove(size, U64_MAX - size, E820Type.RAM)
    return True


def _retype(table: E820Table, text: str, at: int, size: int) -> None:
    """The nn%ss[-old][+new] form of memmap=: change, add or remove by type number."""
    start, at = memparse(text, at + 1)
    old = new = 0
    if text[at : at + 1] == "-":
        old, at = memparse(text, at + 1)
    if text[at : at + 1] == "+":
        new, at = memparse(text, at + 1)
    if at != len(text):
        return
    if old and new:
        table.range_update(start, size, old, new)
    elif new:
        table.range_add(start, size, new)
    else:
        table.range_remove(start, size, old or None)
