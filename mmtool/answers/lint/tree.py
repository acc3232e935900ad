"""Rules on the memory nodes of a device tree, and on what could not be read of it. Bytes, ranges half-open."""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.answers.lint.finding import Case, Words, span
from mmtool.firmware.devicetree import Problem
from mmtool.units import human

WRONG_CELLS = "Cells are counted by #address-cells and #size-cells of the root: write as many."
NUMA_LOST = "Linux gives up the tree's nodes and makes one node of all memory"
SECTIONS = ("/reserved-memory", "/chosen", "/cpus")

EFFECTS: dict[tuple[str, str], tuple[str, str]] = {
    ("/reserved-memory", "#address-cells"): ("none of its regions is kept: Linux uses them all as free memory",
                                             "Give the root's value."),
    ("/reserved-memory", "#size-cells"): ("none of its regions is kept: Linux uses them all as free memory",
                                          "Give the root's value."),
    ("/reserved-memory", "ranges"): ("none of its regions is kept: Linux uses them all as free memory",
                                     "Add an empty ranges;"),
    ("/reserved-memory", "reg"): ("the region is not kept: Linux uses its memory", WRONG_CELLS),
    ("/reserved-memory", "alloc-ranges"): ("the region gets no place, or one that was not meant", WRONG_CELLS),
    ("/reserved-memory", "size"): ("the region gets no place", WRONG_CELLS),
    ("/reserved-memory", "alignment"): ("the region gets no place", WRONG_CELLS),
    ("/chosen", "bootargs"): ("the last option is cut short", "End the string with a NUL, as dtc does."),
    ("/chosen", "linux,elfcorehdr"): ("a crash kernel does not find the memory of the one that crashed", WRONG_CELLS),
    ("/chosen", "linux,usable-memory-range"): ("a crash kernel takes memory that is not its own", WRONG_CELLS),
    ("/chosen", "linux,initrd-start"): ("there is no initial RAM disk", "Give start and end."),
    ("/chosen", "linux,initrd-end"): ("there is no initial RAM disk", "Give start and end."),
    ("/cpus", "reg"): ("Linux does not start the CPU", "Give the CPU's hardware id."),
    ("", "/memreserve/"): ("Linux takes what follows the list for reservations", "End it with an entry of size 0."),
    ("", "#address-cells"): ("addresses are read as one cell", "Give the root #address-cells."),
    ("", "#size-cells"): ("sizes are read as one cell", "Give the root #size-cells."),
    ("", "reg"): ("memory is missing or not where it was meant", WRONG_CELLS),
    ("", "linux,usable-memory"): ("memory is missing or not where it was meant", WRONG_CELLS),
    ("", "device_type"): ("Linux does not find its memory", 'Put a node with device_type = "memory" below the root.'),
    ("", "status"): ("Linux does not use its memory", 'Drop status, or make it "okay".'),
    ("", "numa-node-id"): (NUMA_LOST, "Give every memory node its numa-node-id."),
    ("", "distance-matrix"): (NUMA_LOST, "10 from a node to itself, more to every other."),
    ("", "dma-ranges"): ("the zone DMA ends where some device's reach does not", "Count the cells of both buses."),
}  # fmt: skip
"""(part of the tree, property): what Linux does without it, and what to write. "" is the rest of the tree."""
ELSEWHERE = ("the kernel does not see it", "Put properties first, once each, and nodes at most 62 deep.")


def misread_property(case: Case) -> Iterator[Words]:
    """What the kernel passes over when it reads the tree."""
    for problem in case.machine.fdt.problems if case.machine.fdt else ():
        why, change = _effect(problem)
        name = f"{problem.property}: " if problem.property else ""
        yield problem.path, f"{name}{problem.message}", why, change


def _effect(problem: Problem) -> tuple[str, str]:
    in_section = [top for top in SECTIONS if (problem.path + "/").startswith((f"{top}/", f"{top}@"))]
    return EFFECTS.get((in_section[0] if in_section else "", problem.property), ELSEWHERE)


def memory_in_two_nodes(case: Case) -> Iterator[Words]:
    """A range of memory has two NUMA nodes."""
    tree = case.machine.fdt
    last = None
    for block in sorted(tree.numa_memory, key=lambda block: (block.start, block.end)) if tree else ():
        if last is not None and block.start < last.end and block.nid != last.nid:
            yield (
                block.path,
                f"{span(block.start, block.end)} of node {block.nid} overlaps node {last.nid} in {last.path}",
                NUMA_LOST if case.kernel.release.arch_numa_has_memblks else f"Linux takes node {block.nid} for it",
                "Give each byte one numa-node-id.",
            )
        if last is None or block.end > last.end:
            last = block


def memory_not_in_pages(case: Case) -> Iterator[Words]:
    """A memory node's range does not begin and end with a page. Models early_init_dt_add_memory_arch()."""
    page = case.page_size
    for node in case.machine.fdt.memory if case.machine.fdt else ():
        first, last = -(-node.start // page) * page, node.end // page * page
        if (first, last) != (node.start, node.end):
            lost = node.end - node.start - max(last - first, 0)
            yield (
                node.path,
                f"{span(node.start, node.end)} does not begin and end with a page of {human(page)}",
                f"Linux drops the partial pages: {human(lost)}",
                "Give whole pages.",
            )


def memory_out_of_reach(case: Case) -> Iterator[Words]:
    """mem=, or the addresses that the kernel is built for, leave memory out. Models arm64_memblock_init()."""
    tree, boot = case.machine.fdt, case.boot
    if tree is None or boot is None:
        return
    most = 1 << case.kernel.number("ARM64_PA_BITS", 48)
    for node in tree.memory:
        if node.end > most:
            yield (
                node.path,
                f"{human(node.end - max(node.start, most))} lie at {most:#x} and above",
                f"this kernel is built for {most.bit_length() - 1} bits of physical addresses and leaves them out",
                "Build the kernel with more ARM64_PA_BITS.",
            )
    kept = sum(region.size for region in boot.memblock.memory.regions)
    limits = [value for value in case.cmdline.all("mem") if value]
    lost = sum(e.end - e.start for e in boot.firmware_map) - kept
    if limits and lost > 0:
        yield (
            "command line",
            f"mem={limits[-1]} hides {human(lost)} of memory",
            "Linux never uses memory beyond it",
            "Drop mem= if that is not meant.",
        )
