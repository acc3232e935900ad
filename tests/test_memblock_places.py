"""Where memblock's allocations lie: against a search that tries every piece of free memory, in every release."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.release import release_facts
from mmtool.linux.mm.memblock import MEMBLOCK_HOTPLUG, MEMBLOCK_MIRROR, MEMBLOCK_NOMAP, NUMA_NO_NODE, Memblock

PAGE = 4096
TOP = 64 * PAGE
GIB = 1 << 30
VERSIONS = [(5, 0, 0), (5, 10, 0), (5, 10, 15), (6, 1, 0), (6, 12, 60), (7, 3, 0)]

Attempt = tuple[int, int, int, int]
"""Where from, up to where, with which flags, on which node."""

addresses = st.integers(0, TOP // 64).map(lambda n: n * 64)
pages = st.integers(0, 63).map(lambda n: n * PAGE)
sizes = st.sampled_from([64, 4032, PAGE, PAGE + 64, 3 * PAGE, 16 * PAGE])
nids = st.integers(0, 2)
scripts = st.lists(
    st.one_of(
        st.tuples(st.just("remove"), addresses, sizes),
        st.tuples(st.just("reserve"), addresses, sizes),
        st.tuples(st.sampled_from(["mark_nomap", "mark_mirror", "mark_hotplug"]), pages, sizes),
    ),
    max_size=12,
)


@st.composite
def memblocks(draw: st.DrawFn) -> Callable[..., Memblock]:
    """What makes a memblock of some state, with room for so many reservations at first."""
    version, bounds = draw(st.sampled_from(VERSIONS)), sorted(draw(st.lists(pages, min_size=2, max_size=2)))
    script = draw(scripts)
    switches = {name: draw(st.booleans()) for name in ("bottom_up", "movable_node", "mirrored_kernelcore")}
    limits = {"kernel_end": draw(addresses), "current_limit": draw(st.sampled_from([TOP, TOP - 64, TOP // 2]))}

    def make(reservations: int = 128) -> Memblock:
        mb = Memblock(
            release_facts(version), numa=True, max_numnodes=4, init_reserved_regions=reservations,
            page_size=4096, smp_cache_bytes=64,
        )  # fmt: skip
        mb.allow_resize()
        for nid, (base, end) in enumerate(zip([0, *bounds], [*bounds, TOP], strict=True)):
            mb.add_node(base, end - base, nid)
        for name, value in {**switches, **limits}.items():
            setattr(mb, name, value)
        for name, *arguments in script:
            getattr(mb, name)(*arguments)
        return mb

    return make


def free_pieces(mb: Memblock, flags: int, nid: int) -> Iterator[tuple[int, int]]:
    """What reservations leave of the regions of node `nid` (-1: of all) that have all of `flags`."""
    never = MEMBLOCK_NOMAP | (MEMBLOCK_HOTPLUG if mb.movable_node else 0)
    for r in mb.memory.regions:
        if r.flags & never or r.flags & flags != flags or nid not in (NUMA_NO_NODE, r.nid):
            continue
        left = [(r.base, r.end)]
        for t in mb.reserved.regions:
            left = [(a, b) for s, e in left for a, b in ((s, min(e, t.base)), (max(s, t.end), e)) if a < b]
        yield from left


def place(mb: Memblock, size: int, align: int, attempt: Attempt) -> int:
    """The highest place that an attempt may take, bottom-up the lowest; 0 without one. The first page is nobody's."""
    start, end, flags, nid = attempt
    start, end = max(start, PAGE), end or mb.current_limit
    windows = [(start, end, mb.bottom_up)]
    if mb.bottom_up and mb.release.memblock_bottom_up_starts_above_kernel:
        windows = [(max(start, mb.kernel_end), end, True), (start, end, False)]
    for low, high, upwards in windows:
        pieces = [(max(a, low), min(b, high)) for a, b in free_pieces(mb, flags, nid)]
        places = [-(-a // align) * align if upwards else (b - size) // align * align for a, b in pieces]
        fit = [at for at, (a, b) in zip(places, pieces, strict=True) if a <= at and at + size <= b]
        if fit:
            return min(fit) if upwards else max(fit)
    return 0


def wishes(mb: Memblock) -> list[int]:
    return [MEMBLOCK_MIRROR, 0] if mb.has_mirror else [0]


def nodes(nid: int, exact: bool) -> list[int]:
    return [nid] if exact else [nid, NUMA_NO_NODE]


def in_range(mb: Memblock, start: int, end: int, nid: int, exact: bool) -> list[Attempt]:
    """memblock_alloc_range_nid(): mirrored memory first, there the node first; up to 5.0 neither is given up."""
    if not mb.release.memblock_alloc_range_nid_falls_back:
        return [(start, end, 0, nid)]
    return [(start, end, flags, n) for flags in wishes(mb) for n in nodes(nid, exact)]


def from_minimum(mb: Memblock, start: int, end: int, nid: int, exact: bool) -> list[Attempt]:
    """memblock_alloc_internal(): the minimum is given up last, up to 5.0 before the mirror."""
    end = min(end or mb.current_limit, mb.current_limit)
    if not mb.release.memblock_alloc_range_nid_falls_back:
        return [(low, end, flags, n) for flags in wishes(mb) for low in (start, 0) for n in nodes(nid, exact)]
    return [attempt for low in (start, 0) for attempt in in_range(mb, low, end, nid, exact)]


def try_nid(mb: Memblock, nid: int) -> list[Attempt]:
    """memblock_phys_alloc_try_nid(): up to 5.0 the node with both wishes, then any memory."""
    if not mb.release.memblock_alloc_range_nid_falls_back:
        return [*((0, 0, flags, nid) for flags in wishes(mb)), (0, 0, 0, NUMA_NO_NODE)]
    return in_range(mb, 0, 0, nid, False)


ANY = NUMA_NO_NODE
FUNCTIONS: dict[str, tuple[Callable[..., int | None], Callable[..., list[Attempt]]]] = {
    "phys_alloc_range": (
        lambda mb, size, align, start, end, nid: mb.phys_alloc_range(size, align, start, end),
        lambda mb, start, end, nid: in_range(mb, start, end, ANY, False),
    ),
    "phys_alloc": (
        lambda mb, size, align, start, end, nid: mb.phys_alloc(size, align),
        lambda mb, start, end, nid: in_range(mb, 0, 0, ANY, False),
    ),
    "phys_alloc_try_nid": (
        lambda mb, size, align, start, end, nid: mb.phys_alloc_try_nid(size, align, nid),
        lambda mb, start, end, nid: try_nid(mb, nid),
    ),
    **{
        name: (
            lambda mb, size, align, start, end, nid, name=name: getattr(mb, name)(size, align, start, end, nid),
            lambda mb, start, end, nid, exact=exact: from_minimum(mb, start, end, nid, exact),
        )
        for name, exact in (("alloc_try_nid", False), ("alloc_try_nid_raw", False), ("alloc_exact_nid_raw", True))
    },
    "alloc": (
        lambda mb, size, align, start, end, nid: mb.alloc(size, align),
        lambda mb, start, end, nid: from_minimum(mb, 0, 0, ANY, False),
    ),
    "alloc_from": (
        lambda mb, size, align, start, end, nid: mb.alloc_from(size, align, start),
        lambda mb, start, end, nid: from_minimum(mb, start, 0, ANY, False),
    ),
    "alloc_node": (
        lambda mb, size, align, start, end, nid: mb.alloc_node(size, align, nid),
        lambda mb, start, end, nid: from_minimum(mb, 0, 0, nid, False),
    ),
    "find_in_range": (
        lambda mb, size, align, start, end, nid: mb.find_in_range(start, end, size, align or 64),
        lambda mb, start, end, nid: [(start, end, flags, ANY) for flags in wishes(mb)],
    ),
}


@settings(max_examples=40, deadline=None)
@given(memblocks(), sizes, st.sampled_from([0, 64, PAGE, 4 * PAGE]), addresses, st.just(0) | addresses, nids)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_allocation_lies_where_a_slow_search_finds_it(function, make, size, align, start, end, nid):
    mb = make()
    allocate, attempts = FUNCTIONS[function]
    found = (place(mb, size, align or 64, attempt) for attempt in attempts(mb, start, end, nid))
    first = next(filter(None, found), 0)
    assert (allocate(mb, size, align, start, end, nid) or 0) == first


def taken(mb: Memblock) -> set[int]:
    """Which 64 bytes the ledger says that the test took."""
    return {at for start, end, owner in mb.ledger.entries if owner == "test" for at in range(start, end, 64)}


@settings(max_examples=100, deadline=None)
@given(
    memblocks(), st.sampled_from([2, 4, 8, 128]), st.integers(0, 20), st.sampled_from([64, PAGE, 4 * PAGE]),
    addresses, addresses | st.just(TOP),
)  # fmt: skip
def test_repeating_an_allocation_is_making_it_again_and_again(make, room, count, size, start, end):
    one_by_one, at_once = make(room), make(room)
    for _ in range(count):
        if not one_by_one.phys_alloc_range(size, size, start, end, owner="test"):
            break
    at_once.repeat(
        count, size, lambda: at_once.phys_alloc_range(size, size, start, end, owner="test"), start, end, owner="test"
    )
    assert at_once.reserved.regions == one_by_one.reserved.regions
    assert at_once.grown_arrays == one_by_one.grown_arrays
    assert taken(at_once) == taken(one_by_one)


@pytest.mark.parametrize("bottom_up", [False, True])
@pytest.mark.parametrize(("count", "asked"), [(1, 1), (2, 1), (100_000, 1), (2 + (1 << 18), 2), (1 << 20, 3)])
def test_repeating_asks_once_for_what_lies_side_by_side(bottom_up, count, asked):
    """A gigabyte below and one above a hole: once for each, and once where there is no more room but the first page."""
    mb, calls = Memblock(release_facts((6, 12, 0)), numa=False, page_size=4096, smp_cache_bytes=64), []
    mb.bottom_up = bottom_up
    for base in (0, 2 * GIB):
        mb.add(base, GIB)

    def take() -> int:
        calls.append(mb.phys_alloc_range(PAGE, PAGE, 0, 4 * GIB))
        return calls[-1]

    mb.repeat(count, PAGE, take, 0, 4 * GIB)
    assert mb.reserved_size() == min(count * PAGE, 2 * GIB - PAGE)
    assert len(calls) == asked


@pytest.mark.parametrize("bottom_up", [False, True])
@pytest.mark.parametrize("taken_before", [1, 2, 3])
def test_repeating_lets_a_full_list_grow_where_it_would_have(bottom_up, taken_before):
    """Room for three: the next place makes the list grow, and the new array lies beside that place, not beside many."""
    reserved = []
    for at_once in (False, True):
        mb = Memblock(
            release_facts((6, 12, 0)), numa=False, init_reserved_regions=3, page_size=4096, smp_cache_bytes=64
        )
        mb.allow_resize()
        mb.bottom_up = bottom_up
        mb.add(0, GIB)
        for n in range(taken_before):
            mb.reserve(GIB // 2 + 2 * n * PAGE, PAGE)

        def take(mb: Memblock = mb) -> int:
            return mb.phys_alloc(PAGE, PAGE)

        if at_once:
            mb.repeat(10, PAGE, take, 0, GIB)
        else:
            for _ in range(10):
                take()
        reserved.append((mb.reserved.regions, mb.grown_arrays))
    assert reserved[0] == reserved[1]
    assert bool(reserved[0][1]) == (taken_before > 1)
