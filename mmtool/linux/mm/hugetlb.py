"""mm/hugetlb.c: huge pages asked for on the command line (hugepagesz=, hugepages=, default_hugepagesz=).

Gigantic pages, which are larger than a block of the buddy allocator, come from memblock; the others are only
counted here and allocated once the buddy allocator runs. Sizes and addresses in bytes.
"""

from __future__ import annotations

from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import MEMBLOCK_ALLOC_ACCESSIBLE, NUMA_NO_NODE
from mmtool.linux.mm.numa import Nodes
from mmtool.regex import regex
from mmtool.units import U64_MAX, memparse, modulo

OPTIONS = ("hugepages", "hugepagesz", "default_hugepagesz")

_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_NUMBER = regex(r"\s*(\d+)")


@dataclass(frozen=True, slots=True)
class SupportedSizes:
    """What an architecture's asm/hugetlb.h and mm/hugetlbpage.c say, in bytes."""

    sizes: tuple[int, ...]
    """Those that arch_hugetlb_valid_size() accepts, largest first."""
    hpage_size: int
    """HPAGE_SIZE: what one entry of a middle page table maps."""
    registered: tuple[int, ...]
    """Those that an initcall adds, asked for or not."""

    @property
    def gigantic(self) -> int:
        """The largest, which CMA areas are made of."""
        return self.sizes[0]


@dataclass(eq=False)
class Hstate:
    """struct hstate: the pool of huge pages of one size.

    `max_huge_pages` were asked for, `per_node` of them on certain nodes; `pages` (address, node asked for) are
    the gigantic ones that memblock gave.
    """

    size: int
    max_huge_pages: int = 0
    per_node: dict[int, int] = field(default_factory=dict)
    next_nid_to_alloc: int = 0
    pages: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Hugetlb:
    """What hugetlb.c keeps while it reads its options. `default_*` wait for a size to be known."""

    supported: SupportedSizes
    nodes: Nodes
    hstates: list[Hstate] = field(default_factory=list)
    parsed: Hstate | None = None
    valid_size: bool = True
    default: Hstate | None = None
    default_is_parsed: bool = False
    default_max_huge_pages: int = 0
    default_per_node: dict[int, int] = field(default_factory=dict)
    last_count: object = None
    """What the last hugepages= gave a number to: an hstate, or the Hugetlb itself for the default size."""
    cma_size: int = 0
    """hugetlb_cma_size: gigantic pages come from there."""
    cma_reserve_called: bool = False
    warned_of_cma: bool = False

    def of_size(self, size: int) -> Hstate | None:
        """size_to_hstate()."""
        return next((h for h in self.hstates if h.size == size), None)


def string_get_size(size: int) -> str:
    """A size with three significant figures, "2.00 MiB": string_get_size() with STRING_UNITS_2."""
    unit, rest = 0, 0
    while size >= 1024:
        size, rest, unit = size >> 10, size & 1023, unit + 1
    digits = 2 if size < 10 else 1 if size < 100 else 0
    rest = rest * 1000 // 1024 + (5, 50, 500)[2 - digits]
    if rest >= 1000:
        rest, size = rest - 1000, size + 1
    fraction = f".{rest:03}"[: digits + 1] if digits else ""
    return f"{size}{fraction} {_UNITS[unit]}B"


def is_gigantic(early: Early, size: int) -> bool:
    """hstate_is_gigantic(): the buddy allocator has no block that large."""
    return size > early.memblock.page_size << early.kernel.max_page_order


# The options.


def hugetlb_add_hstate(early: Early, state: Hugetlb, size: int) -> Hstate:
    """The pool of a size, made if there is none; hugepages= belongs to it from here on. hugetlb_add_hstate()."""
    known = state.of_size(size)
    if known is not None:
        return known
    h = Hstate(size, next_nid_to_alloc=min(nodes_with_memory(early), default=0))
    state.hstates.append(h)
    state.parsed = h
    return h


def hugepagesz_setup(early: Early, state: Hugetlb, text: str) -> None:
    """hugepagesz=SIZE: the size that the next hugepages= is about."""
    log = early.log
    state.valid_size = False
    size = memparse(text)[0]
    if size not in state.supported.sizes:
        log.err(f"HugeTLB: unsupported hugepagesz={text}")
        return
    h = state.of_size(size)
    if h is None:
        hugetlb_add_hstate(early, state, size)
    elif not state.default_is_parsed or h is not state.default or h.max_huge_pages:
        log.warn(f"HugeTLB: hugepagesz={text} specified twice, ignoring")
        return
    else:
        state.parsed = h
    state.valid_size = True


def default_hugepagesz_setup(early: Early, state: Hugetlb, text: str) -> None:
    """default_hugepagesz=SIZE, which also takes a hugepages= that stood before it."""
    log = early.log
    state.valid_size = False
    if state.default_is_parsed:
        log.err(f"HugeTLB: default_hugepagesz previously specified, ignoring {text}")
        return
    size = memparse(text)[0]
    if size not in state.supported.sizes:
        log.err(f"HugeTLB: unsupported default_hugepagesz={text}")
        return
    state.default = hugetlb_add_hstate(early, state, size)
    state.valid_size = state.default_is_parsed = True
    if state.default_max_huge_pages:
        state.default.max_huge_pages = state.default_max_huge_pages
        state.default.per_node |= state.default_per_node
        if not early.kernel.release.hugetlb_allocates_after_parsing and is_gigantic(early, size):
            hugetlb_hstate_alloc_pages(early, state, state.default)
        state.default_max_huge_pages = 0


def hugepages_setup(early: Early, state: Hugetlb, text: str) -> None:
    """hugepages=COUNT or NODE:COUNT[,...] (5.16 on), for the size before it or the default one.

    Up to 6.14 gigantic pages are allocated here.
    """
    log = early.log
    if not state.valid_size:
        log.warn(f"HugeTLB: hugepages={text} does not follow a valid hugepagesz, ignoring")
        state.valid_size = True
        return
    target: Hstate | Hugetlb = state.parsed if state.hstates and state.parsed else state
    if state.last_count is target:
        log.warn(f"HugeTLB: hugepages= specified twice without interleaving hugepagesz=, ignoring hugepages={text}")
        return
    if not early.kernel.release.hugetlb_takes_nodes:
        m = _NUMBER.match(text)
        _set_count(target, modulo(m[1]) if m else 0)
    elif (wrong := _read_counts(early, state, target, text)) is not None:
        log.warn(f"HugeTLB: Invalid hugepages parameter {wrong}")
        _set_count(target, 0)
        _per_node(target).clear()
        return
    at_once = not early.kernel.release.hugetlb_allocates_after_parsing
    if at_once and isinstance(target, Hstate) and is_gigantic(early, target.size):
        hugetlb_hstate_alloc_pages(early, state, target)
    state.last_count = target


def _set_count(target: Hstate | Hugetlb, count: int) -> None:
    count &= U64_MAX
    if isinstance(target, Hstate):
        target.max_huge_pages = count
    else:
        target.default_max_huge_pages = count


def _count(target: Hstate | Hugetlb) -> int:
    return target.max_huge_pages if isinstance(target, Hstate) else target.default_max_huge_pages


def _per_node(target: Hstate | Hugetlb) -> dict[int, int]:
    return target.per_node if isinstance(target, Hstate) else target.default_per_node


def _read_counts(early: Early, state: Hugetlb, target: Hstate | Hugetlb, text: str) -> str | None:
    """Read `text` into `target`; what is left from the first mistake on, None without one."""
    online, at = state.nodes.online, 0
    while at < len(text):
        m = _NUMBER.match(text, at)
        if m is None:
            return text[at:]
        if text[m.end() : m.end() + 1] != ":":
            if at:
                return text[at:]
            _set_count(target, modulo(m[1]))
            return None
        node = modulo(m[1])
        if node >= early.memblock.max_numnodes or node not in online:
            return text[at:]
        at = m.end() + 1
        if (m := _NUMBER.match(text, at)) is None:
            return text[at:]
        _per_node(target)[node] = modulo(m[1])
        _set_count(target, _count(target) + modulo(m[1]))
        if text[m.end() : m.end() + 1] != ",":
            return None
        at = m.end() + 1
    return None


_SETUP = dict(zip(OPTIONS, (hugepages_setup, hugepagesz_setup, default_hugepagesz_setup), strict=True))


def parse_options(early: Early, state: Hugetlb) -> None:
    """Read the three options in their order on the command line."""
    for name, value in early.cmdline.options:
        handler = _SETUP.get(name.replace("-", "_"))
        if handler is not None and value is not None:
            handler(early, state, value)


# Gigantic pages.


def nodes_with_memory(early: Early) -> set[int]:
    """The nodes that memblock has memory of; 0 where regions have no node."""
    mb = early.memblock
    return {nid if mb.valid_node(nid) else 0 for _, _, nid in mb.for_each_mem_pfn_range()}


def _next_node(early: Early, h: Hstate) -> int:
    """hstate_next_node_to_alloc(): nodes take turns."""
    nodes = sorted(nodes_with_memory(early))
    nid = next((n for n in nodes if n >= h.next_nid_to_alloc), nodes[0])
    h.next_nid_to_alloc = next((n for n in nodes if n > nid), nodes[0])
    return nid


def alloc_bootmem(early: Early, state: Hugetlb, h: Hstate, nid: int, exact_nid: bool) -> bool:
    """One gigantic page from memblock, preferably (or, with `exact_nid`, only) of node `nid`: alloc_bootmem().

    Its struct pages but the first page's are left to hugetlb from 6.7 on (MEMBLOCK_RSRV_NOINIT).
    """
    mb, facts, owner = early.memblock, early.kernel.release, f"{string_get_size(h.size)} huge page"
    if facts.memblock_has_alloc_hugetlb:
        address = mb.alloc_hugetlb(h.size, nid, exact_nid, owner=owner)
    elif exact_nid and facts.hugetlb_allocates_after_parsing:
        address = mb.alloc_exact_nid_raw(h.size, h.size, 0, MEMBLOCK_ALLOC_ACCESSIBLE, nid, owner=owner)
    else:
        address = mb.alloc_try_nid_raw(h.size, h.size, 0, MEMBLOCK_ALLOC_ACCESSIBLE, nid, owner=owner)
    if address is None:
        return False
    h.pages.append((address, nid))
    crossing = facts.hugetlb_frees_cross_zone and crosses_zones(early, state, address, h.size)
    if facts.memblock_has_rsrv_noinit and not crossing:
        mb.reserved_mark_noinit(address + mb.page_size, h.size - mb.page_size)
    return True


def alloc_bootmem_huge_page(early: Early, state: Hugetlb, h: Hstate, nid: int = NUMA_NO_NODE) -> bool:
    """A gigantic page on node `nid`, or on the node whose turn it is: alloc_bootmem_huge_page().

    Up to 5.15 all nodes are asked in turn before it gives up.
    """
    if nid != NUMA_NO_NODE:
        return alloc_bootmem(early, state, h, nid, exact_nid=True)
    tries = 1 if early.kernel.release.hugetlb_takes_nodes else len(nodes_with_memory(early))
    return any(alloc_bootmem(early, state, h, _next_node(early, h), exact_nid=False) for _ in range(tries))


def crosses_zones(early: Early, state: Hugetlb, address: int, size: int) -> bool:
    """Do the bytes [address, address + size) lie in more than one zone? pfn_range_intersects_zones()."""
    start, end = address // early.memblock.page_size, (address + size) // early.memblock.page_size
    zones = [z for node in state.nodes.pgdat.values() for z in node.zones if z.spanned_pages]
    return sum(z.zone_start_pfn < end and start < z.zone_start_pfn + z.spanned_pages for z in zones) > 1


def _free_cross_zone_pages(early: Early, state: Hugetlb, h: Hstate, nid: int | None) -> int:
    """hugetlb_free_cross_zone_pages(): give back what lies in two zones, of node `nid` or of every node."""
    if not early.kernel.release.hugetlb_frees_cross_zone:
        return 0
    crossing = [p for p in h.pages if nid in (None, p[1]) and crosses_zones(early, state, p[0], h.size)]
    for node in sorted({asked for _, asked in crossing}):
        freed = [p for p in crossing if p[1] == node]
        for address, _ in freed:
            early.memblock.phys_free(address, h.size)
        size = string_get_size(h.size)
        early.log.warn(f"HugeTLB: freed {len(freed)} cross-zone hugepages of size {size} on node {node}.")
    h.pages = [p for p in h.pages if p not in crossing]
    return len(crossing)


def hugetlb_hstate_alloc_pages(early: Early, state: Hugetlb, h: Hstate) -> None:
    """All gigantic pages that were asked for, or as many as there is room for: hugetlb_hstate_alloc_pages()."""
    if state.cma_size:
        if not state.warned_of_cma and (h.max_huge_pages or early.kernel.release.hugetlb_takes_nodes):
            early.log.warn("HugeTLB: hugetlb_cma is enabled, skip boot time allocation")
            state.warned_of_cma = True
        return
    wanted = {nid: n for nid, n in sorted(h.per_node.items()) if n and nid in state.nodes.online}
    if h.max_huge_pages and wanted:
        for nid, count in wanted.items():
            _alloc_on_node(early, state, h, nid, count)
        return
    done = 0
    while done < h.max_huge_pages and alloc_bootmem_huge_page(early, state, h):
        done += 1
    done -= _free_cross_zone_pages(early, state, h, None)
    if done < h.max_huge_pages:
        early.log.warn(
            f"HugeTLB: allocating {h.max_huge_pages} of page size {string_get_size(h.size)} failed."
            f"  Only allocated {done} hugepages."
        )
        h.max_huge_pages = done


def _alloc_on_node(early: Early, state: Hugetlb, h: Hstate, nid: int, count: int) -> None:
    """hugetlb_hstate_alloc_pages_onenode()."""
    done = 0
    while done < count and alloc_bootmem_huge_page(early, state, h, nid):
        done += 1
    done -= _free_cross_zone_pages(early, state, h, nid)
    if done < count:
        early.log.warn(
            f"HugeTLB: allocating {count} of page size {string_get_size(h.size)} failed node{nid}."
            f"  Only allocated {done} hugepages."
        )
        h.max_huge_pages -= count - done
        h.per_node[nid] = done


# Steps.


def hugetlb_setup(early: Early, state: Hugetlb) -> None:
    """Up to 6.14: the options, and gigantic pages with them, when start_kernel() has printed its command line."""
    if early.kernel.enabled("HUGETLB_PAGE") and not early.kernel.release.hugetlb_allocates_after_parsing:
        parse_options(early, state)


def hugetlb_bootmem_alloc(early: Early, state: Hugetlb) -> None:
    """hugetlb_bootmem_alloc(), from 6.15 on: read the options and allocate the gigantic pages of each size."""
    if not early.kernel.enabled("HUGETLB_PAGE") or not early.kernel.release.hugetlb_allocates_after_parsing:
        return
    parse_options(early, state)
    for h in state.hstates:
        h.next_nid_to_alloc = min(state.nodes.online, default=0)
        if is_gigantic(early, h.size):
            hugetlb_hstate_alloc_pages(early, state, h)


def hugetlb_init(early: Early, state: Hugetlb) -> None:
    """hugetlb_init(), a late initcall: the default size, and every size said with how many pages it has.

    Pages that are not gigantic are taken for had: the buddy allocator gives them.
    """
    if not early.kernel.enabled("HUGETLB_PAGE"):
        return
    log = early.log
    for size in state.supported.registered:
        hugetlb_add_hstate(early, state, size)
    hpage = hugetlb_add_hstate(early, state, state.supported.hpage_size)
    if not state.default_is_parsed:
        state.default = hpage
        if state.default_max_huge_pages:
            if hpage.max_huge_pages:
                page = string_get_size(hpage.size)
                log.warn(f"HugeTLB: Ignoring hugepages={hpage.max_huge_pages} associated with {page} page size")
                count = state.default_max_huge_pages
                log.warn(f"HugeTLB: Using hugepages={count} for number of default huge pages")
            hpage.max_huge_pages, hpage.per_node = state.default_max_huge_pages, dict(state.default_per_node)
    if state.cma_size and not state.cma_reserve_called:
        log.warn("hugetlb_cma: the option isn't supported by current arch")
    report_hugepages(early, state)


def report_hugepages(early: Early, state: Hugetlb) -> None:
    """report_hugepages(): each size with its pages, and from 6.0 on what of their struct pages could be freed."""
    log, facts = early.log, early.kernel.release
    for h in state.hstates:
        size = string_get_size(h.size)
        count = len(h.pages) if is_gigantic(early, h.size) else h.max_huge_pages
        colon = ":" if facts.hugetlb_says_vmemmap else ""
        log.info(f"HugeTLB{colon} registered {size} page size, pre-allocated {count} pages")
        if facts.hugetlb_says_vmemmap:
            log.info(f"HugeTLB: {optimizable_vmemmap(early, h.size) >> 10} KiB vmemmap can be freed for a {size} page")


def optimizable_vmemmap(early: Early, size: int) -> int:
    """Bytes of struct pages that a huge page does not need: hugetlb_vmemmap_optimizable_size().

    All but a page of them, where the build has it and a struct page's size is a power of two.
    """
    page, each = early.memblock.page_size, early.kernel.profile.sizes.get("struct_page", 64)
    if not early.kernel.enabled("HUGETLB_PAGE_OPTIMIZE_VMEMMAP") or each & (each - 1):
        return 0
    return max(size // page * each - page, 0)
