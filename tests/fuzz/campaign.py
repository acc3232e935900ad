"""Feed mutated inputs to every reader and every command, and say what was found.

    python tests/fuzz/campaign.py --inputs 20000 --seed 1
    python tests/fuzz/campaign.py --seconds 600 --only log,explain --save /tmp/found

A finding is an exception that is no refusal, a raw control character in an output, more than a second of CPU time
or more than 200 MiB for an input below 1 MB. Inputs depend on the seed, the
target and their number alone, the options that they are tried with on the input.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from zlib import crc32

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fuzz.mutate import Mutator  # noqa: E402
from fuzz.targets import COMMANDS, FOLDER, REFUSALS, TARGETS  # noqa: E402

MOST_CPU = 1.0
"""Seconds of CPU time for an input."""
MOST_MEMORY = 200 << 20
"""Bytes that the process may grow by, over what it holds before the first input."""
STOP_AFTER = 20.0
"""Seconds of CPU time after which an input is given up."""
ADDRESS_SPACE = 4 << 30
DENSE, DENSE_OF_READERS = 120, 4000
"""One of so many inputs of a command is a large one, and of a reader."""


QUICK, SMALL = 0.004, 100_000
"""Seconds and bytes up to which an input cannot have taken much memory."""


class TooLongError(BaseException):
    """An input was given up."""


@dataclass
class Result:
    """What a target was given and what came of it."""

    inputs: int = 0
    refused: int = 0
    worst_cpu: float = 0.0
    worst_memory: int = 0
    cpu: float = 0.0
    findings: Counter[str] = field(default_factory=Counter)


def peak() -> int:
    """The most bytes that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def place(error: BaseException) -> str:
    """An exception by its type and the innermost line of mmtool that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    inner = next((f for f in reversed(frames) if "/mmtool/" in f.filename and "/tests/" not in f.filename), None)
    where = "?" if inner is None else f"{inner.filename.rpartition('/mmtool/')[2]}:{inner.lineno}"
    return (
        f"{type(error).__name__} {where}: {str(error)[:90]!r}" if inner is None else f"{type(error).__name__} {where}"
    )


class Campaign:
    """A run over some targets. `save` is where inputs go that a finding is about, the first of each kind."""

    def __init__(self, seed: int, names: Iterable[str] = TARGETS, save: Path | None = None) -> None:
        self.seed, self.save = seed, save
        self.results = {name: Result() for name in names}
        self.randoms = {name: Random(f"{seed} {name}") for name in self.results}
        self.mutators = {name: Mutator(TARGETS[name].seeds(), self.randoms[name]) for name in self.results}
        self.saved: dict[str, str] = {}
        self.base = 0

    def warm(self) -> None:
        """Every seed once, so that what is loaded on first use is no input's."""
        for name in self.results:
            for data in TARGETS[name].seeds():
                self._quietly(name, data)
        gc.collect()
        gc.freeze()
        self.base = peak()

    def _quietly(self, name: str, data: bytes) -> BaseException | None:
        """Run it; what was raised, None for an answer."""
        if name == "batch":
            (FOLDER / "one").mkdir(exist_ok=True)
            (FOLDER / "one" / "input").write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, STOP_AFTER)
        try:
            TARGETS[name].run(data, Random(crc32(data)))
        except (Exception, SystemExit, TooLongError) as e:
            return e
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return None

    def one(self, name: str, *, dense: bool = True) -> None:
        """The next input of a target; without `dense` none is a large one."""
        result, random, mutator = self.results[name], self.randoms[name], self.mutators[name]
        large = random.randrange(DENSE if name in COMMANDS else DENSE_OF_READERS) == 0
        data = mutator.dense() if dense and large else mutator.next()
        result.inputs += 1
        before = time.process_time()
        error = self._quietly(name, data)
        cpu = time.process_time() - before
        if cpu > MOST_CPU and not isinstance(error, TooLongError):
            # once more, lest it was something beside it: the collection of others' garbage, a busy machine
            gc.collect()
            before = time.process_time()
            error = self._quietly(name, data)
            cpu = min(cpu, time.process_time() - before)
        result.cpu += cpu
        result.worst_cpu = max(result.worst_cpu, cpu)
        # what takes no time took no memory, and to ask is slow
        grown = peak() - self.base if cpu > QUICK or len(data) > SMALL else 0
        if grown > result.worst_memory and grown > max((r.worst_memory for r in self.results.values()), default=0):
            result.worst_memory = grown
        if isinstance(error, REFUSALS):
            result.refused += 1
        elif error is not None:
            self.found(name, place(error), data)
        if cpu > MOST_CPU:
            self.found(name, "more than a second of CPU time", data)
        if grown > MOST_MEMORY:
            self.found(name, "more than 200 MiB", data)
            self.base = peak() - MOST_MEMORY // 2

    def found(self, name: str, kind: str, data: bytes) -> None:
        result = self.results[name]
        result.findings[kind] += 1
        if result.findings[kind] == 1:
            print(f"{name}: {kind} (input {result.inputs}, {len(data)} bytes)", flush=True)
        if self.save is not None and result.findings[kind] == 1:
            self.save.mkdir(parents=True, exist_ok=True)
            file = "".join(c if c.isalnum() or c in "-._" else "_" for c in f"{name}--{kind}")[:150]
            (self.save / file).write_bytes(data)

    def rounds(self) -> Iterator[str]:
        """The targets in turn, each as often as its weight says."""
        while True:
            for name in self.results:
                for _ in range(TARGETS[name].weight):
                    yield name

    def report(self) -> Iterator[str]:
        """A line for each target, then the whole."""
        yield f"{'target':26}{'inputs':>9}{'refused':>9}{'us each':>9}{'worst s':>9}{'worst MiB':>10}  findings"
        for name, r in self.results.items():
            each = r.cpu / max(r.inputs, 1) * 1e6
            found = "; ".join(f"{kind} ({count})" for kind, count in r.findings.items()) or "none"
            yield f"{name:26}{r.inputs:9}{r.refused:9}{each:9.0f}{r.worst_cpu:9.2f}{r.worst_memory >> 20:10}  {found}"
        of = self.results.values()
        kinds = sum(len(r.findings) for r in of)
        yield (
            f"{sum(r.inputs for r in of)} inputs, seed {self.seed}, {kinds} kinds of findings, "
            f"worst {max(r.worst_cpu for r in of):.2f} s of CPU time, {max(r.worst_memory for r in of) >> 20} MiB; "
            f"Python {platform.python_version()}, {sum(r.cpu for r in of):.0f} s in all"
        )


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLongError(f"given up after {STOP_AFTER} s")


def main() -> int:
    """Exit status 1 when something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, help="so many in all")
    parser.add_argument("--seconds", type=float, help="for so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="only these targets, by commas: " + ", ".join(TARGETS))
    parser.add_argument("--save", type=Path, help="a folder for the inputs that something was found with")
    asked = parser.parse_args()
    os.environ["XDG_STATE_HOME"] = str(FOLDER / "state")
    os.environ.pop("COLUMNS", None)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGPROF, _too_long)
    names = asked.only.split(",") if asked.only else list(TARGETS)
    campaign = Campaign(asked.seed, names, asked.save)
    campaign.warm()
    most = asked.inputs if asked.inputs is not None else (10_000 if asked.seconds is None else sys.maxsize)
    until = time.monotonic() + asked.seconds if asked.seconds is not None else None
    try:
        for number, name in enumerate(campaign.rounds()):
            if number >= most or (until is not None and time.monotonic() > until):
                break
            campaign.one(name)
    except KeyboardInterrupt:
        pass
    print(*campaign.report(), sep="\n")
    return int(any(r.findings for r in campaign.results.values()))


if __name__ == "__main__":
    sys.exit(main())
