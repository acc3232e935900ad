"""The first chunk of per-CPU memory: mm/percpu.c, arch/x86/kernel/setup_percpu.c, drivers/base/arch_numa.c. Bytes."""

from __future__ import annotations

from dataclasses import dataclass

from mmtool.linux.init.boot import Boot

SMP_CACHE_BYTES = 64
X86_MAX_DMA_ADDRESS = 16 << 20
MODULE_RESERVE = 8 << 10
DYNAMIC_RESERVE_64, DYNAMIC_RESERVE_32 = 28 << 10, 20 << 10
MIN_UNIT_SIZE = 32 << 10
MIN_ALLOC_SIZE = 4
SLOT_BASE_SHIFT = 5
BLOCK_MD_SIZE = 32
ALLOC_INFO_SIZE, GROUP_INFO_SIZE = 56, 24
OWNER = "per-CPU"


def _up(value: int, size: int) -> int:
    return -(-value // size) * size


@dataclass(frozen=True, slots=True)
class AllocInfo:
    """struct pcpu_alloc_info: sizes in bytes, `groups` the nodes with the number of their CPUs and of their units."""

    static_size: int
    reserved_size: int
    dyn_size: int
    unit_size: int
    alloc_size: int
    groups: tuple[tuple[int | None, int, int], ...]

    @property
    def size_sum(self) -> int:
        return self.static_size + self.reserved_size + self.dyn_size


def build_alloc_info(
    static: int, reserved: int, dyn: int, atom: int, cpus_of: list[tuple[int | None, int]], page: int = 4096
) -> AllocInfo:
    """pcpu_build_alloc_info(): how large a unit is and how many share an allocation.

    `cpus_of` is (node, number of CPUs) for every group of CPUs at local distance. The units of an allocation are
    as many as fit without wasting more than a third of a unit for every possible CPU. `page` is the page's size.
    """
    size_sum = _up(static + reserved + dyn, page)
    alloc = _up(max(size_sum, MIN_UNIT_SIZE), atom)
    upa = alloc // max(size_sum, MIN_UNIT_SIZE)
    total = sum(count for _, count in cpus_of)
    best, last_allocs = 1, None
    for units in range(upa, 0, -1):
        if alloc % units or (alloc // units) % page:
            continue
        allocs = sum(-(-count // units) for _, count in cpus_of)
        wasted = allocs * units - total
        if wasted > total // 3:
            continue
        if last_allocs is not None and allocs > last_allocs:
            break
        last_allocs, best = allocs, units
    groups = tuple((nid, count, _up(count, best)) for nid, count in cpus_of)
    return AllocInfo(static, reserved, size_sum - static - reserved, alloc // best, alloc, groups)


def setup_per_cpu_areas(boot: Boot) -> None:
    """setup_per_cpu_areas(): the units of all CPUs, embedded in memory of their nodes, and what describes them."""
    k = boot.kernel
    static = k.profile.sizes["percpu_static"]
    for_modules = MODULE_RESERVE if k.profile.config.get("MODULES", True) else 0
    reserved = for_modules if k.is_64bit else 0
    dyn = DYNAMIC_RESERVE_64 if k.is_64bit else DYNAMIC_RESERVE_32 + for_modules
    page = boot.memblock.page_size
    info = build_alloc_info(static, reserved, dyn, _atom(boot), boot.cpus_by_node(), page)
    _embed_first_chunk(boot, info)
    if k.arch != "arm64":
        _cpumasks(boot)


def _atom(boot: Boot) -> int:
    """atom_size: what units are allocated in multiples of; large pages on x86-64."""
    return 2 << 20 if boot.kernel.arch == "x86_64" else boot.memblock.page_size


def _embed_first_chunk(boot: Boot, info: AllocInfo) -> None:
    """pcpu_embed_first_chunk(): one area a group; what a unit does not use, and unused units, go back at once."""
    mb, page, atom = boot.memblock, boot.memblock.page_size, _atom(boot)
    # arm64's MAX_DMA_ADDRESS is where memory begins, which asks for nothing.
    goal = X86_MAX_DMA_ADDRESS if boot.kernel.arch != "arm64" else 0
    units = sum(n for _, _, n in info.groups)
    describing = _up(ALLOC_INFO_SIZE + GROUP_INFO_SIZE * len(info.groups) + 4 * units, page)
    alloc_info = mb.alloc(describing, page, owner=OWNER)
    areas = mb.alloc(_up(8 * len(info.groups), page), SMP_CACHE_BYTES, owner=OWNER)
    bases: list[tuple[int, int, int]] = []
    for nid, count, nr_units in info.groups:
        size = nr_units * info.unit_size
        if nid is None:
            base = mb.alloc_from(size, atom, goal, owner=OWNER)
        else:
            base = mb.alloc_try_nid(size, atom, goal, 0, nid, owner=OWNER)
        if base is not None:
            bases.append((base, count, nr_units))
    for base, count, nr_units in bases:
        for unit in range(nr_units):
            used = info.size_sum if unit < count else 0
            if used < info.unit_size:
                mb.phys_free(base + unit * info.unit_size + used, info.unit_size - used)
    boot.log.info(
        f"percpu: Embedded {info.size_sum // page} pages/cpu s{info.static_size} "
        f"r{info.reserved_size} d{info.dyn_size} u{info.unit_size}"
    )
    _setup_first_chunk(boot, info, min((b for b, _, _ in bases), default=0))
    if alloc_info is not None:
        mb.phys_free(alloc_info, describing)
    if areas is not None:
        mb.phys_free(areas, _up(8 * len(info.groups), page))


def _setup_first_chunk(boot: Boot, info: AllocInfo, base: int) -> None:
    """pcpu_setup_first_chunk(): groups, unit maps, lists of chunks, then the chunks for the first areas."""
    mb, facts = boot.memblock, boot.kernel.release
    word = 8 if boot.kernel.is_64bit else 4
    groups, cpus = len(info.groups), boot.cpus
    slots = max((info.unit_size).bit_length() - SLOT_BASE_SHIFT + 2, 1)
    slots = slots + 4 if facts.percpu_depopulates else (slots + 2) * (2 if boot.kernel.enabled("MEMCG") else 1)
    for size in (groups * word, groups * word, cpus * 4, cpus * word, slots * 2 * word):
        mb.alloc(size, SMP_CACHE_BYTES, owner=OWNER)
    static = _up(info.static_size, MIN_ALLOC_SIZE)
    dyn = info.dyn_size - (static - info.static_size)
    if info.reserved_size:
        _alloc_first_chunk(boot, base + static, info.reserved_size)
    _alloc_first_chunk(boot, base + static + info.reserved_size, dyn)


def _alloc_first_chunk(boot: Boot, start: int, size: int) -> None:
    """pcpu_alloc_first_chunk(): the chunk of [start, start + size), its two bitmaps and its blocks."""
    word = 8 if boot.kernel.is_64bit else 4
    bits = 8 * word
    page = boot.memblock.page_size
    region = _up(start % page + size, page)
    pages, slots = region // page, region // MIN_ALLOC_SIZE
    chunk = boot.kernel.profile.sizes["pcpu_chunk"] + -(-pages // bits) * word
    for amount in (chunk, -(-slots // bits) * word, -(-(slots + 1) // bits) * word, pages * BLOCK_MD_SIZE):
        boot.memblock.alloc(amount, SMP_CACHE_BYTES, owner=OWNER)


def _cpumasks(boot: Boot) -> None:
    """setup_node_to_cpumask_map() and setup_cpu_local_masks(): masks of CPUs, where they do not lie in their owners."""
    k = boot.kernel
    if not k.cpumask_offstack:
        return
    nodes = max(boot.possible_nodes, default=0) + 1 if k.enabled("NUMA") else 0
    own = 4 if k.release.cpu_local_masks_are_four else 1
    for _ in range(nodes + own):
        boot.memblock.alloc(-(-boot.cpus // 64) * 8, SMP_CACHE_BYTES, owner="CPU masks")
