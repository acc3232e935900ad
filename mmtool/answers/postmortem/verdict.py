"""What can be said of a report: verdicts, causes and remedies."""

from __future__ import annotations

from enum import Enum

from mmtool.answers.postmortem.account import Account
from mmtool.answers.postmortem.sums import Hidden
from mmtool.answers.postmortem.victim import OomAnswer
from mmtool.answers.postmortem.zones import Exclusion
from mmtool.build.gfp import GfpFlags
from mmtool.build.release import Release
from mmtool.late import dataclass
from mmtool.linux.mm.page_alloc.zone_watermark import WatermarkCheck
from mmtool.observed.reports import Report, ReportKind, ZoneDump


class Verdict(Enum):
    FAILS = "fails"
    PASSES = "passes now"
    UNKNOWN = "unknown"


class Cause(Enum):
    """The term that decided, or what else ended the request."""

    PASSES = "passes"
    NO_ZONE = "no zone"
    ORDER_TOO_LARGE = "order too large"
    FRAGMENTED = "fragmented"
    TOO_FEW_LARGE_BLOCKS = "too few large blocks"
    ONLY_CMA_BLOCKS = "only CMA blocks"
    ONLY_HIGHATOMIC_BLOCKS = "only HighAtomic blocks"
    OUT_OF_PAGES = "out of pages"
    CMA = "free pages are CMA's"
    HIGHATOMIC = "free pages are kept for atomic requests"
    LOWMEM_RESERVE = "lowmem_reserve"
    BOOST = "boosted watermark"
    TOO_FEW_TOGETHER = "too few for the whole area"
    TOO_LARGE = "larger than memory"
    ZERO_SIZE = "size of 0"
    NO_ADDRESSES = "no addresses"
    NO_MAPPING = "not mapped"
    CMA_NO_RANGE = "no free range in the CMA area"
    CMA_BUSY = "pages of the CMA area could not be moved"
    CMA_OTHER = "CMA error"
    CGROUP = "memory cgroup"
    SYSRQ = "asked for by SysRq"
    ZONES_LOST = "zones lost"
    HEAD_LOST = "head lost"
    STALL = "stall"
    BELOW_MARKS = "below all marks"
    NO_SLAB = "no slab"
    POOL_FULL = "pool full"
    MAPPING_TOO_LARGE = "mapping too large"
    TOO_FEW_HUGE_PAGES = "too few huge pages"
    NO_PERCPU = "no per-CPU memory"
    KILLED_BY_OTHERS = "killed by others than the kernel"
    RELEASE_UNKNOWN = "release unknown"
    NUMBERS_MISSING = "numbers missing"
    NOT_DUMPED = "no zones in the report"


class Remedy(Enum):
    """What would have let the request pass, each with numbers in `Advice.value`."""

    LOWER_ORDER = "lower order"
    COMPACTION = "compaction"
    KVMALLOC = "kvmalloc"
    MIN_FREE_KBYTES = "min_free_kbytes"
    RECLAIM = "reclaim"
    MOVABLE = "movable request"
    OTHER_NODE = "another node"
    LOWMEM_RESERVE_RATIO = "lowmem_reserve_ratio"
    BOOST_FACTOR = "watermark_boost_factor"
    HIGHER_ZONE = "higher zone"
    SMALLER = "smaller request"
    ADDRESS_SPACE = "address space"
    MORE_MEMORY = "memory"
    SWAP = "swap"
    CGROUP_LIMIT = "cgroup limit"
    CMA_AREA = "CMA area"
    RETRY = "retry"
    HUGE_PAGES = "huge pages"
    DRIVERS = "drivers"
    KERNEL_OBJECTS = "kernel objects"
    SHARED_MEMORY = "shared memory"
    MARKS_TOO_HIGH = "min_free_kbytes too large"
    ELSEWHERE = "free elsewhere"
    SWAP_FULL = "swap is full"
    SWAP_USELESS = "swap is of no use"
    LARGER_POOL = "larger pool"
    SMALLER_MAPPINGS = "smaller mappings"
    EARLIER = "earlier"


@dataclass(frozen=True, slots=True)
class Advice:
    remedy: Remedy
    value: int = 0
    """An order, pages or a node, as the remedy says."""


@dataclass(frozen=True, slots=True)
class ZoneVerdict:
    """One zone: what the check says, or why it was not asked."""

    dump: ZoneDump
    exclusion: Exclusion | None = None
    check: WatermarkCheck | None = None
    passes: bool | None = None
    """None: a number that the report lacks would decide."""


@dataclass(frozen=True)
class Judgement:
    """What is to be said of a report. Counts in pages."""

    report: Report
    verdict: Verdict
    cause: Cause
    release: Release | None = None
    """None when several may have written the report."""
    flags: GfpFlags | None = None
    order: int | None = None
    """The order that was judged; single pages for a vmalloc() that says none."""
    highest_zone: str | None = None
    zones: tuple[ZoneVerdict, ...] = ()
    deciding: ZoneVerdict | None = None
    """The zone that the reason speaks of."""
    needed_pages: int | None = None
    """Pages of a whole vmalloc area."""
    advice: tuple[Advice, ...] = ()
    no_watermarks: bool = False
    """The request ignores watermarks (__GFP_MEMALLOC)."""
    oom: OomAnswer | None = None
    """Who died and why, of an OOM report."""
    account: Account | None = None
    """Where the machine's memory is."""
    cgroup_account: Account | None = None
    """Where a cgroup's memory is, in bytes."""
    hidden: Hidden | None = None
    """What the report's zones leave out."""
    last_try: bool = False
    """The zones were asked for the high mark, as the OOM killer's last try does."""

    @property
    def may_sleep(self) -> bool | None:
        """May the request wait for reclaim? None where its mask is not known."""
        if self.flags is None or self.report.mask is None:
            return None
        return self.flags.can_direct_reclaim(self.report.mask)

    @property
    def is_failure(self) -> bool:
        """Does the report say that something failed? A Mem-Info that somebody asked for does not."""
        return self.report.kind is not ReportKind.SHOW_MEM or self.verdict is Verdict.FAILS
