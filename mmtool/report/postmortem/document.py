"""A report for scripts: its part of the mmtool.explain/1 document."""

from __future__ import annotations

from typing import Any

from mmtool.answers.postmortem.verdict import Judgement, ZoneVerdict
from mmtool.observed.reports.trace import Trace
from mmtool.report.postmortem.account import account_document, cgroup_document
from mmtool.report.postmortem.notices import notice_document
from mmtool.report.postmortem.oom import oom_document, who_died
from mmtool.report.postmortem.tables import why
from mmtool.report.postmortem.words import advice, mask_names, pages, reason, request, rules_of


def document(j: Judgement, top: int = 5) -> dict[str, Any]:
    """One report of the mmtool.explain/1 document. Counts in pages but for what is called kb or bytes."""
    r, info = j.report, j.report.mem_info
    doc: dict[str, Any] = {
        "line": r.line,
        "kind": r.kind.value,
        "comm": r.comm,
        "pid": r.pid,
        "oom_score_adj": r.oom_score_adj,
        "hardware": r.hardware,
        "killed": r.killed,
        "order": r.order,
        "gfp": None if r.mask is None else {"mask": f"{r.mask:#x}", "names": mask_names(j)},
        "release": r.release,
        "rules": rules_of(j),
        "request": request(j),
        "asker": asker_document(r.trace),
        "call_trace": [name for name, _ in r.trace.frames] if r.trace else [],
        "verdict": j.verdict.value,
        "cause": j.cause.value,
        "reason": reason(j) + who_died(j),
        "zones": [_zone_document(zone, j) for zone in j.zones],
        "advice": [advice(a, j) for a in j.advice],
    }
    if j.account is not None:
        doc["account"] = account_document(j.account)
    if r.cgroup is not None:
        doc["cgroup"] = cgroup_document(j)
        doc["cgroup_account"] = account_document(j.cgroup_account)
    if j.oom is not None:
        doc["oom"] = oom_document(j.oom, top)
    if r.vmalloc is not None:
        doc["vmalloc"] = {"bytes": r.vmalloc.size, "step": r.vmalloc.step.value}
    if r.notice is not None:
        doc["notice"] = notice_document(r.notice)
    if r.cma is not None:
        doc["cma"] = {"area": r.cma.name, "pages": r.cma.req_size, "error": r.cma.ret}
    if info is not None:
        doc["page_kb"] = info.page_kb
        doc["totals"] = dict(info.totals) | {f"pages_{name}": n for name, n in info.pages.items()}
        doc["swap_kb"] = dict(info.swap)
        doc["nodes_kb"] = {str(nid): dict(kb) for nid, kb in info.nodes.items()}
        doc["huge_pages"] = [
            {"nid": p.nid, "size_kb": p.size_kb, "total": p.total, "free": p.free, "surplus": p.surplus}
            for p in info.huge_pages
        ]
        doc["slab_caches_kb"] = dict(info.caches)
        doc["allocation_tags"] = [
            {"bytes": t.bytes, "calls": t.calls, "place": t.place, "function": t.function, "module": t.module}
            for t in info.tags
        ]
        doc["notes"] = [{"line": line, "note": note} for line, note in info.notes]
    return doc


def asker_document(trace: Trace | None) -> dict[str, Any] | None:
    """Who asked, by the call trace."""
    if trace is None or trace.asker is None:
        return None
    return {"function": trace.asker[0], "module": trace.asker[1], "page_fault": trace.is_page_fault}


def _zone_document(zone: ZoneVerdict, j: Judgement) -> dict[str, Any]:
    check, dump = zone.check, zone.dump
    return {
        "nid": dump.nid,
        "zone": dump.name,
        "free": pages(zone, j, "free"),
        "usable": check.usable if check else None,
        "min": pages(zone, j, "min"),
        "mark": check.min if check else None,
        "reserve": check.lowmem_reserve if check else None,
        "passes": zone.passes if zone.exclusion is None else False,
        "asked": zone.exclusion is None,
        "why": why(zone, j),
        "kb": dict(dump.kb),
        "lowmem_reserve": None if dump.lowmem_reserve is None else list(dump.lowmem_reserve),
        "blocks": [{"order": order, "count": b.count, "types": b.letters} for order, b in enumerate(dump.blocks or ())],
        "blocks_kb": dump.sum_kb,
    }
