"""How many logs a second `mmtool batch` boots on one processor: reading a log, the boot, and the row of it.

python benchmarks/batch.py [DIR]; DIR is a folder of logs or captures, by default the fixtures. Exit status 1 below 60 a
second. CPU time of one process that has its modules loaded, the best of a few rounds for each log: a fleet takes hours,
starting takes a moment.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import process_time

from mmtool.answers.batch import inputs_of, summary

FIXTURES = Path(__file__).parent.parent / "fixtures"
GOAL = 60
ROUNDS = 5


def seconds(file: str) -> float:
    """The CPU time of one row."""
    start = process_time()
    summary(file)
    return process_time() - start


def main(folders: list[str]) -> int:
    files = [file for folder in folders for file in inputs_of(folder)]
    booted = sum(summary(file).error is None for file in files)
    # Round by round, so that a busy moment of this computer does not meet one log each time.
    best = map(min, zip(*[[seconds(file) for file in files] for _ in range(ROUNDS)], strict=True))
    rate = len(files) / sum(best)
    print(f"{len(files)} files, {booted} of them booted: {rate:.0f} a second and processor")
    return 0 if rate >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [str(FIXTURES / "logs"), str(FIXTURES / "captures")]))
