"""The device tree as the kernel keeps it: unflatten_device_tree() of drivers/of/fdt.c."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.linux.drivers.of.of_reserved_mem import fdt_scan_reserved_mem_reg_nodes
from mmtool.linux.init.boot import Boot

WORD, END_MARK = 8, 4


def _up(value: int, size: int) -> int:
    return -(-value // size) * size


def unflattened_size(shape: tuple[tuple[int, int, int], ...], kernel: Kernel) -> int:
    """Bytes that the nodes, their properties and names take, on 64 bits; `shape` as DeviceTree has it.

    A node without a property "name" gets one, with its name up to the unit address. A mark ends the room.
    """
    node, prop = kernel.profile.sizes["device_node"], kernel.profile.sizes["property"]
    at = 0
    for name, properties, made_up in shape:
        at = _up(at, WORD) + node + name
        at = _up(at, WORD) + properties * _up(prop, WORD) if properties else at
        if made_up:
            at = _up(at, WORD) + prop + made_up
    return _up(at, END_MARK) + END_MARK


def unflatten_device_tree(boot: Boot) -> None:
    """unflatten_device_tree(): one allocation for everything; not where ACPI describes the machine.

    From 6.13 and 6.12.13 on /reserved-memory's regions come before.
    """
    if boot.machine.fdt is None or boot.machine.acpi or "device_node" not in boot.kernel.profile.sizes:
        return
    if boot.kernel.release.reserved_mem_array_is_sized:
        fdt_scan_reserved_mem_reg_nodes(boot)
    size = unflattened_size(boot.machine.fdt.shape, boot.kernel)
    boot.memblock.alloc(size, WORD, owner="device tree, unflattened")
