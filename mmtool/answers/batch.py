"""Many machines, one row each: boots on all of this machine's processors or a cluster's, in constant memory.

The rows come in the order of the inputs. What goes wrong with one of them is its row, never the end of the others.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from ctypes import CDLL
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from signal import SIG_IGN, SIGINT, SIGKILL, signal
from typing import Any

from mmtool.answers.ledger import memory_ledger
from mmtool.build.choose import kernel_for
from mmtool.errors import InputError, UsageError
from mmtool.firmware.read import read_input
from mmtool.late import dataclass
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel

MOST_TAKERS = 3
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""
AHEAD = 4
"""Inputs a process that are given out before the first of them is done."""


@dataclass(frozen=True)
class Row:
    """One machine. Sizes in bytes; all but `file` and `error` None where it could not be booted.

    `takers` are those that took most of what is lost, `zones` (node/zone, managed pages in bytes); `crashkernel` is
    what the command line asks for, `crashkernel_at` where it lies, [start, end), None where it does not fit.
    """

    file: str
    error: str | None = None
    kernel: str | None = None
    arch: str | None = None
    exact: bool | None = None
    """Is there a profile of this very build? Without one, sizes are estimates."""
    installed: int | None = None
    usable: int | None = None
    memtotal: int | None = None
    takers: tuple[tuple[str, int], ...] | None = None
    zones: tuple[tuple[str, int], ...] | None = None
    crashkernel: str | None = None
    crashkernel_at: tuple[int, int] | None = None

    @property
    def lost(self) -> int | None:
        return self.installed - self.memtotal if self.installed is not None and self.memtotal is not None else None


def inputs_of(folder: str) -> Iterator[str]:
    """Every file in a folder and below it, by name; a folder with dmesg.txt is one input. Raises InputError."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as e:
        raise InputError(folder, None, f"cannot be read: {e.strerror}; give a folder of logs, or - for a list") from e
    for entry in entries:
        if entry.is_file():
            yield entry.path
        elif entry.is_dir(follow_symlinks=False):
            whole = (Path(entry.path) / "dmesg.txt").is_file()
            yield from (entry.path,) if whole else inputs_of(entry.path)


def summary(file: str) -> Row:
    """Boot what a file describes and sum it up; a row with the error for what cannot be booted."""
    try:
        machine = read_input(file)
        return _row(file, start_kernel(machine, kernel_for(machine)))
    except (InputError, UsageError) as e:
        return Row(file, str(e))
    except Exception as e:  # a defect of mmtool's must not end the run of a fleet either
        return Row(file, f"{file}: this is a defect of mmtool: {type(e).__name__}: {e}")


def _row(file: str, boot: Boot) -> Row:
    ledger = memory_ledger(boot)
    page = boot.memblock.page_size
    lines = sorted(ledger.lines, key=lambda line: -line.amount)
    kept = [(start, end) for start, end, owner in boot.memblock.ledger.entries if owner == "crashkernel"]
    return Row(
        file,
        kernel=boot.kernel.name,
        arch=boot.kernel.arch,
        exact=boot.kernel.profile.exact,
        installed=ledger.installed,
        usable=boot.memblock.memory.total_size,
        memtotal=ledger.memtotal,
        takers=tuple((line.taker, line.amount) for line in lines[:MOST_TAKERS]),
        zones=tuple(
            (f"{zone.nid}/{zone.name}", zone.managed_pages * page)
            for _, node in sorted(boot.nodes.items())
            for zone in node.populated_zones()
        ),
        crashkernel=boot.cmdline.get("crashkernel"),
        crashkernel_at=kept[0] if kept else None,
    )


def rows(files: Iterable[str], jobs: int) -> Iterator[Row]:
    """The rows of many files, in their order, made by `jobs` processes."""
    if jobs == 1:
        yield from map(summary, files)
        return
    pending: deque[tuple[str, Future[Row] | None]] = deque()
    source = iter(files)
    pool = _pool(jobs)
    try:
        while True:
            while len(pending) < jobs * AHEAD and (file := next(source, None)) is not None:
                pending.append((file, _given(pool, file)))
            if not pending:
                return
            file, future = pending.popleft()
            try:
                row = future.result() if future is not None else _alone(file)
            except BrokenProcessPool:
                # a process died, over this input or one beside it: who it was shows alone
                row, pool = _alone(file), _pool(jobs)
                pending = deque((other, _given(pool, other)) for other, _ in pending)
            yield row
    finally:
        # Waited for: an interpreter that ends while the pool still closes its pipes says so on standard error.
        pool.shutdown(cancel_futures=True)


def cluster_rows(files: Iterable[str], address: str) -> Iterator[Row]:
    """The rows of many files, in their order, made by the workers of a Dask cluster whose scheduler is at `address`.

    The workers open the files themselves, by their full paths, and need mmtool. UsageError without Dask here, or when
    nobody answers at the address.
    """
    try:
        from distributed import Client
    except ImportError as e:
        raise UsageError("--dask needs Dask; install it with: pip install 'mmtool[dask]'") from e
    try:
        _ask_scheduler(address)
        client: Any = Client(address, set_as_default=False)
    except (OSError, TypeError, ValueError) as e:  # TypeError where TLS is asked for and not configured
        raise UsageError(f"--dask {address}: no scheduler answers there: {e}") from e
    pending: deque[tuple[str, Any]] = deque()
    source = iter(files)
    with client:
        ahead = AHEAD * max(sum(client.nthreads().values()), 1)
        while True:
            while len(pending) < ahead and (file := next(source, None)) is not None:
                pending.append((file, client.submit(summary, str(Path(file).absolute()), pure=False)))
            if not pending:
                return
            file, future = pending.popleft()
            try:
                row = future.result()
            except Exception as e:  # such as a worker that was killed, over and over
                row = Row(file, f"{file}: no worker could do it: {type(e).__name__}: {e}")
            error = row.error.replace(str(Path(file).absolute()), file) if row.error is not None else None
            yield replace(row, file=file, error=error)


def _ask_scheduler(address: str) -> None:
    """Raise what Dask does where nobody answers: a Client would wait a minute for its end, and print a traceback."""
    from distributed.comm.core import connect
    from distributed.security import Security
    from distributed.utils import LoopRunner

    async def ask() -> None:
        comm = await connect(address, **Security().get_connection_args("client"))
        await comm.close()

    LoopRunner().run_sync(ask)


def _given(pool: ProcessPoolExecutor, file: str) -> Future[Row] | None:
    """The work on a file, given to a process; None when one of them has just died."""
    try:
        return pool.submit(summary, file)
    except BrokenProcessPool:
        return None


def _alone(file: str) -> Row:
    """The row of a file that may kill the process that reads it."""
    with _pool(1) as pool:
        try:
            return pool.submit(summary, file).result()
        except BrokenProcessPool:
            return Row(file, f"{file}: the process that read it was killed; it may need more memory than there is")


def _pool(jobs: int) -> ProcessPoolExecutor:
    """Processes that leave Ctrl-C to the one that started them, and end with it."""
    return ProcessPoolExecutor(jobs, mp_context=get_context("fork"), initializer=_follow, initargs=(os.getpid(),))


def _follow(parent: int) -> None:
    """What a worker does first: leave Ctrl-C alone, and ask Linux to be ended when `parent` is, whatever ended it.

    Without that a reader that closes the pipe (SIGPIPE) leaves workers that wait for ever.
    """
    signal(SIGINT, SIG_IGN)
    with suppress(AttributeError, OSError):  # another system than Linux
        CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
