"""The verdict on failures that the kernel reports in a line of their own."""

from __future__ import annotations

from mmtool.answers.postmortem.releases import candidates
from mmtool.answers.postmortem.verdict import Advice, Cause, Judgement, Remedy, Verdict
from mmtool.build.gfp import GfpFlags
from mmtool.build.release import Release
from mmtool.observed.reports import Report
from mmtool.observed.reports.notices import Notice, NoticeKind

IO_TLB_SIZE = 2048
"""Bytes of a slot of swiotlb's pool."""
IO_TLB_SEGSIZE = 128
"""Slots in a row that one mapping may have."""


def judge_notice(report: Report, notice: Notice) -> Judgement:
    """Why it failed, as far as its own line tells."""
    cause = _cause(notice)
    advice = tuple(Advice(remedy) for remedy in _ADVICE.get(cause, ()))
    release, flags = _named(report)
    return Judgement(report, Verdict.FAILS, cause, release, flags, advice=advice)


def _cause(notice: Notice) -> Cause:
    match notice.kind:
        case NoticeKind.SLAB:
            # a cache's name has its cgroup behind it, where each cgroup had its own (before 5.9)
            return Cause.CGROUP if notice.words else Cause.NO_SLAB
        case NoticeKind.SWIOTLB:
            largest = IO_TLB_SIZE * IO_TLB_SEGSIZE
            return Cause.MAPPING_TOO_LARGE if notice.numbers["size"] > largest else Cause.POOL_FULL
        case NoticeKind.HUGETLB:
            return Cause.TOO_FEW_HUGE_PAGES
        case NoticeKind.PERCPU:
            return Cause.NO_PERCPU
        case _:
            return Cause.KILLED_BY_OTHERS


def _named(report: Report) -> tuple[Release | None, GfpFlags | None]:
    """The meaning of the mask, and the release where the report leaves no choice."""
    found = candidates(report) if report.mask is not None else []
    if not found:
        return None, None
    return found[0] if len(found) == 1 else (None, found[-1][1])


_ADVICE = {
    Cause.CGROUP: (Remedy.CGROUP_LIMIT,),
    Cause.POOL_FULL: (Remedy.LARGER_POOL,),
    Cause.MAPPING_TOO_LARGE: (Remedy.SMALLER_MAPPINGS,),
    Cause.TOO_FEW_HUGE_PAGES: (Remedy.EARLIER,),
}
