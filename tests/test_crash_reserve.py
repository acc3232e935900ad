"""crashkernel=: where it goes and what is said, as kernels of several releases did and said it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.boots import boot_at, said

from mmtool.build.release import release_facts
from mmtool.linux.arch.arm64.mm import crash_reserve as arm64
from mmtool.linux.arch.x86.kernel import crash_reserve as x86
from mmtool.linux.kernel.crash_reserve import (
    CrashRequest,
    InvalidCrashkernel,
    parse_crashkernel,
    parse_crashkernel_mem,
)
from mmtool.linux.kernel.printk import KernelLog

M, G = 1 << 20, 1 << 30

# Memory and reservations of machines of QEMU right before the step, out of their logs.
LOW = [(0x1000, 0x9F000, 0), (0x100000, 0xBFFE0000, 0)]
GIB4 = [*LOW, (0x100000000, 0x140000000, 0)]
GIB8 = [*LOW, (0x100000000, 0x240000000, 0)]
TAKEN_510 = [(0, 0x100000), (0xBFED4000, 0xBFFE1B33), (0x135A00000, 0x137C0D000), (0x13FFD6000, 0x140000000)]
TAKEN_61 = [(0, 0x100000), (0xBFED4000, 0xBFFE1B33), (0x171C00000, 0x174411000), (0x23FFD5000, 0x240000000)]
TAKEN_612 = [(0, 0x100000), (0xBFED4000, 0xBFFE1B33), (0x144C00000, 0x147811000), (0x23FFD5680, 0x240000000)]
ARM = [(0x40000000, 0x240000000, 0)]
ARM_TAKEN = [
    (0x40210000, 0x41CA0000), (0x48000000, 0x480FF000), (0x48200000, 0x48300000), (0xFC000000, 0x100000000),
    (0x236E00000, 0x23EE00000), (0x23EFD1000, 0x240000000),
]  # fmt: skip

X86 = [
    ("5.10.223", "256M", GIB4, TAKEN_510, [
        "Reserving 256MB of memory at 2800MB for crashkernel (System RAM: 4095MB)",
    ]),
    ("6.1.176", "512M,high", GIB8, TAKEN_61, [
        "Reserving 256MB of low memory at 2800MB for crashkernel (low RAM limit: 4096MB)",
        "Reserving 512MB of memory at 8688MB for crashkernel (System RAM: 8191MB)",
    ]),
    ("6.1.176", "2G", [(0x1000, 0x9F000, 0), (M, 0x3FFE0000, 0)], [], [
        "crashkernel reservation failed - No suitable area found.",
    ]),
    ("6.12.117", "2G", [(0x1000, 0x9F000, 0), (M, 0x3FFE0000, 0)], [], []),
    ("6.12.117", "512M,high", GIB8, TAKEN_612, [
        "crashkernel low memory reserved: 0xaf000000 - 0xbf000000 (256 MB)",
        "crashkernel reserved: 0x000000021f000000 - 0x000000023f000000 (512 MB)",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("release", "value", "memory", "reserved", "lines"), X86)
def test_x86_goes_where_kernels_went(release, value, memory, reserved, lines):
    boot = boot_at(release, f"console=ttyS0 crashkernel={value} quiet", memory, reserved)
    x86.reserve_crashkernel(boot, boot.cma)
    assert said(boot) == lines


@pytest.mark.parametrize(
    ("release", "value", "lines"),
    [
        ("6.1.176", "512M,high", ["crashkernel reserved: 0x0000000216e00000 - 0x0000000236e00000 (512 MB)"]),
        ("6.12.117", "512M,high", [
            "crashkernel low memory reserved: 0xf4000000 - 0xfc000000 (128 MB)",
            "crashkernel reserved: 0x0000000216e00000 - 0x0000000236e00000 (512 MB)",
        ]),
        ("5.10.223", "256M", ["crashkernel reserved: 0x00000000ec000000 - 0x00000000fc000000 (256 MB)"]),
        # 5.10 knows no suffix, and what has one asks for nothing
        ("5.10.223", "64M,high", []),
        ("6.1.176", "256M@4G crashkernel=64M,low",
         ["crashkernel reserved: 0x0000000100000000 - 0x0000000110000000 (256 MB)"]),
        ("5.10.223", "256M@3G", ["crashkernel reserved: 0x00000000c0000000 - 0x00000000d0000000 (256 MB)"]),
        ("5.10.223", "256M@256K", ["cannot reserve crashkernel: region is not memory"]),
        ("5.10.223", "256M@0x48000000", ["cannot reserve crashkernel: region overlaps reserved memory"]),
        ("5.10.223", "256M@0xc0100000", ["cannot reserve crashkernel: base address is not 2MB aligned"]),
        ("5.10.223", "256M@0xc0001000", ["cannot reserve crashkernel: base address is not 2MB aligned"]),
    ],
)  # fmt: skip
def test_arm64_goes_where_kernels_went(release, value, lines):
    # with 512M,high in 6.1 and 6.12 the kernel's sections, per-CPU areas and the like already lie above
    reserved = ARM_TAKEN if value.endswith("high") else [*ARM_TAKEN[:3], (0xFC000000, 0x100000000)]
    boot = boot_at(release, f"crashkernel={value}", ARM, reserved, arch="arm64")
    arm64.reserve_crashkernel(boot, boot.cma, arm64.crash_window(0x100000000, 48))
    assert said(boot) == lines


@pytest.mark.parametrize(
    ("end", "low", "lines"),
    [
        # right at the DMA limit counts as high
        (0x110000000, "64M", [
            "crashkernel low memory reserved: 0xf8000000 - 0xfc000000 (64 MB)",
            "crashkernel reserved: 0x0000000100000000 - 0x0000000110000000 (256 MB)",
        ]),
        (0x110000000, "0", ["crashkernel reserved: 0x0000000100000000 - 0x0000000110000000 (256 MB)"]),
        # without the low part nothing is kept
        (0x110000000, "3G", ["cannot allocate crashkernel low memory (size:0xc0000000)."]),
    ],
)
def test_arm64_of_6_1_keeps_a_low_part_for_what_lies_high(end, low, lines):
    boot = boot_at("6.1.176", f"crashkernel=256M,high crashkernel={low},low", [(0x40000000, end, 0)],
                   [*ARM_TAKEN[:3], (0xFC000000, 0x100000000)], arch="arm64")  # fmt: skip
    boot.memblock.watch()
    arm64.reserve_crashkernel(boot, boot.cma, arm64.crash_window(0x100000000, 48))
    assert said(boot) == lines
    assert (boot.memblock.changes() == []) is (len(lines) == 1 and low != "0")


def test_low_memory_full_goes_high_with_a_default_low_part_and_back():
    full = [*TAKEN_612, (0x200000, 0xA0000000)]
    plain = boot_at("6.12", "crashkernel=1G", GIB8, full)
    x86.reserve_crashkernel(plain, plain.cma)
    assert said(plain) == [
        "crashkernel low memory reserved: 0xaf000000 - 0xbf000000 (256 MB)",
        "crashkernel reserved: 0x00000001ff000000 - 0x000000023f000000 (1024 MB)",
    ]
    high = boot_at("6.12", "crashkernel=256M,high", GIB4, [*TAKEN_612, (0x100000000, 0x140000000)])
    x86.reserve_crashkernel(high, high.cma)
    assert said(high) == ["crashkernel reserved: 0x00000000af000000 - 0x00000000bf000000 (256 MB)"]


@pytest.mark.parametrize(
    ("release", "cmdline", "line"),
    [
        ("6.1", "crashkernel=1G,high crashkernel=2G,low",
         "Cannot reserve 2048MB crashkernel low memory, please try smaller size."),
        ("6.12", "crashkernel=1G,high crashkernel=2G,low",
         "cannot allocate crashkernel low memory (size:0x80000000)."),
    ],
)  # fmt: skip
def test_without_the_low_part_nothing_is_kept(release, cmdline, line):
    boot = boot_at(release, cmdline, GIB8, [*TAKEN_61, (0x200000, 0xA0000000)])
    boot.memblock.watch()
    x86.reserve_crashkernel(boot, boot.cma)
    assert said(boot) == [line]
    assert boot.memblock.changes() == []


def test_the_low_part_leaves_room_for_the_bounce_buffer():
    boot = boot_at("6.12", "crashkernel=1G,high swiotlb=262144", GIB8, TAKEN_612)
    x86.reserve_crashkernel(boot, boot.cma)
    assert said(boot)[0] == "crashkernel low memory reserved: 0x9f000000 - 0xbf800000 (520 MB)"


@pytest.mark.parametrize(
    ("release", "lines"),
    [
        ("6.1.176", [
            "Reserving 256MB of low memory at 2800MB for crashkernel (low RAM limit: 4096MB)",
            "Reserving 256MB of memory at 4096MB for crashkernel (System RAM: 8191MB)",
        ]),
        ("6.12.117", ["crashkernel low memory reserved: 0xaf000000 - 0xbf000000 (256 MB)",
                      "crashkernel reserved: 0x0000000100000000 - 0x0000000110000000 (256 MB)"]),
    ],
)  # fmt: skip
def test_a_place_that_begins_at_4_gib_is_high(release, lines):
    # all but 256 MiB above 4 GiB is taken: reserve_crashkernel_low() is called from 1 << 32 on, that included
    boot = boot_at(release, "crashkernel=256M,high", GIB8, [*TAKEN_61[:2], (0x110000000, 0x240000000)])
    x86.reserve_crashkernel(boot, boot.cma)
    assert said(boot) == lines
    below = boot_at(release, "crashkernel=256M@3G", [(0, 5 * G, 0)])
    x86.reserve_crashkernel(below, below.cma)
    assert len(said(below)) == 1
    if release == "6.12.117":
        given = boot_at(release, "crashkernel=256M@4G", GIB8, TAKEN_61[:2])
        x86.reserve_crashkernel(given, given.cma)
        assert said(given) == lines[1:]


@pytest.mark.parametrize("release", ["5.10.223", "6.1.176", "6.12.117", "7.3"])
def test_x86_looks_below_64_tib_only(release):
    tib64 = 64 << 40
    memory = [*LOW, (4 * G, tib64 + 4 * G, 0)]
    boot = boot_at(release, "crashkernel=512M,high", memory)
    x86.reserve_crashkernel(boot, boot.cma)
    (place,) = [
        (base, end) for base, end, owner in boot.memblock.ledger.entries if owner == "crashkernel"
    ]
    assert place == (tib64 - 512 * M, tib64)
    nowhere = boot_at(release, "crashkernel=512M,high", [(tib64, tib64 + 4 * G, 0)])
    x86.reserve_crashkernel(nowhere, nowhere.cma)
    assert nowhere.memblock.reserved_size() == 0


def test_the_limit_of_the_low_part_is_memory_where_that_is_less_than_4_gib():
    memory = [(0x1000, 0x9F000, 0), (M, 0x3FFE0000, 0), (4 * G, 6 * G, 0)]
    boot = boot_at("6.1.176", "crashkernel=512M,high", memory, [(0, M)])
    x86.reserve_crashkernel(boot, boot.cma)
    assert said(boot) == [
        "Reserving 256MB of low memory at 752MB for crashkernel (low RAM limit: 3071MB)",
        "Reserving 512MB of memory at 5632MB for crashkernel (System RAM: 3071MB)",
    ]


@pytest.mark.parametrize(
    ("release", "value", "memory_gib", "mib"),
    [
        ("3.10.0-1160.el7.x86_64", "auto", 2, 161),
        ("3.10.0-1160.el7.x86_64", "auto", 8, 161),
        ("3.10.0-1160.el7.x86_64", "auto", 64, 164),
        ("3.10.0-1160.el7.x86_64", "auto", 1024, 224),
        ("3.10.0-1160.el7.x86_64", "auto", 1, None),
        ("3.10.0-1160.el7.x86_64", "64M", 8, 64),
        ("5.4.0", "auto", 8, None),
    ],
)
def test_red_hats_auto_takes_two_bits_a_page(release, value, memory_gib, mib):
    boot = boot_at(release, f"crashkernel={value}", [(0, memory_gib * G, 0)])
    x86.reserve_crashkernel(boot, boot.cma)
    places = [(base, end - base) for base, end, owner in boot.memblock.ledger.entries if owner == "crashkernel"]
    assert [size for _, size in places] == ([mib * M] if mib else [])
    assert all(base < 896 * M for base, _ in places)


def test_arm64_looks_below_what_it_can_address():
    bits = 36
    memory = [(1 << 30, (1 << bits) + 4 * G, 0)]
    boot = boot_at("6.12.117", "crashkernel=512M,high", memory, arch="arm64")
    arm64.reserve_crashkernel(boot, boot.cma, arm64.crash_window(4 * G, bits))
    (place,) = [(base, end) for base, end, owner in boot.memblock.ledger.entries if owner == "crashkernel"]
    assert place == ((1 << bits) - 512 * M, 1 << bits)


def test_i386_looks_below_512_mib_only():
    boot = boot_at("6.1", "crashkernel=64M", [(M, 0x36BFE000, 0)], arch="i386", config={"NUMA": False})
    x86.reserve_crashkernel(boot, boot.cma)
    assert said(boot) == ["Reserving 64MB of memory at 448MB for crashkernel (System RAM: 874MB)"]


@pytest.mark.parametrize(
    ("cmdline", "lines"),
    [
        # exactly there or nowhere
        ("crashkernel=256M@3G", ["Reserving 256MB of memory at 3072MB for crashkernel (System RAM: 8191MB)"]),
        ("crashkernel=256M@2900M", ["crashkernel reservation failed - memory is in use."]),
        # what is not understood leaves ,high to be tried
        ("crashkernel=256M,high crashkernel=x", [
            "crashkernel: memory value expected",
            "Reserving 256MB of low memory at 2800MB for crashkernel (low RAM limit: 4096MB)",
            "Reserving 256MB of memory at 8944MB for crashkernel (System RAM: 8191MB)",
        ]),
        ("crashkernel=256M,high crashkernel=0,low", [
            "Reserving 256MB of memory at 8944MB for crashkernel (System RAM: 8191MB)",
        ]),
        ("crashkernel=256M,high crashkernel=72M,low", [
            "Reserving 72MB of low memory at 2992MB for crashkernel (low RAM limit: 4096MB)",
            "Reserving 256MB of memory at 8944MB for crashkernel (System RAM: 8191MB)",
        ]),
        ("crashkernel=256M,high crashkernel=1,low", [
            "Reserving 0MB of low memory at 3056MB for crashkernel (low RAM limit: 4096MB)",
            "Reserving 256MB of memory at 8944MB for crashkernel (System RAM: 8191MB)",
        ]),
    ],
)  # fmt: skip
def test_x86_of_6_1_takes_the_options_one_after_the_other(cmdline, lines):
    boot = boot_at("6.1.176", cmdline, GIB8 + [(0xC0000000, 0xD0000000, 0)] * ("3G" in cmdline), TAKEN_61)
    x86.reserve_crashkernel(boot, boot.cma)
    assert said(boot) == [line.replace("8191MB", "8447MB") if "3G" in cmdline else line for line in lines]


@pytest.mark.parametrize("slots", [4096, 131072])
def test_the_default_low_part_is_256_mib_at_least(slots):
    """5.10 too: what swiotlb takes (2 KiB a slot) and 8 MiB, or 256 MiB where that is more."""
    boot = boot_at("5.10.223", f"crashkernel=64M,high swiotlb={slots}", GIB8, TAKEN_61)
    x86.reserve_crashkernel(boot, boot.cma)
    low = max(slots * 2048 + 8 * M, 256 * M) >> 20
    assert said(boot)[0].startswith(f"Reserving {low}MB of low memory at ")


def test_a_build_without_crash_kernels_reserves_none():
    boot = boot_at("6.12", "crashkernel=64M", GIB4, config={"CRASH_RESERVE": False})
    x86.reserve_crashkernel(boot, boot.cma)
    assert said(boot) == []


SYNTAX = [
    ("6.12", "crashkernel=64M", CrashRequest(64 * M)),
    ("6.12", "crashkernel=64M@16M", CrashRequest(64 * M, 16 * M)),
    ("6.12", "crashkernel=0x4000000", CrashRequest(64 * M)),
    ("6.12", "crashkernel=64M crashkernel=128M", CrashRequest(128 * M)),
    ("6.12", "crashkernel=64M crashkernel=1G,high", CrashRequest(64 * M)),
    ("6.12", "crashkernel=1G,high", CrashRequest(G, low_size=None, high=True)),
    ("6.12", "crashkernel=1G,high crashkernel=0,low", CrashRequest(G, low_size=0, high=True)),
    ("6.12", "crashkernel=1G,high crashkernel=72M,low", CrashRequest(G, low_size=72 * M, high=True)),
    ("6.12", "crashkernel=72M,low", None),
    ("6.12", "crashkernel=512M-2G:64M,2G-:128M", CrashRequest(128 * M)),
    ("6.12", "crashkernel=512M-8G:64M,8G-:128M@32M", CrashRequest(64 * M, 32 * M)),
    ("6.12", "crashkernel=8G-:128M", None),
    ("6.12", "crashkernel=4G", None),
    ("6.1", "crashkernel=4G", CrashRequest(4 * G)),
    ("6.12", "crashkernel=4095M", None),
    ("6.12", "crashkernel=4094M", CrashRequest(4094 * M)),
    ("6.11", "crashkernel=4095M", CrashRequest(4095 * M)),
    ("6.18", "crashkernel=64M crashkernel=1G,cma", CrashRequest(64 * M, cma_size=G)),
    ("6.18", "crashkernel=1G,cma", None),
    ("6.18", "initcall=x crashkernel=64M@x", CrashRequest(64 * M)),
    ("6.12", "nocrashkernel=64M", CrashRequest(64 * M)),
]


@pytest.mark.parametrize(("release", "cmdline", "request_"), SYNTAX)
def test_every_form_of_the_option_is_read(release, cmdline, request_):
    log = KernelLog()
    facts = release_facts(tuple(int(n) for n in (*release.split("."), "0")))
    assert parse_crashkernel(cmdline, 4095 * M, facts, log) == request_


@pytest.mark.parametrize(
    ("release", "value", "warning"),
    [
        ("6.12", "auto", "crashkernel: memory value expected"),
        ("6.12", "64M,hihg", "crashkernel: unrecognized char: ,"),
        ("6.12", "64M,high", None),
        ("6.12", "1G,highest", "crashkernel: unrecognized char: ,"),
        ("6.12", "2G:64M", "crashkernel: '-' expected"),
        ("6.12", "2G-1G:64M", "crashkernel: end <= start"),
        ("6.12", "1G-2G64M:", "crashkernel: ':' expected"),
        ("6.12", "1G-:x", "crashkernel: Memory value expected"),
        ("6.1", "1G-:x", "Memory value expected"),
        ("6.12", "1G-:8G", "crashkernel: invalid size"),
        ("6.12", "1G-:4G", "crashkernel: invalid size"),
        ("5.10", "1G-:4095M", "crashkernel: invalid size"),
        ("5.10", "1G-:4094M", None),
        ("6.12", "1G-1G:64M", "crashkernel: end <= start"),
        ("6.12", "8G-:64M", "crashkernel size resulted in zero bytes"),
        ("6.1", "1G-:64M@x", "Memory value expected after '@'"),
        ("6.12", "1G-:64M@x", "crahskernel: Memory value expected after '@'"),
        ("7.3", "1G-:64M@x", "crashkernel: Memory value expected after '@'"),
    ],
)
def test_what_is_not_understood_is_said(release, value, warning):
    log = KernelLog()
    facts = release_facts(tuple(int(n) for n in (*release.split("."), "0")))
    parse_crashkernel(f"crashkernel={value}", 4095 * M, facts, log)
    assert [line.text for line in log.lines] == ([warning] if warning else [])


def test_before_519_ranges_are_compared_with_the_exact_size_of_memory():
    for release, expected in (((5, 10, 0), (64 * M, 0)), ((6, 1, 0), (128 * M, 0))):
        found = parse_crashkernel_mem("1G-4G:64M,4G-:128M", 0, 4095 * M, release_facts(release), KernelLog())
        assert found == expected


@given(st.text(alphabet="0123456789KMGx-:,@ highlowcma", max_size=40), st.integers(0, 1 << 50))
def test_no_value_breaks_the_parser(value, memory):
    for release in ((5, 10, 0), (6, 1, 0), (6, 12, 0), (7, 3, 0)):
        request = parse_crashkernel(f"crashkernel={value}", memory, release_facts(release), KernelLog())
        assert request is None or request.size > 0


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(1, 64), st.integers(1, 512)), min_size=1, max_size=5))
def test_the_first_range_that_holds_memory_decides(ranges):
    text = ",".join(f"{start}G-{start + length}G:{size}M" for start, length, size in ranges)
    memory = 20 * G
    expected = next((s * M for start, length, s in ranges if start * G <= memory < (start + length) * G), 0)
    try:
        assert parse_crashkernel_mem(text, 0, memory, release_facts((6, 12, 0)), KernelLog()) == (expected, 0)
    except InvalidCrashkernel:
        pytest.fail("a correct value was refused")
