"""struct vm_struct: what an area of virtual memory is for. Bytes, but for counts of pages."""

from __future__ import annotations

from collections.abc import Sequence

VM_IOREMAP, VM_ALLOC, VM_MAP, VM_NO_GUARD = 0x1, 0x2, 0x4, 0x40
VM_ALLOW_HUGE_VMAP = 0x400
"""VM_ flags (include/linux/vmalloc.h), those that say what an area is. Plain numbers: areas come by the thousand."""
NO_NODE = -1
"""The node of an area whose address decides which one it goes back to."""


class VmStruct:
    """One area: `size` counts the guard page, `pages` holds the pfns that are mapped if they are the area's own.

    `array` is the area that holds the list of pages, where that is longer than a page.
    """

    __slots__ = ("addr", "array", "caller", "flags", "page_order", "pages", "phys_addr", "size")

    def __init__(self, addr: int, size: int, flags: int, caller: str = "", phys_addr: int | None = None) -> None:
        self.addr = addr
        self.size = size
        self.flags = flags
        self.caller = caller
        self.phys_addr = phys_addr
        self.pages: Sequence[int] = ()
        self.page_order = 0
        self.array: VmStruct | None = None
