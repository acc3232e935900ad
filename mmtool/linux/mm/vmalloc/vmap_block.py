"""vm_map_ram(): short-lived mappings of a few pages, cut from blocks that every CPU has its own of.

Part of mm/vmalloc.c. Counts are pages; addresses bytes.
"""

from __future__ import annotations

from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.mm.vmalloc.vmap import VmapArea, VmapSpace

BBMAP_BITS_MAX = 1024
SPACE_64, SPACE_32 = 128 << 30, 128 << 20
"""How large the vmalloc area is taken to be where blocks are measured by it."""


@dataclass
class VmapBlock:
    """struct vmap_block: `free` pages at the end were never given out since it was made, `dirty` ones came back."""

    area: VmapArea
    cpu: int
    free: int
    dirty: int = 0


@dataclass
class VmapBlocks:
    """The blocks of all CPUs; `nr_cpus` is what the kernel is built for."""

    space: VmapSpace
    nr_cpus: int
    most: int = 64
    """BITS_PER_LONG: how many pages a block may hold for one mapping (VMAP_MAX_ALLOC)."""
    queues: dict[int, list[VmapBlock]] = field(default_factory=dict)
    """For each CPU the blocks with room, the oldest first."""
    by_start: dict[int, VmapBlock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pages = (SPACE_64 if self.most == 64 else SPACE_32) // self.space.page_size
        share = pages // (1 << (self.nr_cpus - 1).bit_length()) // 16
        self.pages = min(BBMAP_BITS_MAX, max(self.most * 2, share))
        """VMAP_BBMAP_BITS: pages of a block."""
        self.size = self.pages * self.space.page_size
        self.space.before_purge.append(self.purge_fragmented)

    def vm_map_ram(self, count: int) -> int | None:
        """vm_map_ram(): the address that `count` pages are mapped at, None when there is no room.

        More pages than a word has bits get an area of their own.
        """
        if count > self.most:
            area = self.space.alloc_vmap_area(count * self.space.page_size, self.space.page_size)
            return None if area is None else area.start
        order = (count - 1).bit_length()
        queue = self.queues.setdefault(self.space.cpu, [])
        for block in queue:
            if block.free >= 1 << order:
                offset = self.pages - block.free
                block.free -= 1 << order
                if not block.free:
                    queue.remove(block)
                return block.area.start + offset * self.space.page_size
        area = self.space.alloc_vmap_area(self.size, self.size)
        if area is None:
            return None
        block = VmapBlock(area, self.space.cpu, self.pages - (1 << order))
        queue.append(block)
        self.by_start[area.start] = block
        return area.start

    def vm_unmap_ram(self, address: int, count: int) -> None:
        """vm_unmap_ram(): a block whose pages have all been used and given back is freed, lazily.

        KeyError when nothing of that kind is mapped at `address`.
        """
        if count > self.most:
            area = self.space.find_unlink(address)
            if area is None:
                raise KeyError(address)
            self.space.free_vmap_area_noflush(area)
            return
        block = self.by_start[address & -self.size]
        block.dirty += 1 << (count - 1).bit_length()
        if block.dirty == self.pages:
            self._free(block)

    def purge_fragmented(self) -> None:
        """purge_fragmented_blocks_allcpus(): blocks of which nothing is in use go, for want of room."""
        for block in [b for queue in self.queues.values() for b in queue]:
            self._purge(block)

    def vm_unmap_aliases(self) -> None:
        """vm_unmap_aliases(): no mapping that was given up stays in a processor; with it all lazy areas are purged.

        From 6.5 on unused blocks with much room left stay for the next user.
        """
        sparing = self.space.facts.vmap_spares_usable_blocks
        for block in [b for queue in self.queues.values() for b in queue]:
            if not sparing or block.free < self.pages // 4:
                self._purge(block)
        self.space.purge()

    def _purge(self, block: VmapBlock) -> None:
        if block.free + block.dirty == self.pages and block.dirty != self.pages:
            self.queues[block.cpu].remove(block)
            self._free(block)

    def _free(self, block: VmapBlock) -> None:
        del self.by_start[block.area.start]
        self.space.find_unlink(block.area.start)
        self.space.free_vmap_area_noflush(block.area)
