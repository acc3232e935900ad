"""Huge pages of the command line: which sizes, how many, where the gigantic ones lie, and what is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.boots import boot_at, said

from mmtool.linux.mm.hugetlb import (
    hugetlb_bootmem_alloc,
    hugetlb_init,
    hugetlb_setup,
    string_get_size,
)
from mmtool.linux.mm.hugetlb_cma import hugetlb_cma_reserve
from mmtool.linux.mm.memblock import MEMBLOCK_RSRV_NOINIT

M, G = 1 << 20, 1 << 30
MEMORY = [(0x1000, 0x9F000, 0), (0x100000, 0xBFFE0000, 0), (0x100000000, 0x240000000, 0)]
# x86-64 with 8 GiB under 6.1 and 7.3, right before huge pages are allocated; small reservations put together
TAKEN_61 = [
    (0, 0x100000), (0xBFED4000, 0xBFFE1B33), (0x1A0200000, 0x1A2A11000), (0x237C00000, 0x23FE00000),
    (0x23FECC8C0, 0x240000000),
]  # fmt: skip
TAKEN_73 = [(0, 0x9F000), (0xBFED4000, 0xBFFE1B33), (0x1D1A00000, 0x1D4C11000), (0x23FFD4740, 0x240000000)]
NODES = [(M, 8 * G, 0), (8 * G, 16 * G, 1)]


def booted(release, cmdline, memory=MEMORY, reserved=(), **config):
    boot = boot_at(release, cmdline, memory, reserved, config=config)
    hugetlb_setup(boot, boot.hugetlb)
    hugetlb_bootmem_alloc(boot, boot.hugetlb)
    return boot


def pages(boot):
    return [(hex(address), nid) for h in boot.hugetlb.hstates for address, nid in h.pages]


@pytest.mark.parametrize(
    ("release", "reserved", "addresses"),
    [
        ("6.1.176", TAKEN_61, ["0x1c0000000", "0x140000000", "0x100000000"]),
        ("7.3.4", TAKEN_73, ["0x180000000", "0x140000000", "0x100000000"]),
    ],
)
def test_gigantic_pages_lie_where_kernels_put_them(release, reserved, addresses):
    boot = booted(release, "hugepagesz=1G hugepages=3", MEMORY, reserved)
    assert pages(boot) == [(address, 0) for address in addresses]
    assert said(boot) == []


@pytest.mark.parametrize(
    ("release", "config", "lines"),
    [
        ("5.10", {}, [
            "HugeTLB registered 1.00 GiB page size, pre-allocated 3 pages",
            "HugeTLB registered 2.00 MiB page size, pre-allocated 0 pages",
        ]),
        ("6.12", {"HUGETLB_PAGE_OPTIMIZE_VMEMMAP": True}, [
            "HugeTLB: registered 1.00 GiB page size, pre-allocated 3 pages",
            "HugeTLB: 16380 KiB vmemmap can be freed for a 1.00 GiB page",
            "HugeTLB: registered 2.00 MiB page size, pre-allocated 0 pages",
            "HugeTLB: 28 KiB vmemmap can be freed for a 2.00 MiB page",
        ]),
    ],
)  # fmt: skip
def test_every_size_is_said_with_its_pages(release, config, lines):
    boot = booted(release, "hugepagesz=1G hugepages=3", **config)
    hugetlb_init(boot, boot.hugetlb)
    assert said(boot) == lines


def test_only_the_first_page_of_a_gigantic_one_is_set_up_by_memblock():
    boot = booted("6.12", "hugepagesz=1G hugepages=1")
    left = [(r.base, r.size) for r in boot.memblock.reserved.regions if r.flags & MEMBLOCK_RSRV_NOINIT]
    assert left == [(0x200000000 + 4096, G - 4096)]


@pytest.mark.parametrize("release", ["5.10", "6.1", "6.18", "7.3"])
def test_nodes_take_turns(release):
    boot = booted(release, "hugepagesz=1G hugepages=3", NODES)
    assert [nid for _, nid in boot.hugetlb.hstates[0].pages] == [0, 1, 0]


def test_numbers_may_be_given_for_nodes():
    boot = booted("6.1", "hugepagesz=1G hugepages=1:2,0:1", NODES)
    assert [nid for _, nid in boot.hugetlb.hstates[0].pages] == [0, 1, 1]
    assert boot.hugetlb.hstates[0].max_huge_pages == 3


@pytest.mark.parametrize(
    ("release", "cmdline", "lines"),
    [
        ("6.12", "hugepagesz=1G hugepages=9", [
            "HugeTLB: allocating 9 of page size 1.00 GiB failed.  Only allocated 6 hugepages.",
        ]),
        ("6.12", "hugepagesz=1G hugepages=0:9", [
            "HugeTLB: allocating 9 of page size 1.00 GiB failed node0.  Only allocated 6 hugepages.",
        ]),
        ("6.12", "hugepagesz=4M hugepages=9", [
            "HugeTLB: unsupported hugepagesz=4M",
            "HugeTLB: hugepages=9 does not follow a valid hugepagesz, ignoring",
        ]),
        ("6.12", "default_hugepagesz=3M", ["HugeTLB: unsupported default_hugepagesz=3M"]),
        ("6.12", "default_hugepagesz=2M default_hugepagesz=1G", [
            "HugeTLB: default_hugepagesz previously specified, ignoring 1G",
        ]),
        ("6.12", "hugepagesz=2M hugepages=1 hugepagesz=2M", ["HugeTLB: hugepagesz=2M specified twice, ignoring"]),
        ("6.12", "hugepagesz=2M hugepages=1 hugepages=2", [
            "HugeTLB: hugepages= specified twice without interleaving hugepagesz=, ignoring hugepages=2",
        ]),
        ("6.12", "hugepagesz=1G hugepages=0:1,7:2", ["HugeTLB: Invalid hugepages parameter 7:2"]),
        ("6.12", "hugepages=many", ["HugeTLB: Invalid hugepages parameter many"]),
        ("5.10", "hugepages=many", []),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(release, cmdline, lines):
    assert said(booted(release, cmdline)) == lines


def test_the_default_size_takes_the_number_before_it():
    for release in ("5.10", "6.12", "6.18"):
        boot = booted(release, "hugepages=2 default_hugepagesz=1G")
        assert len(boot.hugetlb.hstates[0].pages) == 2
        assert boot.hugetlb.default is boot.hugetlb.hstates[0]


def test_without_a_size_the_number_is_of_the_usual_pages():
    boot = booted("6.12", "hugepages=16")
    hugetlb_init(boot, boot.hugetlb)
    assert said(boot)[-2] == "HugeTLB: registered 2.00 MiB page size, pre-allocated 16 pages"
    assert boot.hugetlb.default is not None
    assert boot.hugetlb.default.max_huge_pages == 16


def test_the_number_without_a_size_wins_over_the_one_with():
    boot = booted("6.12", "hugepages=16 hugepagesz=2M hugepages=4")
    hugetlb_init(boot, boot.hugetlb)
    assert said(boot)[:2] == [
        "HugeTLB: Ignoring hugepages=4 associated with 2.00 MiB page size",
        "HugeTLB: Using hugepages=16 for number of default huge pages",
    ]


@pytest.mark.parametrize(
    ("release", "lines", "ranges"),
    [
        ("5.10", [
            "hugetlb_cma: reserve 3072 MiB, up to 1536 MiB per node",
            "cma: Reserved 2048 MiB at 0x0000000180000000",
            "hugetlb_cma: reserved 2048 MiB on node 0",
            "cma: Reserved 1024 MiB at 0x00000003c0000000",
            "hugetlb_cma: reserved 1024 MiB on node 1",
        ], [6 * G, 15 * G]),
        ("6.12", [
            "hugetlb_cma: reserve 3072 MiB, up to 2048 MiB per node",
            "cma: Reserved 2048 MiB at 0x0000000100000000 on node 0",
            "hugetlb_cma: reserved 2048 MiB on node 0",
            "cma: Reserved 1024 MiB at 0x0000000200000000 on node 1",
            "hugetlb_cma: reserved 1024 MiB on node 1",
        ], [4 * G, 8 * G]),
        ("7.3", [
            "hugetlb_cma: reserve 3072 MiB, up to 2048 MiB per node",
            "cma: Reserved 2048 MiB in 1 range",
            "hugetlb_cma: reserved 2048 MiB on node 0",
            "cma: Reserved 1024 MiB in 1 range",
            "hugetlb_cma: reserved 1024 MiB on node 1",
        ], [4 * G, 8 * G]),
    ],
)  # fmt: skip
def test_areas_for_gigantic_pages_are_spread_over_the_nodes(release, lines, ranges):
    boot = boot_at(release, "hugetlb_cma=3G hugepagesz=1G hugepages=1", NODES, config={"CMA": True})
    hugetlb_cma_reserve(boot, boot.hugetlb, boot.cma)
    assert said(boot) == lines
    assert [area.ranges[0][0] for area in boot.cma.areas] == ranges
    hugetlb_setup(boot, boot.hugetlb)
    hugetlb_bootmem_alloc(boot, boot.hugetlb)
    assert said(boot)[-1] == "HugeTLB: hugetlb_cma is enabled, skip boot time allocation"


@pytest.mark.parametrize(
    ("release", "value", "line"),
    [
        ("6.12", "512M", "hugetlb_cma: cma area should be at least 1024 MiB"),
        ("6.12", "0:512M", "hugetlb_cma: cma area of node 0 should be at least 1024 MiB"),
        ("6.12", "7:1G", "hugetlb_cma: invalid node 7 specified"),
        ("7.3", "1536M", "hugetlb_cma: cma area must be a multiple of 1024 MiB"),
        ("7.3", "0:1536M", "hugetlb_cma: cma area of node 0 must be a multiple of 1024 MiB"),
        ("7.3", "101%", "hugetlb_cma: invalid percentage 101"),
        ("7.3", "1%", "hugetlb_cma: reservation size rounded down to 0 from 163 MiB (1%)"),
    ],
)
def test_wrong_sizes_of_areas_are_said(release, value, line):
    boot = boot_at(release, f"hugetlb_cma={value}", NODES, config={"CMA": True})
    hugetlb_cma_reserve(boot, boot.hugetlb, boot.cma)
    assert said(boot) == [line]
    assert boot.cma.areas == []


@pytest.mark.parametrize(
    ("size", "text"),
    [(2 * M, "2.00 MiB"), (32 * M, "32.0 MiB"), (512 * M, "512 MiB"), (64 << 10, "64.0 KiB"), (1536, "1.50 KiB")],
)
def test_sizes_have_three_figures(size, text):
    assert string_get_size(size) == text


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hugepages", "hugepagesz", "default_hugepagesz"]),
            st.text(alphabet="0123456789:,KMG ", max_size=12),
        ),
        max_size=6,
    ),
    st.sampled_from(["5.10", "6.1", "6.12", "6.18", "7.3"]),
)
def test_no_options_break_the_boot(options, release):
    boot = booted(release, " ".join(f'{name}="{value}"' for name, value in options), NODES)
    hugetlb_init(boot, boot.hugetlb)
    for h in boot.hugetlb.hstates:
        for address, _ in h.pages:
            assert address % h.size == 0
            assert boot.memblock.is_region_memory(address, h.size)
