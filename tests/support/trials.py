"""Series of calls to alloc_pages() of a real kernel: those of fixtures/trials, and those in consoles' logs.

A log of lab/ in the folder that MMTOOL_REPORTS names shows /proc's files between =====BEGIN and =====END, and behind
them the calls that a module made ("mmtrig: do ..."), each with the kernel's answer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "trials"
PROC = ("version", "zoneinfo", "buddyinfo", "pagetypeinfo")

_EVENT = re.compile(
    r"^=====BEGIN (?P<file>\S+)\n(?P<text>.*?)^=====END"
    r"|mmtrig: do '(?P<do>[^']*)'"
    r"|mmtrig: alloc order (?P<order>\d+) gfp (?P<gfp>\S+) nid (?P<nid>-?\d+) -> (?P<answer>(?:ok|NULL) zone \S+)"
    r"|mmtrig: kept (?P<kept>\d+) more \(order (?P<korder>\d+) gfp (?P<kgfp>\S+) nid (?P<knid>-?\d+)\)"
    r"|mmtrig: freed (?P<freed>\d+) kept (?P<left>\d+)",
    flags=re.M | re.S,
)


@dataclass
class Trial:
    """One series: /proc before the first call, the calls as lines of a script, and the kernel's answers."""

    name: str
    proc: dict[str, str]
    script: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """The series as a folder that --proc takes, with the script in it."""
        for name in PROC:
            (folder / name).write_text(self.proc[name])
        (folder / "script").write_text("".join(f"{line}\n" for line in self.script))
        return folder


def trials() -> list[Trial]:
    """Every series that is at hand."""
    found = [_folder(path.parent) for path in sorted(FIXTURES.glob("*/script"))]
    more = os.environ.get("MMTOOL_REPORTS")
    for path in sorted(Path(more, "lab").glob("*.console.log")) if more else ():
        found += _in_log(path.read_text(errors="replace"), path.name.removesuffix(".console.log"))
    return found


def _folder(folder: Path) -> Trial:
    script, answers = ((folder / name).read_text().splitlines() for name in ("script", "answers"))
    return Trial(folder.name, {name: (folder / name).read_text() for name in PROC}, script, answers)


def _in_log(text: str, name: str) -> Iterator[Trial]:
    trial, proc, done, count = None, {}, "", 0
    for m in _EVENT.finditer(text.split("=====BEGIN dmesg")[0]):
        if m["file"]:
            proc[m["file"].removeprefix("/proc/")] = m["text"]
            if trial is not None:
                yield trial
                trial = None
            continue
        if m["do"] is not None:
            done = m["do"]
            continue
        if trial is None:
            count += 1
            trial = Trial(f"{name}-{count}", dict(proc))
        line, answer = _call(m, done.split())
        trial.script.append(line)
        trial.answers.append(answer)
    if trial is not None:
        yield trial


def _call(m: re.Match[str], do: list[str]) -> tuple[str, str]:
    """A call as a line of a script, and the kernel's answer."""
    if m["answer"]:
        return f"alloc {m['order']} {m['gfp']} node={m['nid']}", m["answer"].replace(" zone", "")
    if m["kept"]:
        most = do[4] if len(do) > 4 and do[4] != "0" else "max"
        return f"alloc {m['korder']} {m['kgfp']} node={m['knid']} count={most} keep", m["kept"]
    step = do[1] if len(do) > 1 else "0"
    return "free all" if step == "0" else f"free step={step}", f"{m['freed']} {m['left']}"
