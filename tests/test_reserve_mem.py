"""reserve_mem=: named memory at a place that memblock picks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.boots import boot_at, said

from mmtool.linux.mm.memblock.reserve_mem import parse_reserve_mem, reserve_mem

M, G = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("20M:4096:trace", (20 * M, 4096, "trace")),
        ("1G:2M:a", (G, 2 * M, "a")),
        ("12M:0:oops", (12 * M, 64, "oops")),
        ("12M::oops", (12 * M, 64, "oops")),
        ("0:4096:x", None),
        ("4M:4096", None),
        ("4M", None),
        ("4M:4096:", None),
        ("4M:4096: ", None),
        ("4M:4096:a name of sixteen", None),
    ],
)
def test_forms(value, read):
    assert parse_reserve_mem(value, 64) == read


def test_places_and_messages():
    values = ["20M:4096:trace", "4M:2M:oops", "4M:2M:oops", "8G:0:big", "x"]
    cmdline = " ".join(f"reserve_mem={value}" for value in values)
    boot = boot_at("7.3", cmdline, [(M, G, 0)])
    reserve_mem(boot)
    assert said(boot) == [
        'reserve_mem: name "oops" was already used',
        "reserve_mem: memblock allocation failed",
        "reserve_mem: empty or malformed parameter",
    ]
    assert boot.memblock.owners(M, G) == ["reserve_mem oops", "reserve_mem trace"]
    silent = boot_at("6.12", cmdline, [(M, G, 0)])
    reserve_mem(silent)
    assert said(silent) == []
    assert silent.memblock.reserved_size() == 24 * M
    unknown = boot_at("6.1", cmdline, [(M, G, 0)])
    reserve_mem(unknown)
    assert unknown.memblock.reserved_size() == 0


def test_there_is_room_for_eight():
    boot = boot_at("7.3", " ".join(f"reserve_mem=1M:0:n{i}" for i in range(10)), [(M, G, 0)])
    reserve_mem(boot)
    assert said(boot) == ["reserve_mem: no more room for reserved memory"] * 2


@given(st.text(max_size=24))
def test_no_value_breaks_it(value):
    read = parse_reserve_mem(value, 64)
    assert read is None or (read[0] > 0 and read[1] >= 64 and 0 < len(read[2]) < 16)
