"""Properties of memblock that hold whatever is done to it, in every release."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.release import release_facts
from mmtool.linux.mm.memblock import MEMBLOCK_NOMAP, Memblock
from mmtool.linux.mm.memblock.cursor import FreeCursor

PAGE = 4096
TOP = 64 * PAGE
VERSIONS = [(5, 0, 0), (5, 10, 0), (6, 1, 0), (6, 6, 0), (6, 12, 60), (7, 3, 0)]

versions = st.sampled_from(VERSIONS)
addresses = st.integers(0, TOP - 1)
sizes = st.integers(0, TOP // 4)
page_addresses = st.integers(0, 63).map(lambda n: n * PAGE)
page_sizes = st.integers(1, 16).map(lambda n: n * PAGE)
nids = st.integers(0, 2)

changes = st.one_of(
    st.tuples(st.just("add"), addresses, sizes),
    st.tuples(st.just("add_node"), addresses, sizes, nids),
    st.tuples(st.just("remove"), addresses, sizes),
    st.tuples(st.just("reserve"), addresses, sizes),
    st.tuples(st.just("reserve_kern"), addresses, sizes),
    st.tuples(st.just("phys_free"), addresses, sizes),
    st.tuples(st.just("mark_nomap"), addresses, sizes),
    st.tuples(st.just("clear_nomap"), addresses, sizes),
    st.tuples(st.just("alloc_node"), st.integers(1, TOP // 4), st.sampled_from([1, 64, PAGE, 4 * PAGE]), nids),
    st.tuples(st.just("cap_memory_range"), addresses, st.integers(TOP // 2, TOP)),
)


def built(version, script, numa=True):
    mb = Memblock(release_facts(version), numa=numa, max_numnodes=4, page_size=4096, smp_cache_bytes=64)
    for name, *arguments in script:
        getattr(mb, name)(*arguments)
    return mb


def span(start, end):
    """The bytes [start, end) as a bit mask, one bit a byte; the address space of these tests is small."""
    return (1 << end) - (1 << start)


def bytes_of(type_, keep=lambda r: True):
    """The bytes that a list covers, as a bit mask."""
    covered = 0
    for r in type_.regions:
        if keep(r):
            covered |= span(r.base, r.end)
    return covered


def unmerged(type_):
    return [(a, b) for a, b in pairwise(type_.regions) if a.end == b.base and (a.nid, a.flags) == (b.nid, b.flags)]


@given(versions, st.booleans(), st.lists(changes, max_size=30))
def test_lists_stay_in_order_and_are_counted_right(version, numa, script):
    mb = built(version, script, numa)
    for type_ in (mb.memory, mb.reserved):
        assert all(a.end <= b.base for a, b in pairwise(type_.regions))
        assert type_.total_size == sum(r.size for r in type_.regions)
        assert all(r.size for r in type_.regions) or type_.cnt == 1


@given(versions, st.lists(changes, max_size=30), addresses, st.integers(1, TOP))
def test_no_mergeable_neighbours_remain_after_an_addition(version, script, base, size):
    mb = built(version, [c for c in script if c[0] != "cap_memory_range"])
    mb.add(base, size)
    assert unmerged(mb.memory) == []


@given(st.sampled_from([(5, 10, 0), (6, 1, 0)]), st.lists(changes, max_size=30))
def test_old_releases_merge_even_what_a_cap_left_behind(version, script):
    mb = built(version, script)
    mb.add(2 * TOP, PAGE)
    mb.add(4 * TOP, PAGE)
    assert unmerged(mb.memory) == []


@settings(deadline=None)
@given(versions, st.lists(changes, max_size=15), addresses, sizes)
def test_adding_and_removing_are_set_operations(version, script, base, size):
    mb = built(version, script)
    before = bytes_of(mb.memory)
    mb.add(base, size)
    assert bytes_of(mb.memory) == before | span(base, base + size)
    mb.remove(base, size)
    assert bytes_of(mb.memory) == before & ~span(base, base + size)


@settings(deadline=None)
@given(
    versions,
    st.booleans(),
    st.lists(changes, max_size=20),
    st.integers(1, TOP // 4),
    st.integers(0, 14).map(lambda n: 1 << n),
    addresses,
    st.integers(0, TOP),
    st.integers(-1, 2),
    st.booleans(),
)
def test_an_allocation_is_free_aligned_memory_inside_the_limits(
    version, bottom_up, script, size, align, start, end, nid, exact
):
    mb = built(version, script)
    mb.bottom_up = bottom_up
    mapped = bytes_of(mb.memory, lambda r: not r.flags & MEMBLOCK_NOMAP)
    taken = bytes_of(mb.reserved)
    address = mb.alloc_range_nid(size, align, start, end, nid, exact)
    if not address:
        assert bytes_of(mb.reserved) == taken
        return
    got = span(address, address + size)
    assert address % align == 0
    assert address >= max(start, PAGE)
    assert end in (0, 1) or address + size <= end
    assert got & mapped == got
    assert not got & taken
    assert bytes_of(mb.reserved) == taken | got


@settings(deadline=None)
@given(versions, st.lists(changes, max_size=20), addresses, sizes)
def test_reserving_and_freeing_restores_the_bytes(version, script, base, size):
    mb = built(version, script)
    before = bytes_of(mb.reserved)
    mb.reserve(base, size, owner="test")
    mb.phys_free(base, size)
    assert bytes_of(mb.reserved) == before & ~span(base, base + size)
    assert mb.owners(base, size) == []


@settings(deadline=None)
@given(versions, st.booleans(), st.lists(changes, max_size=25), st.sampled_from([2, 10, 13]))
def test_the_hand_over_is_exactly_what_is_left(version, numa, script, max_order):
    mb = built(version, script, numa)
    memory = bytes_of(mb.memory, lambda r: not r.flags & MEMBLOCK_NOMAP)
    free = memory & ~bytes_of(mb.reserved)
    freed = mb.free_all(1 << 40, max_order=max_order)
    pages = []
    for pfn, order in freed:
        assert 0 <= order <= max_order
        assert pfn % (1 << order) == 0
        pages += range(pfn, pfn + (1 << order))
    assert len(pages) == len(set(pages)) == freed.pages
    assert pages == sorted(pages)
    whole = {p for p in range(2 * TOP // PAGE) if not span(p * PAGE, (p + 1) * PAGE) & ~free}
    # A page that two regions share is free, and yet given by neither: each range is rounded inwards.
    shared = {r.base // PAGE for r in mb.memory.regions if r.base % PAGE}
    assert whole - shared <= set(pages) <= whole


@given(versions, st.lists(changes, max_size=25), st.integers(-1, 2))
def test_walking_backwards_meets_the_same_ranges(version, script, nid):
    mb = built(version, script)
    forwards = [r for r in mb.for_each_free_mem_range(nid) if r[0] < r[1]]
    backwards = [r for r in mb.for_each_free_mem_range_reverse(nid) if r[0] < r[1]]
    assert forwards == backwards[::-1]


@given(versions, st.lists(changes, max_size=15), st.lists(changes, max_size=15))
def test_changes_lead_from_one_state_to_the_other(version, first, second):
    mb = built(version, first)
    mb.watch()
    old = {"memory": bytes_of(mb.memory), "reserved": bytes_of(mb.reserved)}
    for name, *arguments in second:
        getattr(mb, name)(*arguments)
    told = mb.changes()
    assert told == sorted(told, key=lambda change: (change[0], change[1] == "add", change[2]))
    assert all(a[:2] != b[:2] or a[3] < b[2] for a, b in pairwise(told))
    for name, what, start, end in told:
        touched = span(start, end)
        if what == "add":
            assert not old[name] & touched
            old[name] |= touched
        else:
            assert touched & old[name] == touched
            old[name] &= ~touched
    assert old == {"memory": bytes_of(mb.memory), "reserved": bytes_of(mb.reserved)}


takes = st.tuples(st.just("alloc_node"), st.sampled_from([64, PAGE, 3 * PAGE]), st.sampled_from([64, PAGE]), nids)
marks = st.one_of(
    st.tuples(st.just("mark_hotplug"), page_addresses, page_sizes),
    st.tuples(st.just("mark_mirror"), page_addresses, page_sizes),
    st.tuples(st.just("clear_hotplug"), page_addresses, page_sizes),
)


@given(versions, st.lists(takes | takes | marks | changes, max_size=30), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_search_that_goes_on_finds_what_one_from_the_top_finds(version, script, movable_node):
    """FreeCursor only spares work: it is forgotten before every operation on the second memblock."""
    facts = release_facts(version)
    going_on, anew = (
        Memblock(facts, numa=True, max_numnodes=4, page_size=4096, smp_cache_bytes=64) for _ in range(2)
    )
    for mb in (going_on, anew):
        mb.movable_node, mb.mirrored_kernelcore = movable_node, True
        mb.add_node(0, TOP, 0)
    for name, *arguments in script:
        anew._cursor = FreeCursor(anew.memory, anew.reserved)
        assert getattr(going_on, name)(*arguments) == getattr(anew, name)(*arguments)
    assert going_on.reserved.regions == anew.reserved.regions
