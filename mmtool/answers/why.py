"""Why a boot's numbers are what they are: each formula with this machine's numbers, and the kernel's function for it.

Every result here is worked out anew from what the formula shows; the tests hold them against what the model has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt

from mmtool.late import dataclass
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.late import online, tuning
from mmtool.linux.mm.khugepaged import LEAST_RAM_FOR_HUGE_PAGES, PAGEBLOCKS_A_ZONE, hugepage_enabled
from mmtool.linux.mm.mm_init import MOVABLE
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc.setup_per_zone_wmarks import (
    MAX_FREE_KBYTES,
    MAX_HIGHMEM_MIN,
    MIN_FREE_KBYTES,
    SWAP_CLUSTER_MAX,
    WmarkMoment,
    gfp_zone_user,
    has_capped_min,
)
from mmtool.linux.mm.zonelist import NodeLoad
from mmtool.units import human

TEN_THOUSANDTHS = 10000
NOT_THE_KERNELS = "what is not for the kernel (kernelcore=, movablecore=, movable_node)"
MOST_OWNERS = 3
"""Of what is reserved in a zone, so many owners are named."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One number: `what` it is, the `formula` with this machine's numbers, the `result`, and the kernel's function."""

    what: str
    formula: str
    result: str
    function: str


@dataclass(frozen=True, slots=True)
class Why:
    """The reasons of one topic, under a sentence."""

    topic: str
    says: str
    reasons: tuple[Reason, ...]


def why(boot: Boot, topic: str) -> Why:
    """The reasons for one of TOPICS."""
    says, reasons = TOPICS[topic](boot)
    return Why(topic, says, tuple(reasons))


Answer = tuple[str, Iterator[Reason]]


def _zones_of(boot: Boot) -> Iterator[tuple[Pgdat, Zone]]:
    for _, node in sorted(boot.nodes.items()):
        yield from ((node, zone) for zone in node.populated_zones())


def _pages(boot: Boot, pages: int) -> str:
    return f"{pages} pages ({human(pages << boot.kernel.page_shift)})"


# Zones


def _zones(boot: Boot) -> Answer:
    return "Zones: what of a node lies in the addresses that a kind of device reaches", _zone_reasons(boot)


def _zone_reasons(boot: Boot) -> Iterator[Reason]:
    shift = boot.kernel.page_shift
    start = boot.memblock.start_of_DRAM() >> shift
    for name, limit in boot.zone_limits:
        if limit <= start:
            continue
        span = f"[{start << shift:#x}-{(limit << shift) - 1:#x}]"
        yield Reason(name, _reaches(boot, limit), span, "free_area_init()")
        start = limit
    for node, zone in _zones_of(boot):
        low, high = zone.zone_start_pfn << shift, zone.zone_end_pfn << shift
        whole = f"[{node.node_start_pfn << shift:#x}-{(node.node_end_pfn << shift) - 1:#x}]"
        name = f"{zone.nid}/{zone.name}"
        of = NOT_THE_KERNELS if zone.name == MOVABLE else zone.name
        span = f"[{low:#x}-{high - 1:#x}]"
        yield Reason(name, f"{of} in node {zone.nid} {whole}", span, "zone_spanned_pages_in_node()")
        holes = zone.spanned_pages - zone.present_pages
        formula = f"{zone.spanned_pages} spanned - {holes} in holes"
        yield Reason(f"{name} present", formula, _pages(boot, zone.present_pages), "zone_absent_pages_in_node()")


def _reaches(boot: Boot, limit: int) -> str:
    """Why a zone type ends where it does."""
    size = limit << boot.kernel.page_shift
    if limit == (boot.memblock.end_of_DRAM() or 0) >> boot.kernel.page_shift:
        return "up to the end of memory"
    if size & (size - 1) == 0:
        return f"what devices with addresses of {size.bit_length() - 1} bits reach"
    return "up to the end of what the kernel maps directly, or of what devices reach"


# What zones manage


def _managed(boot: Boot) -> Answer:
    return "Managed: what a zone has, less what is reserved of it, and what comes back", _managed_reasons(boot)


def _managed_reasons(boot: Boot) -> Iterator[Reason]:
    freed = _freed_at_handover(boot)
    for _, zone in _zones_of(boot):
        key = zone.nid, zone.name
        reserved = zone.present_pages - freed.get(key, 0)
        back = {piece.name: piece.pages[key] for piece in boot.given_back if key in piece.pages}
        formula = f"{zone.present_pages} present - {reserved} reserved"
        if back:
            formula += f" + {sum(back.values())} given back"
        yield Reason(
            f"{zone.nid}/{zone.name}", formula, _pages(boot, zone.present_pages - reserved + sum(back.values())),
            "memblock_free_all()",
        )  # fmt: skip
        if reserved:
            yield Reason("  reserved", _owners(boot, zone), _pages(boot, reserved), "memblock_reserve()")
        for name, pages in back.items():
            step = next(piece.step for piece in boot.given_back if piece.name == name)
            yield Reason("  given back", name, _pages(boot, pages), f"{step}()")


def _freed_at_handover(boot: Boot) -> dict[tuple[int, str], int]:
    """The whole pages of each zone, (node, name), that memblock_free_all() frees."""
    freed: dict[tuple[int, str], int] = {}
    shift = boot.kernel.page_shift
    zones = [zone for _, zone in _zones_of(boot)]
    for start, end, _ in boot.memblock.for_each_free_mem_range():
        first, last = -(-start >> shift), end >> shift
        for zone in zones:
            pages = min(last, zone.zone_end_pfn) - max(first, zone.zone_start_pfn)
            if pages > 0:
                freed[zone.nid, zone.name] = freed.get((zone.nid, zone.name), 0) + pages
    return freed


def _owners(boot: Boot, zone: Zone) -> str:
    """Who reserved the most of a zone."""
    shift = boot.kernel.page_shift
    start, end = zone.zone_start_pfn << shift, zone.zone_end_pfn << shift
    sizes: dict[str, int] = {}
    for a, b, owner in boot.memblock.ledger.overlapping(start, end):
        sizes[owner] = sizes.get(owner, 0) + min(b, end) - max(a, start)
    ranked = sorted(sizes.items(), key=lambda item: -item[1])
    named = [f"{owner} {human(size)}" for owner, size in ranked[:MOST_OWNERS]]
    return ", ".join([*named, *([f"{len(ranked) - MOST_OWNERS} more"] if len(ranked) > MOST_OWNERS else [])])


# What must stay free


def _min_free(boot: Boot) -> Answer:
    return f"min_free_kbytes is {boot.min_free_kbytes} kB", _min_free_reasons(boot)


def _min_free_reasons(boot: Boot) -> Iterator[Reason]:
    kernel, shift = boot.kernel, boot.kernel.page_shift - 10
    first, last = boot.wmark_moments[0], boot.wmark_moments[-1]
    by_size = _root(boot, first)
    yield _low_memory(boot, first)
    yield _by_root(boot, first)
    managed = sum(last.managed.values()) << shift
    if not kernel.enabled("TRANSPARENT_HUGEPAGE") or managed << 10 < LEAST_RAM_FOR_HUGE_PAGES:
        built = kernel.enabled("TRANSPARENT_HUGEPAGE")
        none = "below 512 MiB there are no" if built else "the kernel is built without"
        yield Reason("in force", f"{none} transparent huge pages: it stays", f"{by_size} kB", "hugepage_init()")
        return
    if not hugepage_enabled(kernel, boot.cmdline):
        if kernel.release.khugepaged_off_recalculates:
            yield _low_memory(boot, last)
            yield _by_root(boot, last)
        held = _root(boot, last) if kernel.release.khugepaged_off_recalculates else by_size
        yield Reason("in force", "transparent huge pages are off: it stays", f"{held} kB", "hugepage_init()")
        return
    zones = list(_user_zones(boot))
    wanted = sum(PAGEBLOCKS_A_ZONE << zone.pageblock_order for zone in zones) << shift
    block = (1 << kernel.pageblock_order) << shift
    yield Reason(
        "khugepaged asks", f"{len(zones)} zones up to Normal * {PAGEBLOCKS_A_ZONE} pageblocks * {block} kB",
        f"{wanted} kB", "set_recommended_min_free_kbytes()",
    )  # fmt: skip
    cap = last.free_buffer_pages // 20 << shift
    yield Reason(
        "at most", f"a twentieth of {last.free_buffer_pages} pages above the high marks", f"{cap} kB",
        "set_recommended_min_free_kbytes()",
    )  # fmt: skip
    asked = min(wanted, cap)
    yield Reason("in force", f"the larger of {by_size} and {asked}", f"{max(by_size, asked)} kB", "hugepage_init()")


def _user_zones(boot: Boot) -> Iterator[Zone]:
    for node in online(boot):
        yield from (zone for zone in node.zones if zone.populated and gfp_zone_user(zone))


def _low_memory(boot: Boot, moment: WmarkMoment) -> Reason:
    pages = moment.free_buffer_pages
    what = "managed by zones up to Normal" if moment is boot.wmark_moments[0] else "above the high marks"
    kbytes = pages << boot.kernel.page_shift - 10
    return Reason("low memory", f"{pages} pages {what}", f"{kbytes} kB", "nr_free_buffer_pages()")


def _root(boot: Boot, moment: WmarkMoment) -> int:
    kbytes = moment.free_buffer_pages << boot.kernel.page_shift - 10
    return min(max(isqrt(kbytes * 16), MIN_FREE_KBYTES), MAX_FREE_KBYTES)


def _by_root(boot: Boot, moment: WmarkMoment) -> Reason:
    kbytes = moment.free_buffer_pages << boot.kernel.page_shift - 10
    formula = f"sqrt(16 * {kbytes} kB), from {MIN_FREE_KBYTES} to {MAX_FREE_KBYTES}"
    return Reason("by its size", formula, f"{_root(boot, moment)} kB", f"{moment.step}()")


# Watermarks


def _watermarks(boot: Boot) -> Answer:
    return f"Watermarks: min_free_kbytes, {boot.min_free_kbytes} kB, shared out by size", _watermark_reasons(boot)


def _moment_of_marks(boot: Boot) -> WmarkMoment:
    """The last time that setup_per_zone_wmarks() ran."""
    last = boot.wmark_moments[-1]
    managed = sum(last.managed.values()) << boot.kernel.page_shift
    huge = boot.kernel.enabled("TRANSPARENT_HUGEPAGE") and managed >= LEAST_RAM_FOR_HUGE_PAGES
    again = hugepage_enabled(boot.kernel, boot.cmdline) or boot.kernel.release.khugepaged_off_recalculates
    return last if huge and again else boot.wmark_moments[0]


def _watermark_reasons(boot: Boot) -> Iterator[Reason]:
    nodes, kernel = online(boot), boot.kernel
    moment, scale = _moment_of_marks(boot), tuning(boot).watermark_scale_factor
    pages_min = boot.min_free_kbytes >> kernel.page_shift - 10
    every = {(zone.nid, zone.name): zone for node in nodes for zone in node.zones}
    lowmem = sum(n for key, n in moment.managed.items() if not has_capped_min(every[key], nodes))
    marks = "setup_per_zone_wmarks()"
    for _, zone in _zones_of(boot):
        name, managed = f"{zone.nid}/{zone.name}", moment.managed.get((zone.nid, zone.name), 0)
        share = pages_min * managed // lowmem if lowmem else 0
        if has_capped_min(zone, nodes):
            least = min(max(managed // 1024, SWAP_CLUSTER_MAX), MAX_HIGHMEM_MIN)
            formula = f"{managed} managed / 1024, from {SWAP_CLUSTER_MAX} to {MAX_HIGHMEM_MIN}"
        else:
            least, formula = share, f"{pages_min} pages * {managed} of {lowmem} managed then"
        yield Reason(f"{name} min", formula, _pages(boot, least), marks)
        scaled = managed * scale // TEN_THOUSANDTHS
        step = max(share >> 2, scaled)
        what = "a quarter of its share" if share >> 2 >= scaled else f"{scale}/{TEN_THOUSANDTHS} of {managed}"
        yield Reason("  low, high", f"min + 1 and 2 times {step}, {what}", f"{least + step}, {least + 2 * step}", marks)
        yield from _protection(boot, zone)


def _protection(boot: Boot, zone: Zone) -> Iterator[Reason]:
    """What the zone keeps from requests that could have used a higher one."""
    ratio = tuning(boot).lowmem_reserve_ratio.get(zone.name, 0)
    zones = boot.nodes[zone.nid].zones
    if not ratio or not zone.managed_pages:
        return
    now = zone.facts.lowmem_reserve_follows_managed
    first = boot.wmark_moments[0].managed
    above = 0
    for other in zones[zone.zone_idx + 1 :]:
        pages = other.managed_pages if now else first.get((other.nid, other.name), 0)
        above += pages
        if pages:
            yield Reason(
                "  keeps", f"from requests up to {other.name}: {above} pages above / {ratio}",
                _pages(boot, above // ratio), "setup_per_zone_lowmem_reserve()",
            )  # fmt: skip


# Zonelists


def _zonelists(boot: Boot) -> Answer:
    return "Zonelists: the nearest node first, of each its highest zone first", _zonelist_reasons(boot)


def _zonelist_reasons(boot: Boot) -> Iterator[Reason]:
    lists, load = boot.zonelists, NodeLoad(boot.kernel, len(boot.numa.online))
    memory = [nid for nid, node in sorted(boot.nodes.items()) if node.populated_zones()]
    distance = boot.numa.node_distance
    for nid in sorted(boot.nodes):
        before = dict(load.load)
        order = load.order(nid, memory, distance)
        names = {n: " > ".join(f"{n}/{z}" for at, z in lists.fallback[nid] if at == n) for n in order}
        for place, n in enumerate(order):
            what = f"node {nid}" if not place else ""
            if n == nid:
                zones = names[n] or "none: it has no memory"
                yield Reason(what, "itself; the highest zone first", zones, "build_zonerefs_node()")
                continue
            equals = [m for m in order[place:] if m != nid and distance(nid, m) == distance(nid, n)]
            formula = f"distance {distance(nid, n)}" + (f" + 1 for a number below {nid}" if n < nid else "")
            if len(equals) > 1:
                formula += f", before {', '.join(map(str, equals[1:]))}: {_tie(nid, n, equals[1], before)}"
            yield Reason(what, formula, names[n], "find_next_best_node()")


def _tie(local: int, first: int, other: int, load: dict[int, int]) -> str:
    """Why one of two nodes that are as far comes first."""
    if (first < local) != (other < local):
        return "which is lower"
    loads = load.get(first, 0), load.get(other, 0)
    return f"load {loads[0]}, not {loads[1]}" if loads[0] != loads[1] else "the lower number"


TOPICS: dict[str, Callable[[Boot], Answer]] = {
    "zones": _zones, "managed": _managed, "min_free": _min_free, "watermarks": _watermarks, "zonelists": _zonelists,
}  # fmt: skip
