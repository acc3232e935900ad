"""Scripts of forks, sharing and merging on small objects: how often each page is mapped after each line."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import field

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.linux.fs.proc.task_mmu import smap
from mmtool.linux.kernel.fork import exit_mmap, fork
from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.fault import touch
from mmtool.linux.mm.mmap.ksm import Contents, Ksmd, scan, unmerge_ksm_pages
from mmtool.linux.mm.mmap.madvise import do_madvise
from mmtool.linux.mm.mmap.mlock import do_mlock
from mmtool.linux.mm.mmap.mm_types import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    VM_LOCKED,
    ZERO_PAGE,
    File,
    Folio,
    Inode,
    Refused,
)
from mmtool.linux.mm.mmap.mmap import do_mmap
from mmtool.linux.mm.mmap.signals import Signal
from mmtool.linux.mm.mmap.vma import do_munmap
from mmtool.system.process import new_task
from mmtool.units import whole

PAGE, HUGE = 4096, 2 << 20
FIRST_OBJECT, APART = 0x100000000, 1 << 30
KINDS = ("anon", "shared", "file", "private")
MOST_PAGES = 100_000
"""Pages that the lines of a script may tell of in all: each line tells of every page of every process."""
Runs = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Object:
    """Something that all processes map at one place: its first address and its pages."""

    name: str
    start: int
    pages: int


@dataclass
class World:
    """The processes by name ("0" the first), their objects, what pages hold, and ksmd."""

    tasks: dict[str, Task]
    objects: dict[str, Object] = field(default_factory=dict)
    contents: Contents = field(default_factory=dict)
    ksmd: Ksmd = field(default_factory=Ksmd)
    shown: dict[int, Folio] = field(default_factory=dict)
    """What the first process had last at each address; others' pages are compared with that."""

    @property
    def pages(self) -> int:
        """Pages that are told of after a line; a process without any counts too."""
        return len(self.tasks) * (1 + sum(obj.pages for obj in self.objects.values()))


@dataclass(frozen=True)
class RmapLine:
    """What is mapped after a line: a word a page for each process and object, and the proportional share in KiB."""

    line: int
    pages: Runs
    pss_kb: dict[str, dict[str, int]]


def run_rmap(lines: Sequence[str], source: str, release: str) -> Iterator[RmapLine]:
    """Do a script line by line. InputError names the line that is no operation."""
    machine = {"release": release, "arch": "x86_64", "mem_total_kb": 512 << 10, "config": {"CONFIG_KSM": "y"}}
    world = World({"0": new_task(machine, ("thp enabled never",), PAGE, HUGE)})
    told = 0
    for number, text in enumerate(lines, 1):
        words = text.split("#", 1)[0].split()
        if not words:
            continue
        try:
            told += world.pages * _scans(words)
            if told <= MOST_PAGES:
                shown = _line(world, words)
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(source, number, f"not an operation of the script's language ({error})") from None
        except (Refused, Signal) as error:
            raise InputError(source, number, str(error)) from None
        if shown:
            told += world.pages
        if told > MOST_PAGES:
            raise InputError(source, number, f"by here more than {MOST_PAGES} pages are told of; make two of it")
        if shown:
            yield RmapLine(number, *_snapshot(world))


def _scans(words: list[str]) -> int:
    """How often ksmd goes through all pages on a line."""
    at = 2 if words[0] == "in" else 0
    return whole(words[at + 1], MOST_PAGES) if words[at] == "ksm" else 0


def _line(world: World, words: list[str]) -> bool:
    """One line; False for a declaration."""
    if words[0] in KINDS:
        _declare(world, words[0], words[1], whole(words[2], APART // PAGE, 1))
        return False
    who = "0"
    if words[0] == "in":
        who, words = words[1], words[2:]
    if words[0] == "ksm":
        for _ in range(_scans(words)):
            scan(world.ksmd, world.contents)
        return True
    task = world.tasks[who]
    if words[0] == "fork":
        if words[1] in world.tasks:
            raise ValueError(f"there is a process {words[1][:40]!r} already")
        child = world.tasks[words[1]] = fork(task)
        child.others = [t for t in world.tasks.values() if t is not child]
        if task in world.ksmd.tasks:
            world.ksmd.enter(child)
    elif words[0] == "exit":
        exit_mmap(world.tasks.pop(who))
        world.ksmd.exit(task)
    else:
        _operation(world, who, task, words)
    return True


def _declare(world: World, kind: str, name: str, pages: int) -> None:
    if name in world.objects:
        raise ValueError(f"there is an object {name[:40]!r} already")
    start = FIRST_OBJECT + len(world.objects) * APART
    flags = MAP_FIXED | (MAP_PRIVATE if kind in ("anon", "private") else MAP_SHARED)
    file = None
    if kind in ("file", "private"):
        file = File(Inode("ramfs", f"/ram/{name}", pages * PAGE), held=True)
    else:
        flags |= MAP_ANONYMOUS
    do_mmap(world.tasks["0"], start, pages * PAGE, PROT_READ | PROT_WRITE, flags, file, 0)
    world.objects[name] = Object(name, start, pages)


def _operation(world: World, who: str, task: Task, words: list[str]) -> None:
    obj = world.objects[words[1]]
    if words[0] == "merge":
        do_madvise(task, obj.start, obj.pages * PAGE, "mergeable")
        world.ksmd.enter(task)
        return
    if words[0] == "unmerge":
        for vma in list(task.mm.each_from(obj.start, obj.start + obj.pages * PAGE)):
            unmerge_ksm_pages(task, vma, world.contents)
        do_madvise(task, obj.start, obj.pages * PAGE, "unmergeable")
        return
    first, _, last = words[2].partition("-")
    low = whole(first, obj.pages - 1)
    high = whole(last, obj.pages - 1, low) if last else low
    start, length = obj.start + low * PAGE, (high - low + 1) * PAGE
    if words[0] == "load":
        touch(task, start, length, PAGE, False)
    elif words[0] == "store":
        _write(world, task, obj, start, length, lambda page: ("store", obj.name, page, who))
    elif words[0] == "same":
        byte = whole(words[3], 255)
        _write(world, task, obj, start, length, lambda page: ("same", byte))
    elif words[0] == "dontneed":
        do_madvise(task, start, length, "dontneed")
    elif words[0] == "unmap":
        do_munmap(task, start, length)
    elif words[0] == "mlock":
        do_mlock(task, start, length, VM_LOCKED)
    else:
        raise ValueError(words[0])


def _write(world: World, task: Task, obj: Object, start: int, length: int, value: object) -> None:
    """Write every page of a range; `value` gives what a page of the object then holds."""
    assert callable(value)
    for addr in range(start, start + length, PAGE):
        before = _folio(task, addr)
        touch(task, addr, 1, PAGE, True)
        folio = _folio(task, addr)
        if folio is None:
            continue
        new: Hashable = value((addr - obj.start) // PAGE)
        if isinstance(new, tuple) and new[0] == "store" and before is not None:
            new = (*new, world.contents.get(before))
        world.contents[folio] = new


def _folio(task: Task, addr: int) -> Folio | None:
    pte = task.mm.tables.pte(addr)
    return pte.folio if pte is not None else None


def _snapshot(world: World) -> tuple[Runs, dict[str, dict[str, int]]]:
    pages: Runs = {}
    pss: dict[str, dict[str, int]] = {}
    for who, task in world.tasks.items():
        pages[who], pss[who] = {}, {}
        for obj in world.objects.values():
            end = obj.start + obj.pages * PAGE
            words = []
            for addr in range(obj.start, end, PAGE):
                folio = _folio(task, addr)
                if who == "0" and folio is not None:
                    world.shown[addr] = folio
                same = who != "0" and folio is not None and world.shown.get(addr) is folio
                words.append(_word(task, folio) + ("=" if same else ""))
            pages[who][obj.name] = words
            pss[who][obj.name] = sum(smap(task, vma).pss for vma in task.mm.each_from(obj.start, end))
    return pages, pss


def _word(task: Task, folio: Folio | None) -> str:
    """A page as pagemap, kpagecount and kpageflags show it."""
    if folio is None:
        return "."
    if folio is ZERO_PAGE:
        return "z0f"
    kind = "a" if folio.kind == "a" else "f"
    merged = "k" if folio.ksm or (kind == "a" and task.sys.facts.kpageflags_call_anon_ksm) else ""
    return f"{folio.mapcount}{kind}{merged}{'x' if folio.mapcount == 1 else ''}"
