"""Where the memory is, as `mmtool explain` says it: the machine's, and a cgroup's."""

from __future__ import annotations

from typing import Any

from mmtool.answers.postmortem.account import ANON, SWAP_CACHE, Account
from mmtool.answers.postmortem.verdict import Judgement
from mmtool.report.table import Kind, Table, columns
from mmtool.units import human

_SMALL = 200
"""Less than a two hundredth of all is summed up."""


def account_tables(j: Judgement) -> list[Table]:
    """One table for the machine, one for the cgroup, each closing to what there is."""
    tables = []
    if j.account is not None:
        tables.append(_table("account", "Where the memory is", j.account))
    if j.cgroup_account is not None:
        tables.append(_table("cgroup account", "Where the cgroup's memory is", j.cgroup_account))
    return tables


def _table(name: str, title: str, account: Account) -> Table:
    t = Table(name, title, columns("what", ("size", Kind.SIZE_ONLY), ("share", Kind.COUNT), "of it"))
    small = 0
    for entry in sorted(account.entries, key=lambda entry: -entry.amount):
        if entry.amount * _SMALL < account.total:
            small += entry.amount
            continue
        within = ", ".join(f"{human(part * account.unit)} {what}" for what, part in entry.within)
        t.rows.append((entry.name, entry.amount * account.unit, _share(entry.amount, account), within))
    if small:
        t.rows.append(("small counters together", small * account.unit, _share(small, account), ""))
    if not account.closes:
        return t
    rest = account.unaccounted
    lost = f"counters that are lost are in it: {', '.join(account.missing)}" if account.missing else ""
    what = "unaccounted" if rest >= 0 else "counted twice"
    t.rows.append((what, rest * account.unit, _share(rest, account), lost))
    t.rows.append(("all", account.total * account.unit, "", ""))
    return t


def _share(amount: int, account: Account) -> str:
    return f"{100 * amount / account.total:.1f}%" if account.total and account.closes else ""


def memory_words(j: Judgement) -> list[str]:
    """Sentences about swap, and about what killing can give back to a cgroup."""
    info, said = j.report.mem_info, []
    if info is not None and "total" in info.swap:
        total, free = info.swap["total"], info.swap.get("free", 0)
        cached = info.pages.get("swapcache", 0) * info.page_kb
        also = f", of which {human(cached << 10)} are in memory too (swap cache)" if cached and total else ""
        used = f"swap: {human(max(0, total - free) << 10)} used of {human(total << 10)}{also}"
        said.append(used if total else "no swap")
    if info is not None and info.tags:
        tags = ", ".join(
            f"{human(tag.bytes)} {tag.function} ({tag.place}{f', {tag.module}' if tag.module else ''})"
            for tag in info.tags[:3]
        )
        said.append(f"most was allocated by {tags}")
    return said + _cgroup_words(j)


def _cgroup_words(j: Judgement) -> list[str]:
    dump = j.report.cgroup
    if dump is None:
        return []
    said = []
    for name, counter in dump.counters.items():
        limit = f"of {human(counter.limit << 10)}" if counter.limited else "without a limit"
        fails = f", {counter.failcnt} times refused" if counter.failcnt else ""
        said.append(f"{name}: {human(counter.usage << 10)} {limit}{fails}{' (full)' if counter.full else ''}")
    account = j.cgroup_account
    if account is not None and account.total:
        own = account.amount(ANON) + account.amount(SWAP_CACHE)
        if 2 * own < account.total:
            said.append(
                f"killing gives back {human(own)} of {human(account.total)} at most: the rest is cache, shared memory "
                "and kernel memory, which stay"
            )
    return said


def account_document(account: Account | None) -> dict[str, Any] | None:
    """An account for scripts, in bytes."""
    if account is None:
        return None
    return {
        "bytes": account.total * account.unit if account.closes else None,
        "entries": [
            {
                "name": entry.name,
                "bytes": entry.amount * account.unit,
                "within": {what: part * account.unit for what, part in entry.within},
            }
            for entry in account.entries
        ],
        "unaccounted": account.unaccounted * account.unit if account.closes else None,
        "missing": list(account.missing),
    }


def cgroup_document(j: Judgement) -> dict[str, Any] | None:
    """The cgroup's limits for scripts, in kB."""
    dump = j.report.cgroup
    if dump is None:
        return None
    return {
        "path": dump.path,
        "version": dump.version,
        "reached": dump.reached,
        "stat": dict(dump.stat),
        "limits_kb": {
            name: {"usage": c.usage, "limit": c.limit if c.limited else None, "failcnt": c.failcnt, "full": c.full}
            for name, c in dump.counters.items()
        },
    }
