"""setup_arch() and what follows it, step by step: arch/x86/kernel/setup.c, platform/efi, realmode, mm/init.c.

Each function is one step, bears the kernel's name for it and changes the `Boot` that it is given. `steps`
puts them in the order of the release.
"""

from __future__ import annotations

from collections.abc import Callable

from mmtool.arch.x86 import init_32, numa
from mmtool.arch.x86.e820 import BIOS_BEGIN, BIOS_END, parse_memmap_opt, parse_memopt
from mmtool.arch.x86.init import init_cpu_to_node, mem_init, memblock_find_dma_reserve, zone_sizes_init, zonelists
from mmtool.arch.x86.mtrr import mtrr_trim_uncached_memory
from mmtool.arch.x86.processor import has_la57
from mmtool.firmware.machine import E820Type, EfiRegion
from mmtool.init.boot import Boot
from mmtool.kernel.kernel import Kernel

PAGE_SHIFT, PAGE_SIZE = 12, 4096
SZ_64K, SZ_1M = 64 << 10, 1 << 20
BIOS_START_MIN, BIOS_START_MAX = 0x20000, 0x9F000
LOW_RAM_END_PFN = 1 << (32 - PAGE_SHIFT)

SNB_BAD_PAGES = (0x20050000, 0x20110000, 0x20130000, 0x20138000, 0x40004000)

Step = tuple[str, Callable[[Boot], None]]


def steps(kernel: Kernel) -> list[Step]:
    """The boot's steps for a kernel, in its order: (name, function)."""
    facts = kernel.release
    early: list[Step] = [
        ("reserve kernel image", reserve_kernel_image),
        ("reserve low memory", reserve_low_memory),
        ("early_reserve_initrd", early_reserve_initrd),
    ]
    bios: list[Step] = [("reserve_bios_regions", reserve_bios_regions)]
    zones: list[Step] = [("free_area_init", zone_sizes_init)]
    return [
        *early,
        *(bios if facts.reserves_early else []),
        ("trim_snb_memory", trim_snb_memory),
        ("e820__memory_setup", e820_memory_setup),
        ("parse_early_param", parse_early_param),
        ("e820__reserve_setup_data", e820_reserve_setup_data),
        ("e820__finish_early_params", e820_finish_early_params),
        ("efi_init", efi_init),
        ("trim_bios_range", trim_bios_range),
        ("e820__end_of_ram_pfn", end_of_ram_pfn),
        ("mtrr_trim_uncached_memory", mtrr_trim),
        ("max_low_pfn", find_max_low_pfn),
        ("e820__memblock_setup", e820_memblock_setup),
        *(bios if not facts.reserves_early else []),
        ("efi_esrt_init", efi_esrt_init),
        ("efi_reserve_boot_services", efi_reserve_boot_services),
        ("reserve_real_mode", reserve_real_mode),
        ("acpi_boot_table_init", acpi_boot_table_init),
        ("initmem_init", numa.initmem_init if kernel.is_64bit else init_32.initmem_init),
        ("memblock_find_dma_reserve", memblock_find_dma_reserve),
        *(zones if not facts.zones_after_setup_arch else []),
        ("early_quirks", early_quirks),
        ("init_cpu_to_node", init_cpu_to_node),
        ("e820__setup_pci_gap", e820_setup_pci_gap),
        *(zones if facts.zones_after_setup_arch else []),
        ("build_all_zonelists", zonelists),
        ("mem_init", mem_init),
    ]


def reserve_kernel_image(boot: Boot) -> None:
    """The first line of setup_arch(): _text to __end_of_kernel_reserve, where the image is known to lie."""
    size = boot.kernel.profile.sizes.get("kernel_reserve", 0)
    if boot.kernel_base is not None and size:
        boot.memblock.reserve_kern(boot.kernel_base, size, owner="kernel image")


def reserve_low_memory(boot: Boot) -> None:
    """Page 0, or from 5.13 on the first 64 KiB: BIOSes write there."""
    size = SZ_64K if boot.kernel.release.reserves_early else PAGE_SIZE
    boot.memblock.reserve(0, size, owner="first 64 KiB" if size == SZ_64K else "page 0")


def early_reserve_initrd(boot: Boot) -> None:
    """early_reserve_initrd(): whole pages from where the boot loader put the initial RAM disk."""
    if boot.machine.initrd is not None:
        start, end = boot.machine.initrd
        boot.memblock.reserve_kern(start, -(-end // PAGE_SIZE) * PAGE_SIZE - start, owner="initrd")


def reserve_bios_regions(boot: Boot) -> None:
    """reserve_bios_regions(): from the extended BIOS data area, at the latest 636 KiB, to 1 MiB.

    Where the EBDA begins is not in the map; the end of low RAM stands for it, as a BIOS (not EFI) ends that there.
    """
    start = BIOS_START_MAX
    if not boot.notes("efi_version"):
        low_end = max((e.end for e in boot.machine.e820 if e.type == E820Type.RAM and e.start < BIOS_BEGIN), default=0)
        start = min(start, low_end) if low_end >= BIOS_START_MIN else start
    boot.memblock.reserve(start, BIOS_END - start, owner="BIOS data and ROM")


def trim_snb_memory(boot: Boot) -> None:
    """trim_snb_memory(): Sandy Bridge graphics cannot reach the first MiB and five pages above, says the log."""
    if boot.notes("snb_gfx"):
        boot.memblock.reserve(0, SZ_1M, owner="Sandy Bridge graphics")
        for page in SNB_BAD_PAGES:
            boot.memblock.reserve(page, PAGE_SIZE, owner="Sandy Bridge graphics")


def e820_memory_setup(boot: Boot) -> None:
    """e820__memory_setup(): take over the firmware's map, sanitise and print it."""
    boot.e820.append(boot.machine.e820)
    boot.e820.update_table()
    boot.e820_firmware = boot.e820.snapshot()
    boot.e820.announce("BIOS-provided physical RAM map:")
    boot.e820.print_table("Xen" if boot.machine.source == "Xen" else "BIOS-e820")


def parse_early_param(boot: Boot) -> None:
    """parse_early_param(): the options that change the map, in their order on the command line."""
    for name, value in boot.cmdline.options:
        if value is None:
            continue
        if name == "mem":
            boot.user_defined_map |= parse_memopt(boot.e820, value)
        elif name == "memmap":
            boot.user_defined_map |= parse_memmap_opt(boot.e820, value)
        elif name == "add_efi_memmap":
            pass


def e820_reserve_setup_data(boot: Boot) -> None:
    """e820__reserve_setup_data(): the boot loader's setup_data stays readable; memory all the same. Gone in 7.0."""
    data = boot.notes("setup_data")
    if not data or boot.kernel.release.setup_data_only_in_memblock:
        return
    for note in data:
        start, end = note.values[:2]
        boot.e820.range_update(start, end - start, E820Type.RAM, E820Type.RESERVED_KERN)
    boot.e820.update_table()
    boot.e820.announce("extended physical RAM map:")
    boot.e820.print_table("reserve setup_data")


def e820_finish_early_params(boot: Boot) -> None:
    """e820__finish_early_params(): a map that the user changed is sanitised and printed."""
    if boot.user_defined_map:
        boot.e820.update_table()
        boot.e820.announce("user-defined physical RAM map:")
        boot.e820.print_table("user")


def efi_init(boot: Boot) -> None:
    """efi_init(): MMIO that the EFI map declares leaves the E820 map (efi_remove_e820_mmio()), as the log tells."""
    if boot.cmdline.has("add_efi_memmap") and boot.machine.efi:
        do_add_efi_memmap(boot)
    for note in boot.notes("efi_remove_mmio"):
        start, end = note.values[:2]
        boot.e820.range_remove(start, end - start, E820Type.RESERVED)


def do_add_efi_memmap(boot: Boot) -> None:
    """do_add_efi_memmap(): the EFI map's ranges join the E820 map."""
    for region in boot.machine.efi:
        boot.e820.range_add(region.start, region.end - region.start, efi_e820_type(region))
    boot.e820.update_table()


def efi_e820_type(region: EfiRegion) -> E820Type:
    """What an EFI memory type is to the E820 map (do_add_efi_memmap())."""
    if region.type in ("Loader Code", "Loader Data", "Boot Code", "Boot Data", "Conventional", "Conventional Memory"):
        return E820Type.RAM if "WB" in region.attributes else E820Type.RESERVED
    return {
        "ACPI Reclaim": E820Type.ACPI, "ACPI Reclaim Memory": E820Type.ACPI,
        "ACPI Mem NVS": E820Type.NVS, "ACPI Memory NVS": E820Type.NVS,
        "Unusable": E820Type.UNUSABLE, "Unusable Memory": E820Type.UNUSABLE,
        "Persistent": E820Type.PMEM, "Persistent Memory": E820Type.PMEM,
    }.get(region.type, E820Type.RESERVED)  # fmt: skip


def trim_bios_range(boot: Boot) -> None:
    """trim_bios_range(): page 0 and the ISA hole belong to the BIOS, whatever its map says."""
    low = boot.kernel.number("X86_RESERVE_LOW", 64) << 10 if boot.kernel.release.trims_reserve_low else PAGE_SIZE
    boot.e820.range_update(0, low, E820Type.RAM, E820Type.RESERVED)
    boot.e820.range_remove(BIOS_BEGIN, BIOS_END - BIOS_BEGIN, E820Type.RAM)
    boot.e820.update_table()


def end_of_ram_pfn(boot: Boot) -> None:
    """e820__end_of_ram_pfn(), bounded by what the page tables can map (MAX_ARCH_PFN)."""
    if boot.kernel.is_64bit:
        bits = 52 if has_la57(boot) else 46
    else:
        bits = 36 if boot.kernel.enabled("X86_PAE") else 32
    boot.max_arch_pfn = 1 << (bits - PAGE_SHIFT)
    boot.max_pfn = boot.e820.end_pfn(boot.max_arch_pfn, boot.max_arch_pfn)


def mtrr_trim(boot: Boot) -> None:
    """mtrr_trim_uncached_memory() of setup_arch(): the end of RAM is looked for again when the map changed."""
    if mtrr_trim_uncached_memory(boot):
        boot.max_pfn = boot.e820.end_pfn(boot.max_arch_pfn, boot.max_arch_pfn)


def find_max_low_pfn(boot: Boot) -> None:
    """How far low memory goes: 4 GiB on x86-64, what can be mapped directly on i386."""
    if not boot.kernel.is_64bit:
        init_32.find_low_pfn_range(boot)
    elif boot.max_pfn > LOW_RAM_END_PFN:
        boot.max_low_pfn = boot.e820.end_pfn(LOW_RAM_END_PFN, boot.max_arch_pfn)
    else:
        boot.max_low_pfn = boot.max_pfn


def e820_memblock_setup(boot: Boot) -> None:
    """e820__memblock_setup(): RAM of the map becomes memblock's memory, whole pages of it."""
    mb = boot.memblock
    mb.allow_resize()
    top = 1 << 64 if boot.kernel.is_64bit or boot.kernel.enabled("X86_PAE") else 1 << 32
    for entry in boot.e820.snapshot():
        if entry.end > top - 1:
            continue
        if entry.type == E820Type.SOFT_RESERVED:
            mb.reserve(entry.start, entry.end - entry.start, owner="soft reserved")
        if entry.type in (E820Type.RAM, E820Type.RESERVED_KERN):
            mb.add(entry.start, entry.end - entry.start)
    mb.trim_memory(PAGE_SIZE)
    if not boot.kernel.is_64bit and boot.kernel.release.i386_forgets_high_memory:
        mb.remove(boot.max_pfn << PAGE_SHIFT, 2**64 - 1)


def efi_esrt_init(boot: Boot) -> None:
    """efi_esrt_init(): the firmware resource table is kept where it lies in boot services data (efi_arch_mem_reserve())."""
    for note in boot.notes("esrt"):
        start, end = note.values[:2]
        first, last = start // PAGE_SIZE * PAGE_SIZE, -(-end // PAGE_SIZE) * PAGE_SIZE
        if not _in_boot_services_data(boot, start, end):
            continue
        boot.e820.range_update(first, last - first, E820Type.RAM, E820Type.RESERVED)
        boot.e820.update_table()
        boot.memblock.reserve(start, end - start, owner="ESRT")


def efi_reserve_boot_services(boot: Boot) -> None:
    """efi_reserve_boot_services(): the firmware may still call its boot services; their memory is freed later."""
    if boot.cmdline.has("noefi"):
        return
    for region in boot.machine.efi:
        size = region.end - region.start
        if region.type.startswith(("Boot Code", "Boot Data")) and not boot.memblock.is_region_reserved(region.start, size):
            boot.memblock.reserve(region.start, size, owner=f"EFI boot services {region.type[5:].strip().lower()}")


def _in_boot_services_data(boot: Boot, start: int, end: int) -> bool:
    """Does [start, end) lie in one descriptor of boot services data? Without an EFI map, RAM of the E820 map may be."""
    if boot.machine.efi:
        return any(r.start <= start and end <= r.end and r.type.startswith("Boot Data") for r in boot.machine.efi)
    return boot.e820.mapped_all(start, end, E820Type.RAM)


def reserve_real_mode(boot: Boot) -> None:
    """reserve_real_mode(): room for the trampoline below 1 MiB; then the rest of the first MiB, or 64 KiB of it."""
    mb, facts = boot.memblock, boot.kernel.release
    size = boot.kernel.profile.sizes["real_mode_blob"]
    mb.phys_alloc_range(size, PAGE_SIZE, 0, SZ_1M, owner="real-mode trampoline")
    if facts.reserves_first_mib:
        mb.reserve(0, SZ_1M, owner="first MiB")
        return
    if facts.crashkernel_reserves_first_mib and boot.cmdline.has("crashkernel"):
        mb.reserve(0, SZ_1M, owner="first MiB for crashkernel")
    low = boot.kernel.number("X86_RESERVE_LOW", 64) << 10
    mb.reserve(0, low, owner="low memory (X86_RESERVE_LOW)")


def acpi_boot_table_init(boot: Boot) -> None:
    """acpi_reserve_initial_tables(): memblock keeps the tables that the log says it keeps."""
    for table in boot.machine.acpi:
        if table.reserved:
            boot.memblock.reserve(table.start, table.end - table.start, owner=f"ACPI {table.signature}")


def early_quirks(boot: Boot) -> None:
    """early_quirks(): memory that the graphics hardware took for itself is reserved in the E820 map."""
    for note in boot.notes("igfx_stolen"):
        start, end = note.values[:2]
        boot.e820.range_add(start, end - start, E820Type.RESERVED)
        boot.e820.update_table()


def e820_setup_pci_gap(boot: Boot) -> None:
    boot.pci_mem_start = boot.e820.setup_pci_gap(boot.max_pfn, boot.kernel.is_64bit)
