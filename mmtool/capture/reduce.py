"""A kernel's log cut down to the lines that mmtool reads, as its readers say themselves.

A line that goes leaves an empty one, so that the others keep their numbers. Whether the readers read the same of what
is left is not taken for granted: they read it again, and where they do not, the log stays whole.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from mmtool.errors import InputError
from mmtool.firmware import log as firmware_log
from mmtool.firmware.lines import decode, kernel_lines, plain
from mmtool.late import dataclass
from mmtool.observed import answers, memblock_log
from mmtool.observed.reports import report


@dataclass(frozen=True)
class Reduced:
    """A log without what nobody reads; of its `lines` (empty ones left out) so many were `kept`."""

    text: str
    kept: int
    lines: int
    whole: bool = False
    """It is as it was: without its other lines its readers would read something else."""


_OF_A_BOOT = (firmware_log.lines_read, answers.lines_read, memblock_log.lines_read)
"""What reads a boot's lines: each says which, and reads them whole."""


def reduce_log(data: bytes) -> Reduced:
    """The lines of a log that are read, all others empty; all of them where fewer would be read as something else."""
    text = decode(data)
    raw = text.split("\n")
    kept = lines_read(text)
    numbered = list(enumerate(raw, 1))
    lines = sum(bool(line.strip()) for line in raw)
    said = what_is_read(text)
    for stand_in in (_nothing, _dots):
        reduced = "\n".join(line if number in kept else stand_in(line) for number, line in numbered)
        if what_is_read(reduced) == said:
            return Reduced(reduced, sum(number in kept and bool(line.strip()) for number, line in numbered), lines)
    return Reduced(text, lines, lines, whole=True)


def _nothing(line: str) -> str:
    return ""


def _dots(line: str) -> str:
    """A line as long, for reports that are told apart by what lies between them."""
    words = plain(line)
    return line[: line.rfind(words)] + "." * len(words) if words else line


def lines_read(text: str) -> set[int]:
    """The numbers of the lines that mmtool takes something from."""
    return with_continued(text, boot_lines_read(text) | report.places_read(text).keys())


def boot_lines_read(text: str) -> set[int]:
    """The lines of these that are not read as parts of reports."""
    return set().union(*(read(text) for read in _OF_A_BOOT))


def with_continued(text: str, kept: set[int]) -> set[int]:
    """These lines, and the other pieces of those that mail or a terminal broke."""
    numbers = [*sorted({number for number, _ in kernel_lines(text)}), text.count("\n") + 2]
    followed = dict(pairwise(numbers))
    return kept | {piece for number in kept for piece in range(number + 1, followed.get(number, number + 1))}


def what_is_read(text: str) -> tuple[Any, ...]:
    """All that mmtool reads of a log, or why it does not."""
    boots = firmware_log.boots_of(text)
    chosen = [None, *range(1, len(boots) + 1)] if len(boots) > 1 else [None]
    machines = tuple(_or_error(lambda b=b: firmware_log.read_log(text, "", need_map=False, wanted=b)) for b in chosen)
    facts = tuple(answers.of_log(text, "", b) for b in chosen)
    reports = tuple(map(_without_places, report.parse_reports(text)))
    return machines, facts, reports, _or_error(lambda: memblock_log.parse_memblock_log(text, ""))


def _without_places(told: report.Report) -> report.Report:
    """A report without the places in the text of its lines, of which its line numbers are what people see."""
    kills = tuple(replace(line, start=0, end=0) for line in told.kills)
    return replace(told, kills=kills, notice=told.notice and replace(told.notice, start=0, end=0))


def _or_error(read: Any) -> Any:
    try:
        return read()
    except InputError as e:
        return str(e)
