"""What arm64 gives back after the hand-over: free_initmem() and free_initrd_mem() of arch/arm64/mm/init.c."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.linux.mm.free_reserved import Freed, Range, at_address, free_initmem, free_initrd_mem


def free_image(kernel: Kernel, cmdline: Cmdline, text: int | None, initrd: Range | None) -> list[Freed]:
    """All that a boot gives back, in the order of time; `text` is the image's physical address, None where unknown."""
    pieces = [
        *free_initrd_mem(kernel, cmdline, initrd, last_page=False),
        *at_address(free_initmem(kernel, "unused kernel"), text),
    ]
    return sorted((p for p in pieces if p.start < p.end), key=lambda p: p.moment)
