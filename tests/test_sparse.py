"""Where struct pages and their page tables lie, and which memory has any (mm/sparse.c, mm/sparse-vmemmap.c)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmtool.build.choose import kernel_for
from mmtool.firmware.machine import E820Entry, LogNote, Machine, MemoryAffinity, Srat
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.linux.mm.sparse_vmemmap import TABLES, VMEMMAP, Vmemmap

FIVE_LEVELS = (LogNote("gb_pages", (), 1), LogNote("la57", (0xFF11000000000000,), 1))
LOW = (E820Entry(0x1000, 0x9F000, 1), E820Entry(1 << 20, 2 << 30, 1))
TIB = 1 << 40


def boot(entries: Iterable[E820Entry], notes: tuple[LogNote, ...] = FIVE_LEVELS, srat: Srat | None = None) -> Boot:
    machine = Machine("table", (*LOW, *entries), origin="map.txt", notes=notes, srat=srat)
    return start_kernel(machine, kernel_for(machine, "debian-7.3-cloud-amd64"))


def places(b: Boot) -> object:
    """What is reserved, and by whom: bytes of one owner that touch are one range."""
    joined: list[tuple[int, int, str]] = []
    for start, end, owner in sorted(b.memblock.ledger.entries, key=lambda entry: (entry[2], entry[0])):
        if joined and joined[-1][1:] == (start, owner):
            start = joined.pop()[0]
        joined.append((start, end, owner))
    return [(r.base, r.size, r.nid, r.flags) for r in b.memblock.reserved.regions], joined


@settings(deadline=None, max_examples=25)
@given(
    pieces=st.lists(
        st.tuples(st.sampled_from([12, 27, 30, 38]), st.integers(1, 40), st.sampled_from([0, 1, 1 << 15])), max_size=4
    ),
    nodes=st.booleans(),
)
@example(pieces=[(38, 400, 0)], nodes=False)
@example(pieces=[(27, 9, 1), (38, 300, 1)], nodes=True)
def test_tables_taken_at_once_lie_where_they_lie_one_by_one(pieces: list[tuple[int, int, int]], nodes: bool) -> None:
    entries, affinities, at = [], [MemoryAffinity(0, 0, 1 << 32, True, False)], 1 << 32
    for shift, count, gap in pieces:
        entries.append(E820Entry(at, at + (count << shift), 1))
        affinities.append(MemoryAffinity(len(entries), at, at + (count << shift), True, False))
        at += (count << shift) + (gap << 12)
    srat = Srat(tuple(affinities)) if nodes else None
    at_once = places(boot(entries, srat=srat))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Vmemmap, "_alike", lambda *_: 0)
        assert places(boot(entries, srat=srat)) == at_once


def test_four_pebibytes_are_mapped_in_few_steps() -> None:
    """Without that each of 64,000 page tables is an allocation and a range of its own."""
    entries = boot([E820Entry(1 << 32, 4000 * TIB, 1)]).memblock.ledger.entries
    owned = [(end - start, owner) for start, end, owner in entries if owner in (VMEMMAP, TABLES)]
    assert len(owned) < 3000
    pages = (4000 * TIB - (2 << 30)) >> 12
    assert sum(size for size, owner in owned if owner == VMEMMAP) == 64 * pages
    assert sum(size for size, owner in owned if owner == TABLES) // 4096 in range(64126, 64132)


def test_memory_beyond_the_numbers_of_sections_has_no_struct_pages() -> None:
    """Four levels of page tables: sections are numbered for 46 bits (mminit_validate_memmodel_limits())."""
    entry = E820Entry(1 << 32, 4000 * TIB, 1)
    srat = Srat((MemoryAffinity(0, 0, 1 << 63, True, False),))
    b = boot([entry], FIVE_LEVELS[:1], srat)
    assert b.memblock.memory.regions[-1].end > 64 * TIB
    struct_pages = sum(end - start for start, end, owner in b.memblock.ledger.entries if owner == VMEMMAP)
    # all below 64 TiB but the hole up to 4 GiB
    assert struct_pages == 64 * ((64 * TIB - (2 << 30)) >> 12)
