"""What an address space is made of: include/linux/mm_types.h, mm.h, rmap.h and the files that mappings show."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.mm.mmap.folio import HUGE_ZERO as HUGE_ZERO
from mmtool.linux.mm.mmap.folio import VVAR_PAGE as VVAR_PAGE
from mmtool.linux.mm.mmap.folio import ZERO_PAGE as ZERO_PAGE
from mmtool.linux.mm.mmap.folio import Folio as Folio
from mmtool.linux.mm.mmap.pgtable import PageTables

VM_READ, VM_WRITE, VM_EXEC, VM_SHARED = 0x1, 0x2, 0x4, 0x8
VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC, VM_MAYSHARE = 0x10, 0x20, 0x40, 0x80
VM_GROWSDOWN, VM_PFNMAP, VM_MAYBE_GUARD, VM_LOCKED, VM_IO = 0x100, 0x400, 0x800, 0x2000, 0x4000
VM_SEQ_READ, VM_RAND_READ, VM_DONTCOPY, VM_DONTEXPAND = 0x8000, 0x10000, 0x20000, 0x40000
VM_LOCKONFAULT, VM_ACCOUNT, VM_NORESERVE, VM_HUGETLB = 0x80000, 0x100000, 0x200000, 0x400000
VM_SYNC, VM_WIPEONFORK, VM_DONTDUMP, VM_SOFTDIRTY = 0x800000, 0x2000000, 0x4000000, 0x8000000
VM_MIXEDMAP, VM_HUGEPAGE, VM_NOHUGEPAGE, VM_MERGEABLE = 0x10000000, 0x20000000, 0x40000000, 0x80000000
VM_DROPPABLE, VM_SEALED, VM_PKEY_EXEC_ONLY = 1 << 40, 1 << 42, 1 << 32
VM_MTE_ALLOWED, VM_DENYWRITE = 1 << 44, 1 << 45
VM_ACCESS_FLAGS = VM_READ | VM_WRITE | VM_EXEC
VM_LOCKED_MASK = VM_LOCKED | VM_LOCKONFAULT
VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP

PROT_READ, PROT_WRITE, PROT_EXEC, PROT_GROWSDOWN, PROT_GROWSUP = 1, 2, 4, 0x01000000, 0x02000000
MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_DROPPABLE, MAP_TYPE = 1, 2, 3, 8, 0xF
MAP_FIXED, MAP_ANONYMOUS, MAP_32BIT, MAP_GROWSDOWN = 0x10, 0x20, 0x40, 0x100
MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE, MAP_NONBLOCK = 0x2000, 0x4000, 0x8000, 0x10000
MAP_STACK, MAP_HUGETLB, MAP_FIXED_NOREPLACE = 0x20000, 0x40000, 0x100000

UNLIMITED = (1 << 64) - 1
STACK_GUARD_GAP_PAGES = 256


class Refused(Exception):
    """A system call that fails: `name` is the errno's name, `why` says which check refused it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why


class TooManyFaults(Exception):
    """More page faults than a model on paper should do: `SystemMemory.faults_left` is used up."""


class AnonVma:
    """An anon_vma: what finds every mapping of a group of anonymous pages.

    `num_children` counts anon_vmas made below it by forks, `num_active_vmas` the VMAs whose own anon_vma it is.
    """

    __slots__ = ("num_active_vmas", "num_children", "parent", "vmas")

    def __init__(self, parent: AnonVma | None = None) -> None:
        self.parent = parent
        self.num_children = 0 if parent is not None else 1  # a root is its own parent
        self.num_active_vmas = 0
        self.vmas = 0


@dataclass(eq=False)
class Inode:
    """What a file's pages hang on: `kind` is tmpfs, ramfs, shmem, zero, exe or hugetlb; `size` in bytes.

    `pages` has the folio of each page in the cache; `huge` those that are cached as one folio of the PMD's size, by
    the number of that block.
    """

    kind: str
    name: str
    size: int
    pages: dict[int, Folio] = field(default_factory=dict)
    writable: bool = True
    prefilled: int = 0
    """So many pages were in the cache before anyone mapped them; their folios are made when they are looked at."""
    charged: int = 0
    noreserve: bool = False
    reserved: set[int] = field(default_factory=set)
    """hugetlb: the huge pages of a shared mapping that the pool has set aside."""
    seals: int = 0
    thp_aligned: bool = False
    """Its file system aligns large mappings: get_unmapped_area of its files is thp_get_unmapped_area()."""

    @property
    def multi_move(self) -> bool:
        """vma_multi_allowed(): may mremap() move mappings of it together with others?"""
        return self.kind not in ("ramfs", "zero")

    @property
    def is_shmem(self) -> bool:
        return self.kind in ("tmpfs", "shmem", "exe")

    def find(self, index: int) -> Folio | None:
        """The folio at page `index` of the cache, if it is there."""
        folio = self.pages.get(index)
        if folio is None and index < self.prefilled:
            folio = self.pages[index] = Folio("f", index=index)
            folio.dirty = True
        return folio


@dataclass(eq=False)
class File:
    """An open file: VMAs of different opens of one inode do not merge."""

    inode: Inode
    count: int = 0
    """VMAs that show it."""
    held: bool = False
    """A descriptor keeps it open whatever is mapped."""


class Vma:
    """A vm_area_struct: the range, its flags, what it shows and which anonymous pages it may hold.

    `anon_chain` are the anon_vmas that it is linked to (anon_vma_chain). `special` names a special mapping
    ("[vdso]", "[vvar]"). `reserved` are the huge pages that a private hugetlb mapping has set aside.
    """

    __slots__ = (
        "anon_chain", "anon_pgoff", "anon_vma", "closes", "end", "file", "flags", "fork_child",
        "hpage_owner", "pgoff", "reserved", "special", "start",
    )  # fmt: skip

    def __init__(self, start: int, end: int, flags: int, pgoff: int, file: File | None = None) -> None:
        self.start, self.end, self.flags, self.pgoff, self.file = start, end, flags, pgoff, file
        self.anon_vma: AnonVma | None = None
        self.anon_chain: list[AnonVma] = []
        self.special = ""
        self.closes = False
        self.fork_child = False
        self.anon_pgoff = pgoff
        self.reserved: set[int] | None = None
        self.hpage_owner = True

    @property
    def is_anonymous(self) -> bool:
        """vma_is_anonymous(): no vm_ops; also a private mapping of /dev/zero."""
        return (
            not self.special and not self.flags & VM_HUGETLB and (self.file is None or (self.file.inode.kind == "zero"))
        )

    def copy(self) -> Vma:
        """vm_area_dup(): all but the links to anon_vmas."""
        new = Vma(self.start, self.end, self.flags, self.pgoff, self.file)
        new.special, new.closes, new.anon_pgoff = self.special, self.closes, self.anon_pgoff
        new.fork_child = self.fork_child
        new.reserved, new.hpage_owner = self.reserved, self.hpage_owner
        return new


class Mm:
    """An mm_struct: the VMAs in order, the page tables, and the counts that /proc/PID/status shows, in pages."""

    def __init__(self, tables: PageTables) -> None:
        self.vmas: list[Vma] = []
        self.starts: list[int] = []
        self.tables = tables
        self.total_vm = self.locked_vm = self.data_vm = self.exec_vm = self.stack_vm = 0
        self.hugetlb_pages = 0
        self.def_flags = 0
        self.start_brk = self.brk = self.start_data = self.end_data = 0
        self.start_code = self.end_code = 0
        self.start_stack = 0
        self.mmap_base = 0
        self.mmap_legacy_base = 0
        self.topdown = True
        self.disable_thp = False
        self.special_sizes: dict[str, int] = {}
        """Bytes of the vdso and its data as exec mapped them."""
        self.merge_any = False

    @property
    def map_count(self) -> int:
        return len(self.vmas)

    def index_after(self, addr: int) -> int:
        """The index of the first VMA that ends above `addr`."""
        i = bisect_right(self.starts, addr) - 1
        if i >= 0 and self.vmas[i].end > addr:
            return i
        return i + 1

    def find_vma(self, addr: int) -> Vma | None:
        """find_vma(): the first VMA that ends above `addr`."""
        i = self.index_after(addr)
        return self.vmas[i] if i < len(self.vmas) else None

    def find_vma_prev(self, addr: int) -> tuple[Vma | None, Vma | None]:
        """find_vma_prev(): that VMA and the one before it."""
        i = self.index_after(addr)
        return (self.vmas[i] if i < len(self.vmas) else None), (self.vmas[i - 1] if i else None)

    def find_intersection(self, start: int, end: int) -> Vma | None:
        """find_vma_intersection(): the first VMA that has a byte of [start, end)."""
        vma = self.find_vma(start)
        return vma if vma is not None and vma.start < end else None

    def vma_at(self, addr: int) -> Vma | None:
        """vma_lookup(): the VMA that holds `addr`."""
        vma = self.find_vma(addr)
        return vma if vma is not None and vma.start <= addr else None

    def index_of(self, vma: Vma) -> int:
        return bisect_left(self.starts, vma.start)

    def prev_of(self, vma: Vma) -> Vma | None:
        i = self.index_of(vma)
        return self.vmas[i - 1] if i else None

    def next_of(self, vma: Vma) -> Vma | None:
        i = self.index_of(vma) + 1
        return self.vmas[i] if i < len(self.vmas) else None

    def insert(self, vma: Vma) -> None:
        i = bisect_left(self.starts, vma.start)
        self.vmas.insert(i, vma)
        self.starts.insert(i, vma.start)

    def remove(self, vma: Vma) -> None:
        i = self.index_of(vma)
        del self.vmas[i], self.starts[i]

    def set_range(self, vma: Vma, start: int, end: int) -> None:
        """Move the ends of a VMA; its place in the order stays."""
        if start != vma.start:
            self.starts[self.index_of(vma)] = start
            vma.start = start
        vma.end = end

    def each_from(self, addr: int, end: int) -> Iterator[Vma]:
        """The VMAs that have a byte of [addr, end), in order, safe against changes behind the one in hand."""
        vma = self.find_vma(addr)
        while vma is not None and vma.start < end:
            at = vma.end
            yield vma
            vma = self.find_vma(at)
