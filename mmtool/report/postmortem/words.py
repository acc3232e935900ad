"""What is said of a report, in sentences: what was asked for, why it failed, what would have let it pass."""

from __future__ import annotations

from collections.abc import Callable

from mmtool.answers.postmortem.account import FREE, PER_CPU, RESERVED
from mmtool.answers.postmortem.verdict import Advice, Cause, Judgement, Remedy, Verdict, ZoneVerdict
from mmtool.linux.mm.gfp import gfp_migratetype
from mmtool.linux.mm.page_alloc.zone_watermark import WatermarkCheck
from mmtool.observed.reports import Report, ReportKind
from mmtool.report.postmortem.notices import notice_reason, notice_request
from mmtool.units import human


def request(j: Judgement) -> str:
    """What was asked for, in a sentence."""
    r = j.report
    who = r.comm or "somebody"
    if r.notice is not None and r.is_notice:
        return notice_request(j, r.notice, _mask(j, ", "))
    if r.headless:
        return _without_head(r)
    if r.kind is ReportKind.VMEMMAP:
        return (
            f"{who} asked for {size(j, 1 << (r.order or 0))} in a row (order {r.order}) for the struct pages of memory "
            f"to be added{_mask(j, ', ')}"
        )
    if r.cma is not None:
        return f"{r.cma.req_size} pages ({size(j, r.cma.req_size)}) of {_area(r)} were asked for"
    if r.vmalloc is not None:
        return f"{who} asked vmalloc for {r.vmalloc.size} bytes ({human(r.vmalloc.size)}){_mask(j, ', ')}"
    if r.order is None or r.order < 0:
        return f"the OOM killer ran in {who}{_mask(j, ', ')}"
    many = "one page" if r.order == 0 else f"{1 << r.order} pages in a row"
    return f"{who} asked for {many} (order {r.order}, {size(j, 1 << r.order)}){_mask(j, ', ')}"


def _without_head(r: Report) -> str:
    """What is left of a report whose first lines are not in the log."""
    if r.kind is ReportKind.SHOW_MEM:
        return "somebody asked for a Mem-Info (SysRq+m)" if r.sysrq else "a Mem-Info without the lines before it"
    return "an OOM kill without the lines before it" if r.kills else "the rest of an OOM report"


def origin(j: Judgement) -> str:
    """Whose report it is, and what its mask allows."""
    named = f"Linux {j.report.release}" if j.report.release else "a kernel that the log does not name"
    rules = rules_of(j)
    told = rules is not None and not f"{j.report.release or ''}.".startswith(f"{rules}.")
    words = [f"{named}, judged by the rules of {rules}" if told and j.zones else named]
    if j.flags is not None and j.report.mask is not None and j.highest_zone is not None:
        mask = j.report.mask
        kind = gfp_migratetype(mask, j.flags).label.lower()
        words.append(f"{kind} pages of zones up to {j.highest_zone}")
        words.append("may sleep and reclaim" if j.flags.can_direct_reclaim(mask) else "may not sleep")
        if j.no_watermarks:
            words.append("may use all reserves (__GFP_MEMALLOC)")
    for allowed, mask_name in ((j.report.nodemask, "nodemask"), (j.report.mems_allowed, "mems_allowed")):
        if allowed is not None:
            words.append(f"{mask_name} {allowed}")
    return "; ".join(words)


def reason(j: Judgement) -> str:
    """Why, in a sentence."""
    if j.report.notice is not None and j.report.is_notice:
        return notice_reason(j, j.report.notice)
    return _REASONS[j.cause](j) + _aside(j)


def _lost(j: Judgement) -> str:
    """Which part of the memory the zones of the report lack."""
    left_out = j.hidden
    said = []
    if left_out is not None and left_out.present is not None and left_out.present > 0:
        said.append(f"zones with {size(j, left_out.present)} of the machine's memory are lost")
    elif left_out is not None and left_out.present is not None:
        said.append("its zones have more memory than the machine")
    if left_out is not None and left_out.free is not None and left_out.free > 0:
        said.append(f"{size(j, left_out.free)} that are free lie in none of the zones that are left")
    return " and ".join(said) or "lines of nodes that it names are lost"


def _in_general(j: Judgement) -> str:
    """What such a report means whatever the zones."""
    if j.report.kind is ReportKind.VMEMMAP:
        return "adding the memory failed here, unless single pages were taken instead; "
    return ""


def _mark_name(j: Judgement) -> str:
    return "high" if j.last_try else "min"


def _cgroup_reason(j: Judgement) -> str:
    dump = j.report.cgroup
    path = j.oom.cgroup if j.oom is not None else dump.path if dump else None
    whose = f"memory cgroup {path}" if path else "a memory cgroup"
    reached = dump.reached if dump else None
    at = ""
    if dump is not None and reached is not None:
        at = f" of {human(dump.counters[reached].limit << 10)} ({_LIMITS[reached]})"
    task = j.oom.task_cgroup if j.oom is not None else None
    below = f"; the task is in {task}" if task and path and task != path else ""
    return f"{whose} reached its limit{at}; the machine's zones had no part in it{below}"


_LIMITS = {
    "memory": "memory",
    "memory+swap": "memory and swap together",
    "kmem": "kernel memory",
}


def _passes(j: Judgement) -> str:
    if j.last_try:
        return (
            f"{_where(j)} is above even its high mark, for which the OOM killer looks once more before it kills: an "
            "anomaly, of the kernel or of a task that freed memory meanwhile"
        )
    return (
        f"{_where(j)} passes the kernel's check with the dumped numbers: memory came back before the dump (a race), "
        "or the cause is another"
    )


def _no_zone(j: Judgement) -> str:
    nodes = j.report.nodemask or j.report.mems_allowed
    within = f" of nodes {nodes}" if nodes else ""
    return f"no zone with pages may be used: the request is for zones up to {j.highest_zone}{within}"


def _no_block(j: Judgement, instead: str) -> str:
    return f"{_free(j)} are free in {_where(j)}, but no block of {size(j, 1 << (j.order or 0))} or more{instead}"


def _out_of_pages(j: Judgement) -> str:
    if not _check(j):
        return "no page is free"
    mark = " (the high mark, which the OOM killer's last try asks for)" if j.last_try else ""
    return f"too few pages are free: {_where(j)} {_short(j)}{mark}"


_REASONS: dict[Cause, Callable[[Judgement], str]] = {
    Cause.PASSES: _passes,
    Cause.NO_ZONE: _no_zone,
    Cause.ORDER_TOO_LARGE: lambda j: f"this kernel has no blocks of order {j.order}",
    Cause.FRAGMENTED: lambda j: _no_block(j, ": free memory is fragmented"),
    Cause.TOO_FEW_LARGE_BLOCKS: lambda j: (
        f"{_free(j)} are free in {_where(j)}, but too little of it in large blocks: before 4.4 a part of the watermark "
        "must be left at each order"
    ),
    Cause.ONLY_CMA_BLOCKS: lambda j: _no_block(j, " outside CMA's pageblocks, which are for movable pages"),
    Cause.ONLY_HIGHATOMIC_BLOCKS: lambda j: _no_block(j, " outside the reserve for atomic requests"),
    Cause.OUT_OF_PAGES: _out_of_pages,
    Cause.CMA: lambda j: (
        f"{_free(j)} are free in {_where(j)}, but {size(j, c.cma) if (c := _check(j)) else ''} of it are CMA's, for "
        "movable pages only"
    ),
    Cause.HIGHATOMIC: lambda j: (
        f"{_where(j)} {_short(j)}, as {size(j, c.highatomic) if (c := _check(j)) else ''} count as kept for atomic "
        "requests of higher orders"
    ),
    Cause.LOWMEM_RESERVE: lambda j: (
        f"what is free in {_where(j)} is kept for requests that can use no higher zone (lowmem_reserve), and the zones "
        "above are out"
    ),
    Cause.BOOST: lambda j: f"{_where(j)} {_short(j)}, as its watermarks are boosted for a while after fragmentation",
    Cause.TOO_FEW_TOGETHER: lambda j: f"single blocks are there, but not all {j.needed_pages} pages of the area",
    Cause.TOO_LARGE: lambda j: f"the area is larger than all memory{_of_memory(j)}",
    Cause.ZERO_SIZE: lambda j: "a size of 0 was asked for: a bug of the caller",
    Cause.NO_ADDRESSES: lambda j: (
        f"no range of virtual addresses was left for it{_within(j)}; memory is not what lacks"
    ),
    Cause.NO_MAPPING: lambda j: "pages and addresses were there, but not the page tables to map them",
    Cause.CMA_NO_RANGE: lambda j: f"{_area(j.report)} has no free run of that length{_runs(j.report)}",
    Cause.CMA_BUSY: lambda j: f"runs of {_area(j.report)} were free to use, but pages in them could not be moved away",
    Cause.CMA_OTHER: lambda j: f"cma_alloc ended with error {j.report.cma.ret if j.report.cma else 0}",
    Cause.CGROUP: lambda j: _cgroup_reason(j),
    Cause.SYSRQ: lambda j: (
        "no allocation failed: somebody asked "
        + ("for this with SysRq+m" if j.report.kind is ReportKind.SHOW_MEM else "for a kill with SysRq+f")
    ),
    Cause.RELEASE_UNKNOWN: lambda j: "the zones pass on some releases and not on others; the log does not say which",
    Cause.NUMBERS_MISSING: lambda j: "a number that the report does not have would decide",
    Cause.NOT_DUMPED: lambda j: f"{_in_general(j)}the report shows no zones",
    Cause.ZONES_LOST: lambda j: f"the report does not add up: {_lost(j)}",
    Cause.HEAD_LOST: lambda j: (
        "the lines that say what was asked for are not in the log" + ("" if j.zones else ", nor any zone")
    ),
    Cause.BELOW_MARKS: lambda j: (
        f"what was asked for is not in the log, but no zone has more free than its {_mark_name(j)} mark"
    ),
    Cause.STALL: lambda j: (
        f"an allocation has been trying for {(j.report.stalled_ms or 0) / 1000:.1f} s (it has not failed yet)"
    ),
}


def _aside(j: Judgement) -> str:
    """What is worth knowing beside the cause."""
    r = j.report
    if r.kind is ReportKind.OOM and r.mask == 0:
        return "; a mask of 0 means that a page fault ran out of memory without a failed allocation of its own"
    if r.comm and r.comm.startswith("kswapd") and r.kind is ReportKind.FAILURE and j.verdict is Verdict.FAILS:
        return "; kswapd itself may go below every watermark, so that nothing at all was free a moment before"
    if j.flags is not None and r.mask is not None and j.flags.has(r.mask, "__GFP_THISNODE"):
        return "; it is confined to one node (__GFP_THISNODE), which the report does not name"
    if r.vmalloc is not None and j.order:
        return "; vmalloc tries single pages after this"
    return ""


def advice(a: Advice, j: Judgement) -> str:
    """One thing that would have let it pass."""
    return _ADVICE[a.remedy](a.value, j)


def _compaction(spare: int, j: Judgement) -> str:
    can = f"compaction: {size(j, spare)} above the watermark are free in smaller blocks"
    return can if _sleeps(j) else f"{can}; this request may not wait for it, vm.compact_memory before it may do it"


_ADVICE: dict[Remedy, Callable[[int, Judgement], str]] = {
    Remedy.RETRY: lambda n, j: "the same request again: there is memory for it now",
    Remedy.LOWER_ORDER: lambda n, j: f"order {n} ({size(j, 1 << n)}) passes with these numbers",
    Remedy.COMPACTION: _compaction,
    Remedy.KVMALLOC: lambda n, j: (
        "kvmalloc() or vmalloc() instead: the pages need not lie in a row, unless a device reads them"
    ),
    Remedy.MIN_FREE_KBYTES: lambda n, j: (
        f"a larger vm.min_free_kbytes, so that reclaim begins earlier: {size(j, n)} were lacking"
    ),
    Remedy.RECLAIM: lambda n, j: f"a request that may sleep: {size(j, n)} of file pages are in these zones to reclaim",
    Remedy.MOVABLE: lambda n, j: (
        "a movable request (__GFP_MOVABLE), which may use CMA's pages; or a smaller CMA area (cma=)"
    ),
    Remedy.OTHER_NODE: lambda n, j: f"node {n}, which the request's nodes leave out",
    Remedy.LOWMEM_RESERVE_RATIO: lambda n, j: (
        "a larger vm.lowmem_reserve_ratio, at the cost of those who need low memory"
    ),
    Remedy.BOOST_FACTOR: lambda n, j: "vm.watermark_boost_factor=0, or a moment later: kswapd takes the boost back",
    Remedy.HIGHER_ZONE: lambda n, j: "a mask that allows a zone with pages, or such memory on the nodes allowed",
    Remedy.SMALLER: lambda n, j: "a reasonable size: look at who computed it",
    Remedy.ADDRESS_SPACE: lambda n, j: (
        "fewer or smaller modules: they have a range of their own near the kernel, which vmalloc= does not enlarge"
        if _for_modules(j)
        else "a larger vmalloc area (vmalloc= on 32 bits), or fewer areas (/proc/vmallocinfo shows them)"
    ),
    Remedy.MORE_MEMORY: lambda n, j: f"at least {size(j, n)} more free; {users(j)}",
    Remedy.SWAP: lambda n, j: f"swap: {size(j, n)} of anonymous pages have nowhere to go",
    Remedy.CGROUP_LIMIT: lambda n, j: f"a higher {_limit_file(j)}, or less memory used within the cgroup",
    Remedy.HUGE_PAGES: lambda n, j: f"the {size(j, n)} of huge pages that nobody uses, given back (vm.nr_hugepages)",
    Remedy.DRIVERS: lambda n, j: (
        f"{size(j, n)}{_share(j, n)} are in no counter: a driver, a file system outside of the page cache (ZFS), "
        "a balloon or a GPU took them from the page allocator"
    ),
    Remedy.KERNEL_OBJECTS: lambda n, j: (
        f"{size(j, n)}{_share(j, n)} are kernel objects{_caches(j)}: /proc/slabinfo tells of which kind"
    ),
    Remedy.SHARED_MEMORY: lambda n, j: (
        f"{size(j, n)}{_share(j, n)} are tmpfs, shared memory or objects of a GPU: files and segments that no kill "
        "gives back"
    ),
    Remedy.MARKS_TOO_HIGH: lambda n, j: (
        f"a smaller vm.min_free_kbytes: the min marks keep {size(j, n)} back{_share(j, n)}"
    ),
    Remedy.ELSEWHERE: lambda n, j: f"{size(j, n)} are free on nodes that the request may not use",
    Remedy.SWAP_FULL: lambda n, j: f"more swap, or less use of it: all {size(j, n)} are full",
    Remedy.SWAP_USELESS: lambda n, j: (
        f"the request is for low memory: {f'{size(j, n)} that are free in' if n else ''} HighMem and swap are of no "
        "use to it"
    ),
    Remedy.LARGER_POOL: lambda n, j: (
        "a larger pool (swiotlb=SLOTS), or a device that reaches all memory (its DMA mask, an IOMMU)"
    ),
    Remedy.SMALLER_MAPPINGS: lambda n, j: (
        "smaller mappings: the driver must not exceed dma_max_mapping_size(); a larger pool is of no use"
    ),
    Remedy.EARLIER: lambda n, j: (
        "huge pages reserved at boot (hugepages=), before memory is in pieces, or fewer of them"
    ),
    Remedy.CMA_AREA: lambda n, j: (
        "a larger area (cma=, linux,cma), or the allocation early, before others' pages lie there"
    ),
}


def _for_modules(j: Judgement) -> bool:
    """Was the area to lie in the range of modules?"""
    return j.report.trace is not None and j.report.trace.has("module_alloc", "execmem_alloc", "__execmem_cache_alloc")


def asker(j: Judgement) -> str:
    """Who asked, by the call trace, and for which cache; "" where the report does not tell."""
    trace, notice = j.report.trace, j.report.notice
    words = []
    if trace is not None and trace.asker is not None:
        function, module = trace.asker
        caller = f"{function}(){f' of module {module}' if module else ''}"
        fault = "a page fault of the task"
        words.append(fault if trace.is_page_fault else f"{caller}, in {fault}" if trace.in_page_fault else caller)
    if notice is not None and not j.report.is_notice:
        words.append(f"cache {notice.subject}")
    return f"asked for by {', for '.join(words)}" if words else ""


def task(j: Judgement) -> str:
    """The task that asked and its machine, as far as the report tells."""
    r = j.report
    words = [f"pid {r.pid}"] if r.pid is not None else []
    if r.oom_score_adj:
        words.append(f"oom_score_adj {r.oom_score_adj}")
    if r.hardware:
        words.append(f"on {r.hardware}")
    return ", ".join(words)


def _limit_file(j: Judgement) -> str:
    """The file that holds the limit, of the cgroup's version."""
    if j.report.is_notice:
        return "memory.kmem.limit_in_bytes (cgroup v2: memory.max)"
    dump = j.report.cgroup
    version = dump.version if dump else None
    if version == 1:
        files = {"memory+swap": "memory.memsw.limit_in_bytes", "kmem": "memory.kmem.limit_in_bytes"}
        return files.get((dump.reached if dump else None) or "", "memory.limit_in_bytes")
    return "memory.max" if version == 2 else "limit (memory.max, in cgroup v1 memory.limit_in_bytes)"


def _share(j: Judgement, pages: int) -> str:
    """Of all the machine's memory."""
    whole = j.account.total if j.account is not None and j.account.closes else 0
    return f" ({100 * pages / whole:.0f}%)" if whole else ""


def _caches(j: Judgement) -> str:
    caches = j.report.mem_info.caches[:3] if j.report.mem_info else ()
    return f" ({', '.join(f'{name} {human(kb << 10)}' for name, kb in caches)})" if caches else ""


def users(j: Judgement) -> str:
    """Who has the memory, the largest first."""
    if j.account is None:
        return "the report does not say who has it"
    others = (FREE, RESERVED, PER_CPU)
    uses = [(entry.amount, entry.name) for entry in j.account.entries if entry.name not in others]
    largest = sorted(uses, reverse=True)[:3]
    said = ", ".join(f"{name} {size(j, pages)}" for pages, name in largest)
    return f"most of it has {said}" if said else "the report does not say who has it"


def page_kb(j: Judgement) -> int:
    return j.report.mem_info.page_kb if j.report.mem_info else 4


def size(j: Judgement, count: int) -> str:
    """Pages as people say bytes."""
    return human(count * page_kb(j) << 10)


def pages(zone: ZoneVerdict, j: Judgement, field: str) -> int | None:
    """A field of the zone's line in pages."""
    return zone.dump.kb[field] // page_kb(j) if field in zone.dump.kb else None


def _check(j: Judgement) -> WatermarkCheck | None:
    """The check of the zone that the reason speaks of."""
    return j.deciding.check if j.deciding else None


def _where(j: Judgement) -> str:
    if j.deciding is None:
        return "a zone"
    zone, info = j.deciding.dump, j.report.mem_info
    return f"node {zone.nid}'s {zone.name}" if info and info.numa else f"zone {zone.name}"


def _free(j: Judgement) -> str:
    check = _check(j)
    return size(j, check.free) if check else ""


def _short(j: Judgement) -> str:
    check = _check(j)
    return f"is {size(j, check.short)} short of what the request must leave" if check else ""


def rules_of(j: Judgement) -> str | None:
    """The release whose check was asked: major and minor number."""
    return None if j.release is None else f"{j.release.version[0]}.{j.release.version[1]}"


def _sleeps(j: Judgement) -> bool:
    return j.flags is not None and j.flags.can_direct_reclaim(j.report.mask or 0)


def _mask(j: Judgement, before: str) -> str:
    if j.report.mask is None:
        return ""
    names = "|".join(mask_names(j))
    return f"{before}{names} ({j.report.mask:#x})" if names else f"{before}{j.report.mask:#x}"


def mask_names(j: Judgement) -> list[str]:
    """The mask's names, as printed; worked out where the kernel printed none and is known."""
    if j.report.names is not None:
        return [name for name in j.report.names.split("|") if name]
    return j.flags.names(j.report.mask or 0) if j.flags is not None else []


def _area(r: Report) -> str:
    return f"CMA area {r.cma.name}" if r.cma and r.cma.name else "a CMA area"


def _within(j: Judgement) -> str:
    """The part of the address space that a vmalloc area was confined to, where that was said."""
    limits = j.report.vmalloc.range if j.report.vmalloc else None
    return f" within {limits[0]:#x}-{limits[1]:#x}" if limits else ""


def _runs(r: Report) -> str:
    if r.cma is None or r.cma.available is None:
        return ""
    free = f"{sum(r.cma.available)} of {r.cma.total}" if r.cma.total else f"{sum(r.cma.available)}"
    return f": {free} pages are free, {max(r.cma.available, default=0)} at most in a row"


def _of_memory(j: Judgement) -> str:
    info = j.report.mem_info
    if info is None or "ram" not in info.pages:
        return ""
    return f": {j.needed_pages} pages of {info.pages['ram'] - info.pages.get('reserved', 0)}"
