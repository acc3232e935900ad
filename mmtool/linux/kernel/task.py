"""Who acts on an address space: the task_struct's part of it, and the system that all tasks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field

from mmtool.build.facts.process import ProcessFacts
from mmtool.late import dataclass
from mmtool.linux.mm.mmap.mm_types import UNLIMITED, VM_MAYBE_GUARD, VM_SOFTDIRTY, Folio, Mm
from mmtool.linux.mm.mmap.pgtable import Geometry


@dataclass(frozen=True, slots=True)
class Processor:
    """What matters of a processor: does it keep accessed bits itself, does it have the largest addresses there are?"""

    access_flag: bool = True
    large_addresses: bool = False


class TaskArch(ABC):
    """What processes ask of an architecture: asm/elf.h, asm/processor.h, asm/vdso.h, and where mappings go."""

    kernel_bits = 64
    """Bits of the kernel's own word."""
    unmapped_fraction = 3
    """TASK_UNMAPPED_BASE: bottom-up mappings begin at this part of the addresses."""
    unlimited_stack_is_legacy = False
    """Does mmap_is_legacy() look at the limit of the stack?"""
    hugetlb_hint_rounds_up = False
    """Does a hint for huge pages of a pool go up to the next one, whatever the release?"""
    vdso_pages = 2

    @abstractmethod
    def processor(self, flags: Sequence[str], hwcap: int | None) -> Processor | None:
        """The processor by the flags of /proc/cpuinfo or AT_HWCAP of a process; None where neither tells."""

    @abstractmethod
    def geometry(self, config: Mapping[str, str], page_shift: int) -> Geometry:
        """How a build's page tables divide an address; `config` has CONFIG_ names."""

    @abstractmethod
    def task_size(
        self, config: Mapping[str, str], page_shift: int, processor: Processor, *, compat: bool, personality: int
    ) -> tuple[int, int]:
        """TASK_SIZE, and DEFAULT_MAP_WINDOW: the end of the addresses that are given without being asked for."""

    @abstractmethod
    def stack_rnd_mask(self, task: Task) -> int:
        """STACK_RND_MASK: the largest random offset of the stack's top, in pages."""

    @abstractmethod
    def elf_et_dyn_base(self, task: Task) -> int:
        """ELF_ET_DYN_BASE: where programs that may lie anywhere are put."""

    @abstractmethod
    def brk_range(self, task: Task) -> int:
        """arch_randomize_brk(): how far the break may be moved, in bytes."""

    @abstractmethod
    def vvar_pages(self, *, datastore: bool) -> dict[str, int]:
        """Pages of the vdso's data, by the names of /proc/PID/maps; `datastore`: as of 6.15."""

    @abstractmethod
    def vdso_above_stack(self, task: Task) -> bool:
        """Is the vdso given a place in the rest of the huge page above the stack?"""

    @abstractmethod
    def get_unmapped_area(self, task: Task, addr: int, length: int, flags: int, align: int) -> int | None:
        """arch_get_unmapped_area() or its top-down form: a place, or None; `align` a mask, `addr` a hint."""


@dataclass
class HugetlbPool:
    """The pool of the default huge page size (struct hstate): counts of huge pages; `page_size` in bytes."""

    page_size: int
    nr_huge_pages: int = 0
    free_huge_pages: int = 0
    resv_huge_pages: int = 0
    surplus_huge_pages: int = 0


@dataclass
class ThpSettings:
    """/sys/kernel/mm/transparent_hugepage: "always", "madvise" or "never", and per smaller size (in KiB)."""

    enabled: str = "always"
    defrag: str = "madvise"
    shmem_enabled: str = "never"
    use_zero_page: bool = True
    sizes: dict[int, str] = field(default_factory=dict)
    shmem_sizes: dict[int, str] = field(default_factory=dict)


@dataclass(eq=False)
class SystemMemory:
    """What all tasks share: the release's facts, sysctls, commit charge (pages), pool of huge pages, THP settings."""

    facts: ProcessFacts
    arch: TaskArch
    page_shift: int
    totalram: int
    total_swap: int = 0
    committed: int = 0
    overcommit_memory: int = 0
    overcommit_ratio: int = 50
    overcommit_kbytes: int = 0
    admin_reserve_kbytes: int = 8192
    user_reserve_kbytes: int = 131072
    max_map_count: int = 65530
    lsm_mmap_min_addr: int = 0
    brk_flags: int = 0
    """Flags that the heap, the stack and uninitialised data have and mmap() does not give (arm64 without MTE)."""
    dac_mmap_min_addr: int = 65536
    legacy_va_layout: bool = False
    soft_dirty: bool = False
    pkeys: bool = False
    hugetlb: HugetlbPool = field(default_factory=lambda: HugetlbPool(2 << 20))
    thp: ThpSettings = field(default_factory=ThpSettings)
    has_thp: bool = True
    pt_reclaim: bool = False
    hw_access_bits: bool = True
    """The CPU sets accessed and dirty bits itself; else (ARMv8.0) a fault does."""
    fault_around_pages: int = 16
    faults_left: int = 1 << 62
    """Page faults until `TooManyFaults`: a line of ten words may ask for one a page of terabytes."""
    lazyfree_batch: list[Folio] = field(default_factory=list)
    """Pages that wait for becoming lazily freed (the lru_lazyfree batch of the CPU)."""

    def folio_mark_lazyfree(self, folio: Folio) -> None:
        """folio_mark_lazyfree(): into the batch; a full one is done at once, and so is a large folio."""
        self.lazyfree_batch.append(folio)
        if folio.order or len(self.lazyfree_batch) >= (31 if self.facts.batches_of_31 else 15):
            self.lru_add_drain()

    def lru_add_drain(self) -> None:
        """lru_add_drain(): what waits in the CPU's batches is done."""
        for folio in self.lazyfree_batch:
            folio.lazyfree = True
        self.lazyfree_batch.clear()

    @property
    def mmap_min_addr(self) -> int:
        """mmap_min_addr: the sysctl, or what the security modules are built to keep free."""
        return max(self.dac_mmap_min_addr, self.lsm_mmap_min_addr)

    @property
    def page_size(self) -> int:
        return 1 << self.page_shift

    @property
    def facts_sticky(self) -> int:
        """The flags that a mapping keeps whatever it merges with."""
        return VM_SOFTDIRTY | VM_MAYBE_GUARD if self.facts.has_sticky_flags else 0


@dataclass(eq=False)
class Task:
    """A process: its memory, what it may (uid 0 has every capability), limits (soft, hard) in bytes, and faults.

    `task_size` is TASK_SIZE; `map_window` is DEFAULT_MAP_WINDOW, up to which an address must not be asked for.
    """

    mm: Mm
    sys: SystemMemory
    task_size: int
    map_window: int
    compat: bool = False
    uid: int = 0
    personality: int = 0
    rlimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    min_flt: int = 0
    maj_flt: int = 0
    word_bits: int = 64
    others: list[Task] = field(default_factory=list)
    """The other processes that share pages with it: parents and children."""

    def rlimit(self, name: str) -> int:
        """The soft limit RLIMIT_<name>, bytes."""
        return self.rlimits.get(name, (UNLIMITED, UNLIMITED))[0]

    @property
    def word_mask(self) -> int:
        """The largest address that a register of the task holds."""
        return (1 << self.word_bits) - 1

    @property
    def kernel_mask(self) -> int:
        """All bits of the kernel's own word: what its sums wrap at, for a 32-bit task too."""
        return (1 << self.sys.arch.kernel_bits) - 1

    @property
    def privileged(self) -> bool:
        return self.uid == 0
