"""The first chunk of per-CPU memory: mm/percpu.c. Bytes."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.build.kernel import Kernel
from mmtool.late import dataclass
from mmtool.linux.mm.early import Early
from mmtool.units import div_round_up, round_up

DYNAMIC_RESERVE = {64: 28 << 10, 32: 20 << 10}
"""PERCPU_DYNAMIC_RESERVE by the bits of a word."""
MIN_UNIT_SIZE = 32 << 10
MIN_ALLOC_SIZE = 4
SLOT_BASE_SHIFT = 5
OWNER = "per-CPU"


@dataclass(frozen=True, slots=True)
class Group:
    """struct pcpu_group_info: the CPUs of one node (None without NUMA), and the units that are allocated for them."""

    nid: int | None
    cpus: int
    nr_units: int


@dataclass(frozen=True, slots=True)
class AllocInfo:
    """struct pcpu_alloc_info: sizes in bytes."""

    static_size: int
    reserved_size: int
    dyn_size: int
    unit_size: int
    groups: tuple[Group, ...]

    @property
    def size_sum(self) -> int:
        return self.static_size + self.reserved_size + self.dyn_size


def build_alloc_info(
    static: int, reserved: int, dyn: int, atom: int, cpus_of: Sequence[tuple[int | None, int]], page: int
) -> AllocInfo:
    """pcpu_build_alloc_info(): how large a unit is and how many share an allocation.

    `cpus_of` is (node, number of CPUs) for every group of CPUs at local distance. The units of an allocation are
    as many as fit without wasting more than a third of a unit for every possible CPU. `page` is the page's size.
    """
    size_sum = round_up(static + reserved + dyn, page)
    alloc = round_up(max(size_sum, MIN_UNIT_SIZE), atom)
    upa = alloc // max(size_sum, MIN_UNIT_SIZE)
    total = sum(count for _, count in cpus_of)
    best, last_allocs = 1, None
    for units in range(upa, 0, -1):
        if alloc % units or (alloc // units) % page:
            continue
        allocs = sum(div_round_up(count, units) for _, count in cpus_of)
        wasted = allocs * units - total
        if wasted > total // 3:
            continue
        if last_allocs is not None and allocs > last_allocs:
            break
        last_allocs, best = allocs, units
    groups = tuple(Group(nid, count, round_up(count, best)) for nid, count in cpus_of)
    return AllocInfo(static, reserved, size_sum - static - reserved, alloc // best, groups)


def module_reserve(kernel: Kernel) -> int:
    """PERCPU_MODULE_RESERVE: bytes for static per-CPU data of modules, in builds that have them."""
    return 8 << 10 if kernel.profile.config.get("MODULES", True) else 0


@dataclass(frozen=True, slots=True)
class FirstChunk:
    """How an architecture calls pcpu_embed_first_chunk(), in bytes."""

    reserved_size: int
    """What static per-CPU data of modules may have in reach of the kernel's own."""
    atom_size: int
    """What units are allocated in multiples of."""
    max_dma_address: int
    """Units lie above it where there is room: a physical address."""

    def dyn_size(self, kernel: Kernel) -> int:
        """What is left for dynamic allocations, the modules' share included where it is not reserved."""
        return module_reserve(kernel) + DYNAMIC_RESERVE[kernel.bits_per_long] - self.reserved_size


def pcpu_embed_first_chunk(early: Early, how: FirstChunk, cpus_of: Sequence[tuple[int | None, int]]) -> None:
    """pcpu_embed_first_chunk(): the units of all CPUs, embedded in memory of their nodes, and what describes them.

    `cpus_of` is (node or None, number of CPUs) for every group of CPUs at local distance.
    """
    kernel, mb, page = early.kernel, early.memblock, early.kernel.page_size
    static = kernel.profile.sizes["percpu_static"]
    info = build_alloc_info(static, how.reserved_size, how.dyn_size(kernel), how.atom_size, cpus_of, page)
    describing = _alloc_info_size(info, kernel)
    alloc_info = mb.alloc(describing, page, owner=OWNER)
    list_size = round_up(kernel.word_size * len(info.groups), page)
    areas = mb.alloc(list_size, mb.smp_cache_bytes, owner=OWNER)
    bases = _alloc_units(early, info, how)
    early.log.info(
        f"percpu: Embedded {info.size_sum // page} pages/cpu s{info.static_size} "
        f"r{info.reserved_size} d{info.dyn_size} u{info.unit_size}"
    )
    _setup_first_chunk(early, info, min(bases, default=0))
    if alloc_info is not None:
        mb.phys_free(alloc_info, describing)
    if areas is not None:
        mb.phys_free(areas, list_size)


def _alloc_info_size(info: AllocInfo, kernel: Kernel) -> int:
    """pcpu_alloc_alloc_info(): the record, one of each group, and a number for each unit, in whole pages."""
    sizes, units = kernel.profile.sizes, sum(group.nr_units for group in info.groups)
    size = sizes["pcpu_alloc_info"] + sizes["pcpu_group_info"] * len(info.groups) + 4 * units
    return round_up(size, kernel.page_size)


def _alloc_units(early: Early, info: AllocInfo, how: FirstChunk) -> list[int]:
    """One area a group; then what a unit does not use, and unused units, go back. The areas' addresses."""
    mb, atom, goal = early.memblock, how.atom_size, how.max_dma_address
    areas: list[tuple[int, Group]] = []
    for group in info.groups:
        size = group.nr_units * info.unit_size
        if group.nid is None:
            base = mb.alloc_from(size, atom, goal, owner=OWNER)
        else:
            base = mb.alloc_try_nid(size, atom, goal, 0, group.nid, owner=OWNER)
        if base is not None:
            areas.append((base, group))
    for base, group in areas:
        for unit in range(group.nr_units):
            used = info.size_sum if unit < group.cpus else 0
            if used < info.unit_size:
                mb.phys_free(base + unit * info.unit_size + used, info.unit_size - used)
    return [base for base, _ in areas]


def _setup_first_chunk(early: Early, info: AllocInfo, base: int) -> None:
    """pcpu_setup_first_chunk(): groups, unit maps, lists of chunks, then the chunks for the first areas."""
    mb, facts, word = early.memblock, early.kernel.release, early.kernel.word_size
    groups, cpus = len(info.groups), sum(group.cpus for group in info.groups)
    slots = max((info.unit_size).bit_length() - SLOT_BASE_SHIFT + 2, 1)
    slots = slots + 4 if facts.percpu_depopulates else (slots + 2) * (2 if early.kernel.enabled("MEMCG") else 1)
    for size in (groups * word, groups * word, cpus * 4, cpus * word, slots * 2 * word):
        mb.alloc(size, mb.smp_cache_bytes, owner=OWNER)
    static = round_up(info.static_size, MIN_ALLOC_SIZE)
    dyn = info.dyn_size - (static - info.static_size)
    if info.reserved_size:
        _alloc_first_chunk(early, base + static, info.reserved_size)
    _alloc_first_chunk(early, base + static + info.reserved_size, dyn)


def _alloc_first_chunk(early: Early, start: int, size: int) -> None:
    """pcpu_alloc_first_chunk(): the chunk of [start, start + size), its two bitmaps and its blocks."""
    mb, sizes = early.memblock, early.kernel.profile.sizes
    bits, word, page = early.kernel.bits_per_long, early.kernel.word_size, early.kernel.page_size
    region = round_up(start % page + size, page)
    pages, slots = region // page, region // MIN_ALLOC_SIZE

    def bitmap(length: int) -> int:
        return div_round_up(length, bits) * word

    chunk = sizes["pcpu_chunk"] + bitmap(pages)
    for amount in (chunk, bitmap(slots), bitmap(slots + 1), pages * sizes["pcpu_block_md"]):
        mb.alloc(amount, mb.smp_cache_bytes, owner=OWNER)
