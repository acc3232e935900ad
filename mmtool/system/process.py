"""A process to act on: made from what was found of one before a script began (`Start`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from typing import Any

from mmtool.build.fact import Version, parse_version
from mmtool.build.facts.process import ProcessFacts
from mmtool.build.profile import load_profile, profile_name
from mmtool.late import dataclass
from mmtool.linux.arch.arm64.kernel.process import Arm64
from mmtool.linux.arch.x86.kernel.process import I386, X86_64
from mmtool.linux.fs.proc.task_mmu import MNEMONICS
from mmtool.linux.kernel.task import HugetlbPool, Processor, SystemMemory, Task, TaskArch, ThpSettings
from mmtool.linux.mm.mmap.huge_memory import enabled_orders
from mmtool.linux.mm.mmap.layout import arch_pick_mmap_layout, mmap_is_legacy
from mmtool.linux.mm.mmap.memory import map_anon_folio
from mmtool.linux.mm.mmap.mm_types import (
    UNLIMITED,
    VM_MAYSHARE,
    VM_MTE_ALLOWED,
    ZERO_PAGE,
    AnonVma,
    File,
    Folio,
    Inode,
    Mm,
    TooManyFaults,
    Vma,
)
from mmtool.linux.mm.mmap.mmap import READ_IMPLIES_EXEC
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_WRITE, PTE_YOUNG, PageTables, Pte
from mmtool.linux.mm.mmap.shmem import get_file
from mmtool.units import whole

ARCHITECTURES: Mapping[str, TaskArch] = {"x86_64": X86_64(), "i386": I386(), "arm64": Arm64()}
FILE_PAGES = 64
"""Pages of the files that scripts map."""


@dataclass
class Left:
    """What a script may still ask for, so that a line of ten words does not run for hours."""

    work: int = 1_000_000
    """What operations go through, and what is told after them, in the unit that four entries of page tables take."""

    @classmethod
    def of_records(cls, size: int) -> Left:
        """What all scripts in a file of `size` characters may ask for together: more than real ones do."""
        return cls(cls.work // 2 + size * 7 // 2)

    def lend(self, system: SystemMemory) -> None:
        """All that is left is there for page faults, and for pages that a process begins with."""
        system.faults_left = self.work // FAULT

    def settle(self, system: SystemMemory) -> None:
        """Take what was used for faults since `lend`."""
        self.work -= (self.work // FAULT - system.faults_left) * FAULT


FAULT = 8
"""Units of work that a page fault takes."""


@dataclass(eq=False)
class Process:
    """A task with what a script needs besides: the names it knows, its open files, and its own image."""

    task: Task
    names: dict[str, int]
    files: dict[str, File]
    image: tuple[int, int]
    """First and last address of the program, its uninitialised data included."""
    who: str = "p"
    child: Process | None = None
    hard_sysctls: dict[str, str] = field(default_factory=dict)
    left: Left = field(default_factory=Left)


def processor(machine: Mapping[str, Any], hwcap: int | None) -> Processor:
    """The processor of a record's `machine`; `hwcap` is AT_HWCAP of a process.

    Of an arm64 one without that, by the build, which has 52-bit addresses or not; of a recorded run by its name.
    """
    known = ARCHITECTURES[machine["arch"]].processor(machine.get("cpu_flags", ()), hwcap)
    if known is not None:
        return known
    wide = int(machine.get("config", {}).get("CONFIG_ARM64_VA_BITS", 48)) > 48
    run = str(machine.get("run", "va52"))
    return Processor(wide, wide and ("va52" in run or "16k" in run))


def system_memory(
    machine: Mapping[str, Any], page_shift: int, huge_size: int, hwcap: int | None = None
) -> SystemMemory:
    """The system of a record's `machine`: its release's facts, sysctls as booted, settings."""
    version = release_version(machine["release"])
    config, sysctl, thp = machine.get("config", {}), machine.get("sysctl", {}), machine.get("thp", {})
    system = SystemMemory(
        ProcessFacts(version),
        ARCHITECTURES[machine["arch"]],
        page_shift,
        int(machine["mem_total_kb"]) >> (page_shift - 10),
        int(machine.get("swap_total_kb", 0)) >> (page_shift - 10),
        lsm_mmap_min_addr=int(config.get("CONFIG_LSM_MMAP_MIN_ADDR", 0)),
        soft_dirty="CONFIG_MEM_SOFT_DIRTY" in config,
        pkeys="ospke" in machine.get("cpu_flags", ()),
        brk_flags=VM_MTE_ALLOWED if "CONFIG_ARM64_MTE" in config else 0,
        hw_access_bits=processor(machine, hwcap).access_flag,
        hugetlb=HugetlbPool(huge_size),
        thp=ThpSettings(
            thp.get("enabled", "always"), thp.get("defrag", "madvise"), thp.get("shmem_enabled", "never"),
            thp.get("use_zero_page", "1") == "1",
        ),
        has_thp="CONFIG_TRANSPARENT_HUGEPAGE" in config,
        pt_reclaim="CONFIG_PT_RECLAIM" in config,
        fault_around_pages=max(65536 >> page_shift, 1),
    )  # fmt: skip
    for name, value in sysctl.items():
        set_sysctl(system, name, str(value))
    return system


SYSCTLS = {
    "vm.overcommit_memory": "overcommit_memory", "vm.overcommit_ratio": "overcommit_ratio",
    "vm.overcommit_kbytes": "overcommit_kbytes", "vm.max_map_count": "max_map_count",
    "vm.mmap_min_addr": "dac_mmap_min_addr", "vm.admin_reserve_kbytes": "admin_reserve_kbytes",
    "vm.user_reserve_kbytes": "user_reserve_kbytes", "vm.legacy_va_layout": "legacy_va_layout",
}  # fmt: skip


def set_sysctl(system: SystemMemory, name: str, value: str) -> bool:
    """Set a sysctl of the memory management; False if none of that name is modelled.

    vm.overcommit_ratio and vm.overcommit_kbytes put out each other; vm.nr_hugepages fills or empties the pool.
    """
    number = whole(value)
    if name == "vm.nr_hugepages":
        pool = system.hugetlb
        used = pool.nr_huge_pages - pool.free_huge_pages
        kept = max(number, used + pool.resv_huge_pages)
        pool.free_huge_pages += kept - pool.nr_huge_pages
        pool.nr_huge_pages = kept
        return True
    field_name = SYSCTLS.get(name)
    if field_name is None:
        return False
    setattr(system, field_name, type(getattr(system, field_name))(number))
    if name == "vm.overcommit_kbytes" and number:
        system.overcommit_ratio = 0
    elif name == "vm.overcommit_ratio":
        system.overcommit_kbytes = 0
    return True


_THP_MODES = {
    "enabled": ("always", "madvise", "never"),
    "defrag": ("always", "defer", "defer+madvise", "madvise", "never"),
    "shmem_enabled": ("always", "within_size", "advise", "never", "deny", "force"),
    "use_zero_page": ("0", "1"),
}
_MTHP_MODES = ("always", "inherit", "madvise", "within_size", "advise", "never")


def set_thp(system: SystemMemory, name: str, value: str) -> bool:
    """Set a file of /sys/kernel/mm/transparent_hugepage; False if there is none of that name.

    Raises ValueError for a word that the kernel does not take.
    """
    if value not in _THP_MODES.get(name, _MTHP_MODES):
        raise ValueError(f"thp {name[:40]} takes {', '.join(_THP_MODES.get(name, _MTHP_MODES))}, not {value[:40]!r}")
    thp = system.thp
    if name in ("enabled", "defrag", "shmem_enabled"):
        setattr(thp, name, value)
    elif name == "use_zero_page":
        thp.use_zero_page = value == "1"
    elif name.startswith("hugepages-") and system.facts.has_mthp:
        size, _, what = name.removeprefix("hugepages-").partition("kB/")
        # from four pages to what an entry of the PMD maps
        sizes = [4 << order + system.page_shift - 12 for order in range(2, system.page_shift - 2)]
        if size not in map(str, sizes) or what not in ("enabled", "shmem_enabled"):
            return False
        (thp.sizes if what == "enabled" else thp.shmem_sizes)[int(size)] = value
    else:
        return False
    return True


@lru_cache(maxsize=32)
def release_version(release: str) -> Version:
    """The mainline or stable release behind a name of uname -r: that of Debian's own profile, else what it says."""
    named = profile_name(release)
    version = parse_version(load_profile(named).release if named is not None else release)
    if version is None:
        raise ValueError(f"{release!r} is not a kernel release")
    return version


def number(text: str) -> int:
    """A number of a script or a record, decimal or hex."""
    if not text.isascii() or "_" in text:
        raise ValueError(f"{text[:40]!r} is no number")
    return int(text, 16) if text.startswith("0x") else int(text)


RLIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
    "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
"""Resource limits by their names without RLIMIT_."""


def limit(text: str) -> int:
    """A resource limit as a script or a record writes it: a size, or "unlimited"."""
    if text == "unlimited":
        return UNLIMITED
    suffix = {"K": 10, "M": 20, "G": 30, "T": 40}.get(text[-1:], 0)
    value = number(text[:-1] if suffix else text) << suffix
    if not 0 <= value <= UNLIMITED:
        raise ValueError(f"a resource limit is a size below 16E or unlimited, not {text[:40]!r}")
    return value


def new_task(
    machine: Mapping[str, Any], setup: Sequence[str], page_size: int, huge_size: int, hwcap: int | None = None
) -> Task:
    """A task with an empty address space, on a machine as booted and with what `setup` changes."""
    page_shift = page_size.bit_length() - 1
    arch, config = ARCHITECTURES[machine["arch"]], machine.get("config", {})
    compat = machine.get("task") == "compat32"
    system = system_memory(machine, page_shift, huge_size, hwcap)
    Left().lend(system)
    limits = {name: (limit(soft), limit(hard)) for name, (soft, hard) in machine.get("rlimits", {}).items()}
    personality = 0
    for line in setup:
        match line.split():
            case ["rlimit", name, value] if name in RLIMITS:
                limits[name] = (limit(value), limit(value))
            case ["personality", bits] if 0 <= number(bits) < 1 << 32:
                personality = number(bits)
            case ["sysctl", name, value]:
                set_sysctl(system, name, value)
            case ["thp", name, value]:
                set_thp(system, name, value)
            case ["exec" | "env" | "mode" | "times", _]:
                pass  # of the program, and of how a record was made
            case _:
                raise ValueError(f"{line[:60]!r} sets nothing up (rlimit NAME VALUE, personality BITS, sysctl NAME "
                                 "VALUE, thp FILE WORD, exec PROGRAM, env BYTES)")
    word_bits = 32 if compat else arch.kernel_bits
    if word_bits == 64:
        personality &= ~READ_IMPLIES_EXEC  # exec of a 64-bit program with PT_GNU_STACK takes it away
    task_size, window = arch.task_size(
        config, page_shift, processor(machine, hwcap), compat=compat, personality=personality
    )
    mm = Mm(PageTables(arch.geometry(config, page_shift)))
    stack = limits.setdefault("STACK", (8 << 20, UNLIMITED))[0]
    legacy = mmap_is_legacy(arch, personality, stack, bool(system.legacy_va_layout))
    layout = arch_pick_mmap_layout(arch, window, page_size, stack, legacy=legacy)
    mm.mmap_base, mm.mmap_legacy_base, mm.topdown = layout.base, layout.legacy_base, layout.topdown
    return Task(
        mm, system, task_size, window, compat=compat, personality=personality, rlimits=limits,
        word_bits=word_bits,
    )  # fmt: skip


def from_start(
    machine: Mapping[str, Any], setup: Sequence[str], start: Mapping[str, Any], left: Left | None = None
) -> Process:
    """The process that a record describes: `start` as it was found, `setup` what was set before it began.

    `left` is what its script may ask for, where that is not what one alone may. TooManyFaults for too many pages.
    """
    left = left or Left()
    page_size = int(start["page_size"])
    page_shift = page_size.bit_length() - 1
    where = {k: number(v) for k, v in start["process"].items()}
    task = new_task(machine, setup, page_size, int(start["huge_size"]), where.get("hwcap"))
    mm, system = task.mm, task.sys
    left.lend(system)
    mm.start_brk, mm.brk = where["start_brk"], where.get("brk", where["start_brk"])
    mm.start_data, mm.end_data = where["start_data"], where["end_data"]
    mm.start_code, mm.end_code = where["startcode"], where["endcode"]
    mm.start_stack = where["startstack"]
    files = script_files(page_size)
    image = _map_start(task, start["vmas"], files)
    left.settle(system)
    said, kib = start["status"], page_shift - 10
    mm.total_vm, mm.data_vm, mm.stack_vm = said["VmSize"] >> kib, said["VmData"] >> kib, said["VmStk"] >> kib
    mm.exec_vm = said["VmExe"] + said["VmLib"] >> kib
    mm.locked_vm = said["VmLck"] >> kib
    mm.tables.unseen = (said["VmPTE"] << 10) // mm.tables.geometry.table_size - mm.tables.count
    memory = start["meminfo"]
    system.committed = memory["Committed_AS"] >> kib
    pool = system.hugetlb
    pool.nr_huge_pages, pool.free_huge_pages = memory["HugePages_Total"], memory["HugePages_Free"]
    pool.resv_huge_pages, pool.surplus_huge_pages = memory["HugePages_Rsvd"], memory["HugePages_Surp"]
    stack_end = next((number(v["end"]) for v in start["vmas"] if v.get("name") == "[stack]"), 0)
    names = {"BRK": mm.brk, "STACK": stack_end}
    if where.get("vdso"):
        names["VDSO"] = where["vdso"]
    return Process(task, names, files, image, left=left)


def script_files(page_size: int) -> dict[str, File]:
    """The files that a script may map, by its names for them."""
    size = FILE_PAGES * page_size
    inodes = {
        "tmp": Inode("tmpfs", "/tmp/f", size, prefilled=FILE_PAGES, noreserve=True, charged=FILE_PAGES),
        "ram": Inode("ramfs", "/ram/f", size, prefilled=FILE_PAGES),
        "memfd": Inode("shmem", "/memfd:m (deleted)", size, noreserve=True),
        "zero": Inode("zero", "/dev/zero", 0),
        "exe": Inode("exe", "/vmrun", 0, writable=False, noreserve=True),
    }
    return {name: File(inode, held=True) for name, inode in inodes.items()}


def _map_start(task: Task, rows: Sequence[Mapping[str, Any]], files: Mapping[str, File]) -> tuple[int, int]:
    """The VMAs and pages of the start; returns the bounds of the program's image."""
    mm = task.mm
    shift = task.sys.page_shift
    opened: dict[str, File] = {}
    image = [0, 0]
    for row in rows:
        start, end, name = number(row["start"]), number(row["end"]), row.get("name", "")
        flags = 0
        for word in row["flags"].split():
            flags |= MNEMONICS.get(word, 0)
        file = None
        if name.startswith("/"):
            if name not in opened:
                opened[name] = File(Inode("exe", name, 1 << 62, prefilled=0, writable=False, noreserve=True), held=True)
            file = opened[name]
            if not image[0]:
                image[0] = start
        pgoff = number(row["offset"]) >> shift if file is not None else start >> shift
        vma = Vma(start, end, flags, pgoff, file)
        if file is None and not name.startswith("[v"):
            vma.flags |= task.sys.brk_flags
        if file is not None:
            vma.anon_pgoff = start >> shift
        if name.startswith("[v"):
            vma.special, vma.closes = name, True
            mm.special_sizes[name] = end - start
            vma.pgoff = 0
        get_file(vma)
        mm.insert(vma)
        if (file is not None and name.startswith("/vmrun")) or (image[1] == start and file is None and not vma.special):
            image[1] = end
        _fill(task, vma, row.get("pages", ""), row.get("rss", 0))
    for file in opened.values():
        inode = file.inode
        inode.size = max((v.pgoff << shift) + v.end - v.start for v in mm.vmas if v.file is file)
        inode.prefilled = inode.size >> shift
    exe = next(iter(opened.values()), None)
    if exe is not None:
        files["exe"].inode = exe.inode
    return image[0], image[1]


def _fill(task: Task, vma: Vma, pages: str, rss: int) -> None:
    """The pages of a row, each the process's own."""
    mm = task.mm
    shift = task.sys.page_shift
    page_kib = task.sys.page_size >> 10
    if not pages and rss:
        pages = f"0+{rss // page_kib}f"
    for run in filter(None, pages.split(",")):
        first, _, rest = run.partition("+")
        count, kind = int(rest[:-1]), rest[-1]
        if not 0 <= int(first) <= int(first) + count <= (vma.end - vma.start) >> shift:
            raise ValueError(f"pages {run[:40]!r} are none of the mapping's")
        task.sys.faults_left -= count if kind != "t" else count >> mm.tables.geometry.pmd_shift - shift
        if task.sys.faults_left < 0:
            raise TooManyFaults
        if kind in "at" and vma.anon_vma is None:
            vma.anon_vma = AnonVma()
            vma.anon_vma.num_active_vmas = vma.anon_vma.vmas = 1
            vma.anon_chain = [vma.anon_vma]
        if kind == "t":
            _fill_large(task, vma, int(first), count)
            continue
        for i in range(int(first), int(first) + count):
            page = (vma.start >> shift) + i
            table = mm.tables.alloc_pte(page << shift)
            if kind == "z":
                table[page] = Pte(ZERO_PAGE, 0, PTE_YOUNG)
                continue
            if kind == "f" and vma.file is not None:
                folio = vma.file.inode.pages.setdefault(vma.pgoff + i, Folio("f", index=vma.pgoff + i))
            else:
                folio = Folio("a" if kind == "a" else "f")
            folio.add_rmap(0, mm)
            writable = vma.flags & 2 and (kind == "a" or vma.flags & VM_MAYSHARE)
            if kind == "a":
                folio.exclusive.add(0)
            table[page] = Pte(folio, 0, PTE_YOUNG | ((PTE_WRITE | PTE_DIRTY) if writable else 0))


def _fill_large(task: Task, vma: Vma, first: int, count: int) -> None:
    """A run of pages of large folios: the largest that the settings allow and that are aligned."""
    shift = task.sys.page_shift
    page, end = (vma.start >> shift) + first, (vma.start >> shift) + first + count
    orders = enabled_orders(task, vma) or 1 << 1
    while page < end:
        order = max(
            (o for o in range(1, orders.bit_length()) if orders >> o & 1 and not page & (1 << o) - 1), default=0
        )
        folio = Folio("a", order if page + (1 << order) <= end else 0)
        map_anon_folio(task, task.mm.tables.alloc_pte(page << shift), page, folio, PTE_YOUNG | PTE_WRITE | PTE_DIRTY)
        page += 1 << folio.order
