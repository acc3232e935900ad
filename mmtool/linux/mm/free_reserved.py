"""What is given back after the hand-over, and when: free_initmem(), free_initrd_mem(), free_reserved_area() and others.

Each piece joins its zone's managed pages at its moment, so that what is worked out before does not count it.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.late import dataclass
from mmtool.units import round_down, round_up

Range = tuple[int, int]
"""[start, end) in bytes."""


class Moment(IntEnum):
    """When memory is given back, in the order of a boot."""

    EFI_ENTER_VIRTUAL_MODE = 0
    """In start_kernel(), after the hand-over."""
    ALTERNATIVE_INSTRUCTIONS = 1
    """At the end of start_kernel(): check_bugs(), later arch_cpu_finalize_init()."""
    PAGE_ALLOC_INIT_LATE = 2
    """memblock_discard(), when the deferred memory has come."""
    ARCH_INITCALL = 3
    """After init_per_zone_wmark_min(), before hugepage_init()."""
    ROOTFS_INITCALL = 4
    """populate_rootfs(), after hugepage_init()."""
    FREE_INITMEM = 5
    """kernel_init(), just before init starts."""
    MARK_READONLY = 6


@dataclass(frozen=True, slots=True)
class Freed:
    """Whole pages [start, end), in bytes, that go to the page allocator at a moment."""

    moment: Moment
    name: str
    start: int
    end: int
    printed: bool = True
    """Does the kernel print a line about it?"""

    @property
    def message(self) -> str:
        return f"Freeing {self.name} memory: {self.end - self.start >> 10}K"


def free_initrd_mem(kernel: Kernel, cmdline: Cmdline, initrd: Range | None, *, last_page: bool) -> list[Freed]:
    """free_initrd_mem(): the initial RAM disk's whole pages, and the `last_page` too where that was reserved whole."""
    if initrd is None or cmdline.has("retain_initrd"):
        return []
    page, (start, end) = kernel.page_size, initrd
    last = round_up(end, page) if last_page else round_down(end, page)
    return [Freed(Moment.ROOTFS_INITCALL, "initrd", round_up(start, page), last)]


def free_initmem(kernel: Kernel, name: str) -> list[Freed]:
    """free_initmem(): the init sections, as offsets from _text."""
    return image_part(kernel, Moment.FREE_INITMEM, name, "init_begin", "init_end")


def image_part(kernel: Kernel, moment: Moment, name: str, start: str, end: str) -> list[Freed]:
    """Whole pages between two places of the image, as offsets from _text; nothing where one is not known."""
    image, page = kernel.profile.image, kernel.page_size
    if start not in image or end not in image:
        return []
    return [Freed(moment, name, round_up(image[start], page), round_down(image[end], page))]


def at_address(pieces: list[Freed], text: int | None) -> list[Freed]:
    """Pieces of the image, which lies at `text` (None: unknown, and with it all of them), by physical address."""
    return [replace(p, start=text + p.start, end=text + p.end) for p in pieces] if text is not None else []
