"""The line "Memory: ...K/...K available": mem_init_print_info() of mm/mm_init.c (mm/page_alloc.c before 6.4)."""

from __future__ import annotations

from collections.abc import Mapping

from mmtool.late import dataclass


@dataclass(frozen=True, slots=True)
class ImageParts:
    """The parts of the kernel image as the line names them, in bytes."""

    code: int = 0
    rwdata: int = 0
    rodata: int = 0
    init: int = 0
    bss: int = 0


def image_parts(image: Mapping[str, int]) -> ImageParts:
    """The parts by where they lie in the image (offsets of a profile, bytes); what lies in another part counts once.

    All 0 for an image of which nothing is known.
    """

    def size(start: str, end: str) -> int:
        return max(image.get(end, 0) - image.get(start, 0), 0)

    def less(part: int, start: str, end: str, inner: str, taken: int) -> int:
        inside = image.get(start, 0) <= image.get(inner, -1) < image.get(end, 0)
        return part - taken if inside and part > taken else part

    code, data, rodata = size("stext", "etext"), size("sdata", "edata"), size("start_rodata", "end_rodata")
    init_code = size("sinittext", "einittext")
    init_data = less(size("init_begin", "init_end"), "init_begin", "init_end", "sinittext", init_code)
    code = less(code, "stext", "etext", "sinittext", init_code)
    data = less(data, "sdata", "edata", "init_begin", init_data)
    code = less(code, "stext", "etext", "start_rodata", rodata)
    data = less(data, "sdata", "edata", "start_rodata", rodata)
    return ImageParts(code, data, rodata, init_data + init_code, size("bss_start", "bss_stop"))


@dataclass(frozen=True, slots=True)
class MemoryCounts:
    """What the line counts, in pages.

    `free` is on the free lists; `present` the nodes' pages (get_num_physpages()); `total` totalram_pages(), deferred
    memory included; `high` high memory, None without CONFIG_HIGHMEM.
    """

    free: int
    present: int
    total: int
    cma: int = 0
    high: int | None = None

    @property
    def reserved(self) -> int:
        """What is present and neither given to the page allocator nor kept for CMA."""
        return self.present - self.total - self.cma


def mem_init_print_info(counts: MemoryCounts, parts: ImageParts, page_shift: int) -> str:
    """The line, as releases from 4.0 on print it."""
    unit = page_shift - 10
    fields = [
        (parts.code >> 10, "kernel code"), (parts.rwdata >> 10, "rwdata"), (parts.rodata >> 10, "rodata"),
        (parts.init >> 10, "init"), (parts.bss >> 10, "bss"),
        (counts.reserved << unit, "reserved"), (counts.cma << unit, "cma-reserved"),
    ]  # fmt: skip
    if counts.high is not None:
        fields.append((counts.high << unit, "highmem"))
    text = ", ".join(f"{kbytes}K {name}" for kbytes, name in fields)
    return f"Memory: {counts.free << unit}K/{counts.present << unit}K available ({text})"
