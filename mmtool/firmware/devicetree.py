"""What a device tree says of memory and CPUs, as frozen values. Addresses and sizes in bytes, ranges [start, end).

An end may lie beyond 2**64 where the tree's numbers do; the kernel cuts or wraps it where it comes to it.
"""

from __future__ import annotations

from dataclasses import field

from mmtool.late import dataclass

Range = tuple[int, int]
BOOTED_BY_TREE = {"arm64"}
"""Architectures whose kernels learn of memory by a device tree, of those that are modelled."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the tree that the kernel passes over; `property` is "" when the node itself is meant."""

    path: str
    property: str
    message: str


@dataclass(frozen=True, slots=True)
class MemoryNode:
    """One range of a memory node; `nid` as numa-node-id says (None without one)."""

    path: str
    start: int
    end: int
    nid: int | None
    hotpluggable: bool


@dataclass(frozen=True, slots=True)
class NumaMemory:
    """One range of a memory node's reg as the NUMA code takes it, disabled and nested nodes too."""

    path: str
    start: int
    end: int
    nid: int


@dataclass(frozen=True, slots=True)
class ReservedNode:
    """A child of /reserved-memory, disabled ones too (`status_ok`).

    `ranges` is reg, with entries of size 0: a range [x, x), which every kernel refuses with a message. Up to 6.12 each
    range is reserved; 7.3 reserves the first only. Without reg, `size` bytes are placed. `size` is None where nothing
    is to be placed, because the property is not there or cannot be read.
    """

    path: str
    name: str
    ranges: tuple[Range, ...]
    size: int | None
    alignment: int | None
    alloc_ranges: tuple[Range, ...] | None
    """Where `size` may be placed: None anywhere, an empty tuple nowhere."""
    no_map: bool
    reusable: bool
    cma_default: bool
    dma_default: bool
    compatible: tuple[str, ...]
    status_ok: bool
    nid: int | None
    malformed: tuple[str, ...] = ()
    """Which of "reg" and "alloc-ranges" are there and cannot be read. Up to 6.12 the node is then skipped; 7.3 goes on
    as if the property was not there."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """/chosen: what the boot loader adds."""

    bootargs: str | None = None
    initrd: Range | None = None
    usable_memory_ranges: tuple[Range, ...] = ()
    """Every range of linux,usable-memory-range; 5.10 takes the first only, later releases two and more."""
    elfcorehdr: Range | None = None
    uefi_mmap: Range | None = None
    """Where the EFI stub left EFI's memory map for the kernel."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """A CPU of /cpus: `reg` its hardware id, `nid` as of_node_to_nid() finds it, `enabled` by its status."""

    path: str
    reg: int
    nid: int | None
    enabled: bool


@dataclass(frozen=True, slots=True)
class DmaBus:
    """A bus with dma-ranges: CPU addresses from `limit` on are out of its reach (None: all are in reach)."""

    path: str
    limit: int | None


@dataclass(frozen=True, slots=True)
class DeviceTree:
    """A device tree as the kernel's early code reads it."""

    size: int
    """Bytes of the blob (totalsize), as the kernel reserves it."""
    model: str | None
    compatible: tuple[str, ...]
    memreserve: tuple[Range, ...]
    memory: tuple[MemoryNode, ...]
    """In the order in which the kernel adds them; ranges of size 0 and disabled nodes are left out."""
    nested_memory: tuple[MemoryNode, ...]
    """Ranges of memory nodes that are no children of the root. 5.10 adds them too, where the scan of the whole tree
    meets them; 6.1 and later do not."""
    reserved: tuple[ReservedNode, ...]
    """The children of /reserved-memory, in the tree's order."""
    has_reserved_memory: bool
    """Is there a node /reserved-memory?"""
    chosen: Chosen
    cpus: tuple[Cpu, ...]
    numa_memory: tuple[NumaMemory, ...]
    distance_map: dict[tuple[int, int], int] = field(hash=False)
    """(from, to): distance, of the first numa-distance-map-v1. What it gives for from < to only, holds both ways."""
    numa_error: Problem | None
    """For what the kernel's NUMA code gives up the tree's nodes, None if it does not."""
    numa_complete: bool
    """Has the last memory node a numa-node-id? 6.12 and 7.3 give up the tree's nodes where it has not; 5.10 and 6.1
    do not."""
    architecture: tuple[str, str] | None
    """Whose the CPUs are ("arm64", "arm", "riscv" ...) and the path of the one that says it; None where none does."""
    dma_limit: int | None
    """CPU addresses from here on are out of reach for some bus, None if there is no such bus."""
    dma_buses: tuple[DmaBus, ...]
    shape: tuple[tuple[int, int, int], ...] = ()
    """Of every node, in order: bytes of its name with the NUL, how many properties it has, and bytes of its name up to
    the unit address, with a NUL, where no property "name" says it (else 0)."""
    problems: tuple[Problem, ...] = ()
