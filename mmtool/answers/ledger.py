"""Where the memory went: every byte of RAM in the firmware's map, up to MemTotal, with the one who took it.

A ledger is a sum: what the map calls memory, less each taker, plus what comes back late in the boot, is MemTotal.
All amounts are bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from copy import copy
from typing import NamedTuple

from mmtool.firmware.machine import E820Type
from mmtool.linux.init.architecture import architecture
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.memblock import MEMBLOCK_NOMAP
from mmtool.linux.mm.memblock.ledger import Ranges

MEMORY_TYPES: dict[int, str] = {
    E820Type.RAM: "RAM", E820Type.RESERVED_KERN: "RAM", E820Type.ACPI: "ACPI tables", E820Type.NVS: "ACPI NVS",
    E820Type.UNUSABLE: "unusable", E820Type.SOFT_RESERVED: "soft reserved",
    E820Type.PMEM: "persistent memory", E820Type.PRAM: "persistent memory",
}  # fmt: skip
"""What the firmware's map says is memory of some kind; all else of it may be devices."""

OPTIONS = {
    "crashkernel": "crashkernel=",
    "swiotlb": "swiotlb=",
    "CMA": "cma=",
    "log buffer": "log_buf_len=",
    "Dentry cache": "dhash_entries=",
    "Inode-cache": "ihash_entries=",
    "huge pages": "hugepages=",
    "hugetlb": "hugetlb_cma=",
    "reserve_mem": "reserve_mem=",
    "soft reserved": "efi=nosoftreserve",
    "direct-map page tables": "nogbpages",
    "per-CPU": "nr_cpus=",
}
"""The option that moves what an owner takes, by how the owner's name begins."""


class LedgerLine(NamedTuple):
    """One taker: `amount` bytes (negative when they come back), at which step, and the option that would change it."""

    taker: str
    amount: int
    step: str
    option: str = ""


class MemoryLedger(NamedTuple):
    """installed - sum of the takers = memtotal, to the byte."""

    installed: int
    lines: tuple[LedgerLine, ...]
    memtotal: int

    @property
    def unexplained(self) -> int:
        """Bytes by which the sum fails; 0 when it closes."""
        return self.installed - sum(line.amount for line in self.lines) - self.memtotal


def memory_ledger(boot: Boot) -> MemoryLedger:
    """The ledger of a finished boot."""
    firmware = [(e.start, e.end, e.type) for e in boot.firmware_map if e.type in MEMORY_TYPES]
    installed = sum(end - start for start, end, _ in firmware)
    image = _image_somewhere(boot)
    lines = [*_kept_by_firmware(boot), *_reserved(boot), *image, *_given_back(boot)]
    memtotal = sum(z.managed_pages for node in boot.nodes.values() for z in node.zones) << boot.kernel.page_shift
    memtotal -= sum(line.amount for line in image)
    rest = installed - sum(line.amount for line in lines) - memtotal
    if rest:
        lines.append(LedgerLine("not accounted for", rest, ""))
    return MemoryLedger(installed, tuple(lines), memtotal)


def _kept_by_firmware(boot: Boot) -> list[LedgerLine]:
    """Memory of the firmware's map that never reaches memblock, by what keeps it."""
    lost: dict[tuple[str, str, str], int] = defaultdict(int)
    memory = _ranges((r.base, r.end) for r in boot.memblock.memory.regions)
    edited = _ranges((e.start, e.end) for e in boot.edited_map() if e.type in (E820Type.RAM, E820Type.RESERVED_KERN))
    for e in boot.firmware_map:
        name = MEMORY_TYPES.get(e.type)
        if name is None:
            continue
        if e.type not in (E820Type.RAM, E820Type.RESERVED_KERN):
            lost[(f"firmware: {name}", "e820__memory_setup", "")] += e.end - e.start
            continue
        usable = _meeting(edited, e.start, e.end)
        for start, end in _without((e.start, e.end), usable):
            lost[_why_edited(boot, start, end)] += end - start
        for low, high in usable:
            inside = (max(low, e.start), min(high, e.end))
            for start, end in _without(inside, _meeting(memory, *inside)):
                lost[_why_not_memory(boot, start, end)] += end - start
    return [LedgerLine(taker, amount, step, option) for (taker, step, option), amount in lost.items()]


def _ranges(pieces: Iterable[tuple[int, int]]) -> Ranges:
    """The bytes of some pieces, each of which stays a range of its own."""
    found = Ranges()
    for start, end in sorted(pieces):
        if start < end:
            found.add(start, end)
    return found


def _meeting(ranges: Ranges, start: int, end: int) -> list[tuple[int, int]]:
    """Those of the ranges that have a byte of [start, end), upwards."""
    where = ranges.overlapping(start, end)
    return list(zip(ranges.starts[where], ranges.ends[where], strict=True))


def _why_edited(boot: Boot, start: int, end: int) -> tuple[str, str, str]:
    """Which edit of the E820 map took RAM at [start, end): (taker, step, option)."""
    if start < boot.memblock.page_size:
        return "page 0 (BIOS)", "trim_bios_range", ""
    if 0xA0000 <= start < 0x100000:
        return "ISA hole", "trim_bios_range", ""
    if boot.edits_by_user:
        return "kept out by mem= or memmap=", "parse_early_param", "mem=, memmap="
    return "reserved in the E820 map later", "e820__range_update", ""


def _why_not_memory(boot: Boot, start: int, end: int) -> tuple[str, str, str]:
    """Why memblock has no memory at [start, end), which the map calls RAM: (taker, step, option)."""
    step = boot.memory_step
    if end - start < boot.memblock.page_size:
        return "incomplete pages", step, ""
    # Up to 5.12 placed regions with no-map leave memblock's memory.
    if not boot.edits_map and (owners := boot.memblock.ledger.overlapping(start, end)):
        return owners[0][2], boot.owner_steps.get(owners[0][2], ""), ""
    if not boot.edits_map and boot.cmdline.has("mem"):
        return "kept out by mem=", step, "mem="
    return "out of the kernel's reach", step, ""


def _no_map(boot: Boot) -> list[tuple[int, int]]:
    """Memory that the kernel does not map and no one reserved, as far as the firmware called it RAM."""
    ram = [(e.start, e.end) for e in boot.firmware_map if e.type == E820Type.RAM]
    reserved = [(r.base, r.end) for r in boot.memblock.reserved.regions]
    hidden = [(r.base, r.end) for r in boot.memblock.memory.regions if r.flags & MEMBLOCK_NOMAP]
    return [inside for r in hidden for piece in _without(r, reserved) for inside in _overlap(piece, ram)]


def _reserved(boot: Boot) -> list[LedgerLine]:
    """What memblock still held or hid when the page allocator took over, by owner; then what lies in split pages.

    Where several own a byte, the one that took the smallest range names it.
    """
    mb = boot.memblock
    takes: dict[str, int] = defaultdict(int)
    memory = [(r.base, r.end) for r in mb.memory.regions]
    left = Ranges()
    for piece in [*_overlaps([(r.base, r.end) for r in mb.reserved.regions], memory), *_no_map(boot)]:
        left.add(*piece)
    for start, end, owner in sorted(mb.ledger.entries, key=lambda t: t[1] - t[0]):
        if amount := left.cut(start, end):
            takes[owner] += amount
    whole = sum(left.ends) - sum(left.starts)
    largest_first = sorted(takes.items(), key=lambda taken: -taken[1])
    lines = [LedgerLine(owner, n, boot.owner_steps.get(owner, ""), _option(owner)) for owner, n in largest_first]
    if whole:
        lines.append(LedgerLine("reserved, owner not recorded", whole, ""))
    split = _split_pages(boot)
    if split:
        lines.append(LedgerLine("rest of pages that are reserved in part", split, "memblock_free_all"))
    return lines


def _image_somewhere(boot: Boot) -> list[LedgerLine]:
    """The kernel's image where nothing shows its place: what it takes all the same, and gives back of that."""
    size = architecture(boot.kernel).image_takes(boot.kernel)
    if boot.kernel_base is not None or not size:
        return []
    elsewhere = copy(boot)
    elsewhere.kernel_base = 0
    others = {(piece.name, piece.start) for piece in boot.freed_memory()}
    freed = [p for p in elsewhere.freed_memory() if (p.name, p.start) not in others and p.start < size]
    return [
        LedgerLine("kernel image, place unknown", size, boot.steps[0].name),
        *(LedgerLine(f"given back: {piece.name}", piece.start - piece.end, "free_initmem") for piece in freed),
    ]


def _option(owner: str) -> str:
    return next((option for name, option in OPTIONS.items() if owner.startswith(name)), "")


def _split_pages(boot: Boot) -> int:
    """Bytes of free memory in pages that reservations cover in part, which are never freed."""
    lost = 0
    mb = boot.memblock
    for start, end, _ in mb.for_each_free_mem_range():
        first, last = -(-start // mb.page_size) * mb.page_size, end // mb.page_size * mb.page_size
        lost += end - start - max(last - first, 0)
    return lost


def _given_back(boot: Boot) -> list[LedgerLine]:
    """What is freed after the hand-over: a negative amount a piece."""
    return [LedgerLine(f"given back: {piece.name}", -piece.size, piece.step) for piece in boot.given_back]


def _overlaps(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What two lists of ranges have in common; each is in ascending order and without overlaps."""
    at = 0
    for start, end in some:
        while at < len(others) and others[at][1] <= start:
            at += 1
        here = at
        while here < len(others) and others[here][0] < end:
            yield max(start, others[here][0]), min(end, others[here][1])
            here += 1


def _overlap(r: tuple[int, int], ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    pieces = [(max(r[0], a), min(r[1], b)) for a, b in ranges]
    return [p for p in pieces if p[0] < p[1]]


def _without(r: tuple[int, int], taken: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """[r) with the ranges of `taken` cut out."""
    left = [r]
    for a, b in taken:
        if b <= r[0] or a >= r[1]:
            continue
        left = [p for s, e in left for p in ((s, min(e, a)), (max(s, b), e)) if p[0] < p[1]]
    return left
