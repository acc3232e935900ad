"""Rules on /reserved-memory: what drivers/of/of_reserved_mem.c, kernel/dma/contiguous.c and swiotlb.c make of it.

Bytes, ranges half-open.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mmtool.answers.lint.finding import Case, Words, span
from mmtool.firmware.devicetree import ReservedNode
from mmtool.linux.mm.cma import min_alignment
from mmtool.regex import regex
from mmtool.units import human

Range = tuple[int, int]

MAX_RESERVED_REGIONS = 64
NO_MAP, POOL, KEPT = "no-map", "CMA pool", "kept"
"""What Linux makes of a region: memory without a mapping, a pool that it lends out, or memory kept for a driver."""

REFUSED = 'Linux finds the memory reserved already, refuses no-map ("failed to reserve memory") and leaves it mapped'
LENT = "CMA lends the shared bytes to any process while the other region's owner uses them"
NOT_MAPPED = "CMA lends out pages that no-map has taken from the kernel's mapping, and the first access to one crashes"
NOT_ACTIVATED = "CMA meets pages that no-map has made invalid: Linux warns and does not activate the pool"
TWO_OWNERS = "Linux keeps the memory once and gives it to both owners, which may write over each other"
FREED = "Linux refuses the region and gives its memory back: devices lose it, and others use it"


class Piece(NamedTuple):
    """A range of a node's reg; `order` is the node's place in the tree."""

    start: int
    end: int
    order: int
    node: ReservedNode


def regions(case: Case) -> tuple[ReservedNode, ...]:
    """The nodes of /reserved-memory that Linux looks at."""
    return tuple(node for node in case.machine.fdt.reserved if node.status_ok) if case.machine.fdt else ()


def pieces(case: Case) -> list[Piece]:
    """Every range that has an address and bytes, upwards."""
    found = (
        Piece(start, end, order, node)
        for order, node in enumerate(regions(case))
        for start, end in node.ranges
        if start < end
    )
    return sorted(found, key=lambda piece: piece[:3])


def memory(case: Case) -> list[Range]:
    """What the tree calls memory, upwards; empty where it does not say."""
    return sorted((node.start, node.end) for node in case.machine.fdt.memory) if case.machine.fdt else []


def is_shared_dma_pool(node: ReservedNode) -> bool:
    return "shared-dma-pool" in (name.lower() for name in node.compatible)


def kind(case: Case, node: ReservedNode) -> str:
    if node.no_map:
        return NO_MAP
    return POOL if is_shared_dma_pool(node) and node.reusable and case.kernel.enabled("CMA") else KEPT


def meets(start: int, end: int, ranges: Iterable[Range]) -> list[Range]:
    """The parts of [start, end) that lie in one of the ranges."""
    parts = ((max(start, low), min(end, high)) for low, high in ranges)
    return [part for part in parts if part[0] < part[1]]


def overlap(case: Case) -> Iterator[Words]:
    """Two regions share bytes."""
    widest: Piece | None = None
    for piece in pieces(case):
        if widest is not None and piece.start < widest.end:
            first, second = sorted((widest, piece), key=lambda p: p.order)
            where = "another range of its reg" if first.node is second.node else first.node.path
            yield (
                second.node.path,
                f"{span(second.start, second.end)} overlaps {span(first.start, first.end)} of {where}",
                _overlapped(case, first, second),
                "Move one of them, or let both owners refer to one node.",
            )
        if widest is None or piece.end > widest.end:
            widest = piece


def _overlapped(case: Case, first: Piece, second: Piece) -> str:
    """What comes of two regions that overlap, the first being first in the tree."""
    kinds = (kind(case, first.node), kind(case, second.node))
    is_memory = meets(second.start, second.end, memory(case)) or not memory(case)
    if kinds[0] != NO_MAP and kinds[1] == NO_MAP and is_memory:
        return REFUSED
    if kinds == (NO_MAP, POOL):
        return NOT_ACTIVATED if case.kernel.release.arm64_has_own_pfn_valid else NOT_MAPPED
    return LENT if POOL in kinds else TWO_OWNERS


def memreserve(case: Case) -> Iterator[Words]:
    """A region is reserved by /memreserve/ as well."""
    entries = sorted(case.machine.fdt.memreserve) if case.machine.fdt else []
    last = case.kernel.release.memreserve_comes_last
    effect = {
        NO_MAP: "harmless with this kernel; up to 6.12.12 Linux refuses no-map then, and leaves the memory mapped"
        if last
        else REFUSED,
        POOL: "CMA lends the memory out all the same, though /memreserve/ means to keep everyone away",
        KEPT: "Linux keeps it for /memreserve/ too, so that removing or disabling the node frees nothing",
    }
    ends = _running_ends(entries)
    for piece in pieces(case):
        for start, end in _over(piece, entries, ends):
            yield (
                piece.node.path,
                f"{span(piece.start, piece.end)} is in /memreserve/ too, as {span(start, end)}",
                effect[kind(case, piece.node)],
                "Take it out of /memreserve/ (the boot loader may have added it): the node says it all.",
            )


def _running_ends(entries: list[Range]) -> list[int]:
    ends, highest = [], 0
    for _, end in entries:
        highest = max(highest, end)
        ends.append(highest)
    return ends


def _over(piece: Piece, entries: list[Range], ends: list[int]) -> Iterator[Range]:
    """The first of the entries, which go upwards, that a piece shares bytes with."""
    at = bisect_right(ends, piece.start)
    if at < len(entries) and entries[at][0] < piece.end:
        yield entries[at]


def boot_image(case: Case) -> Iterator[Words]:
    """A region lies over the initial RAM disk or over the kernel."""
    boot = case.boot
    if boot is None:
        return
    taken = {}
    if boot.initrd is not None:
        taken["initial RAM disk"] = boot.initrd
    if boot.kernel_base is not None and boot.kernel_end is not None:
        taken["kernel's image"] = (boot.kernel_base, boot.kernel_end)
    for name, place in taken.items():
        for piece in pieces(case):
            if not meets(piece.start, piece.end, [place]):
                continue
            why = "both are there at the same time, and the device writes over it"
            if piece.node.no_map:
                why = REFUSED
            elif name == "initial RAM disk":
                why = "Linux frees the RAM disk once it is unpacked, and with it memory that the node means to keep"
            yield (
                piece.node.path,
                f"{span(piece.start, piece.end)} overlaps the {name}, {span(*place)}",
                why,
                "Let the boot loader put it elsewhere.",
            )


def initrd_outside(case: Case) -> Iterator[Words]:
    """The initial RAM disk reaches beyond the tree's memory."""
    place, tree = case.machine.initrd, case.machine.fdt
    if place is None or tree is None or not tree.memory or case.machine.efi:
        return
    covered = [(node.start, node.end) for node in tree.memory]
    missing = place[1] - place[0] - sum(end - start for start, end in meets(*place, covered))
    if missing > 0:
        yield (
            "/chosen",
            f"{human(missing)} of the initial RAM disk, {span(*place)}, lie outside of memory",
            "Linux takes the range for memory nevertheless and reads what is not there",
            "Correct linux,initrd-start and linux,initrd-end, or the memory nodes.",
        )


def outside_memory(case: Case) -> Iterator[Words]:
    """A region that Linux means to use, or to keep, lies where no memory is."""
    ram = memory(case)
    for piece in pieces(case) if ram else ():
        inside = sum(end - start for start, end in meets(piece.start, piece.end, ram))
        missing = piece.end - piece.start - inside
        if missing <= 0:
            continue
        if kind(case, piece.node) == POOL:
            why = "CMA looks for struct pages that are not there: Linux warns, and crashes or does without the pool"
        elif inside and kind(case, piece.node) == KEPT:
            why = "Linux keeps the part that is memory; a driver that uses the rest writes to nothing"
        else:
            continue
        yield (
            piece.node.path,
            f"{human(missing)} of {span(piece.start, piece.end)} lie outside of the memory nodes",
            why,
            "Move it into memory, or correct the memory node.",
        )


def empty_reservation(case: Case) -> Iterator[Words]:
    """A range of reg has no bytes."""
    for node in regions(case):
        for start, end in node.ranges:
            if start == end:
                yield (
                    node.path,
                    f"reg: 0 bytes at {start:#x}",
                    'Linux keeps nothing and complains ("failed to reserve memory for node")',
                    'Give its size, or leave the node to the boot loader with status = "disabled".',
                )


def several_ranges(case: Case) -> Iterator[Words]:
    """reg has more than one range."""
    first_only = case.kernel.release.reserved_mem_takes_first_range
    for node in regions(case):
        if len(node.ranges) > 1:
            rest = sum(end - start for start, end in node.ranges[1:])
            yield (
                node.path,
                f"reg has {len(node.ranges)} ranges",
                f"Linux keeps the first only, and uses the other {human(rest)} for itself"
                if first_only
                else "Linux keeps all, but gives drivers the first only; from 7.2 on the others are not even kept",
                "Make a node of each range.",
            )


def too_many_regions(case: Case) -> Iterator[Words]:
    """There are more regions than Linux has room for."""
    grows = case.kernel.release.reserved_mem_array_is_sized
    counted = [
        node for node in regions(case) if (node.size is not None and not node.ranges) or (node.ranges and not grows)
    ]
    for number, node in enumerate(counted[MAX_RESERVED_REGIONS:], MAX_RESERVED_REGIONS + 1):
        yield (
            node.path,
            f"is region {number} of {len(counted)}",
            f"Linux has room for {MAX_RESERVED_REGIONS} and leaves the others out"
            + (": no driver finds this one" if node.ranges else ": it gets no place"),
            "Join regions that lie side by side.",
        )


def no_room(case: Case) -> Iterator[Words]:
    """Linux finds no place for a region without an address."""
    if case.boot is None:
        return
    failed = {m[1] for line in case.boot.log.lines if (m := _FAILED.search(line.text))}
    taken = [(piece.start, piece.end) for piece in pieces(case)]
    for node in regions(case):
        if node.name not in failed or node.ranges or not node.size:
            continue
        wanted = [(0, 1 << 64)] if node.alloc_ranges is None else list(node.alloc_ranges)
        free = [hole for start, end in wanted for hole in _holes(meets(start, end, memory(case)), taken)]
        where = "in memory" if node.alloc_ranges is None else "in alloc-ranges"
        most = max((end - start for start, end in free), default=0)
        have = f"at most {human(most)} in one piece is free there" if most else "no memory is free there"
        alignment = f" aligned to {human(node.alignment)}" if node.alignment else ""
        yield (
            node.path,
            f"{human(node.size)}{alignment} fit nowhere {where}",
            f"{have}: Linux keeps nothing, and the devices that refer to the region get no memory",
            "Ask for less, widen alloc-ranges, move other regions; if the boot loader corrects memory, give --memory.",
        )


_FAILED = regex(r"failed to allocate memory for node '([^']*)'")


def _holes(ram: list[Range], taken: list[Range]) -> Iterator[Range]:
    """What is left of memory when the ranges of `taken`, which go upwards, are cut out."""
    for start, end in ram:
        for low, high in taken:
            if start < low < end:
                yield start, low
            if low < end and high > start:
                start = high
        if start < end:
            yield start, end


def odd_alignment(case: Case) -> Iterator[Words]:
    """A region is to be placed at a multiple of what is no power of two."""
    for node in regions(case):
        alignment = node.alignment or 0
        if not node.ranges and node.size and alignment & (alignment - 1):
            yield (
                node.path,
                f"alignment: {alignment:#x} is no power of two",
                "Linux rounds addresses with masks: the region lies where it is aligned to nothing",
                f"Give {1 << alignment.bit_length():#x}.",
            )


def cma_alignment(case: Case) -> Iterator[Words]:
    """A CMA pool does not begin or end at a whole block."""
    block = min_alignment(case.kernel, case.page_size)
    for node in regions(case):
        if kind(case, node) != POOL:
            continue
        base, size = (node.ranges[0][0], node.ranges[0][1] - node.ranges[0][0]) if node.ranges else (0, node.size or 0)
        if not size or not (base | size) % block:
            continue
        wrong = [f"size {size:#x}"] if size % block else []
        wrong += [f"address {base:#x}"] if base % block else []
        first, whole = base // block * block, -(-(base + size) // block) * block - base // block * block
        at = f"at {first:#x}, " if node.ranges else ""
        yield (
            node.path,
            f"{' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} no multiple of {human(block)}",
            f"CMA works in blocks of {human(block)} where pages have {human(case.page_size)}. " + FREED,
            f"Make it {at}{whole:#x} bytes.",
        )


def no_map_in_page(case: Case) -> Iterator[Words]:
    """A region without mapping shares its first or its last page with memory that is mapped."""
    page, ram = case.page_size, memory(case)
    unmapped = [piece for piece in pieces(case) if piece.node.no_map]
    joined: list[Range] = []
    for piece in unmapped:
        if joined and piece.start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(piece.end, joined[-1][1]))
        else:
            joined.append((piece.start, piece.end))
    # where a page is cut, the byte next to the region tells whether the rest of the page is memory
    cut = {start for start, _ in joined if start % page and meets(start - 1, start, ram)}
    cut |= {end for _, end in joined if end % page and meets(end, end + 1, ram)}
    for piece in unmapped:
        if (piece.start in cut or piece.end in cut) and meets(piece.start, piece.end, ram):
            yield (
                piece.node.path,
                f"{span(piece.start, piece.end)} does not begin and end with a page of {human(page)}",
                "Linux maps whole pages: what shares one with other memory stays mapped",
                f"Make it {span(piece.start // page * page, -(-piece.end // page) * page)}.",
            )


def reusable_no_map(case: Case) -> Iterator[Words]:
    """A region is to be lent out and not to be mapped."""
    for node in regions(case):
        if not (node.reusable and node.no_map):
            continue
        why = "Linux obeys no-map and never lends the memory out"
        if is_shared_dma_pool(node) and case.kernel.release.reserved_mem_frees_unmapped_pools:
            why = FREED
        yield node.path, "is reusable and no-map", why, "Drop one of the two: no-map for firmware, reusable for CMA."


def restricted_pool(case: Case) -> Iterator[Words]:
    """A restricted DMA pool has a property that rules it out. Models rmem_swiotlb_setup()."""
    for node in regions(case):
        if "restricted-dma-pool" not in node.compatible:
            continue
        flags = {
            "reusable": node.reusable,
            "no-map": node.no_map,
            "linux,cma-default": node.cma_default,
            "linux,dma-default": node.dma_default,
        }
        if wrong := [name for name, is_set in flags.items() if is_set]:
            yield (
                node.path,
                f"is a restricted-dma-pool with {', '.join(wrong)}",
                f"bounce buffers need plain memory. With DMA_RESTRICTED_POOL {FREED}",
                f"Drop {', '.join(wrong)}.",
            )


def cma_default(case: Case) -> Iterator[Words]:
    """linux,cma-default stands where it has no effect."""
    wanted = [node for node in regions(case) if node.cma_default]
    pools = [node for node in wanted if kind(case, node) == POOL]
    for node in wanted:
        if kind(case, node) != POOL:
            yield (
                node.path,
                "linux,cma-default on what is no CMA pool",
                "Linux makes the default area of a reusable shared-dma-pool only, and passes over this one",
                'Add compatible = "shared-dma-pool" and reusable, without no-map.',
            )
        elif case.cmdline.has("cma"):
            yield (
                node.path,
                "linux,cma-default beside cma= on the command line",
                "cma= goes first: Linux bypasses the node and uses its memory as any other",
                "Drop cma= to have the node's area.",
            )
    for node in pools[1:]:
        yield (
            node.path,
            f"linux,cma-default is on {pools[0].path} too",
            "there is one default area: the pool that Linux sets up last, while the others serve nobody by default",
            "Leave it on one pool.",
        )


def unit_address(case: Case) -> Iterator[Words]:
    """A node's name gives another address than its reg."""
    tree = case.machine.fdt
    if tree is None:
        return
    nodes = [(node.path, node.ranges[0][0], "keeps") for node in regions(case) if node.ranges]
    first = {node.path: node.start for node in reversed(tree.memory)}
    for path, start, does in [*nodes, *((path, start, "takes") for path, start in first.items())]:
        name, _, unit = path.rpartition("/")[2].partition("@")
        if re.fullmatch(r"[0-9a-f]{1,16}", unit) and int(unit, 16) != start:
            yield (
                path,
                f"is named @{unit}, its reg begins at {start:#x}",
                f"Linux {does} what reg says; its messages name the region by the wrong address",
                f"Name it {name}@{start:x}, or correct reg.",
            )
