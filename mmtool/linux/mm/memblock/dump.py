"""memblock's dump of itself, in the kernel's own words: __memblock_dump_all()."""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.firmware.cmdline import Cmdline
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock.memblock import Memblock
from mmtool.linux.mm.memblock.regions import MemblockType


def memblock_dump_all(mb: Memblock, cmdline: Cmdline, log: KernelLog) -> None:
    """memblock_dump_all(): the whole of memblock, when memblock=debug asks for it."""
    if cmdline.get("memblock") == "debug":
        for line in dump_lines(mb):
            log.info(line)


def dump_lines(mb: Memblock, *, physmem: bool = False) -> list[str]:
    """The lines of the "MEMBLOCK configuration:" block that memblock=debug prints, without time stamps.

    Models __memblock_dump_all(). Addresses are as wide as phys_addr_t: 8 digits where it has 32 bits, else
    16. `physmem`: the kernel has that list (CONFIG_HAVE_MEMBLOCK_PHYS_MAP) and prints it too.
    """
    memory, reserved = (_address(mb, t.total_size) for t in (mb.memory, mb.reserved))
    lines = ["MEMBLOCK configuration:", f" memory size = {memory} reserved size = {reserved}"]
    for type_ in (mb.memory, mb.reserved, *([mb.physmem] if physmem else [])):
        lines.append(f" {type_.name}.cnt  = {type_.cnt:#x}")
        lines += _region_lines(mb, type_)
    return lines


def _address(mb: Memblock, value: int) -> str:
    return f"0x{value & mb.phys_addr_max:0{mb.phys_addr_max.bit_length() // 4}x}"


def _region_lines(mb: Memblock, type_: MemblockType) -> Iterator[str]:
    for i, r in enumerate(type_.regions):
        known = r.nid != mb.max_numnodes
        if mb.release.memblock_any_invalid_node_means_any:
            known = mb.valid_node(r.nid)
        node = f" on node {r.nid}" if mb.numa and known else ""
        first, last, size = (_address(mb, n) for n in (r.base, r.end - 1, r.size))
        yield f" {type_.name}[{i:#x}]\t[{first}-{last}], {size} bytes{node} flags: {r.flags:#x}"
