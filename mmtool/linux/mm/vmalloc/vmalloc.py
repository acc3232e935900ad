"""vmalloc() and its relatives: addresses from the free areas, pages from the page allocator; mm/vmalloc.c.

What is not modelled: the pages that page tables and small tables of pages (slab) take. Sizes and addresses in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from mmtool.build.gfp import gfp_flags
from mmtool.build.kernel import Kernel
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.vmalloc.area import VM_ALLOC, VM_ALLOW_HUGE_VMAP, VM_IOREMAP, VM_MAP, VM_NO_GUARD, VmStruct
from mmtool.linux.mm.vmalloc.huge import huge_vmap_shift
from mmtool.linux.mm.vmalloc.vmap import VmapSpace
from mmtool.linux.mm.vmalloc.vmap_block import VmapBlocks

BULK_PAGES = 100
RECLAIM_FLAGS = (
    "__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM", "__GFP_WAIT", "__GFP_HIGH", "__GFP_IO", "__GFP_FS",
    "__GFP_NOWARN", "__GFP_RETRY_MAYFAIL", "__GFP_NOFAIL", "__GFP_NORETRY", "__GFP_MEMALLOC", "__GFP_NOMEMALLOC",
    "__GFP_ATOMIC", "__GFP_NOLOCKDEP",
)  # fmt: skip
"""GFP_RECLAIM_MASK: what a request hands on to those that it makes itself."""


class Pages(Protocol):
    """The page allocator, as far as vmalloc calls it. Pfns are page frame numbers."""

    def alloc_pfn(self, gfp: int, order: int = 0, nid: int | None = None) -> int | None:
        """The first of 2**order pages; None when there are none."""

    def alloc_pages_bulk(self, gfp: int, nid: int | None, count: int) -> list[int]:
        """Up to `count` single pages."""

    def free_pages_bulk(self, pfns: Iterable[int]) -> None:
        """Give single pages back, in their order."""


class Vmalloc:
    """The vmalloc side of a running kernel, `start` to `end` its area.

    `totalram_pages` bounds a request; `log` gets what the kernel says.
    """

    def __init__(
        self,
        kernel: Kernel,
        start: int,
        end: int,
        pages: Pages,
        *,
        ioremap_max_order: int,
        totalram_pages: int,
        cpus: int = 1,
        online_nodes: int = 1,
        allow_huge: bool = True,
        early: Iterable[VmStruct] = (),
    ) -> None:
        self.kernel = kernel
        self.facts = kernel.release
        self.ioremap_max_order = ioremap_max_order
        self.pages = pages
        self.totalram_pages = totalram_pages
        self.online_nodes = online_nodes
        self.allow_huge = allow_huge
        self.log = KernelLog()
        self.gfp = gfp_flags(self.facts)
        self.page_shift = kernel.page_shift
        self.page_size = kernel.page_size
        self.pointer_size = kernel.word_size
        self.space = VmapSpace(
            self.facts, start, end, page_size=self.page_size, cpus=cpus, bits=kernel.bits_per_long, early=early,
        )  # fmt: skip
        self.blocks = VmapBlocks(self.space, kernel.number("NR_CPUS", 1), kernel.bits_per_long)
        self.nr_vmalloc_pages = 0
        self._in_bulk = self.facts.vmalloc_takes_pages_in_bulk
        self._large_first = self.facts.vmalloc_tries_large_blocks
        flags = self.gfp
        self._kernel_gfp = flags.mask("GFP_KERNEL")
        self._nowarn, self._nofail = flags.mask("__GFP_NOWARN"), flags.mask("__GFP_NOFAIL")
        self._highmem = flags.mask("__GFP_HIGHMEM")
        self._dma = flags.mask("__GFP_DMA") | flags.mask("__GFP_DMA32")
        self._reclaim = 0
        for name in RECLAIM_FLAGS:
            self._reclaim |= flags.mask(name)

    # What callers call

    def vmalloc(self, size: int, *, node: int | None = None, caller: str = "") -> VmStruct | None:
        """vmalloc(), vmalloc_node(): `size` bytes of pages from anywhere."""
        return self.vmalloc_node_range(size, self._kernel_gfp, node=node, caller=caller)

    def vzalloc(self, size: int, *, node: int | None = None, caller: str = "") -> VmStruct | None:
        """vzalloc(), vzalloc_node(): the same, with zeros."""
        gfp = self._kernel_gfp | self.gfp.mask("__GFP_ZERO")
        return self.vmalloc_node_range(size, gfp, node=node, caller=caller)

    def vmalloc_32(self, size: int, *, caller: str = "") -> VmStruct | None:
        """vmalloc_32(): pages that 32 bits address."""
        zone = "GFP_DMA32" if self.kernel.enabled("ZONE_DMA32") or self.kernel.bits_per_long == 32 else "GFP_DMA"
        return self.vmalloc_node_range(size, self._kernel_gfp | self.gfp.mask(zone), caller=caller)

    def vmalloc_huge(self, size: int, *, node: int | None = None, caller: str = "") -> VmStruct | None:
        """vmalloc_huge(): huge pages where they fit (5.18 on; before, as vmalloc())."""
        return self.vmalloc_node_range(size, self._kernel_gfp, node=node, huge=True, caller=caller)

    def vmap(self, pfns: Sequence[int], *, caller: str = "") -> VmStruct | None:
        """vmap(): pages that the caller has, in one piece. They stay the caller's."""
        if len(pfns) > self.totalram_pages:
            return None
        return self.get_vm_area(len(pfns) << self.page_shift, 1, VM_MAP, caller)

    def ioremap(self, phys_addr: int, size: int, *, caller: str = "") -> VmStruct | None:
        """ioremap(): device memory; large mappings are aligned to their size, so that large entries may map them."""
        first = phys_addr & -self.page_size
        last = phys_addr + size + self.page_size - 1 & -self.page_size
        area = self.get_vm_area(last - first, 1, VM_IOREMAP, caller)
        if area is not None:
            area.phys_addr = first
        return area

    def vfree(self, address: int) -> bool:
        """vfree(), vunmap(), iounmap(): the area goes, its pages at once; whether there was one."""
        space = self.space
        found = space.busy.get(address)
        if found is None or found.vm is None:
            return False
        vm = found.vm
        del space.busy[address]
        space.free_vmap_area_noflush(found)
        pages = vm.pages
        if pages:
            self.pages.free_pages_bulk(pages)
            self.nr_vmalloc_pages -= len(pages)
            vm.pages = ()
        if vm.array is not None:
            self.vfree(vm.array.addr)
        return True

    # How it is done

    def get_vm_area(
        self,
        size: int,
        align: int,
        flags: int,
        caller: str = "",
        shift: int = 0,
        start: int | None = None,
        end: int | None = None,
        gfp: int = 0,
    ) -> VmStruct | None:
        """__get_vm_area_node(): room for `size` bytes in pages of `shift` bits, and a guard page unless NO_GUARD."""
        page = 1 << shift if shift else self.page_size
        size = size + page - 1 & -page
        if not size:
            return None
        if flags & VM_IOREMAP:
            order = (size - 1).bit_length()
            align = 1 << min(max(order, self.page_shift), self.ioremap_max_order)
        if not flags & VM_NO_GUARD:
            size += self.page_size
        vm = VmStruct(0, size, flags, caller)
        space = self.space
        area = space.alloc_vmap_area(size, align, start, end, vm)
        if area is None:
            if not gfp & self._nowarn:
                self._no_room(size, space.start if start is None else start, space.end if end is None else end)
            return None
        vm.addr = area.start
        return vm

    def vmalloc_node_range(
        self,
        size: int,
        gfp: int,
        *,
        align: int = 1,
        start: int | None = None,
        end: int | None = None,
        node: int | None = None,
        huge: bool = False,
        caller: str = "",
    ) -> VmStruct | None:
        """__vmalloc_node_range(): an area with pages of its own; None when it fails, and `log` says why.

        `start` to `end` is where it may lie, by default the vmalloc area. With `huge` it is tried with huge pages,
        then with single ones.
        """
        if size >> self.page_shift > self.totalram_pages or not size:
            if size or not self.facts.vmalloc_errors_have_reason:
                self._warn_alloc(gfp, "exceeds total pages", size)
            return None
        shift = self.page_shift
        if huge and self.allow_huge:
            shift = huge_vmap_shift(self.kernel, size, self.online_nodes if node is None else 1)
        flags = VM_ALLOC | VM_ALLOW_HUGE_VMAP if huge else VM_ALLOC
        while True:
            wanted = max(align, 1 << shift) if shift > self.page_shift else align
            area = self.get_vm_area(size, wanted, flags, caller, shift, start, end, gfp)
            if area is None:
                self._no_area(gfp, size, align)
            elif self._populate(area, gfp, shift - self.page_shift, node):
                return area
            if shift == self.page_shift:
                return None
            shift = self.page_shift

    def _populate(self, area: VmStruct, gfp: int, order: int, node: int | None) -> bool:
        """__vmalloc_area_node(): the table of the area's pages, then the pages; all or nothing."""
        count = (area.size >> self.page_shift) - 1
        gfp_pages = gfp if gfp & self._dma else gfp | self._highmem
        if count * self.pointer_size > self.page_size:
            nested = gfp & self._reclaim | self.gfp.mask("__GFP_ZERO")
            area.array = self.vmalloc_node_range(count * self.pointer_size, nested, node=node, caller=area.caller)
            if area.array is None:
                size = count * self.page_size
                self._warn_alloc(gfp, f"failed to allocated page array size {count * self.pointer_size}", size)
                self.vfree(area.addr)
                return False
        area.page_order = order
        pages = area.pages = self._area_pages(gfp_pages | self._nowarn, node, order, count)
        self.nr_vmalloc_pages += len(pages)
        if len(pages) == count:
            return True
        self._short_of_pages(gfp_pages, len(pages), count, order)
        self.vfree(area.addr)
        return False

    def _area_pages(self, gfp: int, node: int | None, order: int, count: int) -> list[int]:
        """vm_area_alloc_pages(): `count` pages if they are to be had, in blocks of `order`."""
        pages: list[int] = []
        if self._large_first:
            self._large_blocks(pages, gfp, node, order, count)
        if self._in_bulk and not order:
            while (left := count - len(pages)) > 0:
                got = self.pages.alloc_pages_bulk(gfp & ~self._nofail, node, min(left, BULK_PAGES))
                pages += got
                if len(got) != left and len(got) != BULK_PAGES:
                    break
        while len(pages) < count:
            pfn = self.pages.alloc_pfn(gfp & ~self._nofail if order else gfp, order, node)
            if pfn is None:
                break
            pages.extend(range(pfn, pfn + (1 << order)))
        return pages

    def _large_blocks(self, pages: list[int], gfp: int, node: int | None, order: int, count: int) -> None:
        """The first part of vm_area_alloc_pages() of 6.19 on: blocks as large as they come without reclaim."""
        gfp &= ~self.gfp.mask("__GFP_DIRECT_RECLAIM")
        most = self.kernel.max_page_order
        left = count
        large = min(most, left.bit_length() - 1)
        while left and large > order:
            pfn = self.pages.alloc_pfn(gfp & ~self._nofail, large, node)
            if pfn is None:
                large -= 1
                most = large
                continue
            pages.extend(range(pfn, pfn + (1 << large)))
            left -= 1 << large
            large = min(most, left.bit_length() - 1)

    # What the kernel says

    def _no_room(self, size: int, start: int, end: int) -> None:
        if self.facts.vmap_failure_names_range:
            self.log.warn(
                f"vmalloc_node_range for size {size} failed: Address range restricted to {start:#x} - {end:#x}"
            )
        else:
            self.log.warn(f"vmap allocation for size {size} failed: use vmalloc=<size> to increase size")

    def _no_area(self, gfp: int, size: int, align: int) -> None:
        how = f"align {align:#x}, " if self.facts.vmalloc_error_has_align else ""
        self._warn_alloc(gfp, f"{how}vm_struct allocation failed", size)

    def _short_of_pages(self, gfp: int, got: int, count: int, order: int) -> None:
        if self.facts.vmalloc_shortage_is_silent or (order and not self.facts.vmalloc_error_has_order):
            return
        size = (count if self.facts.vmalloc_error_tells_whole_size else got) * self.page_size
        if not self.facts.vmalloc_errors_have_reason:
            asked = (count + 1) * self.page_size
            self._say(gfp, f"vmalloc: allocation failure, allocated {size} of {asked} bytes")
        elif self.facts.vmalloc_error_has_order:
            self._warn_alloc(gfp, f"page order {order}, failed to allocate pages", size)
        else:
            self._warn_alloc(gfp, "failed to allocate pages", size)

    def _warn_alloc(self, gfp: int, reason: str, size: int) -> None:
        if self.facts.vmalloc_errors_have_reason:
            self._say(gfp, f"vmalloc error: size {size}, {reason}")
        else:
            self._say(gfp, f"vmalloc: allocation failure: {size} bytes")

    def _say(self, gfp: int, text: str) -> None:
        """warn_alloc(), without the name of the task that asks and its cpuset, which the model has none of."""
        if not gfp & self._nowarn:
            self.log.warn(f"{text}, mode:{gfp:#x}({self.gfp.format(gfp)}), nodemask=(null)")
