"""What the OOM killer says it did: who was chosen, who died, and for whom; line by line, in every form since 2.6.18."""

from __future__ import annotations

import re
from enum import Enum
from itertools import zip_longest

from mmtool.late import dataclass
from mmtool.regex import regex


class Said(Enum):
    """The kinds of lines."""

    CHOICE = "oom-kill:"
    """The summary of the event: constraint, cgroups, chosen task (from 4.19 on)."""
    CANDIDATE = "Kill process ... or sacrifice child"
    KILLED = "Killed process"
    SHARING = "sharing same memory"
    """Another process with the victim's address space, which dies too."""
    GROUP = "going to be killed due to memory.oom.group"
    NOBODY = "no killable processes"
    EXITING = "is already exiting"
    PANIC = "panic"
    REAPED = "reaped"


@dataclass(frozen=True, slots=True)
class KillLine:
    """One such line: text[start:end]. kB as printed; None for what it does not say."""

    said: Said
    start: int
    end: int
    pid: int | None = None
    name: str | None = None
    score: int | None = None
    memcg: bool | None = None
    """Of a memory cgroup's event or of the machine's; None where the line does not tell."""
    allocating: bool = False
    """vm.oom_kill_allocating_task chose."""
    constraint: str | None = None
    oom_memcg: str | None = None
    """The cgroup whose limit was hit."""
    task_memcg: str | None = None
    """The victim's cgroup."""
    cpuset: str | None = None
    kb: tuple[tuple[str, int], ...] = ()
    """"total-vm", "anon-rss", "file-rss", "shmem-rss", "pgtables"."""
    uid: int | None = None
    oom_score_adj: int | None = None


_WHOM = r"\((?P<name>[^\n]{0,64}?)\)(?=,|\s*\n|\s*\Z|\s+(?:total-vm|vsz|score|sharing|is)\b)"
_LINES = regex(
    rf"""oom-kill:constraint=(?P<choice>CONSTRAINT_\w+)(?P<rest>[^\n]*)
    | (?P<who>(?:Memory\s+cgroup\s+out|Out)\s+of\s+memory(?:\s+\(oom_kill_allocating_task\))?:\s+)?
      (?:[Kk]ill\s+process\s+(?P<candidate>\d{{1,10}}),?\s+{_WHOM.replace("name", "candidate_name")}\s+
         (?:score\s+(?P<score>\d{{1,20}})\s+or\s+(?:sacrifice\s+child|a\s+child)|(?P<sharing>sharing\s+same\s+memory))
       | Killed\s+process\s+(?P<pid>\d{{1,10}})(?:,\s+UID\s+(?P<early_uid>\d{{1,10}}),)?\s+{_WHOM}
         (?:,\s+UID\s+(?P<el7_uid>\d{{1,10}}),?)?
         (?P<sizes>(?:,?\s+[a-z-]{{3,10}}:\d{{1,20}}kB){{0,4}})
         (?:,\s+UID:(?P<uid>\d{{1,10}}))?(?:\s+pgtables:(?P<pgtables>\d{{1,20}})kB)?
         (?:\s+oom_score_adj:(?P<adj>-?\d{{1,4}}))?
       | OOM\s+victim\s+(?P<exiting>\d{{1,10}})\s+{_WHOM.replace("name", "exiting_name")}\s+is\s+already\s+exiting)
    | Tasks\s+in\s+(?P<group>\S{{1,4096}})\s+are\s+going\s+to\s+be\s+killed\s+due\s+to\s+memory\.oom\.group
    | (?P<nobody>(?:Memory\s+cgroup\s+o|O)ut\s+of\s+memory\s+and\s+no\s+killable\s+process(?:es)?)
    | (?P<panic>Kernel\s+panic\s+-\s+not\s+syncing:\s+
        (?:Out\s+of\s+memory|System\s+is\s+deadlocked\s+on\s+memory)[^\n]{{0,80}})
    | oom_reaper:\s+(?:reaped\s+process|unable\s+to\s+reap\s+pid:)\s*(?P<reaped>\d{{1,10}})\s+
      {_WHOM.replace("name", "reaped_name")}
      (?P<left>(?:,?\s+(?:now\s+)?[a-z-]{{3,10}}:\d{{1,20}}kB){{0,4}})
    """,
    re.VERBOSE,
)
_SIZE = regex(r"([a-z-]{3,10}):(\d{1,20})kB")
_SIGNS = (
    "oom-kill:", "ill process", "illed process", "no killable", "Kernel panic", "oom_reaper", "oom.group", "OOM victim",
)  # fmt: skip


def find_kills(text: str) -> list[KillLine]:
    """Every such line of a log (lines freed of prefixes, joined), in order."""
    if not any(sign in text for sign in _SIGNS):
        return []
    return [_line(m) for m in _LINES.finditer(text)]


def _line(m: re.Match[str]) -> KillLine:
    start, end = m.span()
    if m["choice"]:
        return _choice(m)
    who = m["who"] or ""
    memcg = who.startswith("Memory") if who else None
    if m["candidate"]:
        said = Said.SHARING if m["sharing"] else Said.CANDIDATE
        score = int(m["score"]) if m["score"] else None
        return KillLine(said, start, end, int(m["candidate"]), m["candidate_name"], score, memcg)
    if m["pid"]:
        sizes = {"total-vm" if name == "vsz" else name: int(kb) for name, kb in _SIZE.findall(m["sizes"])}
        if m["pgtables"]:
            sizes["pgtables"] = int(m["pgtables"])
        uid = m["uid"] or m["early_uid"] or m["el7_uid"]
        return KillLine(
            Said.KILLED, start, end, int(m["pid"]), m["name"], None, memcg, "allocating_task" in who,
            kb=tuple(sizes.items()), uid=int(uid) if uid else None,
            oom_score_adj=int(m["adj"]) if m["adj"] else None,
        )  # fmt: skip
    if m["exiting"]:
        return KillLine(Said.EXITING, start, end, int(m["exiting"]), m["exiting_name"], None, memcg)
    if m["group"]:
        return KillLine(Said.GROUP, start, end, memcg=True, oom_memcg=m["group"])
    if m["nobody"]:
        return KillLine(Said.NOBODY, start, end, memcg=True if m["nobody"].startswith("Memory") else None)
    if m["reaped"]:
        left = tuple((name, int(kb)) for name, kb in _SIZE.findall(m["left"]))
        return KillLine(Said.REAPED, start, end, int(m["reaped"]), m["reaped_name"], kb=left)
    return KillLine(Said.PANIC, start, end, name=" ".join(m["panic"].split()))


_CONTINUED = regex(r"\n(?!oom-kill:|(?:Memory cgroup out|Out) of memory)([^\n]{1,200})")
"""A summary that was wrapped goes on on the next line."""
_MOST_LINES = 8
"""Over so many lines at most."""


def _choice(m: re.Match[str]) -> KillLine:
    """The summary: its fields are told apart by their names, as a cgroup's or a task's name may hold any character."""
    rest, end = m["rest"], m.end()
    for _ in range(_MOST_LINES):
        if ",pid=" in rest or (more := _CONTINUED.match(m.string, end)) is None:
            break
        rest, end = rest + more[1], more.end()
    at = {}
    for name in ("cpuset", "mems_allowed", "oom_memcg", "task_memcg"):
        at[name] = rest.find(f",{name}=")
    for name in ("task", "pid", "uid"):
        at[name] = rest.rfind(f",{name}=")
    order = sorted((name for name in at if at[name] >= 0), key=at.__getitem__)
    parts = {
        name: rest[at[name] + len(name) + 2 : at[following] if following else len(rest)]
        for name, following in zip_longest(order, order[1:])
    }
    pid = re.match(r"\d{1,10}", parts.get("pid", ""))
    memcg = m["choice"] == "CONSTRAINT_MEMCG"
    return KillLine(
        Said.CHOICE, m.start(), end, int(pid[0]) if pid else None, parts.get("task"), None, memcg,
        constraint=m["choice"], oom_memcg=parts.get("oom_memcg"), task_memcg=parts.get("task_memcg"),
        cpuset=parts.get("cpuset"),
    )  # fmt: skip
