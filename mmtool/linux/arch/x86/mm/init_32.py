"""Low memory and high memory of i386: arch/x86/mm/init_32.c. Pfns and pages."""

from __future__ import annotations

from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.arch.x86.mm.pgtable import maxmem_32, page_offset_32, pmd_size_32, vmalloc_reserve_32
from mmtool.linux.arch.x86.page import PAGE_SHIFT, PAGE_SIZE
from mmtool.linux.mm.address_space import VMALLOC
from mmtool.units import memparse, round_up

MAX_NONPAE_PFN = 1 << 20
LEAST_LOWMEM_PAGES = 64 << (20 - PAGE_SHIFT)


def _mb(pages: int) -> int:
    return pages >> (20 - PAGE_SHIFT)


def find_low_pfn_range(boot: X86Boot) -> None:
    """find_low_pfn_range(): how far the direct map goes; may lower max_pfn. highmem= and vmalloc= move the border."""
    maxmem_pfn = (_shown_maxmem(boot) or _maxmem(boot)) >> PAGE_SHIFT
    option = boot.cmdline.get("highmem")
    wish = memparse(option)[0] >> PAGE_SHIFT if option else None
    if boot.memblock.max_pfn <= maxmem_pfn:
        boot.memblock.max_low_pfn = boot.memblock.max_pfn - _wanted_highmem(boot, wish or 0)
    else:
        _highmem_pfn_init(boot, maxmem_pfn, wish)


def _maxmem(boot: X86Boot) -> int:
    return maxmem_32(boot.kernel, vmalloc_reserve_32(boot.cmdline.get("vmalloc")))


def _shown_maxmem(boot: X86Boot) -> int:
    """MAXMEM as the log shows what the build made of it: where vmalloc's area ends, which lies below all that the build
    keeps fixed addresses for; or in MiB, when a kernel without high memory says how much it can use. 0 if it does not.
    """
    reserve = vmalloc_reserve_32(boot.cmdline.get("vmalloc"))
    offset, table = page_offset_32(boot.kernel), pmd_size_32(boot.kernel)
    told = [note.values[1] - offset - reserve for note in boot.notes("vmalloc_area")]
    for note in boot.notes("no_highmem"):
        # the area's end is two pages below a table's border
        border = round_up(note.values[0] + 1 + reserve, table) - reserve - 2 * PAGE_SIZE
        told += [border] if border >> 20 == note.values[0] >> 20 else []
    possible = range(LEAST_LOWMEM_PAGES << PAGE_SHIFT, (1 << 32) - offset)
    return next((maxmem for maxmem in told if maxmem in possible), 0)


def _wanted_highmem(boot: X86Boot, pages: int) -> int:
    """lowmem_pfn_init(): all memory fits, but the user may want some of it as high memory."""
    if not pages:
        return 0
    if not boot.kernel.enabled("HIGHMEM"):
        boot.log.err("ignoring highmem size on non-highmem kernel!")
        return 0
    if pages >= boot.memblock.max_pfn:
        boot.log.err(f"highmem size ({_mb(pages)}MB) is bigger than pages available ({_mb(boot.memblock.max_pfn)}MB)!")
        return 0
    if boot.memblock.max_pfn - pages < LEAST_LOWMEM_PAGES:
        boot.log.err(f"highmem size ({_mb(pages)}MB) results in <64MB lowmem, ignoring it!")
        return 0
    return pages


def _highmem_pfn_init(boot: X86Boot, maxmem_pfn: int, wish: int | None) -> None:
    """highmem_pfn_init(): more memory than can be mapped; what is above becomes HighMem, or is lost without it."""
    boot.memblock.max_low_pfn = maxmem_pfn
    pages = boot.memblock.max_pfn - maxmem_pfn if wish is None else wish
    if pages + maxmem_pfn < boot.memblock.max_pfn:
        boot.memblock.max_pfn = maxmem_pfn + pages
    elif pages + maxmem_pfn > boot.memblock.max_pfn:
        have = boot.memblock.max_pfn - maxmem_pfn
        boot.log.warn(f"only {_mb(have)}MB highmem pages available, ignoring highmem size of {_mb(pages)}MB!")
    if not boot.kernel.enabled("HIGHMEM"):
        boot.log.warn(f"Warning only {_mb(maxmem_pfn)}MB will be used.")
        larger = boot.memblock.max_pfn > MAX_NONPAE_PFN
        boot.log.warn(f"Use a HIGHMEM{'64G' if larger else ''} enabled kernel.")
        boot.memblock.max_pfn = maxmem_pfn
    elif not boot.kernel.enabled("X86_PAE") and boot.memblock.max_pfn > MAX_NONPAE_PFN:
        boot.memblock.max_pfn = MAX_NONPAE_PFN
        boot.log.warn("Warning: only 4GB will be used. Support for for CONFIG_HIGHMEM64G was removed!"
                      if boot.kernel.release.highmem64g_removed
                      else "Warning: only 4GB will be used. Use a HIGHMEM64G enabled kernel!")  # fmt: skip


def initmem_init(boot: X86Boot) -> None:
    """initmem_init(): one node for everything, and how much of it is low."""
    if boot.kernel.enabled("HIGHMEM"):
        high = max(boot.memblock.max_pfn - boot.memblock.max_low_pfn, 0)
        boot.log.notice(f"{_mb(high)}MB HIGHMEM available.")
    mb = boot.memblock
    mb.set_node(0, 2**64 - 1, mb.memory, 0)
    boot.log.notice(f"{_mb(boot.memblock.max_low_pfn)}MB LOWMEM available.")
    low = boot.memblock.max_low_pfn << PAGE_SHIFT
    boot.log.info(f"  mapped low ram: 0 - {low:08x}")
    boot.log.info(f"  low ram: 0 - {low:08x}")
    boot.numa.possible = boot.numa.online = {0}


def print_layout(boot: X86Boot) -> None:
    """What mem_init() of i386 printed before 5.7; where the image lies in it only if that is known."""
    if boot.kernel.is_64bit or not boot.kernel.release.i386_prints_layout:
        return
    boot.log.info("virtual kernel memory layout:")
    names = {"fixmap": "    fixmap  ", "CPU entry areas": "  cpu_entry ", "pkmap": "    pkmap   ",
             VMALLOC: "    vmalloc ", "direct map": "    lowmem  "}  # fmt: skip
    if not boot.kernel.release.i386_has_cpu_entry_areas:
        del names["CPU entry areas"]
    areas = {area.name: area for area in boot.address_space.areas}
    for name, title in names.items():
        if name in areas:
            area = areas[name]
            unit, shift = ("MB", 20) if name in (VMALLOC, "direct map") else ("kB", 10)
            boot.log.info(f"{title}: {area.start:#010x} - {area.end:#010x}   ({area.size >> shift:4d} {unit})")
    image, base = boot.kernel.profile.image, boot.kernel_base
    if base is None or not image or not boot.kernel.profile.exact:
        return
    parts = ((".init", "init_begin", "init_end"), (".data", "etext", "edata"), (".text", "stext", "etext"))
    for title, first, last in parts:
        start, end = (page_offset_32(boot.kernel) + base + image[mark] for mark in (first, last))
        boot.log.info(f"      {title} : {start:#010x} - {end:#010x}   ({end - start >> 10:4d} kB)")
