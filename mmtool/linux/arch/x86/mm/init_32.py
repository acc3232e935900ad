"""Low memory and high memory of i386: arch/x86/mm/init_32.c. Pfns and pages."""

from __future__ import annotations

from mmtool.linux.arch.x86.mm.pgtable import maxmem_32, vmalloc_reserve_32
from mmtool.linux.init.boot import Boot
from mmtool.units import memparse

PAGE_SHIFT = 12
MAX_NONPAE_PFN = 1 << 20
LEAST_LOWMEM_PAGES = 64 << (20 - PAGE_SHIFT)


def _mb(pages: int) -> int:
    return pages >> (20 - PAGE_SHIFT)


def find_low_pfn_range(boot: Boot) -> None:
    """find_low_pfn_range(): how far the direct map goes; may lower max_pfn. highmem= and vmalloc= move the border."""
    maxmem_pfn = maxmem_32(boot.kernel, vmalloc_reserve_32(boot.cmdline.get("vmalloc"))) >> PAGE_SHIFT
    option = boot.cmdline.get("highmem")
    wish = memparse(option)[0] >> PAGE_SHIFT if option else None
    if boot.max_pfn <= maxmem_pfn:
        boot.max_low_pfn = boot.max_pfn - _wanted_highmem(boot, wish or 0)
    else:
        _highmem_pfn_init(boot, maxmem_pfn, wish)


def _wanted_highmem(boot: Boot, pages: int) -> int:
    """lowmem_pfn_init(): all memory fits, but the user may want some of it as high memory."""
    if not pages:
        return 0
    if not boot.kernel.enabled("HIGHMEM"):
        boot.log.err("ignoring highmem size on non-highmem kernel!")
        return 0
    if pages >= boot.max_pfn:
        boot.log.err(f"highmem size ({_mb(pages)}MB) is bigger than pages available ({_mb(boot.max_pfn)}MB)!")
        return 0
    if boot.max_pfn - pages < LEAST_LOWMEM_PAGES:
        boot.log.err(f"highmem size ({_mb(pages)}MB) results in <64MB lowmem, ignoring it!")
        return 0
    return pages


def _highmem_pfn_init(boot: Boot, maxmem_pfn: int, wish: int | None) -> None:
    """highmem_pfn_init(): more memory than can be mapped; what is above becomes HighMem, or is lost without it."""
    boot.max_low_pfn = maxmem_pfn
    pages = boot.max_pfn - maxmem_pfn if wish is None else wish
    if pages + maxmem_pfn < boot.max_pfn:
        boot.max_pfn = maxmem_pfn + pages
    elif pages + maxmem_pfn > boot.max_pfn:
        have = boot.max_pfn - maxmem_pfn
        boot.log.warn(f"only {_mb(have)}MB highmem pages available, ignoring highmem size of {_mb(pages)}MB!")
    if not boot.kernel.enabled("HIGHMEM"):
        boot.log.warn(f"Warning only {_mb(maxmem_pfn)}MB will be used.")
        larger = boot.max_pfn > MAX_NONPAE_PFN
        boot.log.warn(f"Use a HIGHMEM{'64G' if larger else ''} enabled kernel.")
        boot.max_pfn = maxmem_pfn
    elif not boot.kernel.enabled("X86_PAE") and boot.max_pfn > MAX_NONPAE_PFN:
        boot.max_pfn = MAX_NONPAE_PFN
        boot.log.warn("Warning: only 4GB will be used. Support for for CONFIG_HIGHMEM64G was removed!"
                      if boot.kernel.release.highmem64g_removed
                      else "Warning: only 4GB will be used. Use a HIGHMEM64G enabled kernel!")  # fmt: skip


def initmem_init(boot: Boot) -> None:
    """initmem_init(): one node for everything, and how much of it is low."""
    if boot.kernel.enabled("HIGHMEM"):
        high = max(boot.max_pfn - boot.max_low_pfn, 0)
        boot.log.notice(f"{_mb(high)}MB HIGHMEM available.")
    mb = boot.memblock
    mb.set_node(0, 2**64 - 1, mb.memory, 0)
    boot.log.notice(f"{_mb(boot.max_low_pfn)}MB LOWMEM available.")
    low = boot.max_low_pfn << PAGE_SHIFT
    boot.log.info(f"  mapped low ram: 0 - {low:08x}")
    boot.log.info(f"  low ram: 0 - {low:08x}")
    boot.possible_nodes = boot.online_nodes = {0}
