"""What a boot costs as a whole process, against `python -c "import click"`.

python benchmarks/startup.py [LOG]; exit status 1 when the median of `mmtool boot` is more than three times that of the
bare import. Needs the project installed; compiled modules are written first, as an installation has them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

FIXTURE = Path(__file__).parent.parent / "fixtures" / "captures" / "x86-6.1-numa4-ring" / "dmesg.txt"
LIMIT = 3.0
RUNS = 31


def milliseconds(command: list[str]) -> float:
    """The wall-clock time of one run of a command."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    return (perf_counter() - start) * 1e3


def main(log: str) -> int:
    bare = [sys.executable, "-c", "import click"]
    formats = ("table", "dmesg", "json")
    commands = [bare, *([sys.executable, "-m", "mmtool", "boot", "--e820", log, "-o", o] for o in formats)]
    for command in commands:
        milliseconds(command)
    # Turn about, so that a busy moment of this computer meets all.
    rounds = [[milliseconds(c) for c in commands] for _ in range(RUNS)]
    import_click, *boots = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"import click: {import_click:.0f} ms")
    for name, median in zip(formats, boots, strict=True):
        print(f"mmtool boot -o {name}: {median:.0f} ms; ratio {median / import_click:.2f}")
    return 0 if max(boots) <= LIMIT * import_click else 1


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or [str(FIXTURE)])))
