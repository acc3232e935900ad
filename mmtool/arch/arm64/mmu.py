"""The kernel's image in virtual memory: declare_kernel_vmas() of arch/arm64/mm/mmu.c. Bytes."""

from __future__ import annotations

from mmtool.init.boot import Boot
from mmtool.mm.vmalloc.area import VM_MAP, VmStruct


def declare_kernel_vmas(boot: Boot) -> list[VmStruct]:
    """The segments of the image as areas of vmalloc, from its start on, the last with a guard page.

    None where KASLR has put the image elsewhere or its parts are not known; map_kernel() before 6.9.
    """
    kernel, image = boot.kernel, boot.kernel.profile.image
    marks = (
        ("stext" if kernel.release.arm64_image_begins_at_stext else "", "etext"),
        ("start_rodata", "inittext_begin"),
        ("inittext_begin", "inittext_end"),
        ("initdata_begin", "initdata_end"),
        ("sdata", "end"),
    )
    if boot.kaslr or any(mark and mark not in image for pair in marks for mark in pair):
        return []
    base, page = boot.address_space.vmalloc.start, 1 << kernel.page_shift
    areas = []
    for first, last in marks:
        start, end = image.get(first, 0), image[last]
        phys = boot.kernel_base + start if boot.kernel_base is not None else None
        guard = page if last == "end" else 0
        areas.append(VmStruct(base + start, end - start + guard, VM_MAP, "paging_init", phys))
    return areas
