"""gfp masks by release: as real kernels printed them, what people write, and what a mask asks of the zones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtool.build.fact import Version
from mmtool.build.gfp import GfpError, GfpFlags, gfp_flags
from mmtool.build.release import release_facts
from mmtool.linux.mm.gfp import gfp_migratetype, gfp_zone
from mmtool.linux.mm.page_alloc.migratetype import MigrateType

RELEASES: tuple[Version, ...] = (
    (2, 6, 32), (3, 4, 0), (3, 13, 0), (4, 4, 114), (4, 5, 0), (4, 9, 0), (4, 10, 0), (4, 15, 0), (4, 19, 57),
    (5, 0, 10), (5, 4, 0), (5, 10, 2), (5, 15, 0), (6, 1, 176), (6, 8, 9), (6, 12, 117), (6, 17, 0), (7, 3, 4),
)  # fmt: skip
PC = ("DMA", "DMA32", "Normal", "Movable", "Device")
PAE = ("DMA", "Normal", "HighMem", "Movable")

PRINTED = (
    ((4, 6, 0), 0x24280CA, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO"),
    ((4, 9, 0), 0x2280020, "GFP_ATOMIC|__GFP_NOTRACK"),
    ((4, 9, 0), 0x2204000, "GFP_NOWAIT|__GFP_COMP|__GFP_NOTRACK"),
    ((4, 9, 0), 0x24201CA, "GFP_HIGHUSER_MOVABLE|__GFP_COLD"),
    ((4, 9, 0), 0x240C2C0, "GFP_KERNEL|__GFP_NOWARN|__GFP_COMP|__GFP_ZERO"),
    ((4, 14, 0), 0x140C0C0, "GFP_KERNEL|__GFP_COMP|__GFP_ZERO"),
    ((4, 15, 0), 0x14080C0, "GFP_KERNEL|__GFP_ZERO"),
    ((4, 19, 57), 0x6040C0, "GFP_KERNEL|__GFP_COMP"),
    ((4, 19, 57), 0x6200CA, "GFP_HIGHUSER_MOVABLE"),
    ((5, 0, 10), 0x400000, "GFP_NOWAIT"),
    ((5, 4, 26), 0xA20, "GFP_ATOMIC"),
    ((5, 7, 0), 0x1, "GFP_DMA"),
    ((5, 7, 0), 0x101CC0, "GFP_USER|__GFP_WRITE"),
    ((5, 10, 2), 0x40DC0, "GFP_KERNEL|__GFP_COMP|__GFP_ZERO"),
    ((5, 13, 0), 0x800, "GFP_NOWAIT"),
    ((5, 14, 0), 0x1100CCA, "GFP_HIGHUSER_MOVABLE"),
    ((5, 15, 0), 0x0, ""),
    ((5, 18, 0), 0x60C40, "GFP_NOFS|__GFP_COMP|__GFP_MEMALLOC"),
    ((6, 1, 0), 0xDC0, "GFP_KERNEL|__GFP_ZERO"),
    ((6, 2, 0), 0xCE0, "GFP_KERNEL|__GFP_HIGH"),
    ((6, 8, 9), 0x820, "GFP_ATOMIC"),
    ((6, 12, 117), 0x10CC1, "GFP_KERNEL|GFP_DMA|__GFP_NORETRY"),
    ((6, 12, 117), 0x10800, "__GFP_NORETRY|__GFP_KSWAPD_RECLAIM"),
    ((6, 12, 117), 0x140DCA, "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO"),
    ((6, 17, 0), 0x40DC0, "GFP_KERNEL|__GFP_ZERO|__GFP_COMP"),
    ((6, 19, 0), 0xC0C40, "GFP_NOFS|__GFP_COMP|__GFP_NOMEMALLOC"),
)
"""Masks with their names as reports of these releases hold them, but for the 5.14 one, which is of linux-next."""


def flags_of(version: Version, *options: str) -> GfpFlags:
    return gfp_flags(release_facts(version), frozenset(options))


@pytest.mark.parametrize(("version", "mask", "text"), PRINTED)
def test_masks_are_printed_as_the_kernel_prints_them(version: Version, mask: int, text: str) -> None:
    assert flags_of(version).format(mask) == text
    if text:
        assert flags_of(version).parse(text) == mask


@pytest.mark.parametrize(
    ("name", "masks"),
    [
        ("GFP_ATOMIC", {(2, 6, 32): 0x20, (4, 4, 0): 0x2080020, (4, 19, 0): 0x480020, (6, 1, 0): 0xA20,
                        (6, 8, 0): 0x820}),
        ("GFP_KERNEL", {(3, 13, 0): 0xD0, (4, 4, 0): 0x24000C0, (4, 10, 0): 0x14000C0, (4, 18, 0): 0x6000C0,
                        (5, 1, 0): 0xCC0}),
        ("GFP_NOWAIT", {(3, 13, 0): 0, (4, 19, 0): 0x400000, (6, 1, 0): 0x800, (6, 12, 0): 0x2800}),
        ("GFP_HIGHUSER_MOVABLE", {(2, 6, 32): 0x200DA, (5, 10, 0): 0x100CCA, (5, 15, 0): 0x1100CCA,
                                  (6, 1, 0): 0x100CCA}),
        ("__GFP_ATOMIC", {(3, 13, 0): 0, (5, 10, 0): 0x200, (6, 12, 0): 0}),
    ],
)  # fmt: skip
def test_a_name_means_other_bits_on_another_release(name: str, masks: dict[Version, int]) -> None:
    assert {version: flags_of(version).mask(name) for version in masks} == masks


def test_flags_of_options_take_the_next_free_bits_from_6_9_on() -> None:
    assert flags_of((6, 8, 0), "LOCKDEP").mask("__GFP_NOLOCKDEP") == 1 << 26
    assert flags_of((6, 12, 0), "LOCKDEP").mask("__GFP_NOLOCKDEP") == 1 << 24
    assert flags_of((6, 12, 0), "KASAN_HW_TAGS", "LOCKDEP").mask("__GFP_NOLOCKDEP") == 1 << 26
    assert flags_of((6, 12, 0), "SLAB_OBJ_EXT").mask("__GFP_NO_OBJ_EXT") == 1 << 24
    assert flags_of((7, 3, 0), "SLAB_OBJ_EXT").mask("__GFP_NO_OBJ_EXT") == 0


@given(st.sampled_from(RELEASES), st.integers(0, 2**32 - 1))
def test_what_is_printed_reads_back(version: Version, bits: int) -> None:
    flags = flags_of(version)
    mask = bits & flags.known
    assert flags.parse(flags.format(mask) or "0") == mask
    assert flags.parse(hex(mask)) == flags.parse(str(mask)) == mask


@pytest.mark.parametrize("version", RELEASES)
def test_no_two_flags_share_a_bit(version: Version) -> None:
    flags = flags_of(version, "LOCKDEP", "KASAN_HW_TAGS", "SLAB_OBJ_EXT")
    single = [mask for name, mask in flags.masks.items() if name.startswith("__") and name != "__GFP_RECLAIM"]
    assert len(set(single)) == len(single)
    assert all(mask & (mask - 1) == 0 for mask in single)


@pytest.mark.parametrize(
    ("version", "text", "message"),
    [
        ((6, 12, 0), "GFP_KERNEL|GFP_FAST", "'GFP_FAST' is no gfp flag of Linux 6.12"),
        ((6, 12, 0), "__GFP_ATOMIC", "'__GFP_ATOMIC' is no gfp flag of Linux 6.12"),
        ((6, 12, 0), "0xa20", "0xa20: 0x200 is no gfp flag of Linux 6.12"),
        ((2, 6, 32), "0x24000c0", "0x24000c0: 0x2400000 is no gfp flag of Linux 2.6.32"),
        ((6, 12, 0), "0xzz", "'0xzz' is neither a gfp mask (0xcc0) nor a flag's name"),
        ((6, 12, 0), "", "'' is no gfp flag of Linux 6.12"),
    ],
)
def test_what_the_release_does_not_know_is_named(version: Version, text: str, message: str) -> None:
    with pytest.raises(GfpError) as error:
        flags_of(version).parse(text)
    assert str(error.value).partition("; did you mean")[0] == message


@pytest.mark.parametrize(
    ("text", "zones", "zone", "migratetype"),
    [
        ("GFP_KERNEL", PC, "Normal", MigrateType.UNMOVABLE),
        ("GFP_KERNEL|__GFP_RECLAIMABLE", PC, "Normal", MigrateType.RECLAIMABLE),
        ("GFP_HIGHUSER", PC, "Normal", MigrateType.UNMOVABLE),
        ("GFP_HIGHUSER", PAE, "HighMem", MigrateType.UNMOVABLE),
        ("GFP_HIGHUSER_MOVABLE", PC, "Movable", MigrateType.MOVABLE),
        ("GFP_KERNEL|__GFP_MOVABLE", PAE, "Normal", MigrateType.MOVABLE),
        ("GFP_DMA", PC, "DMA", MigrateType.UNMOVABLE),
        ("GFP_DMA32", PC, "DMA32", MigrateType.UNMOVABLE),
        ("GFP_DMA32", PAE, "Normal", MigrateType.UNMOVABLE),
        ("GFP_DMA|GFP_DMA32", PC, "DMA", MigrateType.UNMOVABLE),
    ],
)
@pytest.mark.parametrize("version", [(2, 6, 32), (4, 4, 0), (6, 12, 0)])
def test_zone_and_type(
    version: Version, text: str, zones: tuple[str, ...], zone: str, migratetype: MigrateType
) -> None:
    flags = flags_of(version)
    mask = flags.parse(text)
    assert (gfp_zone(mask, flags, zones), gfp_migratetype(mask, flags)) == (zone, migratetype)


@pytest.mark.parametrize(
    ("version", "text", "sleeps", "wakes"),
    [
        ((3, 13, 0), "GFP_KERNEL", True, True),
        ((3, 13, 0), "GFP_ATOMIC", False, True),
        ((3, 13, 0), "GFP_TRANSHUGE", True, False),
        ((4, 4, 0), "GFP_TRANSHUGE", True, False),
        ((6, 12, 0), "GFP_TRANSHUGE_LIGHT", False, False),
        ((6, 12, 0), "GFP_ATOMIC", False, True),
        ((6, 12, 0), "GFP_NOFS", True, True),
    ],
)
def test_who_may_reclaim(version: Version, text: str, sleeps: bool, wakes: bool) -> None:
    flags = flags_of(version)
    mask = flags.parse(text)
    assert (flags.can_direct_reclaim(mask), flags.wakes_kswapd(mask)) == (sleeps, wakes)
