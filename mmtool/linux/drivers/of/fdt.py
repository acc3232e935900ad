"""The device tree as the kernel keeps it: unflatten_device_tree() of drivers/of/fdt.c."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.firmware.devicetree import DeviceTree
from mmtool.linux.mm.early import Early
from mmtool.units import round_up

END_MARK = 4


def unflattened_size(shape: tuple[tuple[int, int, int], ...], kernel: Kernel) -> int:
    """Bytes that the nodes, their properties and names take; `shape` as DeviceTree has it.

    A node without a property "name" gets one, with its name up to the unit address. A mark ends the room.
    """
    node, prop = kernel.profile.sizes["device_node"], kernel.profile.sizes["property"]
    at, word = 0, kernel.word_size
    for name, properties, made_up in shape:
        at = round_up(at, word) + node + name
        at = round_up(at, word) + properties * round_up(prop, word) if properties else at
        if made_up:
            at = round_up(at, word) + prop + made_up
    return round_up(at, END_MARK) + END_MARK


def unflatten_device_tree(early: Early, tree: DeviceTree) -> None:
    """unflatten_device_tree(): one allocation for everything. Nothing where the build's sizes are not known."""
    kernel = early.kernel
    if "device_node" in kernel.profile.sizes:
        early.memblock.alloc(unflattened_size(tree.shape, kernel), kernel.word_size, owner="device tree, unflattened")
