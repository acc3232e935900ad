"""Scripts of memory operations, done one by one on a process of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.fs.proc.task_mmu import Smap, smap, status
from mmtool.linux.kernel.fork import exit_mmap, fork
from mmtool.linux.mm.mmap import mm_types as mmt
from mmtool.linux.mm.mmap.fault import touch
from mmtool.linux.mm.mmap.madvise import do_madvise
from mmtool.linux.mm.mmap.memory import unmap_file_range
from mmtool.linux.mm.mmap.mlock import do_mlock, mlockall, munlock, munlockall
from mmtool.linux.mm.mmap.mmap import brk, ksys_mmap
from mmtool.linux.mm.mmap.mprotect import do_mprotect
from mmtool.linux.mm.mmap.mremap import mremap
from mmtool.linux.mm.mmap.mseal import do_mseal
from mmtool.linux.mm.mmap.pgtable import PTE_WRITE
from mmtool.linux.mm.mmap.shmem import drop_pages
from mmtool.linux.mm.mmap.signals import Signal
from mmtool.linux.mm.mmap.util import vm_commit_limit
from mmtool.linux.mm.mmap.vma import do_munmap
from mmtool.system.process import RLIMITS, Process, set_sysctl, set_thp

PROT = {
    "r": mmt.PROT_READ, "w": mmt.PROT_WRITE, "x": mmt.PROT_EXEC, "D": mmt.PROT_GROWSDOWN, "U": mmt.PROT_GROWSUP,
    "-": 0,
}  # fmt: skip
MAP = {
    "shared": 1, "private": 2, "shared_validate": 3, "droppable": 8, "fixed": 0x10, "anon": 0x20, "32bit": 0x40,
    "growsdown": 0x100, "locked": 0x2000, "noreserve": 0x4000, "populate": 0x8000, "nonblock": 0x10000,
    "stack": 0x20000, "hugetlb": 0x40000, "noreplace": 0x100000, "huge2m": 21 << 26, "huge1g": 30 << 26,
}  # fmt: skip
MREMAP = {"maymove": 1, "fixed": 2, "dontunmap": 4, "none": 0}
MCL = {"current": 1, "future": 2, "onfault": 4}
AT_ONCE = 1 << 12
"""Steps that a line which reads or writes takes before it is looked at how many are left."""
SUFFIX = {"K": 10, "M": 20, "G": 30, "T": 40}
NAMED_AFTER = ("mmap", "mremap")


class ScriptError(Exception):
    """A line that is no operation: what is wrong with it; `line` is its place among the operations."""

    def __init__(self, message: str, line: int = 0) -> None:
        self.line = line
        super().__init__(message)


class Skipped(Exception):
    """An operation whose name has no value, since what should have given it failed."""


@dataclass(slots=True)
class Step:
    """What one operation did; `line` counts the script's operations, -1 is a child's begin."""

    line: int
    who: str
    ret: str
    why: str = ""
    count: int | None = None
    signal: Signal | None = None
    minflt: int = 0
    majflt: int = 0
    status: dict[str, int] = field(default_factory=dict)
    meminfo: dict[str, int] = field(default_factory=dict)
    rows: list[Smap] = field(default_factory=list)


OPERATION, ROW = 20, 40
"""What an operation takes of the work that is left, and what it takes to tell of a mapping."""


def run(process: Process, script: Sequence[str]) -> Iterator[Step]:
    """Do a script's operations in order; ScriptError names what is none, and where it is too long to be shown."""
    line = 0
    for who, step in perform(process, script):
        line = max(line, step.line)
        try:
            _take(who, ROW * len(who.task.mm.vmas) + _entries(who) // 4)
        except ScriptError as error:
            error.line = line
            raise
        yield snapshot(who, step)


def _take(process: Process, work: int) -> None:
    """So much less is left for the script; ScriptError where nothing is."""
    left, system = process.left, process.task.sys
    left.settle(system)
    left.work -= work
    left.lend(system)
    if left.work < 0:
        raise ScriptError("more work is asked for by here than is done for one script; make two of it")


def _entries(process: Process) -> int:
    """Entries of the page tables, the child's too."""
    return sum(who.task.mm.tables.entries_count for who in (process, process.child) if who is not None)


def perform(process: Process, script: Sequence[str]) -> Iterator[tuple[Process, Step]]:
    """Do a script's operations in order, whoever does them, and tell what they returned and nothing of the state."""
    for line, text in enumerate(script):
        words = text.split("#", 1)[0].split()
        if not words:
            continue
        try:
            _take(process, OPERATION + _entries(process) // 4 + len(process.task.mm.vmas) // 10)
            yield from _line(process, line, words)
        except mmt.TooManyFaults:
            raise ScriptError("more page faults by here than are done for one script; make two of it", line) from None
        except ScriptError as error:
            error.line = line
            raise


def _line(process: Process, line: int, words: Sequence[str]) -> Iterator[tuple[Process, Step]]:
    if words[0] == "fork":
        yield from _fork(process, line)
    elif words[0] == "wait":
        yield _wait(process, line)
    elif words[0] != "child":
        yield _operation(process, line, words)
    elif process.child is not None:
        if len(words) < 2:
            raise ScriptError("child needs an operation")
        yield _operation(process.child, line, words[1:])


def snapshot(process: Process, step: Step) -> Step:
    """The state after an operation, as /proc would show it."""
    task = process.task
    step.status = status(task)
    kib = task.sys.page_shift - 10
    pool = task.sys.hugetlb
    step.meminfo = {
        "CommitLimit": vm_commit_limit(task.sys) << kib,
        "Committed_AS": max(task.sys.committed, 0) << kib,
        "HugePages_Total": pool.nr_huge_pages,
        "HugePages_Free": pool.free_huge_pages,
        "HugePages_Rsvd": pool.resv_huge_pages,
        "HugePages_Surp": pool.surplus_huge_pages,
    }
    step.rows = [smap(task, vma) for vma in task.mm.vmas]
    return step


def _fork(process: Process, line: int) -> Iterator[tuple[Process, Step]]:
    try:
        child = fork(process.task)
    except mmt.Refused as refusal:
        _warm(process)
        yield process, Step(line, process.who, refusal.name, refusal.why)
        return
    process.child = Process(child, dict(process.names), process.files, process.image, "c", left=process.left)
    # which side runs first is chance; mostly the parent writes first, and the child has run when it says so
    _warm(process)
    _warm(process.child)
    yield process, Step(line, process.who, "0")
    yield process.child, Step(-1, "c", "0")


def _wait(process: Process, line: int) -> tuple[Process, Step]:
    if process.child is None:
        return process, Step(line, process.who, "ECHILD", "there is no child")
    exit_mmap(process.child.task)
    process.child = None
    return process, Step(line, process.who, "0")


def _warm(process: Process) -> None:
    """What the recorded program does after a fork: it touches its own image and four pages of its stack."""
    task = process.task
    page = task.sys.page_size
    start, end = process.image
    try:
        for vma in [v for v in task.mm.vmas if v.start < end and v.end > start]:
            write = bool(vma.flags & mmt.VM_WRITE)
            if write or vma.flags & mmt.VM_READ:
                touch(task, vma.start, min(vma.end, end) - vma.start, page, write)
        top = (task.mm.start_stack - 1) & -page
        for i in range(4):
            touch(task, top - i * page, 1, page, True)
    except Signal:
        pass
    task.min_flt = task.maj_flt = 0


def _operation(process: Process, line: int, words: Sequence[str]) -> tuple[Process, Step]:
    """One line, `repeat` too."""
    task = process.task
    step = Step(line, process.who, "0")
    writable = _frame_writable(process)
    if words[0] == "repeat":
        _repeat(process, step, words)
    else:
        task.min_flt = task.maj_flt = 0
        _perform(process, words, step, 0)
    if writable and not _frame_writable(process):
        _go_on(process)  # it writes to its stack before it counts
    step.minflt, step.majflt = task.min_flt, task.maj_flt
    _go_on(process)
    return process, step


def _frame_writable(process: Process) -> bool:
    """Can the program write to its stack without a fault?"""
    entry = process.task.mm.tables.pte(process.task.mm.start_stack - 64)
    return entry is not None and bool(entry.flags & PTE_WRITE)


def _go_on(process: Process) -> None:
    """The program goes on behind an operation: it writes to its stack."""
    with suppress(Signal):
        touch(process.task, process.task.mm.start_stack - 64, 1, 1, True)


def _repeat(process: Process, step: Step, words: Sequence[str]) -> None:
    task = process.task
    task.min_flt = task.maj_flt = 0
    if len(words) < 3:
        raise ScriptError("repeat needs a number and an operation")
    try:
        times = expression(process, words[1], 0)
    except Skipped:
        step.ret = "skip"
        return
    step.count = 0
    _take(process, times * (OPERATION + _entries(process) // 4))
    for i in range(times):
        # a place for a mapping is looked for among all that there are
        _take(process, len(task.mm.vmas) // 5)
        _perform(process, words[2:], step, i)
        if step.ret == "skip":
            step.count = None
            return
        if not step.ret.startswith("0") or step.signal is not None:
            return
        step.count += 1


def _perform(process: Process, words: Sequence[str], step: Step, i: int) -> None:
    operation = OPERATIONS.get(words[0])
    if operation is None:
        raise ScriptError(f"{words[0]!r} is no operation")
    step.ret, step.why = "0", ""
    try:
        value = operation(process, list(words[1:]), i)
        if isinstance(value, tuple):
            value, step.why = value
        step.ret = "0" if value is None else hex(value)
    except Skipped:
        step.ret = "skip"
        return
    except mmt.Refused as refusal:
        step.ret, step.why = refusal.name, refusal.why
        value = None
    except Signal as signal:
        step.signal, step.why = signal, signal.why
        return
    except IndexError:
        raise ScriptError(f"{words[0]} needs more words") from None
    if words[0] in NAMED_AFTER:
        if value is None:
            process.names.pop(words[1], None)
        else:
            process.names[words[1]] = value


def expression(process: Process, text: str, i: int) -> int:
    """A sum of products of numbers, names, P, H and i, as wide as an address of the task."""
    total, sign, at = 0, 1, 0
    if text.startswith("-"):
        sign, at = -1, 1
    terms: list[tuple[int, str]] = []
    begin = at
    while at <= len(text):
        if at == len(text) or text[at] in "+-":
            terms.append((sign, text[begin:at]))
            sign, begin = (1 if at < len(text) and text[at] == "+" else -1), at + 1
        at += 1
    for sign, term in terms:
        product = 1
        for factor in term.split("*"):
            product = product * _factor(process, factor, i) & process.task.word_mask
        total += sign * product
    return total & process.task.word_mask


def _factor(process: Process, text: str, i: int) -> int:
    page, huge = process.task.sys.page_size, process.task.mm.tables.geometry.pmd_size
    if text == "P":
        return page
    if text == "H":
        return huge
    if text == "i":
        return i
    if text[:1].isdigit():
        scale = 1
        if not text.isascii() or "_" in text or len(text) > 40:
            raise ScriptError(f"{text[:40]!r} is no number")
        if text[-1] in SUFFIX and not (text.startswith("0x") and text[-1] in "abcdefABCDEF"):
            text, scale = text[:-1], 1 << SUFFIX[text[-1]]
        elif text[-1] in "PH":
            scale, text = (page if text[-1] == "P" else huge), text[:-1]
        try:
            return int(text, 16 if text.startswith("0x") else 10) * scale
        except ValueError:
            raise ScriptError(f"{text!r} is no number") from None
    if text.isidentifier():
        if text not in process.names:
            raise Skipped
        return process.names[text]
    raise ScriptError(f"{text!r} is neither a number nor a name")


def _words(table: dict[str, int], text: str) -> int:
    value = 0
    for word in text.split(","):
        if word not in table:
            raise ScriptError(f"{word!r} is none of {' '.join(table)}")
        value |= table[word]
    return value


def _prot(text: str) -> int:
    value = 0
    for letter in text:
        if letter not in PROT:
            raise ScriptError(f"{text!r} is no protection")
        value |= PROT[letter]
    return value


def _mmap(p: Process, w: list[str], i: int) -> int:
    file = None
    if len(w) > 5 and w[5] != "-":
        if w[5] not in p.files:
            raise ScriptError(f"{w[5]!r} is no file")
        file = p.files[w[5]]
    addr, length = expression(p, w[1], i), expression(p, w[2], i)
    offset = expression(p, w[6], i) if len(w) > 6 else 0
    flags = _words(MAP, w[4])
    if flags & mmt.MAP_ANONYMOUS:
        file = None
    elif file is None:
        raise mmt.Refused("EBADF", "no file is given")
    return ksys_mmap(p.task, addr, length, _prot(w[3]), flags, file, offset)


def _munmap(p: Process, w: list[str], i: int) -> None:
    do_munmap(p.task, expression(p, w[0], i), expression(p, w[1], i))


def _mprotect(p: Process, w: list[str], i: int) -> None:
    do_mprotect(p.task, expression(p, w[0], i), expression(p, w[1], i), _prot(w[2]))


def _mremap(p: Process, w: list[str], i: int) -> int:
    to = expression(p, w[5], i) if len(w) > 5 else 0
    return mremap(
        p.task, expression(p, w[1], i), expression(p, w[2], i), expression(p, w[3], i), _words(MREMAP, w[4]), to
    )


def _brk(p: Process, w: list[str], i: int) -> tuple[int, str]:
    return brk(p.task, expression(p, w[0], i))


def _madvise(p: Process, w: list[str], i: int) -> None:
    do_madvise(p.task, expression(p, w[0], i), expression(p, w[1], i), w[2])


def _mlock(p: Process, w: list[str], i: int) -> None:
    do_mlock(p.task, expression(p, w[0], i), expression(p, w[1], i), mmt.VM_LOCKED)


def _mlock2(p: Process, w: list[str], i: int) -> None:
    do_mlock(p.task, expression(p, w[0], i), expression(p, w[1], i), mmt.VM_LOCKED_MASK)


def _munlock(p: Process, w: list[str], i: int) -> None:
    munlock(p.task, expression(p, w[0], i), expression(p, w[1], i))


def _mlockall(p: Process, w: list[str], i: int) -> None:
    mlockall(p.task, _words(MCL, w[0]))


def _munlockall(p: Process, w: list[str], i: int) -> None:
    munlockall(p.task)


def _mseal(p: Process, w: list[str], i: int) -> None:
    do_mseal(p.task, expression(p, w[0], i), expression(p, w[1], i))


def _msync(p: Process, w: list[str], i: int) -> None:
    start, length = expression(p, w[0], i), expression(p, w[1], i)
    at, end = start, start + length
    while at < end:
        vma = p.task.mm.vma_at(at)
        if vma is None:
            raise mmt.Refused("ENOMEM", f"nothing is mapped at {at:#x}")
        at = vma.end


def _touch(write: bool) -> Callable[[Process, list[str], int], None]:
    def done(p: Process, w: list[str], i: int) -> None:
        start, length = expression(p, w[0], i), expression(p, w[1], i)
        step = expression(p, w[2], i) if len(w) > 2 else p.task.sys.page_size
        if not step:
            raise Skipped
        for offset in range(0, length, step * AT_ONCE):  # what is not mapped ends it soon
            size = min(step * AT_ONCE, length - offset)
            _take(p, touch(p.task, start + offset, size, step, write) // 4)

    return done


def _rlimit(p: Process, w: list[str], i: int) -> None:
    soft, hard = p.task.rlimits.get(w[0], (mmt.UNLIMITED, mmt.UNLIMITED))
    if w[0] not in RLIMITS:
        raise ScriptError(f"{w[0][:40]!r} is none of {' '.join(RLIMITS)}")
    new = mmt.UNLIMITED if w[1] == "unlimited" else expression(p, w[1], i)
    if new > hard:
        raise mmt.Refused("EINVAL", f"above the hard limit ({hard})")
    del soft
    p.task.rlimits[w[0]] = (new, hard)


def _sysctl(p: Process, w: list[str], i: int) -> None:
    if not p.task.privileged:
        raise mmt.Refused("EACCES", "sysctls are the administrator's")
    try:
        known = set_sysctl(p.task.sys, w[0], w[1])
    except ValueError as error:
        raise ScriptError(str(error)) from None
    if not known:
        raise ScriptError(f"{w[0]!r} is no sysctl that is modelled")


def _thp(p: Process, w: list[str], i: int) -> None:
    try:
        known = set_thp(p.task.sys, w[0], w[1])
    except ValueError as error:
        raise ScriptError(str(error)) from None
    if not known:
        raise mmt.Refused("ENOENT", f"the release has no {w[0]}")


def _setuid(p: Process, w: list[str], i: int) -> None:
    p.task.uid = expression(p, w[0], i)


def _personality(p: Process, w: list[str], i: int) -> None:
    p.task.personality = expression(p, w[0], i)


def _truncate(p: Process, w: list[str], i: int) -> None:
    file = p.files.get(w[0])
    if file is None:
        raise ScriptError(f"{w[0]!r} is no file")
    inode, size = file.inode, expression(p, w[1], i)
    if inode.kind not in ("tmpfs", "shmem", "ramfs"):
        raise mmt.Refused("EINVAL", "the file cannot be truncated")
    old, inode.size = inode.size, size
    if size < old:
        first = size + p.task.sys.page_size - 1 >> p.task.sys.page_shift
        last = old >> p.task.sys.page_shift
        unmap_file_range(p.task, inode, first, last, even_cows=True)
        drop_pages(p.task, inode, first, last)


def _name(p: Process, w: list[str], i: int) -> None:
    expression(p, w[0], i)
    raise mmt.Refused("EINVAL", "the kernel is built without CONFIG_ANON_VMA_NAME")


def _let(p: Process, w: list[str], i: int) -> None:
    p.names[w[0]] = expression(p, w[1], i)


OPERATIONS: dict[str, Callable[[Process, list[str], int], int | tuple[int, str] | None]] = {
    "mmap": _mmap, "munmap": _munmap, "mprotect": _mprotect, "mremap": _mremap, "brk": _brk, "madvise": _madvise,
    "mlock": _mlock, "mlock2": _mlock2, "munlock": _munlock, "mlockall": _mlockall, "munlockall": _munlockall,
    "mseal": _mseal, "msync": _msync, "read": _touch(False), "write": _touch(True), "rlimit": _rlimit,
    "sysctl": _sysctl, "thp": _thp, "setuid": _setuid, "personality": _personality, "truncate": _truncate,
    "name": _name, "let": _let,
}  # fmt: skip
