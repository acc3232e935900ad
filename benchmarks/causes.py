"""Why mmtool differs from kernels in the field: the lines of a folder of boot logs that it misses, by cause.

python benchmarks/causes.py LOGS_DIR: every x86 log there (*.txt) is booted from what the machine said, and compared.
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


def cause(difference: Difference) -> str:
    """Why the kernel printed a line that was not predicted, as far as the line tells."""
    text = difference.text.strip()
    if m := _UPDATE.match(text):
        start, end = int(m[1], 16), int(m[2], 16) + 1
        by_mtrr = end == FOUR_GIB or end - start >= LARGE
        return "updates that follow from MTRRs" if by_mtrr else "updates of small ranges"
    for words in ("last_pfn", "pages reserved", "Device"):
        if words in text:
            return words
    return f"other lines of {difference.fact}"


def main(folder: Path) -> None:
    causes: Counter[str] = Counter()
    logs: Counter[str] = Counter()
    for path in sorted(folder.glob("*.txt")):
        try:
            machine = read_machine(str(path))
            booted = start_kernel(machine, kernel_for(machine))
            result = verify(booted, read_answers(str(path)), debug=shows_debug(booted))
        except InputError:
            continue
        missed = [cause(d) for d in result.differences if d.side == "kernel" and d.fact in ("e820", "zones")]
        causes.update(missed)
        logs.update(set(missed))
    for name, count in causes.most_common():
        print(f"{count:5} lines in {logs[name]:3} logs: {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
