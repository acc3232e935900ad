"""Reading what a running kernel shows, and what programs print of it: no more than so much, and no longer than so long.

A file of /proc or /sys is filled in by a driver, which may wait for its device; a program may wait for the network.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from mmtool.firmware.below import read_plain
from mmtool.firmware.packed import LARGEST

PATIENCE = 20.0
"""Seconds in which a file is read and a program ends."""


def read_in_time(path: Path) -> bytes:
    """The bytes of a plain file. OSError for what is none, what is too long, and what does not answer."""
    return _in_time(lambda: read_plain(path), lambda: None)


def run_program(command: tuple[str, ...]) -> bytes | None:
    """Standard output of a program of this machine, None where it is not there, fails, or has too much to say."""
    try:
        program = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
    except OSError:
        return None
    with program:
        output = program.stdout
        assert output is not None
        try:
            said = _in_time(lambda: output.read(LARGEST + 1), program.kill)
            if len(said) <= LARGEST and program.wait(PATIENCE) == 0:
                return said
        except (OSError, subprocess.TimeoutExpired):
            pass
        program.kill()
    return None


def _in_time(read: Callable[[], bytes], give_up: Callable[[], None]) -> bytes:
    """What `read` gives. OSError, also where it takes longer than PATIENCE: it is left behind then."""
    answers: list[bytes | OSError] = []

    def ask() -> None:
        try:
            answers.append(read())
        except OSError as e:
            answers.append(e)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    if not answers:
        give_up()
        raise TimeoutError(errno.ETIMEDOUT, "does not answer")
    if isinstance(answers[0], OSError):
        raise answers[0]
    return answers[0]
