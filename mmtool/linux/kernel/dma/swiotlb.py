"""Bounce buffers for devices that cannot reach all memory: kernel/dma/swiotlb.c. Bytes."""

from __future__ import annotations

from mmtool.firmware.cmdline import Cmdline
from mmtool.linux.mm.early import Early
from mmtool.regex import regex
from mmtool.units import modulo, round_up

IO_TLB_MIN_SIZE = 1 << 20
IO_TLB_SHIFT = 11
IO_TLB_SEGSIZE = 128
IO_TLB_DEFAULT_SIZE = 64 << 20

_AREAS = regex(r"[0-9a-fA-Fx]*,([0-9]+)")
_NUMBER = regex(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")


def swiotlb_size_or_default(cmdline: Cmdline) -> int:
    """The buffer's size in bytes: 64 MiB, or what swiotlb=SLABS asks for, in segments of 128 slabs of 2 KiB.

    Models setup_io_tlb_npages() and swiotlb_size_or_default(), before an architecture adjusts the size.
    """
    slabs = 0
    for value in cmdline.all("swiotlb"):
        if m := _NUMBER.match(value or ""):
            base = 16 if m[0][:2] in ("0x", "0X") else 8 if m[0][0] == "0" else 10
            slabs = round_up(modulo(m[0], base), IO_TLB_SEGSIZE)
    return slabs << IO_TLB_SHIFT or IO_TLB_DEFAULT_SIZE


def swiotlb_init(early: Early, size: int, cpus: int, *, verbose: bool = False) -> None:
    """swiotlb_init(): a buffer of `size` bytes in low memory, halved until it fits, and the tables that keep track.

    None in a build without CONFIG_SWIOTLB; an unknown configuration has it. With `verbose` swiotlb_print_info() says
    where it lies, its end exclusive.
    """
    mb, k = early.memblock, early.kernel
    if not k.profile.config.get("SWIOTLB", True):
        return
    page = mb.page_size
    slabs, areas = size >> IO_TLB_SHIFT, 0
    if k.release.swiotlb_has_areas:
        areas, slabs = _areas(early, slabs, cpus)
    while (base := mb.alloc_low(round_up(slabs << IO_TLB_SHIFT, page), page, owner="swiotlb")) is None:
        if slabs << IO_TLB_SHIFT <= IO_TLB_MIN_SIZE or not k.release.swiotlb_retries_smaller:
            return
        slabs = round_up(slabs // 2, IO_TLB_SEGSIZE)
    sizes = k.profile.sizes
    per_slab = (sizes["io_tlb_slot"],) if k.release.swiotlb_has_slots else (4, k.phys_addr_bits // 8)
    for record in per_slab:
        mb.alloc(round_up(slabs * record, page), page, owner="swiotlb")
    if areas:
        areas = min(areas, max(slabs // IO_TLB_SEGSIZE, 1))
        mb.alloc(areas * sizes["io_tlb_area"], mb.smp_cache_bytes, owner="swiotlb")
    if verbose:
        width = 18 if k.release.swiotlb_prints_all_digits else 10
        end, mib = base + (slabs << IO_TLB_SHIFT), slabs << IO_TLB_SHIFT >> 20
        early.log.info(f"software IO TLB: mapped [mem {base:#0{width}x}-{end:#0{width}x}] ({mib}MB)")


def _areas(early: Early, slabs: int, cpus: int) -> tuple[int, int]:
    """swiotlb_adjust_nareas(): how many areas with a lock of their own, and how many slabs then, 128 an area at least.

    Both are powers of two. An area for every CPU, or as many as swiotlb=SLABS,AREAS says.
    """
    asked = [m[1] for value in early.cmdline.all("swiotlb") if (m := _AREAS.match(value or ""))]
    wanted = int(asked[-1]) if asked else cpus
    areas = 1 << (max(wanted, 1) - 1).bit_length()
    early.log.info(f"software IO TLB: area num {areas}.")
    whole = 1 << (max(slabs, areas * IO_TLB_SEGSIZE) - 1).bit_length()
    if whole != slabs:
        early.log.info(f"software IO TLB: SWIOTLB bounce buffer size roundup to {whole << IO_TLB_SHIFT >> 20}MB")
    return areas, whole
