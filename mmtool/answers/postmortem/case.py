"""A request for pages against the zones of a report: the kernel's own check on the dumped numbers.

A zone passes only when zone_watermark_ok() of that release passes. What a report does not tell is never filled in:
where a missing number or an unknown release could turn the result, the result is unknown. An OOM report is judged as
the kernel's own last try before it kills: by the high mark.
"""

from __future__ import annotations

from dataclasses import replace

from mmtool.answers.postmortem.advice import BLOCKS_LACK, PAGES_LACK, about_memory, swap_is_full
from mmtool.answers.postmortem.sums import MOST_ZONES, Hidden, hidden
from mmtool.answers.postmortem.verdict import Advice, Cause, Judgement, Remedy, Verdict, ZoneVerdict
from mmtool.answers.postmortem.zones import DumpedZone, Exclusion, contradictions, node_list, zone_sizes, zone_types
from mmtool.build.gfp import GfpFlags
from mmtool.build.release import Release
from mmtool.linux.mm.gfp import gfp_migratetype, gfp_zone
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.zone_watermark import (
    ALLOC_CMA,
    ALLOC_CPUSET,
    ALLOC_NO_WATERMARKS,
    ALLOC_WMARK_HIGH,
    Refusal,
    WatermarkCheck,
    gfp_to_alloc_flags,
    zone_watermark_fast,
)
from mmtool.observed.reports import MemInfo, Report, ReportKind, VmallocStep, ZoneDump

PAGE_ALLOC_COSTLY_ORDER = 3
"""Above this the kernel does not go on trying."""
SETTINGS = {Cause.LOWMEM_RESERVE: Remedy.LOWMEM_RESERVE_RATIO, Cause.BOOST: Remedy.BOOST_FACTOR}
"""What an administrator sets against a cause."""


class Case:
    """A request for pages against the zones of a report, on one release."""

    def __init__(self, report: Report, mem_info: MemInfo, order: int, facts: Release, flags: GfpFlags) -> None:
        self.report, self.mem_info, self.order, self.facts, self.flags = report, mem_info, order, facts, flags
        self.mask = report.mask or 0
        self.types, self.sizes = zone_types(mem_info), zone_sizes(mem_info)
        self.highest_zone = gfp_zone(self.mask, flags, self.types)
        self.last_try = report.kind is ReportKind.OOM and report.mask != 0
        self.rights = gfp_to_alloc_flags(self.mask, flags, order, facts)
        if self.last_try:
            # __alloc_pages_may_oom() looks once more, with nothing but these rights
            self.rights = ALLOC_WMARK_HIGH | ALLOC_CPUSET
        self.mark = "high" if self.last_try else "min"

    def judge(self) -> Judgement:
        left_out = hidden(self.report, self.mem_info, self.highest_zone)
        if len(self.mem_info.zones) > MOST_ZONES:
            zones = tuple(ZoneVerdict(dump) for dump in self.mem_info.zones[:MOST_ZONES])
            return Judgement(
                self.report, Verdict.UNKNOWN, Cause.ZONES_LOST, self.facts, self.flags, self.order, zones=zones,
                hidden=left_out, last_try=self.last_try,
            )  # fmt: skip
        zones = tuple(self.zone(dump) for dump in self.mem_info.zones)
        asked = self._of_its_node([zone for zone in zones if zone.exclusion is None])
        passing = [zone for zone in asked if zone.passes]
        unsure = [zone for zone in asked if zone.passes is None]
        needed = self._needed_pages()
        if left_out.lost:
            verdict, cause, deciding = Verdict.UNKNOWN, Cause.ZONES_LOST, None
        elif not asked:
            verdict, cause, deciding = Verdict.FAILS, Cause.NO_ZONE, None
        elif passing and self._its_node_may_be_lost():
            verdict, cause, deciding = Verdict.UNKNOWN, Cause.NUMBERS_MISSING, passing[0]
        elif passing and needed is not None and self._together(passing) < needed:
            verdict, cause, deciding = Verdict.FAILS, Cause.TOO_FEW_TOGETHER, passing[0]
        elif passing:
            verdict, cause = Verdict.PASSES, Cause.PASSES
            deciding = max(passing, key=lambda zone: self.types.index(zone.dump.name))
        elif unsure:
            verdict, cause, deciding = Verdict.UNKNOWN, Cause.NUMBERS_MISSING, unsure[0]
        else:
            largest = max(asked, key=lambda zone: (zone.check is not None, self._size(zone.dump)))
            verdict, cause = Verdict.FAILS, self._cause(asked, largest)
            alike = [zone for zone in asked if self._cause_of(zone) is cause]
            deciding = max(alike, key=lambda zone: self._size(zone.dump), default=largest)
        return Judgement(
            self.report, verdict, cause, self.facts, self.flags, self.order, self.highest_zone, zones, deciding,
            needed, self._advice(cause, asked, zones, left_out) if verdict is not Verdict.UNKNOWN else (),
            bool(self.rights & ALLOC_NO_WATERMARKS), hidden=left_out, last_try=self.last_try,
        )  # fmt: skip

    def zone(self, dump: ZoneDump, *, order: int | None = None, rights: int | None = None) -> ZoneVerdict:
        """One zone, asked with another order or other rights if they are given."""
        order = self.order if order is None else order
        rights = self.rights if rights is None else rights
        if exclusion := self._exclusion(dump, rights):
            return ZoneVerdict(dump, exclusion)
        if rights & ALLOC_NO_WATERMARKS:
            return self._without_watermarks(dump, order)
        if self.mark not in dump.kb or ("free" not in dump.kb and dump.sum_kb is None):
            return ZoneVerdict(dump)
        low, high = (self._check(dump, order, rights, bound) for bound in (0, 1))
        certain = all(self._certain(dump, order, check) for check in (low, high))
        passes = high.ok if high.ok == low.ok and certain else None
        if passes and order and high.block_order is None:
            passes = False
        # what is shown blames nothing that the report leaves open: a refusal stands with the fewest pages denied
        return ZoneVerdict(dump, None, high if passes else low, passes)

    def _check(self, dump: ZoneDump, order: int, rights: int, bound: int) -> WatermarkCheck:
        """The kernel's check; `bound` 0 or 1 denies the fewest or the most HighAtomic pages that the report allows."""
        zone = DumpedZone(dump, self.mem_info.page_kb, machine_pages=self.mem_info.pages.get("ram", 0))
        free, reserved = zone.free_highatomic_bounds()[bound], zone.reserved_highatomic_bounds()[bound]
        zone = replace(zone, nr_free_highatomic=free, nr_reserved_highatomic=reserved)
        return zone_watermark_fast(
            zone, order, zone.pages(self.mark), self._reserve_index(), rights, self.facts,
            boost=zone.pages("boost"), mask=self.mask, flags=self.flags,
        )  # fmt: skip

    def _certain(self, dump: ZoneDump, order: int, check: WatermarkCheck) -> bool:
        """Does nothing that the report lost decide? A zone below its mark fails whatever its blocks are."""
        if check.refusal is Refusal.BELOW_MARK:
            return True
        if check.ok and self._reserve_is_lost(dump):
            return False
        if order and (dump.blocks is None or (dump.blocks_kb is None and not check.ok)):
            return False
        whole = "free" in dump.kb and self.mem_info.page_kb_known
        return not check.ok or (whole and not self._cma_is_lost(dump))

    def _cma_is_lost(self, dump: ZoneDump) -> bool:
        """Were free CMA pages printed, and is the zone's number gone? Not if the whole machine has none."""
        if "free_cma" in dump.kb or self.rights & ALLOC_CMA or not self.facts.cma_counts_in_watermark:
            return False
        if "free_cma" in self.mem_info.totals:
            return self.mem_info.totals["free_cma"] > 0
        has_cma_blocks = any("C" in (block.letters or "") for block in dump.blocks or ())
        return has_cma_blocks or any("free_cma" in zone.kb for zone in self.mem_info.zones)

    def _reserve_is_lost(self, dump: ZoneDump) -> bool:
        """Is the entry of lowmem_reserve[] lost that counts? That of the zone's own index is 0 in any case."""
        own, asked = self.types.index(dump.name), self._reserve_index()
        if contradictions(dump, self.types, self.mem_info, self.sizes[dump.nid]):
            # it is then another zone's, whose line is lost or elsewhere
            return True
        return own < asked and (dump.lowmem_reserve is None or asked >= len(dump.lowmem_reserve))

    def _without_watermarks(self, dump: ZoneDump, order: int) -> ZoneVerdict:
        """Is there any block that may be taken? Blocks of order 0 may also wait in lists of CPUs."""
        zone = DumpedZone(dump, self.mem_info.page_kb, 0)
        if dump.blocks is None or dump.blocks_kb is None:
            return ZoneVerdict(dump)
        types = [MigrateType.UNMOVABLE, MigrateType.MOVABLE, MigrateType.RECLAIMABLE]
        if gfp_migratetype(self.mask, self.flags) is MigrateType.MOVABLE:
            types.append(MigrateType.CMA)
        found = any(zone.has_free(o, t) for o in range(order, len(dump.blocks)) for t in types)
        return ZoneVerdict(dump, None, None, found)

    def _exclusion(self, dump: ZoneDump, rights: int) -> Exclusion | None:
        if self.types.index(dump.name) > self.types.index(self.highest_zone):
            return Exclusion.ABOVE
        nodes = node_list(self.report.nodemask)
        cpuset = node_list(self.report.mems_allowed) if rights & ALLOC_CPUSET else None
        if (nodes and dump.nid not in nodes) or (cpuset and dump.nid not in cpuset):
            return Exclusion.NODE
        return Exclusion.EMPTY if dump.kb.get("managed", dump.kb.get("present", 1)) == 0 else None

    def _reserve_index(self) -> int:
        """The index into lowmem_reserve[]: the highest zone that the mask allows.

        Before 5.8 it is that of the zone where the request would begin (classzone_idx). The numbers are the same, but
        for nodes without the zones that others have.
        """
        return self.types.index(self.highest_zone)

    def _of_its_node(self, asked: list[ZoneVerdict]) -> list[ZoneVerdict]:
        """The zones of the node that a request is confined to (__GFP_THISNODE).

        A report does not name it. Where some nodes would have given a page and others not, it was one of the others.
        """
        if not self.flags.has(self.mask, "__GFP_THISNODE"):
            return asked
        willing = {zone.dump.nid for zone in asked if zone.passes}
        return [zone for zone in asked if zone.dump.nid not in willing] or asked

    def _its_node_may_be_lost(self) -> bool:
        """Is a request confined to one node, and are there nodes of which the report shows no zone?"""
        nodes = set(self.mem_info.nodes) | (node_list(self.report.mems_allowed) or set())
        shown = {zone.nid for zone in self.mem_info.zones}
        return self.flags.has(self.mask, "__GFP_THISNODE") and not nodes <= shown

    def _size(self, dump: ZoneDump) -> int:
        """How large a zone is in kB, as far as the report tells; a number beyond the machine's memory tells nothing."""
        size = dump.kb.get("managed", dump.kb.get("present", dump.kb.get("free", 0)))
        ram = self.mem_info.pages.get("ram")
        return size if ram is None or size <= ram * self.mem_info.page_kb else 0

    def _needed_pages(self) -> int | None:
        failure = self.report.vmalloc
        if failure is None or failure.step is not VmallocStep.NO_PAGES:
            return None
        missing = failure.size - (failure.allocated or 0)
        return -(-missing // (self.mem_info.page_kb << 10)) or None

    def _together(self, passing: list[ZoneVerdict]) -> int:
        """Pages that the zones could give before they are down at their marks, in blocks of the order."""
        total = 0
        for zone in passing:
            if zone.check is not None:
                above = zone.check.usable - zone.check.min - zone.check.lowmem_reserve
                blocks = sum(b.count << o for o, b in enumerate(zone.dump.blocks or ()) if o >= self.order)
                total += min(above, blocks) if self.order else above
        return total

    def _cause(self, asked: list[ZoneVerdict], largest: ZoneVerdict) -> Cause:
        """What to name: a lack of blocks if any zone has pages enough, else what holds for the largest zone."""
        causes = [self._cause_of(zone) for zone in asked]
        return next((cause for cause in (Cause.ORDER_TOO_LARGE, *BLOCKS_LACK) if cause in causes), None) or (
            self._cause_of(largest)
        )

    def _cause_of(self, zone: ZoneVerdict) -> Cause:
        """The term without which the zone would have pages enough; none where more than one is needed."""
        check, dump = zone.check, zone.dump
        if check is None:
            return Cause.OUT_OF_PAGES
        if check.refusal is not Refusal.BELOW_MARK:
            return self._lack_of_blocks(dump, check)
        for cause, pages in (
            (Cause.CMA, check.cma), (Cause.HIGHATOMIC, check.highatomic), (Cause.LOWMEM_RESERVE, check.lowmem_reserve),
        ):  # fmt: skip
            if pages >= check.short:
                return cause
        return Cause.BOOST if self._passes_unboosted(dump, check) else Cause.OUT_OF_PAGES

    def _passes_unboosted(self, dump: ZoneDump, check: WatermarkCheck) -> bool:
        """Would the zone have pages enough without the boost of its watermarks?"""
        boost = dump.kb.get("boost", 0) // self.mem_info.page_kb
        mark_left = check.min * (check.mark - boost) // check.mark if check.mark else 0
        return boost > 0 and check.usable > mark_left + check.lowmem_reserve

    def _lack_of_blocks(self, dump: ZoneDump, check: WatermarkCheck) -> Cause:
        blocks = dump.blocks or ()
        if self.order >= len(blocks):
            return Cause.ORDER_TOO_LARGE
        if check.refusal is Refusal.TOO_FEW_LARGE and any(b.count for b in blocks[self.order :]):
            return Cause.TOO_FEW_LARGE_BLOCKS
        letters = "".join(b.letters or "" for b in blocks[self.order :] if b.count)
        if letters and set(letters) <= {"C", "I"}:
            return Cause.ONLY_CMA_BLOCKS
        return Cause.ONLY_HIGHATOMIC_BLOCKS if letters and set(letters) <= {"C", "H", "I"} else Cause.FRAGMENTED

    def _passes(self, asked: list[ZoneVerdict], **change: int) -> bool:
        return any(self.zone(zone.dump, **change).passes for zone in asked)

    def _spare(self, zone: ZoneVerdict) -> int:
        return 0 if zone.check is None else zone.check.usable - zone.check.min - zone.check.lowmem_reserve

    def _would_pass_elsewhere(self, dump: ZoneDump) -> bool:
        zone = self._check(dump, self.order, self.rights, 1) if self.mark in dump.kb else None
        return zone is not None and zone.ok and self._certain(dump, self.order, zone)

    def _advice(
        self, cause: Cause, asked: list[ZoneVerdict], zones: tuple[ZoneVerdict, ...], left_out: Hidden
    ) -> tuple[Advice, ...]:
        """What would have helped, what the caller can do first."""
        if cause is Cause.PASSES:
            return (Advice(Remedy.RETRY),)
        advice = [Advice(Remedy.HIGHER_ZONE)] if cause is Cause.NO_ZONE else self._about_order(cause, asked)
        if not self.rights & ALLOC_CMA and self._passes(asked, rights=self.rights | ALLOC_CMA):
            advice.append(Advice(Remedy.MOVABLE))
        if cause in SETTINGS:
            advice.append(Advice(SETTINGS[cause]))
        others = [z for z in zones if z.exclusion is Exclusion.NODE and self._would_pass_elsewhere(z.dump)]
        advice += [Advice(Remedy.OTHER_NODE, z.dump.nid) for z in others[:1]]
        if cause in PAGES_LACK:
            advice += about_memory(self.mem_info, left_out)
        advice += self._about_pages(cause, asked)
        return tuple(advice)

    def _about_order(self, cause: Cause, asked: list[ZoneVerdict]) -> list[Advice]:
        """What would have helped a block of several pages."""
        if not self.order:
            return []
        advice = []
        lower = next((o for o in range(self.order - 1, -1, -1) if self._passes(asked, order=o)), None)
        if lower is not None:
            advice.append(Advice(Remedy.LOWER_ORDER, lower))
        spare = max((self._spare(zone) for zone in asked), default=0)
        if cause in BLOCKS_LACK and spare >= 1 << self.order and self.facts.memory_is_compacted:
            advice.append(Advice(Remedy.COMPACTION, spare))
        if self.order > PAGE_ALLOC_COSTLY_ORDER and self.report.vmalloc is None:
            advice.append(Advice(Remedy.KVMALLOC))
        return advice

    def _about_pages(self, cause: Cause, asked: list[ZoneVerdict]) -> list[Advice]:
        """What would have left more pages free."""
        if cause not in PAGES_LACK:
            return []
        advice = []
        short = min((zone.check.short for zone in asked if zone.check), default=0)
        cache = sum(z.dump.kb.get("active_file", 0) + z.dump.kb.get("inactive_file", 0) for z in asked)
        cache //= self.mem_info.page_kb
        if not self.flags.can_direct_reclaim(self.mask):
            if cache > short:
                advice.append(Advice(Remedy.RECLAIM, cache))
            advice.append(Advice(Remedy.MIN_FREE_KBYTES, short))
        else:
            advice += self._about_swap(asked)
            advice.append(Advice(Remedy.MORE_MEMORY, short))
        return advice

    def _about_swap(self, asked: list[ZoneVerdict]) -> list[Advice]:
        """Swap helps where anonymous pages lie in the zones asked; low memory for the kernel has few of them."""
        info, kb = self.mem_info, self.mem_info.page_kb
        anon = sum(zone.dump.kb.get(f"{age}_anon", 0) for zone in asked for age in ("active", "inactive")) // kb
        if not any("active_anon" in zone.dump.kb for zone in asked):
            anon = sum(info.totals.get(f"{age}_anon", 0) for age in ("active", "inactive"))
        used = sum(self._size(zone.dump) for zone in asked) // kb
        highmem = any(zone.name == "HighMem" for zone in info.zones) or bool(info.pages.get("highmem"))
        if highmem and self.highest_zone not in ("HighMem", "Movable"):
            free = sum(zone.kb.get("free", 0) for zone in info.zones if zone.name == "HighMem") // kb
            return [Advice(Remedy.SWAP_USELESS, free)]
        if 4 * anon <= used:
            return []
        if swap_is_full(info):
            return [Advice(Remedy.SWAP_FULL, info.swap["total"] // kb)]
        return [] if info.swap.get("free", 1) else [Advice(Remedy.SWAP, anon)]
