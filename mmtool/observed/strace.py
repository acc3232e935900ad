"""What strace wrote of a program's system calls: plain, with -f, -y, -T and time stamps."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmtool.errors import InputError
from mmtool.late import dataclass

FORKS = ("clone", "clone3", "fork", "vfork")
_PREFIX = re.compile(
    r"(?:\[pid\s{1,9}(\d{1,10})\] |(\d{1,10})\s+)?(?:(?:\d\d:\d\d:\d\d|\d{1,20})(?:\.\d{1,9})?\s+)?(.*)"
)
_CALL = re.compile(r"(\w+)\((.*)\)\s{1,200}= (.*)")
_BEGUN = re.compile(r"(\w+)\((.*)<unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_ATTACHED = re.compile(r"(?:strace: )?Process (\d{1,10}) attached")
_TOOK = re.compile(r"\s{1,9}<\d{1,9}\.\d{1,9}>$")
_ANY = re.compile(r"^(?:\[pid\s+\d+\] |\d+\s+)?(?:[\d:.]+\s+)?(?:execve|brk|mmap2?)\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Call:
    """A system call: `result` as the kernel's number, or the name of the error; None where it has just begun."""

    line: int
    pid: int
    name: str
    args: tuple[str, ...]
    result: str | None


def is_strace(text: str) -> bool:
    """Does a text look as if strace wrote it?"""
    return _ANY.search(text[:4096]) is not None


def parse_strace(text: str, file: str) -> Iterator[Call]:
    """The calls in the order of their ends; of calls that make processes the begin too. InputError for what is none."""
    pending: dict[int, str] = {}
    attached: set[int] = set()
    main = 0
    for line, row in enumerate(text.splitlines(), 1):
        if (found := _ATTACHED.match(row)) is not None:
            attached.add(int(found[1]))
            continue
        prefix = _PREFIX.fullmatch(row)
        assert prefix is not None
        pid = int(prefix[1] or prefix[2] or main)
        if prefix[1] and not main and pid not in attached:
            main = pid  # the first process is written without its number while it is alone
        if prefix[1] and pid == main:
            pid = 0
        body = _TOOK.sub("", prefix[3].strip())
        if not body or body.startswith(("+++", "---", "strace:", "exit", "<... exit")):
            continue
        if (begun := _BEGUN.fullmatch(body)) is not None:
            arguments = begun[2].rstrip()
            pending[pid] = f"{begun[1]}({arguments}"
            if begun[1] in FORKS:
                yield Call(line, pid, begun[1], _split(arguments), None)
            continue
        if (resumed := _RESUMED.fullmatch(body)) is not None:
            body = pending.pop(pid, f"{resumed[1]}(") + resumed[2]
        call = _CALL.fullmatch(body)
        if call is None:
            raise InputError(file, line, f"no system call as strace writes them: {row.strip()[:60]!r}")
        yield Call(line, pid, call[1], _split(call[2]), _result(call[3]))


def _result(text: str) -> str:
    words = text.split()
    return words[1] if words[0] == "-1" and len(words) > 1 else words[0]


def _split(text: str) -> tuple[str, ...]:
    """The arguments: split at commas outside of strings, brackets and the names of files."""
    parts, depth, quoted, begin = [], 0, False, 0
    for i, letter in enumerate(text):
        if letter == '"' and text[i - 1 : i] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif letter in "[{(" or (letter == "<" and text[i - 1 : i].isdigit() and text[i + 1 : i + 2] != "<"):
            depth += text[i + 1 : i + 2] != "<"
        elif letter in "]})" or (letter == ">" and depth and text[i - 1 : i] not in "->"):
            depth -= 1
        elif letter == "," and not depth:
            parts.append(text[begin:i].strip())
            begin = i + 1
    last = text[begin:].strip()
    return (*parts, last) if last or parts else ()
