"""Page tables that boot takes from memblock, and the image's areas: arch/arm64/mm/mmu.c. Bytes, ranges half-open.

Every table is a page, so that it is enough to know how many are needed.
"""

from __future__ import annotations

from dataclasses import field

from mmtool.build.kernel import Kernel
from mmtool.late import dataclass
from mmtool.linux.arch.arm64.kernel.cpufeature import memstart, va_bits
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.memblock import MEMBLOCK_ALLOC_NOLEAKTRACE
from mmtool.linux.mm.range_set import RangeSet
from mmtool.linux.mm.sparse_vmemmap import VmemmapLayout
from mmtool.linux.mm.vmalloc.area import VM_MAP, VmStruct
from mmtool.units import memparse, round_down, round_up

SEGMENTS = (
    ("stext", "etext"),
    ("start_rodata", "inittext_begin"),
    ("inittext_begin", "inittext_end"),
    ("initdata_begin", "initdata_end"),
    ("sdata", "end"),
)
"""The parts of the image that map_kernel() maps one by one, by the places of the profile's image."""


def pgtable_levels(page_shift: int, bits: int) -> int:
    """ARM64_HW_PGTABLE_LEVELS(): levels of tables for addresses of `bits` bits."""
    return -(-(bits - page_shift) // (page_shift - 3))


@dataclass
class Tables:
    """Which tables below the top level exist, by level from the last (PTE) up: numbers of the range each covers."""

    page_shift: int
    levels: int
    sets: list[RangeSet] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.sets = [RangeSet() for _ in range(self.levels - 1)]

    def covers(self, level: int) -> int:
        """log2 of the bytes that a table covers, level 0 being the last."""
        return self.page_shift + (level + 1) * (self.page_shift - 3)

    def _ensure(self, level: int, start: int, end: int) -> None:
        shift = self.covers(level)
        first, after = start >> shift, ((end - 1) >> shift) + 1
        self.count += self.sets[level].missing(first, after)
        self.sets[level].add(first, after)

    def map(self, start: int, end: int, *, blocks: bool) -> None:
        """__create_pgd_mapping(): map [start, end) with pages, or where `blocks` allows with the largest leaves.

        Leaves of the second last level, and of the one above it with pages of 4 KiB.
        """
        largest = (1 if self.page_shift == 12 else 0) if blocks else -1
        self._map(start, end, largest)

    def _map(self, start: int, end: int, leaf: int) -> None:
        if start >= end:
            return
        if leaf < 0:
            for level in range(self.levels - 1):
                self._ensure(level, start, end)
            return
        size = 1 << self.covers(leaf)
        first, after = round_up(start, size), round_down(end, size)
        if first >= after:
            self._map(start, end, leaf - 1)
            return
        for level in range(leaf + 1, self.levels - 1):
            self._ensure(level, first, after)
        self._map(start, first, leaf - 1)
        self._map(after, end, leaf - 1)


def maps_pages_only(boot: Boot) -> bool:
    """can_set_direct_map(): the linear map has no blocks, so that permissions of single pages can change.

    So by default (RODATA_FULL_DEFAULT_ENABLED), with rodata=full, debug_pagealloc=on and a late KFENCE. Not known here:
    the few processors that change blocks under use (BBML3), for which 6.18 and later keep them.
    """
    on_is_full = boot.kernel.release.rodata_on_is_full
    full = on_is_full or boot.kernel.enabled("RODATA_FULL_DEFAULT_ENABLED")
    for value in boot.cmdline.all("rodata"):
        if value == "full" or (value == "on" and on_is_full):
            full = True
        elif value in ("on", "off", "noalias", "1", "0", "y", "n"):
            full = False
    return full or boot.cmdline.get("debug_pagealloc") == "on" or _kfence_comes_late(boot)


def _kfence_comes_late(boot: Boot) -> bool:
    """arm64_kfence_can_set_direct_map(): KFENCE is built in but off at boot, so that its pool may be cut out later."""
    interval = boot.cmdline.get("kfence.sample_interval")
    default = boot.kernel.number("KFENCE_SAMPLE_INTERVAL", 100)
    return boot.kernel.enabled("KFENCE") and not (memparse(interval)[0] if interval else default)


def linear_map_tables(boot: Boot) -> int:
    """map_mem(): tables of the linear map. The image's text and read-only data may have blocks in any case."""
    mb, kernel = boot.memblock, boot.kernel
    tables = Tables(kernel.page_shift, pgtable_levels(kernel.page_shift, va_bits(boot)))
    base = memstart(boot)
    text: tuple[int, int] | None = None
    image = kernel.profile.image
    if boot.kernel_base is not None and "init_begin" in image:
        start = image["stext"] if kernel.release.arm64_head_is_not_text else 0
        text = boot.kernel_base + start, boot.kernel_base + image["init_begin"]
    blocks = not maps_pages_only(boot)
    for start, end in mb.for_each_mem_range():
        if text is None:
            tables.map(start - base, end - base, blocks=blocks)
            continue
        tables.map(start - base, min(end, text[0]) - base, blocks=blocks)
        tables.map(max(start, text[1]) - base, end - base, blocks=blocks)
    if text is not None:
        tables.map(text[0] - base, text[1] - base, blocks=blocks or not kernel.release.arm64_text_alias_has_pages)
    return tables.count


def kernel_map_tables(boot: Boot) -> int:
    """map_kernel() up to 6.8: tables of the image's own mapping, which lies within one entry of the top level."""
    kernel = boot.kernel
    image = kernel.profile.image
    tables = Tables(kernel.page_shift, pgtable_levels(kernel.page_shift, kernel.number("ARM64_VA_BITS", 48)))
    for first, last in SEGMENTS:
        if first in image and last in image:
            start = 0 if first == "stext" and not kernel.release.arm64_head_is_not_text else image[first]
            tables.map(start, image[last], blocks=True)
    return tables.count


def idmap_tables(kernel: Kernel) -> int:
    """create_idmap() of 6.0 to 6.8: tables for the identity map's page of text and, with KPTI, its flag in the data."""
    image = kernel.profile.image
    if not kernel.release.arm64_idmap_is_allocated or "etext" not in image:
        return 0
    tables = Tables(kernel.page_shift, pgtable_levels(kernel.page_shift, 48))
    page = kernel.page_size
    tables.map(image["etext"] - page, image["etext"], blocks=False)
    if kernel.enabled("UNMAP_KERNEL_AT_EL0"):
        tables.map(image["sdata"], image["sdata"] + page, blocks=False)
    return tables.count


def init_pg_dir_size(kernel: Kernel) -> int:
    """INIT_DIR_SIZE: bytes behind .bss for the first page tables; each level may begin one table later under KASLR."""
    shift = kernel.page_shift
    end = kernel.profile.image.get("end", 1)
    levels = pgtable_levels(shift, kernel.number("ARM64_VA_BITS", 48))
    if shift == 12:
        levels -= 1
    more = 1 + kernel.enabled("RANDOMIZE_BASE")
    upper = [shift + (shift - 3) * level for level in range(1 + (shift == 12), levels + (shift == 12))]
    return (1 + sum((end - 1 >> covers) + more for covers in upper)) << shift


def paging_init(boot: Boot) -> None:
    """paging_init(): tables of the linear map, and up to 6.8 of the image, whose first tables are given back then.

    From here on memblock's lists may grow, and the end of memory is known.
    """
    mb, kernel = boot.memblock, boot.kernel
    page = mb.page_size
    count = linear_map_tables(boot)
    if not kernel.release.arm64_maps_itself_early:
        count += kernel_map_tables(boot) + idmap_tables(kernel)
    owner = "page tables of the linear map"
    mb.repeat(
        count, page, lambda: mb.phys_alloc_range(page, page, 0, MEMBLOCK_ALLOC_NOLEAKTRACE, owner=owner),
        0, mb.current_limit, owner=owner,
    )  # fmt: skip
    image = kernel.profile.image
    if not kernel.release.arm64_maps_itself_early and boot.kernel_base is not None and "bss_stop" in image:
        first = boot.kernel_base + round_up(image["bss_stop"], page)
        mb.phys_free(first, init_pg_dir_size(kernel))
    mb.allow_resize()
    mb.max_pfn = mb.max_low_pfn = mb.max_possible_pfn = (mb.end_of_DRAM() or 0) >> kernel.page_shift


def vmemmap_layout(boot: Boot) -> VmemmapLayout:
    """How vmemmap_populate() maps the array of struct pages: by 2 MiB with pages of 4 KiB, else page by page.

    The largest table is there already where the array lies within one entry of the top level, beside the image's. So
    KASLR can have it by chance, which costs a table less; here the array begins where it does without KASLR.
    """
    kernel, bits = boot.kernel, va_bits(boot)
    shift = kernel.page_shift
    tables = Tables(shift, pgtable_levels(shift, bits))
    struct_page = kernel.profile.sizes["struct_page"]
    shifts = [tables.covers(level) for level in range(shift == 12, tables.levels - 1)]
    array_bits = bits - 1 - shift + (struct_page - 1).bit_length()
    if shifts and shifts[-1] > array_bits:
        shifts.pop()
    first_byte = -(memstart(boot) >> shift) * struct_page
    if kernel.release.arm64_top_is_fixed:
        first_byte -= 1 << 30
    return VmemmapLayout(2 << 20 if shift == 12 else 1 << shift, tuple(reversed(shifts)), first_byte)


def declare_kernel_vmas(boot: Boot, vmalloc_start: int) -> list[VmStruct]:
    """declare_kernel_vmas(): the image's segments as areas of vmalloc, from its start on, the last with a guard page.

    None where KASLR has put the image elsewhere, or the profile does not know its parts. Before 6.9 map_kernel().
    """
    kernel, image = boot.kernel, boot.kernel.profile.image
    if boot.kaslr or any(mark not in image for segment in SEGMENTS for mark in segment):
        return []
    base, page = vmalloc_start, kernel.page_size
    areas = []
    for first, last in SEGMENTS:
        start = 0 if first == "stext" and not kernel.release.arm64_head_is_not_text else image[first]
        phys = boot.kernel_base + start if boot.kernel_base is not None else None
        guard = page if last == "end" else 0
        areas.append(VmStruct(base + start, image[last] - start + guard, VM_MAP, "paging_init", phys))
    return areas
