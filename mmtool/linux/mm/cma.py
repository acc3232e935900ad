"""mm/cma.c: memory for contiguous allocations, kept movable until then.

All sizes and addresses in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from operator import gt, lt

from mmtool.build.kernel import Kernel
from mmtool.late import dataclass
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import NUMA_NO_NODE, Memblock
from mmtool.units import round_down, round_up

SZ_4G = 4 << 30
ENOMEM, EBUSY, EINVAL = 12, 16, 22
CMA_MAX_RANGES = 8


@dataclass(frozen=True, slots=True)
class CmaArea:
    """struct cma: an area's name and its ranges (base, size); `default`: for devices without an area of their own."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    default: bool = False

    @property
    def size(self) -> int:
        """Bytes in all ranges."""
        return sum(size for _, size in self.ranges)


@dataclass(repr=False)
class Cma:
    """cma_areas[]: the areas, in the order in which they were made."""

    areas: list[CmaArea] = field(default_factory=list)

    @property
    def default(self) -> CmaArea | None:
        """dma_contiguous_default_area; None before there is one."""
        return next((area for area in self.areas if area.default), None)


@dataclass(frozen=True, slots=True)
class CmaRequest:
    """What is asked of cma_declare_contiguous_nid(); 0 for a base or limit that is not given."""

    name: str
    size: int
    base: int = 0
    limit: int = 0
    alignment: int = 0
    order_per_bit: int = 0
    fixed: bool = False
    nid: int = NUMA_NO_NODE


class CmaError(Exception):
    """An area cannot be had: `error` is the kernel's (positive) error number."""

    def __init__(self, error: int, size: int) -> None:
        self.error, self.size = error, size
        super().__init__(f"error {error}")


def min_alignment(kernel: Kernel, page_size: int) -> int:
    """CMA_MIN_ALIGNMENT_BYTES: a pageblock; before 5.18 the larger of a pageblock and the largest free block."""
    order = kernel.pageblock_order
    if not kernel.release.cma_aligns_to_pageblocks:
        order = max(order, kernel.max_page_order)
    return page_size << order


def _address(mb: Memblock, value: int) -> str:
    """An address as %pa prints it."""
    return f"0x{value:0{mb.phys_addr_max.bit_length() // 4}x}"


@contextmanager
def _bottom_up(mb: Memblock) -> Iterator[None]:
    mb.bottom_up = True
    try:
        yield
    finally:
        mb.bottom_up = False


def _highmem_start(early: Early) -> int | None:
    """Where high memory begins; None without any."""
    mb = early.memblock
    return mb.max_low_pfn * mb.page_size if early.kernel.enabled("HIGHMEM") else None


def _alloc_mem(early: Early, request: CmaRequest, owner: str) -> int:
    """cma_alloc_mem(): above 4 GiB from below (5.12 on), then in high memory, then anywhere below the limit."""
    mb, limit, found = early.memblock, request.limit, 0
    size, align, nid = request.size, request.alignment, request.nid
    if early.kernel.release.cma_tries_above_4g and not mb.bottom_up and limit >= SZ_4G + size:
        with _bottom_up(mb):
            found = mb.alloc_range_nid(size, align, SZ_4G, limit, nid, True, owner=owner)
    highmem = _highmem_start(early)
    if not found and highmem is not None and request.base < highmem < limit:
        found = mb.alloc_range_nid(size, align, highmem, limit, nid, True, owner=owner)
        limit = highmem
    return found or mb.alloc_range_nid(size, align, request.base, limit, nid, True, owner=owner)


def _fixed_reserve(early: Early, request: CmaRequest, owner: str) -> None:
    """cma_fixed_reserve(): exactly there, on one side of the high memory boundary."""
    mb, base, size = early.memblock, request.base, request.size
    highmem = _highmem_start(early)
    if highmem is not None and base < highmem < base + size:
        at, boundary = _address(mb, base), _address(mb, highmem)
        early.log.err(f"cma: Region at {at} defined on low/high memory boundary ({boundary})")
        raise CmaError(EINVAL, size)
    if mb.is_region_reserved(base, size) or mb.reserve(base, size, owner=owner) < 0:
        raise CmaError(EBUSY, size)


def _sanitised(early: Early, asked: CmaRequest) -> CmaRequest:
    """The request with base, size and limit aligned, checked against the end of memory."""
    mb, log = early.memblock, early.log
    if not asked.size or asked.alignment & (asked.alignment - 1):
        raise CmaError(EINVAL, asked.size)
    align = max(asked.alignment, min_alignment(early.kernel, mb.page_size))
    if asked.fixed and asked.base % align:
        log.err(f"cma: Region at {_address(mb, asked.base)} must be aligned to {_address(mb, align)} bytes")
        raise CmaError(EINVAL, asked.size)
    base, size = (round_up(value, align) for value in (asked.base, asked.size))
    limit, end = round_down(asked.limit, align), mb.end_of_DRAM() or 0
    if size // mb.page_size % (1 << asked.order_per_bit):
        raise CmaError(EINVAL, size)
    limit = end if not limit else min(limit, end)
    if base + size > limit:
        at, most = _address(mb, base), _address(mb, limit)
        log.err(f"cma: Size ({_address(mb, size)}) of region at {at} exceeds limit ({most})")
        raise CmaError(EINVAL, size)
    nid = asked.nid if mb.numa else NUMA_NO_NODE
    return CmaRequest(asked.name, size, base, limit, align, asked.order_per_bit, asked.fixed and base != 0, nid)


def _declare(early: Early, asked: CmaRequest) -> CmaArea:
    """__cma_declare_contiguous_nid(): the area, reserved; raises CmaError."""
    owner = f"CMA {asked.name}"
    request = _sanitised(early, asked)
    if request.fixed:
        _fixed_reserve(early, request, owner)
        return CmaArea(asked.name, ((request.base, request.size),))
    base = _alloc_mem(early, request, owner)
    if not base:
        raise CmaError(ENOMEM, request.size)
    return CmaArea(asked.name, ((base, request.size),))


def cma_declare_contiguous_nid(early: Early, cma: Cma, asked: CmaRequest) -> CmaArea:
    """Reserve an area and say so: cma_declare_contiguous_nid(). Raises CmaError after saying what is wrong.

    With `fixed` exactly at `base`, else between `base` and `limit` on node `nid` alone. The size that is said
    is the aligned one up to 6.14, then the one asked for. The area is appended to `cma`.
    """
    facts = early.kernel.release
    try:
        area = _declare(early, asked)
    except CmaError as e:
        size = asked.size if facts.cma_says_size_asked else e.size
        # Before 6.15 a request without a size is refused without a word.
        if asked.size or facts.cma_says_size_asked:
            early.log.err(f"cma: Failed to reserve {size >> 20} MiB")
        raise
    base, size = area.ranges[0]
    node = f" on node {asked.nid if early.memblock.numa else NUMA_NO_NODE}" if facts.cma_says_node else ""
    said = asked.size if facts.cma_says_size_asked else size
    at = 0 if facts.cma_says_no_base else base
    early.log.info(f"cma: Reserved {said >> 20} MiB at {_address(early.memblock, at)}{node}")
    cma.areas.append(area)
    return area


def _insert_sorted(
    ranges: list[tuple[int, int]], new: tuple[int, int], before: Callable[[int, int], bool], by: int
) -> None:
    """list_insert_sorted(): in front of the first entry that `before` holds for, else in front of the last."""
    at = next((i for i, r in enumerate(ranges) if before(r[by], new[by])), max(len(ranges) - 1, 0))
    ranges.insert(at, new)


def _ranges_above_4g(early: Early, align: int, step: int, nid: int) -> tuple[list[tuple[int, int]], int]:
    """Up to CMA_MAX_RANGES free (base, size) above 4 GiB on node `nid`, whole multiples of `align` and `step`.

    And their size as the kernel counts it: with what was passed over because it is smaller than the last of eight.
    """
    ranges: list[tuple[int, int]] = []
    total = 0
    for start, end, _ in list(early.memblock.for_each_free_mem_range(nid)):
        if start < SZ_4G:
            continue
        start, end = round_up(start, align), round_down(end, align)
        size = round_down(end - start, step)
        if end <= start or not size:
            continue
        total += size
        if len(ranges) == CMA_MAX_RANGES:
            if size < ranges[-1][1]:
                continue
            total -= ranges.pop()[1]
        _insert_sorted(ranges, (start, size), gt, 1)
    return ranges, total


def _declare_in_ranges(early: Early, asked: CmaRequest) -> CmaArea:
    """An area made of several ranges, the last of which may be used in part; raises CmaError.

    It is smaller than what was asked for, and nothing says so, where only ranges that were passed over make up for it.
    """
    mb, owner = early.memblock, f"CMA {asked.name}"
    align = max(asked.alignment, min_alignment(early.kernel, mb.page_size))
    found, total = _ranges_above_4g(early, align, mb.page_size << asked.order_per_bit, asked.nid)
    if total < asked.size:
        raise CmaError(ENOMEM, asked.size)
    chosen: list[tuple[int, int]] = []
    for new in found:
        _insert_sorted(chosen, new, lt, 0)
        if sum(size for _, size in chosen) >= asked.size:
            break
    taken, left = [], asked.size
    for base, size in chosen:
        size = min(size, left)
        mb.reserve(base, size, owner=owner)
        taken.append((base, size))
        left -= size
        if not left:
            break
    return CmaArea(asked.name, tuple(taken))


def cma_declare_contiguous_multi(early: Early, cma: Cma, asked: CmaRequest) -> CmaArea:
    """Reserve an area in one range or, where there is none, in up to eight: cma_declare_contiguous_multi() (6.15 on).

    Raises CmaError after saying what is wrong. The area is appended to `cma`.
    """
    mib = asked.size >> 20
    try:
        try:
            area = _declare(early, asked)
        except CmaError as e:
            if e.error != ENOMEM:
                raise
            area = _declare_in_ranges(early, asked)
    except CmaError:
        early.log.err(f"cma: Failed to reserve {mib} MiB")
        raise
    count = len(area.ranges)
    early.log.info(f"cma: Reserved {mib} MiB in {count} range{'s' if count != 1 else ''}")
    cma.areas.append(area)
    return area
