"""CMA areas: cma=, the configured default, areas of nodes and of the crash kernel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.boots import boot_at, said

from mmtool.firmware.cmdline import parse_cmdline
from mmtool.linux.kernel.crash_reserve import reserve_crashkernel_cma
from mmtool.linux.kernel.dma.contiguous import dma_contiguous_reserve, parse_cma
from mmtool.linux.mm.cma import (
    CmaArea,
    CmaError,
    CmaRequest,
    cma_declare_contiguous_multi,
    cma_declare_contiguous_nid,
)

M, G = 1 << 20, 1 << 30
ARM_2G = [(0x40000000, 0xC0000000, 0)]
# arm64, 2 GiB, cma=128M, right before the step (6.12)
TAKEN = [
    (0x40200000, 0x42440000), (0x48000000, 0x480FF000), (0x48200000, 0x48300000), (0xBDA00000, 0xBFA00000),
    (0xBFBE7000, 0xC0000000),
]  # fmt: skip
CONFIG = {"CMA": True, "DMA_CMA": True, "CMA_SIZE_MBYTES": 64, "CMA_SIZE_SEL_MBYTES": True}


def arm(release="6.12", cmdline="", memory=ARM_2G, reserved=TAKEN, **config):
    return boot_at(release, cmdline, memory, reserved, arch="arm64", config=CONFIG | config)


@pytest.mark.parametrize(
    ("release", "cmdline", "line"),
    [
        ("6.12", "cma=128M", "cma: Reserved 128 MiB at 0x00000000b5a00000 on node -1"),
        ("6.1", "cma=128M", "cma: Reserved 128 MiB at 0x00000000b5a00000"),
        ("6.18", "cma=128M", "cma: Reserved 128 MiB at 0x00000000b5a00000"),
        ("6.12", "", "cma: Reserved 64 MiB at 0x00000000b9a00000 on node -1"),
        ("5.10", "", "cma: Reserved 64 MiB at 0x00000000b9800000"),
        ("6.12", "cma=64M@0x80000000", "cma: Reserved 64 MiB at 0x0000000080000000 on node -1"),
        ("6.12", "cma=64M@0x80000000-0x90000000", "cma: Reserved 64 MiB at 0x000000008c000000 on node -1"),
        ("6.12", "cma=1M", "cma: Reserved 2 MiB at 0x00000000bd800000 on node -1"),
        ("6.18", "cma=1M", "cma: Reserved 1 MiB at 0x00000000bd800000"),
    ],
)
def test_the_default_area_lies_where_kernels_put_it(release, cmdline, line):
    boot = arm(release, cmdline)
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0xC0000000)
    assert said(boot) == [line]
    assert [area.default for area in boot.cma.areas] == [True]


@pytest.mark.parametrize(
    ("cmdline", "lines"),
    [
        ("cma=0", []),
        ("cma=4G", [
            "cma: Size (0x0000000100000000) of region at 0x0000000000000000 exceeds limit (0x00000000c0000000)",
            "cma: Failed to reserve 4096 MiB",
        ]),
        ("cma=64M@0x80001000", [
            "cma: Region at 0x0000000080001000 must be aligned to 0x0000000000200000 bytes",
            "cma: Failed to reserve 64 MiB",
        ]),
        ("cma=64M@0x48000000", ["cma: Failed to reserve 64 MiB"]),
        ("cma=1900M", ["cma: Failed to reserve 1900 MiB"]),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_said(cmdline, lines):
    boot = arm("6.12", cmdline)
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0xC0000000)
    assert said(boot) == lines
    assert boot.cma.areas == []


def test_the_device_trees_default_area_stands_instead():
    boot = arm()
    boot.cma.areas.append(CmaArea("linux,cma", ((0x80000000, 64 * M),), default=True))
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0xC0000000)
    assert said(boot) == []


def test_a_build_without_it_reserves_nothing():
    boot = arm(cmdline="cma=64M", DMA_CMA=False)
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0xC0000000)
    assert (said(boot), boot.cma.areas) == ([], [])


@pytest.mark.parametrize(
    ("selected", "mib"),
    [("PERCENTAGE", 128), ("MIN", 64), ("MAX", 128)],
)
def test_the_configuration_may_ask_for_a_part_of_memory(selected, mib):
    chosen = {"CMA_SIZE_SEL_MBYTES": False, f"CMA_SIZE_SEL_{selected}": True, "CMA_SIZE_PERCENTAGE": 10}
    boot = arm("6.12", "", [(0x40000000, 0x40000000 + 1280 * M, 0)], [], **chosen)
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0)
    assert boot.cma.areas[0].size == mib * M


TWO_NODES = [(0x40000000, 0xC0000000, 0), (0xC0000000, 0x140000000, 1)]


@pytest.mark.parametrize(
    ("release", "cmdline", "config", "lines"),
    [
        ("6.12", "cma_pernuma=16M", {}, [
            "cma: Reserved 16 MiB at 0x00000000bf000000 on node 0",
            "cma: Reserved 16 MiB at 0x0000000100000000 on node 1",
            "cma: Reserved 64 MiB at 0x00000000fc000000 on node -1",
        ]),
        ("6.12", "numa_cma=1:16M,5:4M", {}, [
            "cma: Reserved 16 MiB at 0x0000000100000000 on node 1",
            "cma: Reserved 64 MiB at 0x00000000fc000000 on node -1",
        ]),
        ("7.3", "", {"CMA_SIZE_PERNUMA": True}, [
            "cma: Reserved 64 MiB at 0x00000000fc000000",
            "cma: Reserved 64 MiB at 0x00000000bc000000",
            "cma: Reserved 64 MiB at 0x0000000100000000",
        ]),
    ],
)  # fmt: skip
def test_nodes_get_areas_of_their_own(release, cmdline, config, lines):
    boot = arm(release, cmdline, TWO_NODES, [], DMA_NUMA_CMA=True, **config)
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0x100000000)
    assert said(boot) == lines


def test_an_area_is_first_looked_for_above_4_gib_from_below():
    for release, base in (("5.10", 0x23C000000), ("6.1", 0x100000000)):
        boot = arm(release, "", [(0x40000000, 0x240000000, 0)], [])
        assert cma_declare_contiguous_nid(boot, boot.cma, CmaRequest("x", 64 * M)).ranges == ((base, 64 * M),)
        assert not boot.memblock.bottom_up


def test_several_ranges_make_one_area_where_none_is_large_enough():
    holes = [(4 * G + n * 512 * M + 256 * M, 4 * G + (n + 1) * 512 * M) for n in range(8)]
    boot = arm("6.18", "", [(4 * G, 8 * G, 0)], holes)
    area = cma_declare_contiguous_multi(boot, boot.cma, CmaRequest("x", 640 * M, alignment=2 * M, nid=0))
    assert area.size == 640 * M
    assert len(area.ranges) == 3
    assert said(boot) == ["cma: Reserved 640 MiB in 3 ranges"]
    with pytest.raises(CmaError):
        cma_declare_contiguous_multi(boot, boot.cma, CmaRequest("y", 4 * G, nid=0))
    assert said(boot)[1:] == [
        "cma: Failed to reserve 4096 MiB",
    ]


def test_the_crash_kernel_takes_several_areas():
    boot = boot_at("6.18", "", [(M, 256 * M, 0)], [(100 * M, 101 * M)], config={"CMA": True})
    reserve_crashkernel_cma(boot, boot.cma, 192 * M)
    assert said(boot) == [
        "cma: Failed to reserve 192 MiB",
        "cma: Reserved 96 MiB at 0x000000000a000000",
        "cma: Reserved 96 MiB at 0x0000000000400000",
        "crashkernel CMA reserved: 192 MB in 2 ranges",
    ]
    without = boot_at("6.18", "", [(M, 256 * M, 0)])
    reserve_crashkernel_cma(without, without.cma, 64 * M)
    assert said(without) == ["crashkernel CMA reservation not supported"]


@pytest.mark.parametrize(
    ("cmdline", "read"),
    [
        ("", None),
        ("cma", None),
        ("cma=64M", (64 * M, 0, 0)),
        ("cma=64M@1G", (64 * M, G, G + 64 * M)),
        ("cma=64M@1G-2G", (64 * M, G, 2 * G)),
        ("cma=64M@1G-2G cma=32M", (32 * M, G, 2 * G)),
        ("cma=x", (0, 0, 0)),
    ],
)
def test_the_option_is_read_as_the_kernel_reads_it(cmdline, read):
    assert parse_cma(parse_cmdline(cmdline)) == read


@given(st.text(alphabet="0123456789KMGx@-", max_size=20), st.sampled_from(["5.10", "6.1", "6.12", "7.3"]))
def test_any_value_leaves_memblock_whole(value, release):
    boot = arm(release, f"cma={value}")
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0xC0000000)
    for area in boot.cma.areas:
        for base, size in area.ranges:
            assert boot.memblock.is_region_memory(base, size)
            assert all(base + size <= start or end <= base for start, end in TAKEN)
