"""mm/cma.c and kernel/dma/contiguous.c: memory for contiguous allocations, kept movable until then (cma=).

All sizes and addresses in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import gt, lt
from typing import TYPE_CHECKING

from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.linux.mm.memblock import NUMA_NO_NODE, Memblock
from mmtool.units import memparse

if TYPE_CHECKING:
    from mmtool.linux.init.boot import Boot

SZ_4G = 4 << 30
ENOMEM, EBUSY, EINVAL, ENOSPC = 12, 16, 22, 28
CMA_MAX_RANGES = 8
CRASHKERNEL_CMA_RANGES_MAX = 4

_NODE = re.compile(r"\s*(\d+):")


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


def _highmem_start(boot: Boot) -> int | None:
    """Where high memory begins; None without any."""
    return boot.max_low_pfn * boot.memblock.page_size if boot.kernel.enabled("HIGHMEM") else None


def _alloc_mem(boot: Boot, request: CmaRequest, owner: str) -> int:
    """cma_alloc_mem(): above 4 GiB from below (5.12 on), then in high memory, then anywhere below the limit."""
    mb, limit, found = boot.memblock, request.limit, 0
    size, align, nid = request.size, request.alignment, request.nid
    if boot.kernel.release.cma_tries_above_4g and not mb.bottom_up and limit >= SZ_4G + size:
        with _bottom_up(mb):
            found = mb.alloc_range_nid(size, align, SZ_4G, limit, nid, True, owner=owner)
    highmem = _highmem_start(boot)
    if not found and highmem is not None and request.base < highmem < limit:
        found = mb.alloc_range_nid(size, align, highmem, limit, nid, True, owner=owner)
        limit = highmem
    return found or mb.alloc_range_nid(size, align, request.base, limit, nid, True, owner=owner)


def _fixed_reserve(boot: Boot, request: CmaRequest, owner: str) -> None:
    """cma_fixed_reserve(): exactly there, on one side of the high memory boundary."""
    mb, base, size = boot.memblock, request.base, request.size
    highmem = _highmem_start(boot)
    if highmem is not None and base < highmem < base + size:
        at, boundary = _address(mb, base), _address(mb, highmem)
        boot.log.err(f"cma: Region at {at} defined on low/high memory boundary ({boundary})")
        raise CmaError(EINVAL, size)
    if mb.is_region_reserved(base, size) or mb.reserve(base, size, owner=owner) < 0:
        raise CmaError(EBUSY, size)


def _sanitised(boot: Boot, asked: CmaRequest) -> CmaRequest:
    """The request with base, size and limit aligned, checked against the end of memory."""
    mb, log = boot.memblock, boot.log
    if not asked.size or asked.alignment & (asked.alignment - 1):
        raise CmaError(EINVAL, asked.size)
    align = max(asked.alignment, min_alignment(boot.kernel, mb.page_size))
    if asked.fixed and asked.base % align:
        log.err(f"cma: Region at {_address(mb, asked.base)} must be aligned to {_address(mb, align)} bytes")
        raise CmaError(EINVAL, asked.size)
    base, size = (-(-value // align) * align for value in (asked.base, asked.size))
    limit, end = asked.limit // align * align, mb.end_of_DRAM() or 0
    if size // mb.page_size % (1 << asked.order_per_bit):
        raise CmaError(EINVAL, size)
    limit = end if not limit else min(limit, end)
    if base + size > limit:
        at, most = _address(mb, base), _address(mb, limit)
        log.err(f"cma: Size ({_address(mb, size)}) of region at {at} exceeds limit ({most})")
        raise CmaError(EINVAL, size)
    nid = asked.nid if mb.numa else NUMA_NO_NODE
    return CmaRequest(asked.name, size, base, limit, align, asked.order_per_bit, asked.fixed and base != 0, nid)


def _declare(boot: Boot, asked: CmaRequest) -> CmaArea:
    """__cma_declare_contiguous_nid(): the area, reserved; raises CmaError."""
    owner = f"CMA {asked.name}"
    request = _sanitised(boot, asked)
    if request.fixed:
        _fixed_reserve(boot, request, owner)
        return CmaArea(asked.name, ((request.base, request.size),))
    base = _alloc_mem(boot, request, owner)
    if not base:
        raise CmaError(ENOMEM, request.size)
    return CmaArea(asked.name, ((base, request.size),))


def cma_declare_contiguous_nid(boot: Boot, asked: CmaRequest) -> CmaArea:
    """Reserve an area and say so: cma_declare_contiguous_nid(). Raises CmaError after saying what is wrong.

    With `fixed` exactly at `base`, else between `base` and `limit` on node `nid` alone. The size that is said
    is the aligned one up to 6.14, then the one asked for. The area is appended to boot.cma_areas.
    """
    facts = boot.kernel.release
    try:
        area = _declare(boot, asked)
    except CmaError as e:
        size = asked.size if facts.cma_says_size_asked else e.size
        # Before 6.15 a request without a size is refused without a word.
        if asked.size or facts.cma_says_size_asked:
            boot.log.err(f"cma: Failed to reserve {size >> 20} MiB")
        raise
    base, size = area.ranges[0]
    node = f" on node {asked.nid if boot.memblock.numa else NUMA_NO_NODE}" if facts.cma_says_node else ""
    said = asked.size if facts.cma_says_size_asked else size
    boot.log.info(f"cma: Reserved {said >> 20} MiB at {_address(boot.memblock, base)}{node}")
    boot.cma_areas.append(area)
    return area


def _insert_sorted(
    ranges: list[tuple[int, int]], new: tuple[int, int], before: Callable[[int, int], bool], by: int
) -> None:
    """list_insert_sorted(): in front of the first entry that `before` holds for, else in front of the last."""
    at = next((i for i, r in enumerate(ranges) if before(r[by], new[by])), max(len(ranges) - 1, 0))
    ranges.insert(at, new)


def _ranges_above_4g(boot: Boot, align: int, step: int, nid: int) -> list[tuple[int, int]]:
    """Up to CMA_MAX_RANGES free (base, size) above 4 GiB on node `nid`, whole multiples of `align` and `step`."""
    ranges: list[tuple[int, int]] = []
    for start, end, _ in list(boot.memblock.for_each_free_mem_range(nid)):
        if start < SZ_4G:
            continue
        start, end = -(-start // align) * align, end // align * align
        size = (end - start) // step * step
        if end <= start or not size:
            continue
        if len(ranges) == CMA_MAX_RANGES:
            if size < ranges[-1][1]:
                continue
            ranges.pop()
        _insert_sorted(ranges, (start, size), gt, 1)
    return ranges


def _declare_in_ranges(boot: Boot, asked: CmaRequest) -> CmaArea:
    """An area made of several ranges, the last of which may be used in part; raises CmaError."""
    mb, owner = boot.memblock, f"CMA {asked.name}"
    align = max(asked.alignment, min_alignment(boot.kernel, mb.page_size))
    found = _ranges_above_4g(boot, align, mb.page_size << asked.order_per_bit, asked.nid)
    if sum(size for _, size in found) < asked.size:
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


def cma_declare_contiguous_multi(boot: Boot, asked: CmaRequest) -> CmaArea:
    """Reserve an area in one range or, where there is none, in up to eight: cma_declare_contiguous_multi() (6.15 on).

    Raises CmaError after saying what is wrong. The area is appended to boot.cma_areas.
    """
    mib = asked.size >> 20
    try:
        try:
            area = _declare(boot, asked)
        except CmaError as e:
            if e.error != ENOMEM:
                raise
            area = _declare_in_ranges(boot, asked)
    except CmaError:
        boot.log.err(f"cma: Failed to reserve {mib} MiB")
        raise
    count = len(area.ranges)
    boot.log.info(f"cma: Reserved {mib} MiB in {count} range{'s' if count != 1 else ''}")
    boot.cma_areas.append(area)
    return area


# kernel/dma/contiguous.c


def parse_cma(cmdline: Cmdline) -> tuple[int, int, int] | None:
    """cma=SIZE[@BASE[-LIMIT]] as (size, base, limit), 0 for what is not said; None without the option.

    Models early_cma(): of several, the last decides, but base and limit stay when the later ones leave them out.
    A base without a limit means exactly there.
    """
    size, base, limit = None, 0, 0
    for value in cmdline.all("cma"):
        if value is None:
            continue
        size, at = memparse(value)
        if value[at : at + 1] != "@":
            continue
        base, at = memparse(value, at + 1)
        limit = memparse(value, at + 1)[0] if value[at : at + 1] == "-" else base + size
    return None if size is None else (size, base, limit)


def default_size(boot: Boot) -> int:
    """The configured size: CMA_SIZE_MBYTES, CMA_SIZE_PERCENTAGE of memory, or the smaller or larger of both."""
    kernel, mb = boot.kernel, boot.memblock
    fixed = kernel.number("CMA_SIZE_MBYTES", 0) << 20
    pages = mb.phys_mem_size() // mb.page_size
    percent = pages * kernel.number("CMA_SIZE_PERCENTAGE", 0) // 100 * mb.page_size
    if kernel.enabled("CMA_SIZE_SEL_PERCENTAGE"):
        return percent
    if kernel.enabled("CMA_SIZE_SEL_MIN"):
        return min(fixed, percent)
    return max(fixed, percent) if kernel.enabled("CMA_SIZE_SEL_MAX") else fixed


def dma_contiguous_reserve(boot: Boot, limit: int) -> None:
    """The area for all devices, from cma= or the configuration: dma_contiguous_reserve().

    `limit` is an address that devices reach (x86: the end of the direct map; arm64: arm64_dma_phys_limit). An
    area that the device tree made the default stands instead of it. Since 6.6 the nodes' areas belong to it.
    """
    if not boot.kernel.enabled("DMA_CMA"):
        return
    facts = boot.kernel.release
    if facts.numa_cma_with_default and not facts.numa_cma_after_default:
        dma_numa_cma_reserve(boot)
    option = parse_cma(boot.cmdline)
    size, base, asked_limit = option if option is not None else (default_size(boot), 0, 0)
    fixed = option is not None and base + size == asked_limit
    if asked_limit and not facts.cma_limit_is_users:
        asked_limit = min(asked_limit, limit) if limit else asked_limit
    if size and not any(area.default for area in boot.cma_areas):
        try:
            area = cma_declare_contiguous_nid(
                boot, CmaRequest("reserved", size, base, asked_limit or limit, fixed=fixed)
            )
        except CmaError:
            return
        boot.cma_areas[-1] = CmaArea(area.name, area.ranges, default=True)
    if facts.numa_cma_after_default:
        dma_numa_cma_reserve(boot)


def _numa_sizes(cmdline: Cmdline) -> tuple[int, dict[int, int]]:
    """cma_pernuma=SIZE and numa_cma=NODE:SIZE[,...]: the size for every node, and those of some."""
    every = next((memparse(v)[0] for v in reversed(cmdline.all("cma_pernuma")) if v), 0)
    some: dict[int, int] = {}
    for value in cmdline.all("numa_cma"):
        at = 0
        while value and (m := _NODE.match(value, at)):
            some[int(m[1])], at = memparse(value, m.end())
            if value[at : at + 1] != ",":
                break
            at += 1
    return every, some


def dma_numa_cma_reserve(boot: Boot) -> None:
    """An area on each node: dma_numa_cma_reserve(), up to 6.5 dma_pernuma_cma_reserve() (arm64's bootmem_init()).

    cma_pernuma= (5.10 on) and numa_cma= (6.6 on); up to 6.19 a node may get both, later its own goes before. Without
    either, CMA_SIZE_PERNUMA (7.0 on) gives each of several nodes an area as large as the default one.
    """
    facts = boot.kernel.release
    if not (boot.kernel.enabled("DMA_NUMA_CMA") or boot.kernel.enabled("DMA_PERNUMA_CMA")):
        return
    every, some = _numa_sizes(boot.cmdline)
    if not facts.numa_cma_with_default:
        some = {}
    online = boot.online_nodes or {0}
    configured = boot.cmdline.has("cma_pernuma") or boot.cmdline.has("numa_cma")
    if boot.kernel.enabled("CMA_SIZE_PERNUMA") and not configured and len(online) > 1:
        every = next((area.size for area in boot.cma_areas if area.default), 0)
    for nid in range(boot.memblock.max_numnodes if every or some else 0):
        wanted = [("pernuma", every), ("numa", some.get(nid, 0))]
        if facts.numa_cma_after_default:
            wanted = [("numa", some.get(nid, 0) or every)]
        if nid not in online:
            if nid in boot.possible_nodes and any(size for _, size in wanted) and facts.numa_cma_with_default:
                boot.log.warn(f"cma: invalid node {nid} specified")
            continue
        for name, size in wanted:
            _numa_area(boot, f"{name}{nid}", size, nid)


def _numa_area(boot: Boot, name: str, size: int, nid: int) -> None:
    if not size:
        return
    function = "dma_numa_cma_reserve" if boot.kernel.release.numa_cma_with_default else "dma_pernuma_cma_reserve"
    try:
        cma_declare_contiguous_nid(boot, CmaRequest(name, size, nid=nid))
    except CmaError as e:
        boot.log.warn(f"cma: {function}: reservation failed: err -{e.error}, node {nid}")


# kernel/crash_reserve.c


def crashkernel_cma(boot: Boot, cma_size: int) -> None:
    """Memory for the crash kernel that movable pages may use until then: reserve_crashkernel_cma() (6.17 on).

    Up to four ranges, each half as large as the last that did not fit.
    """
    log, page = boot.log, boot.memblock.page_size
    if not boot.kernel.enabled("CMA"):
        log.warn("crashkernel CMA reservation not supported")
        return
    request, reserved, count = -(-cma_size // page) * page, 0, 0
    while reserved < cma_size and count < CRASHKERNEL_CMA_RANGES_MAX:
        try:
            cma_declare_contiguous_nid(boot, CmaRequest("crashkernel", request))
        except CmaError:
            if request <= page:
                break
            request = -(-(request // 2) // page) * page
            continue
        count, reserved = count + 1, reserved + request
    if cma_size > reserved:
        log.warn(
            f"crashkernel CMA reservation failed: {cma_size >> 20} MB requested, {reserved >> 20} MB reserved in"
            f" {count} ranges"
        )
    else:
        log.info(f"crashkernel CMA reserved: {reserved >> 20} MB in {count} ranges")
