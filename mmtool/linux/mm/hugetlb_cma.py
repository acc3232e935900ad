"""mm/hugetlb_cma.c (before 6.15 mm/hugetlb.c): hugetlb_cma=, from which gigantic pages come at run time. Bytes."""

from __future__ import annotations

from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.mm.cma import (
    Cma,
    CmaArea,
    CmaError,
    CmaRequest,
    cma_declare_contiguous_multi,
    cma_declare_contiguous_nid,
)
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.hugetlb import Hugetlb, crosses_zones, nodes_with_memory
from mmtool.regex import regex
from mmtool.units import div_round_up, memparse, round_down, round_up

_NODE = regex(r"\s*(\d+):")
_NUMBER = regex(r"\s*\d")


@dataclass
class HugetlbCma:
    """What hugetlb_cma= asks for: bytes in all, or bytes of certain nodes; from 7.2 on also in percent of memory."""

    size: int = 0
    per_node: dict[int, int] = field(default_factory=dict)
    percent: int = 0
    percent_per_node: dict[int, int] = field(default_factory=dict)


def parse_hugetlb_cma(early: Early) -> HugetlbCma:
    """Read hugetlb_cma=SIZE or NODE:SIZE[,...] (5.16 on), SIZE with % from 7.2 on: cmdline_parse_hugetlb_cma()."""
    asked, facts = HugetlbCma(), early.kernel.release
    for value in early.cmdline.all("hugetlb_cma"):
        if not value:
            continue
        if not facts.hugetlb_takes_nodes:
            asked.size = memparse(value)[0]
        elif _NUMBER.match(value) and not _NODE.match(value):
            _read_total(early, asked, value)
        else:
            _read_nodes(early, asked, value)
    if facts.hugetlb_cma_strict and (asked.per_node or asked.percent_per_node):
        asked.size = 0
    return asked


def _read_total(early: Early, asked: HugetlbCma, value: str) -> None:
    size, at = memparse(value)
    if not early.kernel.release.hugetlb_cma_strict:
        asked.size = size
        return
    percent = value[at : at + 1] == "%"
    if percent and size > 100:
        early.log.warn(f"hugetlb_cma: invalid percentage {size}")
        return
    asked.size, asked.percent = (0, size) if percent else (size, 0)
    asked.per_node.clear()
    asked.percent_per_node.clear()


def _read_nodes(early: Early, asked: HugetlbCma, value: str) -> None:
    strict, at = early.kernel.release.hugetlb_cma_strict, 0
    while m := _NODE.match(value, at):
        nid = int(m[1])
        if nid >= early.memblock.max_numnodes:
            return
        size, at = memparse(value, m.end())
        if strict and value[at : at + 1] == "%":
            if size > 100:
                early.log.warn(f"hugetlb_cma: invalid percentage {size} for node {nid}")
                return
            asked.percent_per_node[nid], at = size, at + 1
            asked.per_node.pop(nid, None)
        else:
            asked.per_node[nid] = size
            asked.percent_per_node.pop(nid, None)
            asked.size += 0 if strict else size
        if value[at : at + 1] != ",":
            return
        at += 1


def hugetlb_cma_reserve(early: Early, state: Hugetlb, cma: Cma) -> None:
    """Reserve an area on each node, or on those named: hugetlb_cma_reserve().

    Called from setup_arch() for processors with gigantic pages up to 6.19, from mm_core_init_early() later. Areas
    are multiples of a gigantic page. What is reserved stands in `state.cma_size`, and keeps gigantic pages from
    being allocated at early.
    """
    facts = early.kernel.release
    if not early.kernel.enabled("CMA") or not early.kernel.enabled("HUGETLB_PAGE"):
        return
    gigantic = state.supported.gigantic
    supported = gigantic > state.supported.hpage_size
    asked = parse_hugetlb_cma(early)
    if facts.hugetlb_cma_strict:
        if not _sizes_from_percent(early, state, asked):
            return
        if not supported:
            early.log.warn("hugetlb_cma: the option isn't supported by current arch")
            return
    state.cma_size = asked.size
    state.cma_reserve_called = supported
    if not supported or not asked.size or not _check(early, state, asked, gigantic):
        return
    state.cma_size = asked.size
    reserved = _reserve(early, state, cma, asked, gigantic)
    if not reserved and facts.hugetlb_takes_nodes:
        state.cma_size = 0


def _sizes_from_percent(early: Early, state: Hugetlb, asked: HugetlbCma) -> bool:
    """Percent of memory as bytes, rounded down to gigantic pages; False when nothing is asked for."""
    mb, gigantic = early.memblock, state.supported.gigantic
    for nid, percent in asked.percent_per_node.items():
        memory = sum(r.size for r in mb.memory.regions if not mb.numa or r.nid == nid)
        asked.per_node[nid] = memory * percent // 100
    if asked.percent:
        asked.size = mb.phys_mem_size() * asked.percent // 100
    if asked.per_node:
        asked.size = sum(asked.per_node.values())
    if not asked.size:
        return False
    if asked.percent:
        before, asked.size = asked.size, round_down(asked.size, gigantic)
        if not asked.size:
            mib = before >> 20
            early.log.warn(f"hugetlb_cma: reservation size rounded down to 0 from {mib} MiB ({asked.percent}%)")
    for nid, percent in asked.percent_per_node.items():
        before, asked.per_node[nid] = asked.per_node[nid], round_down(asked.per_node[nid], gigantic)
        if before and not asked.per_node[nid]:
            early.log.warn(
                f"hugetlb_cma: reservation size rounded down to 0 from {before >> 20} MiB ({percent}%) on node {nid}"
            )
    if asked.per_node:
        asked.size = sum(asked.per_node.values())
    return True


def _check(early: Early, state: Hugetlb, asked: HugetlbCma, gigantic: int) -> bool:
    """Drop nodes that are not there and sizes that do not fit, and say so; False when nothing is left."""
    log, strict = early.log, early.kernel.release.hugetlb_cma_strict
    nodes = nodes_with_memory(early) if strict else state.nodes.online
    for nid, size in sorted(asked.per_node.items()):
        if not size:
            continue
        if nid not in nodes:
            log.warn(f"hugetlb_cma: invalid node {nid} specified")
        elif strict and size % gigantic:
            log.warn(f"hugetlb_cma: cma area of node {nid} must be a multiple of {gigantic >> 20} MiB")
        elif not strict and size < gigantic:
            log.warn(f"hugetlb_cma: cma area of node {nid} should be at least {gigantic >> 20} MiB")
        else:
            continue
        asked.size -= size
        asked.per_node[nid] = 0
    if not asked.size:
        state.cma_size = 0
        return False
    if strict and asked.size % gigantic:
        log.warn(f"hugetlb_cma: cma area must be a multiple of {gigantic >> 20} MiB")
    elif not strict and asked.size < gigantic:
        log.warn(f"hugetlb_cma: cma area should be at least {gigantic >> 20} MiB")
    else:
        return True
    if early.kernel.release.hugetlb_takes_nodes:
        state.cma_size = 0
    return False


def _reserve(early: Early, state: Hugetlb, cma: Cma, asked: HugetlbCma, gigantic: int) -> int:
    """The areas, node by node, until all is reserved; the bytes reserved."""
    log, facts = early.log, early.kernel.release
    nodes = sorted(nodes_with_memory(early) if facts.hugetlb_cma_strict else state.nodes.online)
    named = any(asked.per_node.values())
    per_node = div_round_up(asked.size, len(nodes))
    if facts.hugetlb_takes_nodes:
        per_node = round_up(per_node, gigantic)
    if not named:
        percent = f" ({asked.percent}%)" if asked.percent else ""
        log.info(f"hugetlb_cma: reserve {asked.size >> 20} MiB{percent}, up to {per_node >> 20} MiB per node")
    reserved = 0
    for nid in nodes:
        size = asked.per_node.get(nid, 0) if named else min(per_node, asked.size - reserved)
        size = round_up(size, gigantic)
        if not size or not _area(early, state, cma, size, gigantic, nid):
            continue
        reserved += size
        percent = f" ({asked.percent_per_node[nid]}%)" if asked.percent_per_node.get(nid) else ""
        log.info(f"hugetlb_cma: reserved {size >> 20} MiB{percent} on node {nid}")
        if reserved >= asked.size:
            break
    return reserved


def _area(early: Early, state: Hugetlb, cma: Cma, size: int, gigantic: int, nid: int) -> bool:
    """One node's area; False, after saying so, when there is no room."""
    facts, hpage = early.kernel.release, state.supported.hpage_size
    order = (hpage // early.memblock.page_size).bit_length() - 1
    name = f"hugetlb{nid}"
    problem, error = "reservation failed", 0
    try:
        if facts.cma_has_ranges:
            area = cma_declare_contiguous_multi(
                early, cma, CmaRequest(name, size, alignment=gigantic, order_per_bit=order, nid=nid)
            )
            if not facts.hugetlb_cma_strict or not _spans_zones(early, state, area):
                return True
            problem = "reserved area spans zones"
        else:
            # Since 5.16 a gigantic page may be split into huge ones, which are what is kept track of.
            demotes = facts.hugetlb_takes_nodes
            alignment, per_bit = (hpage, order) if demotes else (gigantic, 0)
            cma_declare_contiguous_nid(
                early, cma, CmaRequest(name, size, alignment=alignment, order_per_bit=per_bit, nid=nid)
            )
            return True
    except CmaError as e:
        error = -e.error
    early.log.warn(f"hugetlb_cma: {problem}: err {error}, node {nid}")
    return False


def _spans_zones(early: Early, state: Hugetlb, area: CmaArea) -> bool:
    return any(crosses_zones(early, state, base, size) for base, size in area.ranges)
