"""Why the allocations of a log failed, and what would have let them pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mmtool.answers.postmortem.account import cgroup_account, machine_account
from mmtool.answers.postmortem.advice import about_memory
from mmtool.answers.postmortem.case import Case
from mmtool.answers.postmortem.notices import judge_notice
from mmtool.answers.postmortem.releases import candidates
from mmtool.answers.postmortem.sums import hidden
from mmtool.answers.postmortem.verdict import Advice, Cause, Judgement, Remedy, Verdict, ZoneVerdict
from mmtool.answers.postmortem.victim import choose
from mmtool.build.gfp import GfpFlags
from mmtool.build.release import Release
from mmtool.observed.reports import MemInfo, Report, ReportKind, VmallocStep

__all__ = ["Advice", "Cause", "Judgement", "Remedy", "Verdict", "ZoneVerdict", "judge", "judge_all"]


def judge_all(reports: Iterable[Report], sysctl: Mapping[str, str] | None = None) -> list[Judgement]:
    """What is to be said of a log's reports, in order; `sysctl` holds settings that no report shows."""
    judged, gone = [], set[int | None]()
    for report in reports:
        oom = choose(report, sysctl, gone) if report.kind is ReportKind.OOM else None
        machine = machine_account(report.mem_info) if report.mem_info else None
        cgroup = cgroup_account(report.cgroup) if report.cgroup else None
        j = replace(judge(report), oom=oom, account=machine, cgroup_account=cgroup)
        if j.verdict is Verdict.UNKNOWN and report.mem_info is not None:
            j = replace(j, advice=tuple(about_memory(report.mem_info, j.hidden)))
        judged.append(j)
        gone |= {line.pid for line in report.died}
    return judged


def judge(report: Report) -> Judgement:
    """The verdict of one report."""
    if report.kind is ReportKind.CMA:
        return _judge_cma(report)
    if report.notice is not None and report.is_notice:
        return judge_notice(report, report.notice)
    if report.memcg:
        return Judgement(report, Verdict.FAILS, Cause.CGROUP, advice=(Advice(Remedy.CGROUP_LIMIT),))
    if report.vmalloc is not None and (known := _judge_area(report)):
        return known
    if report.order is not None and report.order < 0:
        return Judgement(report, Verdict.UNKNOWN, Cause.SYSRQ)
    order = report.order if report.order is not None else 0
    if report.headless and report.mem_info is not None and report.mem_info.zones:
        return _judge_without_request(report, report.mem_info)
    if report.headless:
        return Judgement(report, Verdict.UNKNOWN, Cause.HEAD_LOST, *_named(report))
    if report.kind is ReportKind.STALL and (report.mem_info is None or not report.mem_info.zones):
        return Judgement(report, Verdict.UNKNOWN, Cause.STALL, *_named(report), order=order)
    if report.mem_info is None or not report.mem_info.zones or report.mask is None:
        return Judgement(report, Verdict.UNKNOWN, Cause.NOT_DUMPED, *_named(report), order=order)
    judged = [Case(report, report.mem_info, order, *candidate).judge() for candidate in candidates(report)]
    first = judged[-1]
    if first.verdict is Verdict.PASSES and _request_is_lost(report):
        return replace(first, verdict=Verdict.UNKNOWN, cause=Cause.NUMBERS_MISSING, advice=())
    if any(other.verdict is not first.verdict for other in judged):
        return Judgement(report, Verdict.UNKNOWN, Cause.RELEASE_UNKNOWN, order=order, zones=first.zones)
    return first if len(judged) == 1 else replace(first, release=None)


def _request_is_lost(report: Report) -> bool:
    """Is the order lost, or the line with the size of a whole area of vmalloc()? A single page then proves nothing."""
    if report.order is None and report.vmalloc is None:
        return True
    frames = [name for name, _ in report.trace.frames] if report.trace and report.kind is ReportKind.FAILURE else []
    warned = next((i for i, name in enumerate(frames) if name.startswith("warn_alloc")), None)
    return warned is not None and any("vmalloc" in name for name in frames[warned + 1 : warned + 2])


def _judge_without_request(report: Report, info: MemInfo) -> Judgement:
    """A Mem-Info of which nobody says what was asked for: only that no zone could serve anyone is a verdict."""
    if report.sysrq:
        return Judgement(report, Verdict.UNKNOWN, Cause.SYSRQ, *_named(report))
    left_out = hidden(report, info, None)
    mark = "high" if report.kind is ReportKind.OOM else "min"
    zones = tuple(ZoneVerdict(dump) for dump in info.zones)
    if left_out.lost:
        return Judgement(report, Verdict.UNKNOWN, Cause.ZONES_LOST, *_named(report), zones=zones, hidden=left_out)
    below = [dump for dump in info.zones if mark in dump.kb and dump.kb.get("free", 1 << 62) <= dump.kb[mark]]
    if len(below) < len(info.zones):
        return Judgement(report, Verdict.UNKNOWN, Cause.HEAD_LOST, *_named(report), zones=zones, hidden=left_out)
    return Judgement(
        report, Verdict.FAILS, Cause.BELOW_MARKS, *_named(report), zones=zones, hidden=left_out,
        last_try=report.kind is ReportKind.OOM, advice=tuple(about_memory(info, left_out)),
    )  # fmt: skip


def _named(report: Report) -> tuple[Release | None, GfpFlags | None]:
    """The release of a report that leaves no choice."""
    if report.release is None and report.mask is None and report.mem_info is None:
        return None, None
    found = candidates(report)
    return found[0] if len(found) == 1 else (None, None)


def _judge_area(report: Report) -> Judgement | None:
    """A vmalloc() that failed before or after its pages; None when it is for want of pages."""
    failure = report.vmalloc
    assert failure is not None
    page = (report.mem_info.page_kb if report.mem_info else 4) << 10
    needed = -(-failure.size // page)
    cause = _AREA_CAUSES.get(failure.step)
    if failure.step is VmallocStep.UNSAID:
        memory = _managed_pages(report.mem_info)
        if not failure.size:
            cause = Cause.ZERO_SIZE
        elif memory is None:
            return Judgement(report, Verdict.UNKNOWN, Cause.NUMBERS_MISSING, *_named(report), needed_pages=needed)
        else:
            cause = Cause.TOO_LARGE if needed > memory else Cause.NO_ADDRESSES
    if cause is None:
        return None
    advice = tuple(Advice(remedy) for remedy in _AREA_ADVICE.get(cause, ()))
    return Judgement(report, Verdict.FAILS, cause, *_named(report), needed_pages=needed, advice=advice)


_AREA_CAUSES = {
    VmallocStep.TOO_LARGE: Cause.TOO_LARGE,
    VmallocStep.NO_AREA: Cause.NO_ADDRESSES,
    VmallocStep.NO_MAPPING: Cause.NO_MAPPING,
}
_AREA_ADVICE = {
    Cause.TOO_LARGE: (Remedy.SMALLER,),
    Cause.ZERO_SIZE: (Remedy.SMALLER,),
    Cause.NO_ADDRESSES: (Remedy.ADDRESS_SPACE,),
}


def _managed_pages(mem_info: MemInfo | None) -> int | None:
    """totalram_pages(): all pages but the reserved ones; where these lines are lost, what the zones manage."""
    if mem_info is None:
        return None
    if "ram" in mem_info.pages:
        return mem_info.pages["ram"] - mem_info.pages.get("reserved", 0)
    managed = [zone.kb.get("managed") for zone in mem_info.zones]
    return sum(kb or 0 for kb in managed) // mem_info.page_kb if managed and None not in managed else None


ENOMEM, EBUSY = 12, 16


def _judge_cma(report: Report) -> Judgement:
    assert report.cma is not None
    cause = {ENOMEM: Cause.CMA_NO_RANGE, EBUSY: Cause.CMA_BUSY}.get(-report.cma.ret, Cause.CMA_OTHER)
    return Judgement(report, Verdict.FAILS, cause, needed_pages=report.cma.req_size, advice=(Advice(Remedy.CMA_AREA),))
