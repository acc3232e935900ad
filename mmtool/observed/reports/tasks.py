"""The table of processes in an OOM report (dump_tasks()), with the columns that each release prints.

Rows are found by their numbers and not by their lines, as mail wraps them; a table without its head is read by the
number of its columns.
"""

from __future__ import annotations

from mmtool.late import dataclass
from mmtool.regex import regex

_HEAD = regex(r"\[\s*pid\s*\]\s+uid\s+tgid\s+total_vm\s+rss((?:\s+[a-z_]+){2,8}?)\s+name\b")
_ROW = regex(r"\[ {0,12}(\d{1,10})\]((?:\s{1,40}-?\d{1,20}){6,11})\s{1,40}(\S[^\n]{0,63})")
_BEGINS = regex(r"\n\[ {0,12}\d{1,10}\] ")
_BEFORE_2_6_36 = ("cpu", "oom_adj")
_FROM_2_6_36 = ("cpu", "oom_adj", "oom_score_adj")
_FROM_3_5 = ("nr_ptes", "swapents", "oom_score_adj")
_FROM_4_0 = ("nr_ptes", "nr_pmds", "swapents", "oom_score_adj")
_FROM_4_11 = ("nr_ptes", "nr_pmds", "nr_puds", "swapents", "oom_score_adj")
_FROM_4_15 = ("pgtables_bytes", "swapents", "oom_score_adj")
_FROM_6_8 = ("rss_anon", "rss_file", "rss_shmem", "pgtables_bytes", "swapents", "oom_score_adj")
_COLUMNS = (_BEFORE_2_6_36, _FROM_2_6_36, _FROM_3_5, _FROM_4_0, _FROM_4_11, _FROM_4_15, _FROM_6_8)
"""Columns between rss and name, from a release on."""
_SMALLEST_PAGE = 4096


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A process as the table has it. Pages, but for `pgtables_bytes`; None for columns that the release lacks."""

    pid: int
    uid: int
    tgid: int
    total_vm: int
    rss: int
    name: str
    oom_score_adj: int | None = None
    """None before 2.6.36, which has oom_adj."""
    swapents: int | None = None
    pgtables_bytes: int | None = None
    """From 4.15 on."""
    page_tables: int | None = None
    """Tables of all levels, one a page (3.5 to 4.14)."""
    rss_anon: int | None = None
    rss_file: int | None = None
    rss_shmem: int | None = None
    """These three from 6.8 on."""


@dataclass(frozen=True, slots=True)
class TaskTable:
    """The rows in the kernel's order."""

    rows: tuple[TaskRow, ...]
    headed: bool
    """The line with the columns' names is there; without it, the first rows may be lost."""
    lost: int
    """Rows that the text has in part."""

    def find(self, pid: int) -> TaskRow | None:
        return next((row for row in self.rows if row.pid == pid), None)


def parse_tasks(text: str, start: int, end: int) -> TaskTable | None:
    """The table within text[start:end]; None when there is none."""
    head = _HEAD.search(text, start, end)
    found = list(_ROW.finditer(text, head.end() if head else start, end))
    if not found:
        return None if head is None else TaskTable((), True, 0)
    numbers = [[int(n) for n in m[2].split()] for m in found]
    columns = _columns_of(numbers)
    if head is not None:
        # mail may have broken the head within a word
        said = "".join(head[1].split())
        columns = next((known for known in _COLUMNS if "".join(known) == said), tuple(head[1].split()))
    if columns is None:
        return None
    rows = [
        _row(int(m[1]), values, columns, _name(m[3]))
        for m, values in zip(found, numbers, strict=True)
        if len(values) == len(columns) + 4
    ]
    broken = sum(1 for _ in _BEGINS.finditer(text, found[0].start(), end)) + 1 - len(rows)
    return TaskTable(tuple(rows), head is not None, max(0, broken))


def _name(text: str) -> str:
    """The process's name; what quotes a log in source text puts behind it goes."""
    return text.rstrip().removesuffix('",')[:15].rstrip()


def _columns_of(numbers: list[list[int]]) -> tuple[str, ...] | None:
    """The columns of a table without its head, by their number; of those with as many, by what the values can be."""
    lengths = [len(values) for values in numbers]
    usual = max(set(lengths), key=lengths.count)
    fitting = [columns for columns in _COLUMNS if len(columns) + 4 == usual]
    rows = [values for values in numbers if len(values) == usual]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    if all(values[4] % _SMALLEST_PAGE == 0 for values in rows):
        return _FROM_4_15
    return _FROM_2_6_36 if all(-17 <= values[5] <= 15 for values in rows) else _FROM_3_5


def _row(pid: int, values: list[int], columns: tuple[str, ...], name: str) -> TaskRow:
    more = dict(zip(columns, values[4:], strict=True))
    levels = [more[level] for level in ("nr_ptes", "nr_pmds", "nr_puds") if level in more]
    return TaskRow(
        pid, values[0], values[1], values[2], values[3], name,
        more.get("oom_score_adj"), more.get("swapents"), more.get("pgtables_bytes"), sum(levels) if levels else None,
        more.get("rss_anon"), more.get("rss_file"), more.get("rss_shmem"),
    )  # fmt: skip
