"""A trace of system calls done again on the model: where do kernel and model differ?

Addresses that the kernel gave are compared with the model's and never used: where the two differ, an argument that
lies in a mapping stands for the same place in the model's one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

from mmtool.late import dataclass
from mmtool.linux.fs.binfmt_elf import Offsets, Program
from mmtool.linux.kernel.fork import exit_mmap, fork
from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap import mm_types as mmt
from mmtool.linux.mm.mmap.madvise import do_madvise
from mmtool.linux.mm.mmap.mlock import do_mlock, mlockall, munlock, munlockall
from mmtool.linux.mm.mmap.mmap import brk, ksys_mmap
from mmtool.linux.mm.mmap.mprotect import do_mprotect
from mmtool.linux.mm.mmap.mremap import mremap
from mmtool.linux.mm.mmap.mseal import do_mseal
from mmtool.linux.mm.mmap.vma import do_munmap
from mmtool.observed.strace import FORKS, Call
from mmtool.system.process_layout import Question, page_sizes, run_exec

STRINGS = 4096
"""Bytes of arguments and environment that a program is taken to begin with."""
NAMES = {
    "PROT_NONE": 0, "PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4, "PROT_GROWSDOWN": 0x1000000,
    "PROT_GROWSUP": 0x2000000, "MAP_SHARED": 1, "MAP_PRIVATE": 2, "MAP_SHARED_VALIDATE": 3, "MAP_DROPPABLE": 8,
    "MAP_FIXED": 0x10, "MAP_ANONYMOUS": 0x20, "MAP_32BIT": 0x40, "MAP_GROWSDOWN": 0x100, "MAP_DENYWRITE": 0x800,
    "MAP_EXECUTABLE": 0x1000, "MAP_LOCKED": 0x2000, "MAP_NORESERVE": 0x4000, "MAP_POPULATE": 0x8000,
    "MAP_NONBLOCK": 0x10000, "MAP_STACK": 0x20000, "MAP_HUGETLB": 0x40000, "MAP_SYNC": 0x80000,
    "MAP_FIXED_NOREPLACE": 0x100000, "MREMAP_MAYMOVE": 1, "MREMAP_FIXED": 2, "MREMAP_DONTUNMAP": 4,
    "MCL_CURRENT": 1, "MCL_FUTURE": 2, "MCL_ONFAULT": 4, "MLOCK_ONFAULT": 1, "NULL": 0, "MAP_FILE": 0,
}  # fmt: skip
Loader = Callable[[str], "tuple[Program, Program | None]"]


class BadTrace(Exception):
    """A call that cannot be done again: what is wrong with it, in which line of the trace."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(slots=True)
class Compared:
    """A call, what the model returns and why; `agrees` with the kernel, or None where nothing is compared."""

    call: Call
    model: str
    why: str = ""
    agrees: bool | None = True


@dataclass(eq=False)
class Space:
    """An address space, the files it maps, and mappings that lie elsewhere than in the trace."""

    task: Task
    files: dict[str, mmt.File] = field(default_factory=dict)
    moved: list[tuple[int, int, int]] = field(default_factory=list)

    def here(self, addr: int) -> int:
        """The model's address for one of the trace."""
        for start, length, model in reversed(self.moved):
            if start <= addr < start + length:
                return addr - start + model
        return addr


A_CALL = 60
"""Twenties of mappings that a call may be about before it counts: those of a large program."""


@dataclass
class Replay:
    """The processes of a trace by their numbers; threads share their address space."""

    machine: Mapping[str, Any]
    load: Loader
    spaces: dict[int, Space] = field(default_factory=dict)
    forking: dict[int, bool] = field(default_factory=dict)
    """Callers whose new process has not been seen yet: does it get a copy?"""
    first: Space | None = None
    """The address space of a trace that does not begin with execve."""
    left: int = 300_000
    """Mappings that may be gone through for places beyond some thousand for each call, in twenties."""

    def execve(self, name: str) -> Space:
        """A program's new address space; it lies where it would without randomisation."""
        program, interpreter = self.load(name)
        page, huge = page_sizes(self.machine)
        asked = Question(self.machine, (), program, interpreter, STRINGS, None, page, huge)
        return Space(run_exec(asked, Offsets())[0])

    def run(self, calls: Iterable[Call]) -> Iterator[Compared]:
        """Do the calls again, one by one."""
        for call in calls:
            try:
                done = self._call(call)
            except mmt.TooManyFaults:
                raise BadTrace(call.line, "more page faults by here than are done for one trace") from None
            except (IndexError, ValueError) as error:
                raise BadTrace(call.line, f"{call.name} cannot be read: {error}") from None
            if done is not None:
                yield done

    def _call(self, call: Call) -> Compared | None:
        if call.name == "execve":
            if call.result != "0":
                return None
            old = self.spaces.get(call.pid)
            self.spaces[call.pid] = self.execve(call.args[0].strip('"'))
            if old is not None and old not in self.spaces.values():
                exit_mmap(old.task)
            return Compared(call, "0", agrees=None)
        if call.name in FORKS:
            return self._fork(call)
        operation = OPERATIONS.get(call.name)
        if operation is None or call.result in (None, "?"):
            return None
        space = self._space(call)
        self.left += A_CALL - len(space.task.mm.vmas) // 20 - len(space.moved) // 10
        if self.left < 0:
            raise BadTrace(call.line, "too many mappings are looked through by here; give a part of the trace")
        return compare(space, call, operation)

    def _space(self, call: Call) -> Space:
        space = self.spaces.get(call.pid)
        if space is not None:
            return space
        if not self.spaces and self.first is not None:
            self.spaces[call.pid] = self.first
            return self.first
        if not self.spaces:
            raise BadTrace(call.line, "the program is not known: trace execve too, or name it with --exe")
        parent, copies = next(iter(self.forking.items()), (next(iter(self.spaces)), False))
        self.forking.pop(parent, None)
        self.spaces[call.pid] = self._child(parent, copies)
        return self.spaces[call.pid]

    def _child(self, parent: int, copies: bool) -> Space:
        space = self.spaces[parent]
        return Space(fork(space.task), dict(space.files), list(space.moved)) if copies else space

    def _fork(self, call: Call) -> Compared | None:
        copies = call.name != "vfork" and not any("CLONE_VM" in arg for arg in call.args)
        self._space(call)
        if call.result is None:
            self.forking[call.pid] = copies
            return None
        self.forking.pop(call.pid, None)
        if not call.result.isdigit():
            return None
        child = int(call.result)
        if child not in self.spaces:
            self.spaces[child] = self._child(call.pid, copies)
        return Compared(call, call.result, agrees=None)


def compare(space: Space, call: Call, operation: Callable[[Space, Call], int]) -> Compared:
    """Do a call and compare what it returns; remember where a mapping lies elsewhere."""
    why = ""
    try:
        value = operation(space, call)
        model = hex(value) if value else "0"
    except mmt.Refused as refusal:
        model, why = refusal.name, refusal.why
    result = str(call.result)
    if not result.startswith("0x"):
        return Compared(call, model, why, result == model)
    kernel = int(result, 16)
    agrees = model.startswith("0x") and kernel == value
    if model.startswith("0x") and not agrees:
        agrees = space.here(kernel) == value
        if not agrees:
            length = 1 << 32 if call.name == "brk" else number(call.args[2 if call.name == "mremap" else 1])
            space.moved.append((kernel, length, value))
    return Compared(call, model, why, agrees)


def number(text: str) -> int:
    """An argument: a number, or names of bits joined by "|"."""
    value = 0
    for word in text.split("|"):
        word = word.partition("/*")[0].strip()
        base, shifted, _ = word.partition("<<MAP_HUGE_SHIFT")
        if shifted:
            value |= int(base, 0) << 26
        elif word in NAMES:
            value |= NAMES[word]
        elif word[:1].isdigit() or word[:1] == "-":
            value |= int(word, 8) if word.isdigit() and word[0] == "0" else int(word, 0)
        else:
            raise ValueError(f"{word!r} is neither a number nor a name that is known")
    return value


def _file(space: Space, fd: str) -> mmt.File:
    """The file behind a descriptor, by its name where the trace has it."""
    if fd not in space.files:
        descriptor, _, name = fd.partition("<")
        name = name.removesuffix(">")
        if name.startswith(("/memfd:", "/dev/shm/", "/SYSV")):
            inode = mmt.Inode("shmem", name, 1 << 62, noreserve=True)
        elif name.startswith("/dev/zero"):
            inode = mmt.Inode("zero", "/dev/zero", 0)
        else:
            inode = mmt.Inode("exe", name or f"fd {descriptor}", 1 << 62, noreserve=True)
            inode.thp_aligned = not name.startswith(("/dev/", "anon_inode", "/proc/", "/sys/"))
        space.files[fd] = mmt.File(inode, held=True)
    return space.files[fd]


def _mmap(s: Space, c: Call) -> int:
    addr, length, prot, flags, fd, offset = c.args
    bits = number(flags)
    file = None if bits & mmt.MAP_ANONYMOUS else _file(s, fd)
    at = number(offset) << (12 if c.name == "mmap2" and not offset.startswith("0x") else 0)
    return ksys_mmap(s.task, s.here(number(addr)), number(length), number(prot), bits, file, at)


def _munmap(s: Space, c: Call) -> int:
    do_munmap(s.task, s.here(number(c.args[0])), number(c.args[1]))
    return 0


def _mprotect(s: Space, c: Call) -> int:
    do_mprotect(s.task, s.here(number(c.args[0])), number(c.args[1]), number(c.args[2]))
    return 0


def _mremap(s: Space, c: Call) -> int:
    to = s.here(number(c.args[4])) if len(c.args) > 4 else 0
    old, new, flags = (number(a) for a in c.args[1:4])
    return mremap(s.task, s.here(number(c.args[0])), old, new, flags, to)


def _brk(s: Space, c: Call) -> int:
    addr = number(c.args[0])
    return brk(s.task, s.here(addr) if addr else 0)[0]


def _madvise(s: Space, c: Call) -> int:
    advice = c.args[2].removeprefix("MADV_").lower()
    do_madvise(s.task, s.here(number(c.args[0])), number(c.args[1]), advice)
    return 0


def _mlock(s: Space, c: Call) -> int:
    flags = mmt.VM_LOCKED_MASK if len(c.args) > 2 and number(c.args[2]) else mmt.VM_LOCKED
    do_mlock(s.task, s.here(number(c.args[0])), number(c.args[1]), flags)
    return 0


def _munlock(s: Space, c: Call) -> int:
    munlock(s.task, s.here(number(c.args[0])), number(c.args[1]))
    return 0


def _mlockall(s: Space, c: Call) -> int:
    mlockall(s.task, number(c.args[0]))
    return 0


def _munlockall(s: Space, c: Call) -> int:
    munlockall(s.task)
    return 0


def _mseal(s: Space, c: Call) -> int:
    do_mseal(s.task, s.here(number(c.args[0])), number(c.args[1]))
    return 0


OPERATIONS: dict[str, Callable[[Space, Call], int]] = {
    "mmap": _mmap, "mmap2": _mmap, "munmap": _munmap, "mprotect": _mprotect, "mremap": _mremap, "brk": _brk,
    "madvise": _madvise, "mlock": _mlock, "mlock2": _mlock, "munlock": _munlock, "mlockall": _mlockall,
    "munlockall": _munlockall, "mseal": _mseal,
}  # fmt: skip
