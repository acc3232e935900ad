"""Every command with a small input, and a way to run it in a process of its own without starting an interpreter."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from subprocess import CompletedProcess
from typing import IO

import mmtool as package
from mmtool.__main__ import main

CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"
LOG, TREE, STATE = CORPUS / "log" / "small.txt", CORPUS / "tree" / "small.dtb", CORPUS / "state" / "boot.json"
PROC = CORPUS / "proc"
STRANGER = 65534
"""nobody: the user that owns nothing."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

COMMANDS: Mapping[str, tuple[str | Path, ...]] = {
    "alloc": ("alloc", "--order", "1", "--count", "3", "--explain", "--state", STATE),
    "alloc --proc": ("alloc", "--order", "1", "--proc", PROC),
    "alloc --script": ("alloc", "--state", STATE, "--script", CORPUS / "alloc-script" / "s.txt"),
    "batch": ("batch", CORPUS / "log", "--jobs", "2"),
    "boot": ("boot", LOG),
    "boot --all": ("boot", LOG, "--all"),
    "boot -o dmesg": ("boot", LOG, "-o", "dmesg"),
    "boot -o json": ("boot", LOG, "-o", "json"),
    "boot -o svg": ("boot", LOG, "-o", "svg"),
    "boot --explain": ("boot", LOG, "--explain", "0x100000"),
    "boot tree": ("boot", TREE, "--all"),
    "buddy": ("buddy", "--memblock", CORPUS / "lists" / "plain.json"),
    "buddyinfo": ("buddyinfo", "--state", STATE),
    "capture": ("capture", "-"),
    "diff": ("diff", LOG, CORPUS / "map" / "table.txt"),
    "example": ("example",),
    "explain": ("explain", CORPUS / "report" / "6.12-thisnode.txt"),
    "explain -o yaml": ("explain", CORPUS / "report" / "2.6.32-oom.txt", "-o", "yaml"),
    "free": ("free", "--pfn", "0x1f00", "--state", STATE),
    "help": ("help", "boot"),
    "ledger": ("ledger", LOG),
    "lint": ("lint", TREE),
    "map": ("map", TREE, "-o", "csv"),
    "memblock replay": ("memblock", "replay", CORPUS / "memblock-log" / "x86.txt"),
    "memblock run": ("memblock", "run", CORPUS / "vectors" / "some.jsonl"),
    "plot": ("plot", LOG),
    "plot --bar": ("plot", LOG, "--bar"),
    "process layout": ("process", "layout"),
    "process maps": ("process", "maps", CORPUS / "maps" / "maps.txt"),
    "process run": ("process", "run", CORPUS / "process-script" / "a.vm"),
    "profile list": ("profile", "list"),
    "profile make": ("profile", "make", "--config", CORPUS / "config" / "small"),
    "profile show": ("profile", "show", "generic-x86_64"),
    "reclaim rmap": ("reclaim", "rmap", CORPUS / "rmap-script" / "fork.txt"),
    "reclaim run": ("reclaim", "run", CORPUS / "reclaim-script" / "file.lru"),
    "replay": ("replay", CORPUS / "recorded-trace" / "small.json"),
    "reserve": ("reserve", LOG, "--cma", "4M"),
    "schema": ("schema", "boot"),
    "slab caches": ("slab", "caches"),
    "slab info": ("slab", "info", CORPUS / "slabinfo" / "s.txt"),
    "slab kmalloc": ("slab", "kmalloc", "--size", "1-8192"),
    "slab run": ("slab", "run", CORPUS / "slab-script" / "frag.txt"),
    "verify": ("verify", CORPUS / "log" / "hyperv.txt"),
    "vmalloc": ("vmalloc", "--size", "64K", "--state", STATE),
    "vmalloc --info": ("vmalloc", "--info", CORPUS / "vmallocinfo" / "v.txt"),
    "walk": ("walk", "0x400000"),
    "whatif": ("whatif", LOG, "--cmdline+", "cma=4M"),
    "zram classes": ("zram", "classes"),
    "zram run": ("zram", "run", CORPUS / "zram-script" / "vary.txt"),
}  # fmt: skip
"""A call of every command, by a name."""


@cache
def load() -> None:
    """Everything of mmtool, and what it loads itself only where it is asked for, so that no child does it again."""
    for module in walk_packages(package.__path__, "mmtool."):
        import_module(module.name)
    for name in ("csv", "json", "lzma", "pyfdt.pyfdt", "tabulate", "yaml"):
        import_module(name)


@dataclass(frozen=True)
class Done:
    """How a process ended: `status` as subprocess has it (a signal is negative)."""

    status: int
    out: bytes
    err: bytes

    @property
    def said(self) -> list[str]:
        """The lines of standard error without what a boot says that it assumes."""
        return [line for line in self.err.decode().splitlines() if "mmtool: assumed: " not in line]


class Started:
    """A command in a child of this process, which has mmtool loaded, in a process group of its own.

    `out` stands in for standard output, `stdin` comes through a pipe where it is given; `prepare` is called in the
    child, `environment` added to its own.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        out: IO[bytes] | None = None,
        environment: Mapping[str, str | None] | None = None,
        prepare: Callable[[], object] = lambda: None,
        encoding: str = "utf-8",
        stdin: bytes | None = None,
    ) -> None:
        load()
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        pipe = os.pipe() if stdin is not None else None
        # No signal before the child has put aside what pytest does with it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        self.pid = os.fork()
        if self.pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if pipe is not None:
                os.close(pipe[0])
                with suppress(BrokenPipeError), os.fdopen(pipe[1], "wb", buffering=0) as file:
                    file.write(stdin or b"")
        else:
            status = 70
            try:
                for number in STOPPING:
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                os.setpgid(0, 0)
                gc.freeze()  # what pytest holds is not to be gone through again and again
                self._become(pipe, out or self.out, environment or {}, encoding)
                prepare()
                sys.argv = ["mmtool", *map(str, arguments)]
                main()
                status = 0
            except SystemExit as e:
                status = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                for stream in (sys.stdout, sys.stderr):
                    try:
                        stream.flush()
                    except OSError:
                        status = status or 120
                os._exit(status)

    def _become(
        self, pipe: tuple[int, int] | None, out: IO[bytes], environment: Mapping[str, str | None], encoding: str
    ) -> None:
        if pipe is not None:
            os.dup2(pipe[0], 0)
            os.close(pipe[0])
            os.close(pipe[1])
        else:
            with Path(os.devnull).open("rb") as nothing:
                os.dup2(nothing.fileno(), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(self.err.fileno(), 2)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "wb", closefd=False), encoding=encoding)
        sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "wb", closefd=False), encoding=encoding, errors="backslashreplace", line_buffering=True
        )
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def wait(self) -> Done:
        """Wait for its end."""
        _, state = os.waitpid(self.pid, 0)
        texts = []
        for file in (self.out, self.err):
            file.seek(0)
            texts.append(file.read())
            file.close()
        return Done(os.waitstatus_to_exitcode(state), *texts)

    def left(self) -> bool:
        """Is a process of its group still there?"""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True


def run(
    arguments: Sequence[str | Path],
    *,
    out: IO[bytes] | None = None,
    environment: Mapping[str, str | None] | None = None,
    prepare: Callable[[], object] = lambda: None,
    encoding: str = "utf-8",
) -> Done:
    """A command from its start to its end, as `Started` has it."""
    return Started(arguments, out=out, environment=environment, prepare=prepare, encoding=encoding).wait()


def mmtool(
    *arguments: str | Path,
    stdin: bytes | None = None,
    environment: Mapping[str, str | None] | None = None,
    folder: Path | None = None,
) -> CompletedProcess[bytes]:
    """What `python -m mmtool` would answer, as subprocess has it: the arguments, streams and end of a real process.

    It is called in `folder`; `environment` is added to this process's own.
    """
    prepare = (lambda: os.chdir(folder)) if folder is not None else (lambda: None)
    done = Started(arguments, stdin=stdin, environment=environment, prepare=prepare).wait()
    return CompletedProcess(["mmtool", *map(str, arguments)], done.status, done.out, done.err)
