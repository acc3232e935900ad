"""CMA areas: cma=, the configured default, areas of nodes and of the crash kernel."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
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
        ("6.15.0-rc1", "cma=128M", "cma: Reserved 128 MiB at 0x0000000000000000"),
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


def test_a_part_of_memory_is_a_number_of_whole_pages():
    # 10% of the pages is 128 MiB and half a page: rounded down to pages before it is rounded up to pageblocks
    chosen = {"CMA_SIZE_SEL_MBYTES": False, "CMA_SIZE_SEL_PERCENTAGE": True, "CMA_SIZE_PERCENTAGE": 10}
    boot = arm("6.12", "", [(0x40000000, 0x40000000 + 1280 * M + 5 * 4096, 0)], [], **chosen)
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0)
    assert boot.cma.areas[0].size == 128 * M


def test_an_area_ends_with_memory_whatever_the_limit():
    for limit in (0, 8 * G):
        boot = arm("6.12", "")
        with pytest.raises(CmaError):
            cma_declare_contiguous_nid(boot, boot.cma, CmaRequest("x", 2 * G, base=2 * G, limit=limit))
        assert said(boot) == [
            "cma: Size (0x0000000080000000) of region at 0x0000000080000000 exceeds limit (0x00000000c0000000)",
            "cma: Failed to reserve 2048 MiB",
        ]
    whole = arm("6.12", "", [(0x1000, G, 0)], [])
    with pytest.raises(CmaError):
        cma_declare_contiguous_nid(whole, whole.cma, CmaRequest("x", G))
    assert said(whole) == ["cma: Failed to reserve 1024 MiB"]
    exact = arm("6.12", "", ARM_2G, [])
    area = cma_declare_contiguous_nid(exact, exact.cma, CmaRequest("x", 2 * G, base=G, limit=8 * G))
    assert area.ranges == ((G, 2 * G),)


def test_above_4_gib_comes_first_even_where_only_the_area_fits():
    # of mirrored memory below and other memory above, the search above takes the latter: it stays with its range
    for end, base in ((4 * G + 64 * M, 4 * G), (4 * G + 62 * M, G - 64 * M)):
        boot = arm("6.12", "", [(0x10000000, G, 0), (2 * G, end, 0)], [])
        boot.memblock.mirrored_kernelcore = True
        boot.memblock.mark_mirror(0x10000000, G - 0x10000000)
        area = cma_declare_contiguous_nid(boot, boot.cma, CmaRequest("x", 64 * M))
        assert area.ranges == ((base, 64 * M),)


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


def _free(*ranges):
    """4 GiB from 4 GiB on of which only these ranges are free, in MiB from there."""
    edges = [0, *(edge for pair in ranges for edge in pair), 4096]
    return [(4 * G + a * M, 4 * G + b * M) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]


@pytest.mark.parametrize(
    ("free", "size", "ranges"),
    [
        # list_insert_sorted() puts what is larger than none before the last, so a list is seldom quite in order
        ([(0, 100), (200, 500), (600, 800)], 500, [(200, 300), (600, 200)]),
        ([(0, 300), (400, 600), (700, 800)], 500, [(400, 200), (0, 300)]),
        ([(0, 100), (200, 400), (500, 800), (900, 1000)], 600, [(500, 300), (200, 200), (900, 100)]),
    ],
)
def test_the_order_of_ranges_is_the_kernels(free, size, ranges):
    boot = arm("6.18", "", [(4 * G, 8 * G, 0)], _free(*free))
    area = cma_declare_contiguous_multi(boot, boot.cma, CmaRequest("x", size * M, alignment=2 * M, nid=0))
    assert [((base - 4 * G) // M, got // M) for base, got in area.ranges] == ranges


def test_ranges_lie_above_4_gib():
    holes = [(G, 2 * G), (4 * G - M, 4 * G), (4 * G + 512 * M, 5 * G), (5 * G + 512 * M, 6 * G)]
    boot = arm("6.18", "", [(0x10000000, 6 * G, 0)], holes)
    with pytest.raises(CmaError):
        cma_declare_contiguous_multi(boot, boot.cma, CmaRequest("x", 3 * G, nid=0))
    area = cma_declare_contiguous_multi(boot, boot.cma, CmaRequest("x", 1024 * M, base=5 * G, nid=0))
    assert all(base >= 2 * G for base, _ in area.ranges)


@pytest.mark.parametrize(
    ("reserved", "request_", "base"),
    [
        # 768 MiB are mapped: what may lie on both sides lies in high memory, and below only where that is full
        ([], CmaRequest("x", 64 * M), G - 64 * M),
        ([(768 * M, G)], CmaRequest("x", 64 * M), 704 * M),
        ([(768 * M, G - 32 * M)], CmaRequest("x", 64 * M), 704 * M),
        ([(800 * M, G)], CmaRequest("x", 64 * M), 704 * M),
        ([], CmaRequest("x", 64 * M, limit=768 * M), 704 * M),
        ([], CmaRequest("x", 64 * M, base=768 * M), G - 64 * M),
        ([], CmaRequest("x", 64 * M, base=768 * M, fixed=True), 768 * M),
        ([], CmaRequest("x", 64 * M, base=704 * M, fixed=True), 704 * M),
        ([], CmaRequest("x", 64 * M, base=736 * M, fixed=True), None),
    ],
)
def test_an_area_lies_on_one_side_of_the_end_of_mapped_memory(reserved, request_, base):
    config = {"CMA": True, "HIGHMEM": True, "NUMA": False, "X86_PAE": True}
    boot = boot_at("6.1", "", [(M, G, 0)], reserved, arch="i386", config=config)
    boot.memblock.max_low_pfn = 768 * M // 4096
    if base is None:
        with pytest.raises(CmaError):
            cma_declare_contiguous_nid(boot, boot.cma, request_)
        assert "defined on low/high memory boundary" in said(boot)[0]
        return
    assert cma_declare_contiguous_nid(boot, boot.cma, request_).ranges == ((base, 64 * M),)


def test_what_a_node_cannot_have_is_said_with_the_kernels_error():
    boot = arm("6.12", "numa_cma=0:8G,1:16M", TWO_NODES, [(0xC0000000, 0x140000000)], DMA_NUMA_CMA=True)
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0x100000000)
    assert [line for line in said(boot) if "dma_numa_cma_reserve" in line] == [
        "cma: dma_numa_cma_reserve: reservation failed: err -22, node 0",
        "cma: dma_numa_cma_reserve: reservation failed: err -12, node 1",
    ]


@pytest.mark.parametrize(
    ("sizes", "size", "got", "count"),
    [
        # of nine the ninth, not smaller than the last of the list, takes its place
        ([100, 10, 20, 30, 40, 50, 60, 70, 100], 380, 380, 8),
        # the last in the list is not the smallest: only with it are sizes compared
        ([100, 10, 20, 30, 40, 50, 60, 70, 80], 380, 380, 8),
        ([100, 10, 20, 30, 40, 50, 60, 70, 150], 430, 430, 8),
        # smaller ones are passed over, but the kernel counts them: it reserves 430 MiB and says that it has 450
        ([100, 90, 80, 50, 40, 30, 20, 20, 18, 18], 450, 430, 8),
    ],
)
def test_an_area_has_eight_ranges_at_most(sizes, size, got, count):
    boot = arm("6.18", "", [(4 * G, 8 * G, 0)], _free(*((k * 200, k * 200 + one) for k, one in enumerate(sizes))))
    area = cma_declare_contiguous_multi(boot, boot.cma, CmaRequest("x", size * M, alignment=2 * M, nid=0))
    assert (area.size // M, len(area.ranges)) == (got, count)
    assert said(boot) == [f"cma: Reserved {size} MiB in {count} ranges"]
    with pytest.raises(CmaError):
        cma_declare_contiguous_multi(boot, boot.cma, CmaRequest("x", 2 * G, alignment=2 * M, nid=0))


@pytest.mark.parametrize(
    ("free", "most"),
    [
        # of nine that are equal eight are counted
        ([(200 * n, 200 * n + 12) for n in range(9)], 96),
        # in the second no four MiB are aligned, and what is behind it counts all the same
        ([(0, 100), (201, 202), (400, 500)], 200),
        ([(0, 100), (203, 206), (400, 500)], 200),
    ],
)
def test_no_more_than_there_is_in_whole_blocks(free, most):
    for more in (0, 1):
        boot = arm("6.18", "", [(4 * G, 8 * G, 0)], _free(*free))
        asked = CmaRequest("x", most * M + more, alignment=4 * M, nid=0)
        if more:
            with pytest.raises(CmaError):
                cma_declare_contiguous_multi(boot, boot.cma, asked)
        else:
            assert cma_declare_contiguous_multi(boot, boot.cma, asked).size == most * M


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (CmaRequest("x", 0), 22),
        (CmaRequest("x", 64 * M, alignment=3), 22),
        (CmaRequest("x", 64 * M, alignment=1), None),
        (CmaRequest("x", 64 * M, order_per_bit=14), None),
        (CmaRequest("x", 64 * M, order_per_bit=15), 22),
        (CmaRequest("x", 64 * M, base=0x48000000, fixed=True), 16),
        (CmaRequest("x", 1900 * M), 12),
    ],
)
def test_a_request_is_refused_with_the_kernels_error(request_, error):
    boot = arm("6.12")
    if error is None:
        assert cma_declare_contiguous_nid(boot, boot.cma, request_).size == 64 * M
    else:
        with pytest.raises(CmaError) as raised:
            cma_declare_contiguous_nid(boot, boot.cma, request_)
        assert raised.value.error == error


def test_without_memory_the_limit_is_0():
    boot = arm("6.12", "", [], [])
    with pytest.raises(CmaError):
        cma_declare_contiguous_nid(boot, boot.cma, CmaRequest("x", 64 * M))
    assert said(boot)[0].endswith("exceeds limit (0x0000000000000000)")


def test_in_high_memory_too_an_area_stays_on_its_node():
    config = {"CMA": True, "HIGHMEM": True, "NUMA": True, "X86_PAE": True}
    boot = boot_at("6.1", "", [(M, G, 0), (G, 2 * G, 1)], [(768 * M, G)], arch="i386", config=config)
    boot.memblock.max_low_pfn = 768 * M // 4096
    area = cma_declare_contiguous_nid(boot, boot.cma, CmaRequest("x", 64 * M, nid=0))
    assert area.ranges == ((704 * M, 64 * M),)


def test_the_crash_kernel_takes_several_areas():
    boot = boot_at("6.18", "", [(M, 256 * M, 0)], [(100 * M, 101 * M)], config={"CMA": True})
    reserve_crashkernel_cma(boot, boot.cma, 192 * M)
    assert said(boot) == [
        "cma: Failed to reserve 192 MiB",
        "cma: Reserved 96 MiB at 0x000000000a000000",
        "cma: Reserved 96 MiB at 0x0000000000400000",
        "crashkernel CMA reserved: 192 MB in 2 ranges",
    ]
    little = boot_at("6.18", "", [(M, 64 * M, 0)], config={"CMA": True})
    reserve_crashkernel_cma(little, little.cma, 96 * M)
    assert said(little)[-1] == "crashkernel CMA reservation failed: 96 MB requested, 61 MB reserved in 3 ranges"
    holes = [(n * 16 * M - 4 * M, n * 16 * M) for n in range(1, 17)]
    parts = boot_at("6.18", "", [(M, 256 * M, 0)], holes, config={"CMA": True})
    reserve_crashkernel_cma(parts, parts.cma, 64 * M)
    assert said(parts)[-1] == "crashkernel CMA reservation failed: 64 MB requested, 32 MB reserved in 4 ranges"
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


@settings(deadline=None)
@example("10M@2M", "6.1")
@given(st.text(alphabet="0123456789KMGx@-", max_size=20), st.sampled_from(["5.10", "6.1", "6.12", "7.3"]))
def test_any_value_leaves_memblock_whole(value, release):
    boot = arm(release, f"cma={value}")
    dma_contiguous_reserve(boot, boot.cma, boot.numa, 0xC0000000)
    size, base, limit = parse_cma(boot.cmdline) or (0, 0, 0)
    exactly_there = base != 0 and base + size == limit
    for area in boot.cma.areas:
        for base, size in area.ranges:
            # cma_fixed_reserve() does not look whether there is memory
            assert exactly_there or boot.memblock.is_region_memory(base, size)
            assert all(base + size <= start or end <= base for start, end in TAKEN)
