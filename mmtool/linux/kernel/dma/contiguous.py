"""kernel/dma/contiguous.c: areas for devices that need contiguous memory (cma=, numa_cma=). Bytes."""

from __future__ import annotations

from mmtool.firmware.cmdline import Cmdline
from mmtool.linux.mm.cma import Cma, CmaArea, CmaError, CmaRequest, cma_declare_contiguous_nid
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.numa import Nodes
from mmtool.regex import regex
from mmtool.units import memparse

_NODE = regex(r"\s*(\d+):")


def parse_cma(cmdline: Cmdline) -> tuple[int, int, int] | None:
    """cma=SIZE[@BASE[-LIMIT]] as (size, base, limit), 0 for what is not said; None without the option.

    Models early_cma(): of several, the last decides, but base and limit stay when the later ones leave them out.
    A base without a limit means exactly there.
    """
    size, base, limit = None, 0, 0
    for value in cmdline.all("cma"):
        if value is None:
            continue
        size, at = memparse(value)
        if value[at : at + 1] != "@":
            continue
        base, at = memparse(value, at + 1)
        limit = memparse(value, at + 1)[0] if value[at : at + 1] == "-" else base + size
    return None if size is None else (size, base, limit)


def default_size(early: Early) -> int:
    """The configured size: CMA_SIZE_MBYTES, CMA_SIZE_PERCENTAGE of memory, or the smaller or larger of both."""
    kernel, mb = early.kernel, early.memblock
    fixed = kernel.number("CMA_SIZE_MBYTES", 0) << 20
    pages = mb.phys_mem_size() // mb.page_size
    percent = pages * kernel.number("CMA_SIZE_PERCENTAGE", 0) // 100 * mb.page_size
    if kernel.enabled("CMA_SIZE_SEL_PERCENTAGE"):
        return percent
    if kernel.enabled("CMA_SIZE_SEL_MIN"):
        return min(fixed, percent)
    return max(fixed, percent) if kernel.enabled("CMA_SIZE_SEL_MAX") else fixed


def dma_contiguous_reserve(early: Early, cma: Cma, nodes: Nodes, limit: int) -> None:
    """The area for all devices, from cma= or the configuration: dma_contiguous_reserve().

    `limit` is an address that devices reach (x86: the end of the direct map; arm64: arm64_dma_phys_limit). An
    area that the device tree made the default stands instead of it. Since 6.6 the nodes' areas belong to it.
    """
    if not early.kernel.enabled("DMA_CMA"):
        return
    facts = early.kernel.release
    if facts.numa_cma_with_default and not facts.numa_cma_after_default:
        dma_numa_cma_reserve(early, cma, nodes)
    option = parse_cma(early.cmdline)
    size, base, asked_limit = option if option is not None else (default_size(early), 0, 0)
    fixed = option is not None and base + size == asked_limit
    if asked_limit and not facts.cma_limit_is_users:
        asked_limit = min(asked_limit, limit) if limit else asked_limit
    if size and cma.default is None:
        try:
            request = CmaRequest("reserved", size, base, asked_limit or limit, fixed=fixed)
            area = cma_declare_contiguous_nid(early, cma, request)
        except CmaError:
            return
        cma.areas[-1] = CmaArea(area.name, area.ranges, default=True)
    if facts.numa_cma_after_default:
        dma_numa_cma_reserve(early, cma, nodes)


def _numa_sizes(cmdline: Cmdline) -> tuple[int, dict[int, int]]:
    """cma_pernuma=SIZE and numa_cma=NODE:SIZE[,...]: the size for every node, and those of some."""
    every = next((memparse(v)[0] for v in reversed(cmdline.all("cma_pernuma")) if v), 0)
    some: dict[int, int] = {}
    for value in cmdline.all("numa_cma"):
        at = 0
        while value and (m := _NODE.match(value, at)):
            some[int(m[1])], at = memparse(value, m.end())
            if value[at : at + 1] != ",":
                break
            at += 1
    return every, some


def _wanted_areas(early: Early, cma: Cma, nodes: Nodes) -> dict[int, list[tuple[str, int]]]:
    """What each node is to get, in the order of nodes: areas as (name, size)."""
    facts, cmdline = early.kernel.release, early.cmdline
    every, some = _numa_sizes(cmdline)
    if not facts.numa_cma_with_default:
        some = {}
    if (
        early.kernel.enabled("CMA_SIZE_PERNUMA") and len(nodes.online) > 1
        and not cmdline.has("cma_pernuma") and not cmdline.has("numa_cma")
    ):  # fmt: skip
        every = cma.default.size if cma.default is not None else 0
    wanted: dict[int, list[tuple[str, int]]] = {}
    for nid in range(early.memblock.max_numnodes if every or some else 0):
        areas = [(f"pernuma{nid}", every), (f"numa{nid}", some.get(nid, 0))]
        if facts.numa_cma_after_default:
            areas = [(f"numa{nid}", some.get(nid, 0) or every)]
        wanted[nid] = [(name, size) for name, size in areas if size]
    return wanted


def dma_numa_cma_reserve(early: Early, cma: Cma, nodes: Nodes) -> None:
    """An area on each node: dma_numa_cma_reserve(), up to 6.5 dma_pernuma_cma_reserve() (arm64's bootmem_init()).

    cma_pernuma= (5.10 on) and numa_cma= (6.6 on); up to 6.19 a node may get both, later its own goes before. Without
    either, CMA_SIZE_PERNUMA (7.0 on) gives each of several nodes an area as large as the default one.
    """
    kernel, log = early.kernel, early.log
    if not (kernel.enabled("DMA_NUMA_CMA") or kernel.enabled("DMA_PERNUMA_CMA")):
        return
    new = kernel.release.numa_cma_with_default
    for nid, areas in _wanted_areas(early, cma, nodes).items():
        if nid not in nodes.online:
            if areas and new and nid in nodes.possible:
                log.warn(f"cma: invalid node {nid} specified")
            continue
        for name, size in areas:
            try:
                cma_declare_contiguous_nid(early, cma, CmaRequest(name, size, nid=nid))
            except CmaError as e:
                function = "dma_numa_cma_reserve" if new else "dma_pernuma_cma_reserve"
                log.warn(f"cma: {function}: reservation failed: err -{e.error}, node {nid}")
