"""What a boot costs as a whole process, against `python -c "import click"`, in CPU time.

python benchmarks/startup.py [LOG]; exit status 1 when `mmtool boot` takes more than its limit times what the bare
import takes. Needs the project installed; compiled modules are written first, as an installation has them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

FIXTURE = Path(__file__).parent.parent / "fixtures" / "captures" / "x86-6.1-numa4-ring" / "dmesg.txt"
LIMITS = {"dmesg": 2.2, "json": 2.2, "table": 2.6}
RUNS = 31


def milliseconds(command: list[str]) -> float:
    """The CPU time of one run of a command, user and system."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1e3


def main(log: str) -> int:
    bare = [sys.executable, "-c", "import click"]
    commands = [bare, *([sys.executable, "-m", "mmtool", "boot", "--e820", log, "-o", o] for o in LIMITS)]
    for command in commands:
        milliseconds(command)
    # Turn about, so that a busy moment of this computer meets all; the least of each is what nobody disturbed.
    rounds = [[milliseconds(c) for c in commands] for _ in range(RUNS)]
    import_click, *boots = (min(times) for times in zip(*rounds, strict=True))
    print(f"import click: {import_click:.0f} ms")
    ratios = [least / import_click for least in boots]
    for (name, limit), least, ratio in zip(LIMITS.items(), boots, ratios, strict=True):
        print(f"mmtool boot -o {name}: {least:.0f} ms; ratio {ratio:.2f}, limit {limit}")
    return 0 if all(ratio <= limit for ratio, limit in zip(ratios, LIMITS.values(), strict=True)) else 1


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or [str(FIXTURE)])))
