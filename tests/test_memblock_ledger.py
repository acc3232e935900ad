"""Who took which bytes, against sets of bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.linux.mm.memblock.ledger import Ledger, Ranges

MOST = 24
windows = st.tuples(st.integers(0, MOST), st.integers(0, MOST))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), windows), max_size=12), windows)
def test_ranges_are_sets_of_bytes(script, asked):
    """Ranges that touch stay apart, as they came."""
    ranges, held = Ranges(), set()
    for add, (start, end) in script:
        if add and start < end:
            ranges.add(start, end)
            held |= set(range(start, end))
        elif start < end:
            assert ranges.cut(start, end) == len(held & set(range(start, end)))
            held -= set(range(start, end))
    pairs = list(zip(ranges.starts, ranges.ends, strict=True))
    assert pairs == sorted(pairs)
    assert sum(end - start for start, end in pairs) == len(held)
    assert {b for start, end in pairs for b in range(start, end)} == held
    assert all(start < end for start, end in pairs)
    start, end = asked
    if start < end:
        assert pairs[ranges.overlapping(start, end)] == [(a, b) for a, b in pairs if a < end and start < b]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), windows), max_size=12), windows)
def test_each_owner_keeps_what_it_took_until_that_is_given_back(script, asked):
    ledger, held = Ledger(), {}
    for owner, (start, end) in script:
        if owner is None:
            before = ledger.entries
            ledger.give_back(start, end)
            assert start < end or ledger.entries == before
            for taken in held.values():
                taken -= set(range(start, end))
        else:
            ledger.take(start, end, owner)
            if start < end:
                held.setdefault(owner, set()).update(range(start, end))
    assert ledger.owners == list(held)
    assert list(ledger.owners_after(1)) == list(held)[1:]
    for owner, taken in held.items():
        assert {b for start, end, o in ledger.entries if o == owner for b in range(start, end)} == taken
    start, end = asked
    found = ledger.overlapping(start, end) if start < end else []
    assert found == sorted(found, key=lambda entry: entry[0])
    assert set(found) == {(a, b, o) for a, b, o in ledger.entries if start < end and a < end and start < b}
