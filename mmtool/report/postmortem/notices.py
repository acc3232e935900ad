"""What is said of failures that the kernel reports in a line, and of kills by others than its OOM killer."""

from __future__ import annotations

from typing import Any

from mmtool.answers.postmortem.verdict import Cause, Judgement
from mmtool.observed.reports.notices import Notice, NoticeKind
from mmtool.units import human

_WHO = {
    NoticeKind.LOWMEMORYKILLER: "Android's low memory killer",
    NoticeKind.SYSTEMD_OOMD: "systemd-oomd",
    NoticeKind.EARLYOOM: "earlyoom",
}


def notice_request(j: Judgement, n: Notice, mask: str) -> str:
    """What was asked for, or who was killed, in a sentence."""
    times = f" ({n.count} times)" if n.count > 1 else ""
    numbers = n.numbers
    match n.kind:
        case NoticeKind.SLAB:
            object_size = f" for objects of {numbers['object']} bytes" if "object" in numbers else ""
            order = numbers.get("min", numbers.get("order"))
            least = f", of order {order} at least" if order is not None else ""
            return f"cache {n.subject or '(its line is lost)'} asked for a new slab{object_size}{least}{mask}{times}"
        case NoticeKind.SWIOTLB:
            return f"{n.subject or 'a device'} asked for a bounce buffer of {human(numbers['size'])}{times}"
        case NoticeKind.HUGETLB:
            return f"{numbers['wanted']} huge pages of {n.subject} were asked for"
        case NoticeKind.PERCPU:
            return f"{numbers['size']} bytes for each CPU were asked for, aligned to {numbers['align']}{times}"
        case NoticeKind.SYSTEMD_OOMD:
            return f"systemd-oomd killed the processes of {n.subject}"
        case _:
            size = f", {human(numbers['size'] << 10)} large" if "size" in numbers else ""
            rss = f", {numbers['rss']} MiB resident" if "rss" in numbers else ""
            return f"{_WHO[n.kind]} killed {n.subject} ({n.pid}){size}{rss}"


def notice_reason(j: Judgement, n: Notice) -> str:
    """Why, in a sentence."""
    numbers = n.numbers
    match j.cause:
        case Cause.CGROUP:
            return f"the cache is that of a memory cgroup ({n.words}), whose limit for kernel memory was reached"
        case Cause.NO_SLAB:
            free = numbers.get("free")
            held = f"; its {numbers['slabs']} slabs have {free} free objects" if free is not None else ""
            waits = "" if j.may_sleep is not False else ", and the request may not wait for reclaim"
            return f"the page allocator had no block for a slab{waits}{held}"
        case Cause.MAPPING_TOO_LARGE:
            return f"one mapping may have 256 KiB at most; the pool is not full{_pool(n)}"
        case Cause.POOL_FULL:
            return f"the pool has no run of free slots for it{_pool(n)}"
        case Cause.TOO_FEW_HUGE_PAGES:
            return f"only {numbers['got']} of {numbers['wanted']} could be allocated: memory was too small or in pieces"
        case Cause.NO_PERCPU:
            why = f": {n.words}" if n.words else ""
            atomic = ", and the caller may not wait for a new chunk" if numbers.get("atomic") else ""
            return f"no chunk of per-CPU memory had room{atomic}{why}"
        case _:
            return _why_killed(n)


def _pool(n: Notice) -> str:
    if "total" not in n.numbers:
        return ""
    total, used = n.numbers["total"], n.numbers["used"]
    return f": {used} of {total} slots of 2 KiB are used ({100 * used // max(1, total)}%)"


def _why_killed(n: Notice) -> str:
    numbers = n.numbers
    if n.kind is NoticeKind.LOWMEMORYKILLER and "limit" in numbers:
        free = f"; {human(numbers['free'] << 10)} were free above the reserve" if numbers.get("free", -1) >= 0 else ""
        return (
            f"the page cache, {human(numbers['cache'] << 10)}, was below the limit of {human(numbers['limit'] << 10)} "
            f"for oom_score_adj {numbers['threshold']} and more, and this one has {numbers['adj']} (on behalf of "
            f"{n.words}){free}"
        )
    adj = f"oom_score_adj {numbers['adj']}" if "adj" in numbers else ""
    score = f"its score was {numbers['score']}" if "score" in numbers else ""
    return "; ".join(word for word in (n.words, adj, score) if word) or "the log does not say why"


def notice_document(n: Notice) -> dict[str, Any]:
    """A notice for scripts."""
    return {"subject": n.subject, "pid": n.pid, "count": n.count, "words": n.words, "numbers": dict(n.numbers)}
