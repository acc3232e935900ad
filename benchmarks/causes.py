"""Why mmtool differs from kernels in the field: the lines of a folder of boot logs that it misses, by cause.

python benchmarks/causes.py LOGS_DIR [README.md]: every x86 log there (*.txt) is booted from what the machine said, and
compared. With a README, exit status 1 if its list of causes has other numbers.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from mmtool.answers.verify import Difference, verify
from mmtool.build.choose import kernel_for
from mmtool.errors import InputError
from mmtool.firmware.read import read_machine
from mmtool.linux.init.main import start_kernel
from mmtool.observed.answers import read_answers
from mmtool.report.dmesg import shows_debug

_UPDATE = re.compile(r"e820: update \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]")
FOUR_GIB, LARGE = 1 << 32, 16 << 20
NO_DMA = "zones of a build without ZONE_DMA"
LIST_BEGINS, LIST_ENDS = "What differs there, by cause", "The hand-over is exact"


def cause(difference: Difference, *, no_dma: bool) -> str:
    """Why the kernel printed a line that was not predicted, as far as the line tells.

    `no_dma`: the kernel has no zone DMA, of which its log shows nothing else.
    """
    text = difference.text.strip()
    if m := _UPDATE.match(text):
        start, end = int(m[1], 16), int(m[2], 16) + 1
        by_mtrr = end == FOUR_GIB or end - start >= LARGE
        return "updates that follow from MTRRs" if by_mtrr else "updates of small ranges"
    if difference.fact == "zones" and no_dma:
        return NO_DMA
    for words in ("last_pfn", "pages reserved", "Device"):
        if words in text:
            return words
    return f"other lines of {difference.fact}"


def count(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Missed lines, and logs with some, by cause."""
    lines: Counter[str] = Counter()
    logs: Counter[str] = Counter()
    for path in sorted(folder.glob("*.txt")):
        try:
            machine = read_machine(str(path))
            booted = start_kernel(machine, kernel_for(machine))
            answers = read_answers(str(path))
            result = verify(booted, answers, debug=shows_debug(booted))
        except InputError:
            continue
        own = [d for d in result.differences if d.side == "kernel" and d.fact in ("e820", "zones")]
        no_dma = not any(d.side == "kernel" and d.text.split()[:1] == ["DMA"] for d in result.differences) and any(
            d.side == "mmtool" and re.match(r"\s*DMA +\[mem", d.text) for d in result.differences
        )
        missed = [cause(d, no_dma=no_dma) for d in own]
        lines.update(missed)
        logs.update(set(missed))
    return lines, logs


def main(folder: Path, readme: Path | None) -> int:
    lines, logs = count(folder)
    for name, number in lines.most_common():
        print(f"{number:5} lines in {logs[name]:3} logs: {name}")
    if readme is None:
        return 0
    told = readme.read_text()
    numbers = re.findall(r"\b\d+\b", told[told.index(LIST_BEGINS) : told.index(LIST_ENDS)])
    wrong = [name for name in lines if str(lines[name]) not in numbers]
    for name in wrong:
        print(f"{readme}: its list of causes does not have the {lines[name]} {name}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
