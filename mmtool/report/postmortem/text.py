"""A report for people: the verdict first, then what speaks for it."""

from __future__ import annotations

from mmtool.answers.postmortem.verdict import Judgement, Verdict
from mmtool.report.postmortem.account import account_tables, memory_words
from mmtool.report.postmortem.oom import names_table, tasks_table, victim_words, who_died
from mmtool.report.postmortem.tables import zone_table
from mmtool.report.postmortem.words import advice, asker, origin, reason, request, task
from mmtool.report.table import folded, text_tables


def text(j: Judgement, top: int = 5) -> str:
    """One report for people; lists of processes have `top` rows."""
    verdict = f"{j.verdict.value}: {reason(j)}{who_died(j)}"
    head = f"line {j.report.line}: {request(j)}\n{origin(j)}\n\n{verdict}\n"
    if who := "; ".join(words for words in (asker(j), task(j)) if words):
        head += f"{who}\n"
    parts = [folded(head)]
    if tables := account_tables(j):
        parts.append(text_tables(tables))
    if sentences := memory_words(j):
        parts.append(folded("".join(f"- {sentence}\n" for sentence in sentences)))
    if words := victim_words(j):
        parts.append(folded("The victim\n" + "".join(f"- {sentence}\n" for sentence in words)))
    processes = [table for table in (tasks_table(j, top), names_table(j, top)) if table is not None]
    if processes:
        parts.append(text_tables(processes))
    if j.zones:
        parts.append(text_tables([zone_table(j)]))
    if j.advice:
        title = "What stands out" if j.verdict is Verdict.UNKNOWN else "What would have let it pass"
        parts.append(folded(f"{title}\n" + "".join(f"- {advice(a, j)}\n" for a in j.advice)))
    notes = j.report.mem_info.notes if j.report.mem_info else ()
    if notes:
        parts.append(folded("Not whole\n" + "".join(f"- line {line}: {note}\n" for line, note in notes)))
    return "\n".join(parts)
