"""Ctrl-C ends every command quietly, whatever it is at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD

import pytest

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
NUMA = FIXTURES / "captures" / "x86-7.3-numa3-asym"
STOPPED = {130, -signal.SIGINT}
"""Exit statuses: a shell shows both as 130."""


def start(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mmtool", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


READERS = [("boot", "--e820"), ("explain",), ("memblock", "replay")]


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_while_it_reads(arguments: tuple[str, ...]) -> None:
    process = start(*arguments, "-", stdin=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    os.write(process.stdin.fileno(), b"x\n")
    while unread(process.stdin.fileno()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() in STOPPED
    assert (process.stdout.read(), process.stderr.read().strip()) == (b"", b"mmtool: stopped")


def unread(pipe: int) -> int:
    """Bytes in a pipe that nobody has read yet."""
    return int.from_bytes(ioctl(pipe, FIONREAD, bytes(4)), sys.byteorder)


LONG = [
    ("memblock", "replay", (FIXTURES / "captures" / "x86-6.12-efi-8g-debug" / "dmesg.txt", 1)),
    ("explain", (FIXTURES / "reports" / "6.12-order4.txt", 400)),
    ("boot", "-o", "json", "--e820", (NUMA / "dmesg.txt", 1)),
]


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("arguments", LONG, ids=lambda a: a[0])
def test_while_it_works(arguments: tuple[str | tuple[Path, int], ...], delay: float, tmp_path: Path) -> None:
    *words, (path, times) = arguments
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start(*map(str, words), str(pipe))
    with pipe.open("wb") as file:
        file.write(path.read_bytes() * times)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode in {0, *STOPPED}
    assert err.strip() in (b"", b"mmtool: stopped")
    assert process.returncode or out


def test_before_it_has_begun(tmp_path: Path) -> None:
    """Its own modules and click's are imported: stopped there, it has nothing to say."""
    stopping = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / "click.py").write_text(stopping)
    process = start("--version", env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert process.communicate() == (b"", b"")
    assert process.returncode == -signal.SIGINT


def test_who_has_it_ignored_is_not_stopped(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ignore = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    process = start("boot", "-o", "dmesg", "--e820", str(pipe), preexec_fn=ignore)
    with pipe.open("wb") as file:
        process.send_signal(signal.SIGINT)
        file.write((NUMA / "dmesg.txt").read_bytes())
    out, err = process.communicate()
    remarks = [line for line in err.splitlines() if not line.startswith(b"mmtool: assumed: ")]
    assert (process.returncode, remarks) == (0, []) and out
