"""Memory, reservations and /chosen of a device tree, as drivers/of/fdt.c and of_reserved_mem.c read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmtool.errors import InputError
from mmtool.firmware.devicetree import Chosen, MemoryNode, Problem, Range, ReservedNode
from mmtool.firmware.fdt.blob import Node
from mmtool.units import U64_MAX

Cells = tuple[int, int]
"""How many cells of 32 bits an address and a size have."""

_MOST_CELLS = 16


def number(words: Sequence[int]) -> int:
    """The number in a row of cells, the highest first; only 64 bits are kept. Models of_read_number()."""
    value = 0
    for word in words:
        value = value << 32 | word
    return value & U64_MAX


def root_cells(root: Node, source: str, problems: list[Problem]) -> Cells:
    """The root's cells, 1 and 1 where it does not say. Models early_init_dt_scan_root()."""

    def cells(name: str) -> int:
        if name not in root.properties:
            problems.append(Problem("/", name, "is not there; Linux takes 1"))
            return 1
        count = root.u32(name)
        if count is None or count > _MOST_CELLS:
            what = "is no cell" if count is None else f"{count} cells cannot be"
            raise InputError(source, "/", f"{name}: {what}; 1 or 2 is usual")
        return count

    address, size = cells("#address-cells"), cells("#size-cells")
    if address + size == 0:
        raise InputError(source, "/", "#address-cells: it and #size-cells are 0, so that no kernel can read a reg")
    return address, size


def ranges_of(words: Sequence[int], cells: Cells) -> Iterator[Range]:
    """The whole entries of an address and a size each."""
    address, size = cells
    step = address + size
    for i in range(0, len(words) - step + 1, step):
        start = number(words[i : i + address])
        yield start, start + number(words[i + address : i + step])


def _divides(value: bytes, cells: Cells) -> bool:
    return len(value) % (4 * sum(cells)) == 0


def _uneven(node: Node, name: str, cells: Cells, then: str) -> Problem:
    length = len(node.properties[name])
    return Problem(node.path, name, f"{length} bytes is not a multiple of {4 * sum(cells)}; {then}")


def read_memory(
    root: Node, cells: Cells, problems: list[Problem]
) -> tuple[tuple[MemoryNode, ...], tuple[MemoryNode, ...]]:
    """The ranges of the root's memory nodes, and those of memory nodes deeper in the tree, each in the tree's order.

    Models early_init_dt_scan_memory(). Entries are cut by the root's cells, wherever the node stands.
    """
    memory = [found for node in root.children for found in _memory_of(node, cells, problems)]
    nested: list[MemoryNode] = []
    for node in (deep for child in root.children for deep in walk(child) if deep is not child):
        if node.string("device_type") == "memory":
            problems.append(Problem(node.path, "device_type", "a memory node that is no child of the root"))
            nested.extend(_memory_of(node, cells, problems))
    return tuple(memory), tuple(nested)


def walk(top: Node) -> Iterator[Node]:
    """A node and all below it, in the tree's order."""
    stack = [top]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


def _memory_of(node: Node, cells: Cells, problems: list[Problem]) -> Iterator[MemoryNode]:
    if node.string("device_type") != "memory":
        if node.is_named("memory"):
            problems.append(Problem(node.path, "device_type", 'is not "memory"; the node is no memory to Linux'))
        return
    if not node.available:
        problems.append(Problem(node.path, "status", "the memory node is disabled (5.10 takes it nevertheless)"))
        return
    name = "linux,usable-memory" if "linux,usable-memory" in node.properties else "reg"
    words = node.words(name)
    if words is None:
        problems.append(Problem(node.path, "reg", "is not there; the node is skipped"))
        return
    if not _divides(node.properties[name], cells):
        problems.append(_uneven(node, name, cells, "the rest is left over; 7.3 passes over the property"))
    hotpluggable, nid = "hotpluggable" in node.properties, node.u32("numa-node-id")
    for start, end in ranges_of(words, cells):
        if end > U64_MAX + 1:
            problems.append(Problem(node.path, name, f"{start:#x} and {end - start:#x} bytes go beyond 64 bits"))
        if end > start:
            yield MemoryNode(node.path, start, end, nid, hotpluggable)


def _subnode(root: Node, name: str) -> Node | None:
    """The first child of this name, with a unit address or without, as fdt_path_offset() finds it."""
    return next((node for node in root.children if node.name == name or node.name.startswith(name + "@")), None)


def read_reserved(root: Node, cells: Cells, problems: list[Problem]) -> tuple[ReservedNode, ...]:
    """The children of /reserved-memory, in the tree's order, unless the kernel ignores the node as a whole.

    Models __reserved_mem_check_root(), __reserved_mem_reserve_reg() and the reading of __reserved_mem_alloc_size().
    """
    top = _subnode(root, "reserved-memory")
    if top is None:
        return ()
    for name, wanted in (("#size-cells", cells[1]), ("#address-cells", cells[0])):
        if top.u32(name) != wanted:
            problems.append(
                Problem(top.path, name, f"is not {wanted}, as the root's; unsupported node format, ignoring")
            )
            return ()
    if "ranges" not in top.properties:
        problems.append(Problem(top.path, "ranges", "is not there; unsupported node format, ignoring"))
        return ()
    return tuple(_reserved(node, cells, problems) for node in top.children)


def _reserved(node: Node, cells: Cells, problems: list[Problem]) -> ReservedNode:
    malformed = [
        name
        for name in ("reg", "alloc-ranges")
        if name in node.properties and not _divides(node.properties[name], cells)
    ]
    for name in malformed:
        problems.append(_uneven(node, name, cells, "the node is skipped; 7.3 passes over the property"))

    def ranges(name: str) -> tuple[Range, ...] | None:
        words = None if name in malformed else node.words(name)
        return None if words is None else tuple(ranges_of(words, cells))

    # where reg can be read, no kernel looks at what would place the region
    placed = "reg" not in node.properties or "reg" in malformed
    size, alignment = _placement(node, cells, problems if placed else [])
    if "reg" not in node.properties and "size" not in node.properties:
        problems.append(Problem(node.path, "reg", "neither reg nor size is there; nothing is reserved"))
    return ReservedNode(
        path=node.path,
        name=node.name,
        ranges=ranges("reg") or (),
        size=size,
        alignment=alignment,
        alloc_ranges=ranges("alloc-ranges"),
        no_map="no-map" in node.properties,
        reusable="reusable" in node.properties,
        cma_default="linux,cma-default" in node.properties,
        dma_default="linux,dma-default" in node.properties,
        compatible=node.strings("compatible"),
        status_ok=node.available,
        nid=node.u32("numa-node-id"),
        malformed=tuple(malformed),
    )


def _placement(node: Node, cells: Cells, problems: list[Problem]) -> tuple[int | None, int | None]:
    """size and alignment; neither where one of them cannot be read, because then nothing is placed."""
    values: list[int | None] = []
    for name, count in (("size", cells[1]), ("alignment", cells[0])):
        value = node.properties.get(name)
        if value is not None and len(value) != 4 * count:
            message = f"{len(value)} bytes, not the {4 * count} of the root's cells; invalid {name} property, skipped"
            problems.append(Problem(node.path, name, message))
            return None, None
        values.append(None if value is None else number(node.words(name) or ()))
    return values[0], values[1]


def read_chosen(root: Node, cells: Cells, problems: list[Problem]) -> Chosen:
    """What /chosen says. Models early_init_dt_scan_chosen() and what it calls."""
    node = _subnode(root, "chosen")
    if node is None:
        return Chosen()
    bootargs = node.properties.get("bootargs")
    text = None
    if bootargs:
        # strscpy() of the property's length: the last byte is given up, whether it is a NUL or not
        text = bootargs[:-1].split(b"\0", 1)[0].decode("utf-8", "replace")
        if b"\0" not in bootargs:
            problems.append(Problem(node.path, "bootargs", "no NUL ends it; the last byte is lost"))
    usable = _ranges_or_problem(node, "linux,usable-memory-range", cells, problems)
    elfcorehdr = _ranges_or_problem(node, "linux,elfcorehdr", cells, problems)
    if len(elfcorehdr) > 1:
        problems.append(Problem(node.path, "linux,elfcorehdr", "has more than one range; 7.3 passes over it"))
    return Chosen(text, _initrd(node, problems), usable, elfcorehdr[0] if elfcorehdr else None, _uefi_mmap(node))


def _uefi_mmap(node: Node) -> Range | None:
    """linux,uefi-mmap-start and -size, as efi_get_fdt_params() takes them."""
    start, size = node.words("linux,uefi-mmap-start"), node.u32("linux,uefi-mmap-size")
    if not start or size is None:
        return None
    address = (start[0] << 32 | start[1]) if len(start) > 1 else start[0]
    return address, address + size


def _ranges_or_problem(node: Node, name: str, cells: Cells, problems: list[Problem]) -> tuple[Range, ...]:
    words = node.words(name)
    if words is None:
        return ()
    if not _divides(node.properties[name], cells):
        problems.append(_uneven(node, name, cells, "it is passed over"))
        return ()
    return tuple(ranges_of(words, cells))


def _initrd(node: Node, problems: list[Problem]) -> Range | None:
    """linux,initrd-start and -end, however many cells they have. Models early_init_dt_check_for_initrd()."""
    start, end = node.words("linux,initrd-start"), node.words("linux,initrd-end")
    if start is None or end is None:
        if start != end:
            name = "linux,initrd-start" if start is None else "linux,initrd-end"
            problems.append(Problem(node.path, name, "is not there, but its counterpart; no initrd"))
        return None
    if number(start) > number(end):
        problems.append(Problem(node.path, "linux,initrd-end", "lies before linux,initrd-start; no initrd"))
        return None
    return number(start), number(end)
