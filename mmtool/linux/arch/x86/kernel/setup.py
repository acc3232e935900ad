"""setup_arch() and what follows it, step by step: arch/x86/kernel/setup.c, platform/efi, realmode, mm/init.c.

Each function is one step, bears the kernel's name for it and changes the `Boot` that it is given. `steps`
puts them in the order of the release.
"""

from __future__ import annotations

from functools import partial

from mmtool.build.kernel import Kernel
from mmtool.firmware.machine import E820Type, EfiRegion
from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.arch.x86.kernel.crash_reserve import reserve_crashkernel
from mmtool.linux.arch.x86.kernel.e820 import BIOS_BEGIN, BIOS_END, parse_memmap_opt, parse_memopt
from mmtool.linux.arch.x86.kernel.mtrr import mtrr_trim_uncached_memory
from mmtool.linux.arch.x86.kernel.pci_dma import pci_iommu_alloc
from mmtool.linux.arch.x86.kernel.processor import has_la57
from mmtool.linux.arch.x86.kernel.setup_percpu import setup_per_cpu_areas
from mmtool.linux.arch.x86.mm import init_32, numa
from mmtool.linux.arch.x86.mm.init import early_pgt_buf_pages, init_mem_mapping, setup_cpu_entry_area_ptes
from mmtool.linux.arch.x86.mm.zones import (
    alloc_flat_mem_map,
    alloc_offline_node_data,
    init_cpu_to_node,
    mem_init,
    memblock_find_dma_reserve,
    zone_sizes_init,
)
from mmtool.linux.arch.x86.page import MAX_DMA_ADDRESS, PAGE_SHIFT, PAGE_SIZE
from mmtool.linux.drivers.firmware.efi.tables import efi_find_mirror, efi_memattr_init
from mmtool.linux.init import late
from mmtool.linux.init.boot import Step
from mmtool.linux.init.early import (
    CALC_NR_KERNEL_PAGES,
    HUGETLB_BOOTMEM_ALLOC,
    HUGETLB_CMA_RESERVE,
    SPARSE_INIT,
    mm_init,
    setup_command_line,
    setup_log_buf,
)
from mmtool.linux.kernel.dma.contiguous import dma_contiguous_reserve
from mmtool.linux.mm.memblock import MemblockPanic
from mmtool.linux.mm.memblock.dump import memblock_dump_all
from mmtool.linux.mm.mm_init import parse_movable
from mmtool.linux.mm.sparse_vmemmap import VmemmapLayout
from mmtool.units import round_down, round_up

SZ_64K, SZ_1M, SZ_2M = 64 << 10, 1 << 20, 2 << 20
BIOS_START_MIN, BIOS_START_MAX = 0x20000, 0x9F000
LOW_RAM_END_PFN = 1 << (32 - PAGE_SHIFT)

HPET_NAME_SIZE, IOAPIC_NAME_SIZE = 9, 11
CPU_ENTRY_AREA_SIZE = 0x3B000
"""sizeof(struct cpu_entry_area) on x86-64, for profiles that do not say; of the releases at hand the same in all."""
SNB_BAD_PAGES = (0x20050000, 0x20110000, 0x20130000, 0x20138000, 0x40004000)


X86Step = Step[X86Boot]


def steps(kernel: Kernel) -> list[X86Step]:
    """The boot's steps for a kernel, in its order: (name, function)."""
    facts = kernel.release
    early: list[X86Step] = [
        ("reserve kernel image", reserve_kernel_image),
        ("reserve low memory", reserve_low_memory),
        ("early_reserve_initrd", early_reserve_initrd),
    ]
    bios: list[X86Step] = [("reserve_bios_regions", reserve_bios_regions)]
    sparse: list[X86Step] = [SPARSE_INIT] if kernel.enabled("SPARSEMEM") else []
    offline: list[X86Step] = [("alloc_offline_node_data", alloc_offline_node_data)] if kernel.enabled("NUMA") else []
    huge: list[X86Step] = [HUGETLB_CMA_RESERVE, HUGETLB_BOOTMEM_ALLOC]
    flat: list[X86Step] = [] if sparse else [("alloc_node_mem_map", alloc_flat_mem_map)]
    area: list[X86Step] = [("free_area_init", zone_sizes_init), *flat, CALC_NR_KERNEL_PAGES]
    zones = [*offline, *area, *huge, *sparse] if facts.zones_after_setup_arch else [*sparse, *offline, *area]
    entry_areas = setup_cpu_entry_areas if kernel.is_64bit else setup_cpu_entry_area_ptes
    return [
        *early,
        *(bios if facts.reserves_early else []),
        ("memblock_x86_reserve_range_setup_data", memblock_x86_reserve_range_setup_data),
        ("trim_snb_memory", trim_snb_memory),
        ("e820__memory_setup", e820_memory_setup),
        ("parse_early_param", parse_early_param),
        ("e820__reserve_setup_data", e820_reserve_setup_data),
        ("e820__finish_early_params", e820_finish_early_params),
        ("efi_init", efi_init),
        ("kvm_init_platform", kvm_init_platform),
        ("e820_add_kernel_range", e820_add_kernel_range),
        ("trim_bios_range", trim_bios_range),
        ("e820__end_of_ram_pfn", end_of_ram_pfn),
        ("mtrr_trim_uncached_memory", mtrr_trim),
        ("max_low_pfn", find_max_low_pfn),
        ("reserve_brk", reserve_brk),
        ("e820__memblock_setup", e820_memblock_setup),
        *(bios if not facts.reserves_early else []),
        ("snp_fixup_e820_tables", snp_fixup_e820_tables),
        ("efi_find_mirror", find_mirror),
        ("efi_esrt_init", efi_esrt_init),
        ("efi_mokvar_table_init", efi_mokvar_table_init),
        ("efi_reserve_boot_services", efi_reserve_boot_services),
        ("reserve_real_mode", reserve_real_mode),
        ("init_mem_mapping", init_mem_mapping),
        ("setup_log_buf", lambda boot: setup_log_buf(boot, early=True)),
        ("reserve_initrd", reserve_initrd),
        ("acpi_boot_table_init", acpi_boot_table_init),
        ("initmem_init", numa.initmem_init if kernel.is_64bit else init_32.initmem_init),
        ("dma_contiguous_reserve", lambda boot: dma_contiguous_reserve(boot, boot.cma, boot.numa, boot.max_mapped)),
        *(huge if not facts.zones_after_setup_arch else []),
        ("reserve_crashkernel", lambda boot: reserve_crashkernel(boot, boot.cma)),
        ("memblock_find_dma_reserve", memblock_find_dma_reserve),
        *(zones if not facts.zones_after_setup_arch else []),
        ("early_quirks", early_quirks),
        ("acpi_boot_init", acpi_boot_init),
        ("init_cpu_to_node", init_cpu_to_node),
        ("io_apic_init_mappings", io_apic_init_mappings),
        ("e820__reserve_resources", e820_reserve_resources),
        ("e820__register_nosave_regions", e820_register_nosave_regions),
        ("e820__setup_pci_gap", e820_setup_pci_gap),
        *(zones if facts.zones_after_setup_arch else []),
        ("setup_command_line", setup_command_line),
        ("setup_per_cpu_areas", setup_per_cpu_areas),
        *mm_init(
            kernel,
            [("setup_cpu_entry_areas", entry_areas)],
            ("swiotlb_init", lambda boot: pci_iommu_alloc(boot, boot.cpus)),
        ),
        ("mem_init", mem_init),
        *late.steps(kernel),
    ]


def reserve_kernel_image(boot: X86Boot) -> None:
    """The first line of setup_arch(): _text to __end_of_kernel_reserve, where the image is known to lie."""
    size = boot.kernel.profile.image.get("end_of_kernel_reserve", 0)
    boot.memblock.kernel_end = boot.kernel_end or 0
    if boot.kernel_base is not None and size:
        boot.memblock.reserve_kern(boot.kernel_base, size, owner="kernel image")


def reserve_low_memory(boot: X86Boot) -> None:
    """Page 0, or from 5.13 on the first 64 KiB: BIOSes write there."""
    size = SZ_64K if boot.kernel.release.reserves_early else PAGE_SIZE
    boot.memblock.reserve(0, size, owner="first 64 KiB" if size == SZ_64K else "page 0")


def early_reserve_initrd(boot: X86Boot) -> None:
    """early_reserve_initrd(): whole pages from where the boot loader put the initial RAM disk."""
    if boot.machine.initrd is not None:
        start, end = boot.machine.initrd
        boot.memblock.reserve_kern(start, round_up(end, PAGE_SIZE) - start, owner="initrd")


def reserve_bios_regions(boot: X86Boot) -> None:
    """reserve_bios_regions(): from the extended BIOS data area, at the latest 636 KiB, to 1 MiB.

    Where the EBDA begins is not in the map; the end of low RAM stands for it, as a BIOS (not EFI) ends that there.
    """
    start = BIOS_START_MAX
    if not boot.notes("efi_version"):
        low_end = max((e.end for e in boot.machine.e820 if e.type == E820Type.RAM and e.start < BIOS_BEGIN), default=0)
        start = min(start, low_end) if low_end >= BIOS_START_MIN else start
    boot.memblock.reserve(start, BIOS_END - start, owner="BIOS data and ROM")


def memblock_x86_reserve_range_setup_data(boot: X86Boot) -> None:
    """memblock_x86_reserve_range_setup_data(): what the boot loader left for the kernel to read."""
    for start, end in dict.fromkeys(note.values[:2] for note in boot.notes("setup_data")):
        boot.memblock.reserve_kern(start, end - start, owner="setup_data")


def trim_snb_memory(boot: X86Boot) -> None:
    """trim_snb_memory(): Sandy Bridge graphics cannot reach the first MiB and five pages above, says the log."""
    if boot.notes("snb_gfx"):
        boot.memblock.reserve(0, SZ_1M, owner="Sandy Bridge graphics")
        for page in SNB_BAD_PAGES:
            boot.memblock.reserve(page, PAGE_SIZE, owner="Sandy Bridge graphics")


def e820_memory_setup(boot: X86Boot) -> None:
    """e820__memory_setup(): take over the firmware's map, sanitise and print it."""
    boot.e820.append(boot.machine.e820)
    boot.e820.update_table()
    boot.firmware_map = boot.e820.snapshot()
    boot.e820.announce("BIOS-provided physical RAM map:")
    boot.e820.print_table("Xen" if boot.machine.source == "Xen" else "BIOS-e820")


def parse_early_param(boot: X86Boot) -> None:
    """parse_early_param(): the options that change the map, in their order on the command line; movable_node.

    Until the SRAT tells what is hot-pluggable, memory near the kernel image is the best guess at what is not.
    """
    if parse_movable(boot).movable_node:
        boot.memblock.bottom_up = True
    for name, value in boot.cmdline.options:
        if value is None:
            continue
        if name == "mem":
            boot.user_defined_map |= parse_memopt(boot.e820, value)
        elif name == "memmap":
            boot.user_defined_map |= parse_memmap_opt(boot.e820, value)


def e820_reserve_setup_data(boot: X86Boot) -> None:
    """e820__reserve_setup_data(): the boot loader's setup_data stays readable; memory all the same. Gone in 6.15."""
    data = boot.notes("setup_data")
    if not data or boot.kernel.release.setup_data_only_in_memblock:
        return
    for note in data:
        start, end = note.values[:2]
        boot.e820.range_update(start, end - start, E820Type.RAM, E820Type.RESERVED_KERN)
    boot.e820.update_table()
    boot.e820.announce("extended physical RAM map:")
    boot.e820.print_table("reserve setup_data")


def e820_finish_early_params(boot: X86Boot) -> None:
    """e820__finish_early_params(): a map that the user changed is sanitised and printed."""
    if boot.user_defined_map:
        boot.e820.update_table()
        boot.e820.announce("user-defined physical RAM map:")
        boot.e820.print_table("user")


def efi_init(boot: X86Boot) -> None:
    """efi_init(): MMIO that the EFI map declares leaves the E820 map (efi_remove_e820_mmio()), as the log tells."""
    if boot.cmdline.has("add_efi_memmap") and boot.machine.efi:
        do_add_efi_memmap(boot)
    efi_memattr_init(boot, boot.notes("efi_table"), len(boot.notes("memattr")))
    for note in boot.notes("efi_remove_mmio"):
        start, end = note.values[:2]
        boot.e820.range_remove(start, end - start, E820Type.RESERVED)


def do_add_efi_memmap(boot: X86Boot) -> None:
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


def kvm_init_platform(boot: X86Boot) -> None:
    """kvm_init_platform(): in a guest of KVM, where low memory ends decides what its devices may cache."""
    guest = any(note.text.endswith("KVM") for note in boot.notes("hypervisor"))
    if guest and boot.kernel.is_64bit and boot.kernel.release.kvm_guest_asks_for_low_ram:
        boot.e820.end_pfn(LOW_RAM_END_PFN, 1 << (max_arch_bits(boot) - PAGE_SHIFT))


def e820_add_kernel_range(boot: X86Boot) -> None:
    """e820_add_kernel_range(): the image is RAM, whatever the map or memmap= makes of its place."""
    if boot.kernel_base is None or boot.kernel_end is None:
        return
    start, size = boot.kernel_base, boot.kernel_end - boot.kernel_base
    if boot.e820.mapped_all(start, start + size, E820Type.RAM):
        return
    boot.log.warn(".text .data .bss are not marked as E820_TYPE_RAM!")
    boot.e820.range_remove(start, size, E820Type.RAM)
    boot.e820.range_add(start, size, E820Type.RAM)


def trim_bios_range(boot: X86Boot) -> None:
    """trim_bios_range(): page 0 and the ISA hole belong to the BIOS, whatever its map says."""
    low = boot.kernel.number("X86_RESERVE_LOW", 64) << 10 if boot.kernel.release.trims_reserve_low else PAGE_SIZE
    if not boot.kernel.release.page_0_is_ram:
        boot.e820.range_update(0, low, E820Type.RAM, E820Type.RESERVED)
    boot.e820.range_remove(BIOS_BEGIN, BIOS_END - BIOS_BEGIN, E820Type.RAM)
    boot.e820.update_table()


def max_arch_bits(boot: X86Boot) -> int:
    """Bits of an address that the page tables can map: MAX_ARCH_PFN of arch/x86/kernel/e820.c."""
    if boot.kernel.is_64bit:
        return 52 if has_la57(boot) else 46
    return 36 if boot.kernel.enabled("X86_PAE") else 32


def end_of_ram_pfn(boot: X86Boot) -> None:
    """e820__end_of_ram_pfn(), bounded by what the page tables can map (MAX_ARCH_PFN)."""
    bits = max_arch_bits(boot)
    if boot.kernel.is_64bit:
        boot.levels = 5 if bits == 52 else 4
        boot.physmem_bits = bits
        tables = (48, 39, 30) if boot.levels == 5 else (39, 30)
        boot.vmemmap = VmemmapLayout(2 << 20, tables, max_dma_address=MAX_DMA_ADDRESS)
    else:
        boot.physmem_bits = bits
        boot.levels = 3 if boot.kernel.enabled("X86_PAE") else 2
    boot.max_arch_pfn = 1 << (bits - PAGE_SHIFT)
    boot.memblock.max_pfn = boot.e820.end_pfn(boot.max_arch_pfn, boot.max_arch_pfn)


def mtrr_trim(boot: X86Boot) -> None:
    """mtrr_trim_uncached_memory() of setup_arch(): the end of RAM is looked for again when the map changed."""
    if mtrr_trim_uncached_memory(boot):
        boot.memblock.max_pfn = boot.e820.end_pfn(boot.max_arch_pfn, boot.max_arch_pfn)


def find_max_low_pfn(boot: X86Boot) -> None:
    """How far low memory goes: 4 GiB on x86-64, what can be mapped directly on i386."""
    if not boot.kernel.is_64bit:
        init_32.find_low_pfn_range(boot)
    elif boot.memblock.max_pfn > LOW_RAM_END_PFN:
        boot.memblock.max_low_pfn = boot.e820.end_pfn(LOW_RAM_END_PFN, boot.max_arch_pfn)
    else:
        boot.memblock.max_low_pfn = boot.memblock.max_pfn


PREFERRED_ADDRESS = 16 << 20
"""LOAD_PHYSICAL_ADDR: where the image is linked to lie, without KASLR (the default of CONFIG_PHYSICAL_START)."""


def before_pgt_buf(kernel: Kernel, end: int) -> tuple[int, int]:
    """Pages of brk that go before the early page tables' buffer, and how far i386's boot page tables map.

    `end` is the image's physical end.
    """
    if kernel.is_64bit:
        return 1, 0
    table = 2 << 20 if kernel.enabled("X86_PAE") else 4 << 20
    mapped = round_up(end + SZ_1M, table)
    return 1 + mapped // table, mapped


def image_takes(kernel: Kernel) -> int:
    """Bytes that the image and what it takes of brk keep until init runs, at its preferred address; 0 unknown."""
    image = kernel.profile.image
    if "end_of_kernel_reserve" not in image or "brk_base" not in image or "end" not in image:
        return image.get("end_of_kernel_reserve", 0)
    before, _ = before_pgt_buf(kernel, PREFERRED_ADDRESS + image["end"])
    return round_up(image["end_of_kernel_reserve"], PAGE_SIZE) + (before + early_pgt_buf_pages(kernel)) * PAGE_SIZE


def reserve_brk(boot: X86Boot) -> None:
    """reserve_brk(): what early code took of the brk area: a page for DMI's strings, the first page tables.

    i386 has its boot page tables there too, for everything up to 1 MiB beyond the image (head_32.S). Where the image
    lies is not always known.
    """
    boot.head_mapped = boot.pgt_buf_start = 0
    start, end = boot.kernel.profile.image.get("brk_base"), boot.kernel_end
    if boot.kernel_base is None or end is None or not start:
        return
    before, boot.head_mapped = before_pgt_buf(boot.kernel, end)
    boot.pgt_buf_start = boot.kernel_base + start + before * PAGE_SIZE
    pages = before + early_pgt_buf_pages(boot.kernel)
    boot.memblock.reserve_kern(boot.kernel_base + start, pages * PAGE_SIZE, owner="kernel brk: early page tables")


def e820_memblock_setup(boot: X86Boot) -> None:
    """e820__memblock_setup(): RAM of the map becomes memblock's memory, whole pages of it."""
    mb = boot.memblock
    mb.current_limit = SZ_1M
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
    if not mb.memory.total_size:
        raise MemblockPanic("no whole page of RAM is in the map; if the file is an excerpt, give the whole map")
    boot.memblock.max_possible_pfn = boot.memblock.max_pfn
    if boot.kernel.release.low_memory_is_scratch:
        mb.mark_kho_scratch(0, SZ_1M)
    if not boot.kernel.is_64bit and boot.kernel.release.i386_forgets_high_memory:
        mb.remove(boot.memblock.max_pfn << PAGE_SHIFT, 2**64 - 1)
    memblock_dump_all(boot.memblock, boot.cmdline, boot.log)


def find_mirror(boot: X86Boot) -> None:
    """efi_find_mirror(), where there is a map of EFI's."""
    if not boot.cmdline.has("noefi"):
        efi_find_mirror(boot, boot.machine.efi)


def efi_esrt_init(boot: X86Boot) -> None:
    """efi_esrt_init(): the firmware resource table is kept where it lies in boot services data."""
    for note in boot.notes("esrt"):
        start, end = note.values[:2]
        first, last = round_down(start, PAGE_SIZE), round_up(end, PAGE_SIZE)
        if not _in_boot_services_data(boot, start, end):
            continue
        if boot.kernel.release.esrt_leaves_map:
            boot.e820.range_update(first, last - first, E820Type.RAM, E820Type.RESERVED)
            boot.e820.update_table()
        boot.memblock.reserve(start, end - start, owner="ESRT")


def efi_mokvar_table_init(boot: X86Boot) -> None:
    """efi_mokvar_table_init(): the table of machine owner keys is kept, if it lies in boot services data.

    How long it is, no log says: mostly one page, which is taken here.
    """
    if not boot.kernel.release.has_mokvar_table:
        return
    for note in boot.notes("efi_table"):
        start = note.values[0]
        if note.text != "MOKvar" or not _in_boot_services_data(boot, start, start + PAGE_SIZE):
            continue
        first = round_down(start, PAGE_SIZE)
        boot.e820.range_update(first, PAGE_SIZE, E820Type.RAM, E820Type.RESERVED)
        boot.e820.update_table()
        boot.memblock.reserve(start, PAGE_SIZE, owner="machine owner keys (MOKvar)")


def snp_fixup_e820_tables(boot: X86Boot) -> None:
    """snp_fixup_e820_tables(): an end of the RMP table within 2 MiB of RAM takes all of them, in each of three maps."""
    for note in boot.notes("snp_rmp"):
        start = note.values[0]
        boot.log.info(note.text)
        for _ in ("e820_table", "e820_table_kexec", "e820_table_firmware"):
            boot.e820.range_update(start, SZ_2M, E820Type.RAM, E820Type.RESERVED)
        boot.memblock.reserve(start, SZ_2M, owner="RMP table of SEV-SNP")


def efi_reserve_boot_services(boot: X86Boot) -> None:
    """efi_reserve_boot_services(): the firmware may still call its boot services; their memory is freed later."""
    if boot.cmdline.has("noefi"):
        return
    for region in boot.machine.efi:
        size = region.end - region.start
        if region.type.startswith(("Boot Code", "Boot Data")) and not boot.memblock.is_region_reserved(
            region.start, size
        ):
            boot.efi_boot_services.append((region.start, region.end))
            boot.memblock.reserve(region.start, size, owner=f"EFI boot services {region.type[5:].strip().lower()}")


def _in_boot_services_data(boot: X86Boot, start: int, end: int) -> bool:
    """Does [start, end) lie in one descriptor of boot services data? Without an EFI map, RAM of the E820 map may be."""
    if boot.machine.efi:
        return any(r.start <= start and end <= r.end and r.type.startswith("Boot Data") for r in boot.machine.efi)
    return boot.e820.mapped_all(start, end, E820Type.RAM)


def reserve_real_mode(boot: X86Boot) -> None:
    """reserve_real_mode(): room for the trampoline below 1 MiB; then the rest of the first MiB, or 64 KiB of it."""
    mb, facts = boot.memblock, boot.kernel.release
    told = [note.values[1] for note in boot.notes("trampoline")]
    size = told[-1] if told else boot.kernel.profile.sizes["real_mode_blob"]
    mb.phys_alloc_range(size, PAGE_SIZE, 0, SZ_1M, owner="real-mode trampoline")
    if facts.reserves_first_mib:
        mb.reserve(0, SZ_1M, owner="first MiB")
        if facts.low_memory_is_scratch:
            mb.clear_kho_scratch(0, SZ_1M)
        return
    if facts.crashkernel_reserves_first_mib and boot.cmdline.has("crashkernel"):
        mb.reserve(0, SZ_1M, owner="first MiB for crashkernel")
    low = boot.kernel.number("X86_RESERVE_LOW", 64) << 10
    mb.reserve(0, low, owner="low memory (X86_RESERVE_LOW)")


def acpi_boot_table_init(boot: X86Boot) -> None:
    """acpi_reserve_initial_tables(): memblock keeps the tables that the log says it keeps."""
    for table in boot.machine.acpi:
        if table.reserved:
            boot.memblock.reserve(table.start, table.end - table.start, owner=f"ACPI {table.signature}")


def reserve_initrd(boot: X86Boot) -> None:
    """reserve_initrd(): an initial RAM disk that the direct map does not reach (i386) moves to where it does."""
    if boot.machine.initrd is None:
        return
    start, end = boot.machine.initrd
    mb = boot.memblock
    size = round_up(end, PAGE_SIZE) - start
    boot.log.info(f"RAMDISK: [mem {start:#010x}-{end - 1:#010x}]")
    if end <= boot.max_mapped:
        return
    new = mb.phys_alloc_range(size, PAGE_SIZE, 0, boot.max_mapped, owner="initrd")
    if new:
        boot.log.info(f"Allocated new RAMDISK: [mem {new:#010x}-{new + end - start - 1:#010x}]")
        mb.phys_free(start, size)
        boot.initrd = (new, new + end - start)


def acpi_boot_init(boot: X86Boot) -> None:
    """acpi_boot_init(): the HPET's registers get a resource with room for its name."""
    if any(t.signature == "HPET" for t in boot.machine.acpi):
        size = boot.kernel.profile.sizes["resource"] + HPET_NAME_SIZE
        boot.memblock.alloc(size, boot.kernel.smp_cache_bytes, owner="resources")


def io_apic_init_mappings(boot: X86Boot) -> None:
    """io_apic_init_mappings(): a resource with a name for every I/O APIC."""
    count = len(boot.notes("ioapic"))
    if count:
        size = boot.kernel.profile.sizes["resource"] + IOAPIC_NAME_SIZE
        boot.memblock.alloc(count * size, boot.kernel.smp_cache_bytes, owner="resources")


def e820_reserve_resources(boot: X86Boot) -> None:
    """e820__reserve_resources(): a resource for every entry of the map, a sysfs record for each of the firmware's."""
    sizes, mb = boot.kernel.profile.sizes, boot.memblock
    mb.alloc(sizes["resource"] * len(boot.e820.entries), boot.kernel.smp_cache_bytes, owner="resources")
    for _ in boot.firmware_map:
        mb.alloc(sizes["firmware_map_entry"], boot.kernel.smp_cache_bytes, owner="/sys/firmware/memmap")


def e820_register_nosave_regions(boot: X86Boot) -> None:
    """e820__register_nosave_regions(): what hibernation need not save: all that is not RAM, up to the end of RAM."""
    if not boot.kernel.enabled("HIBERNATION"):
        return
    regions = _nosave_by_entry(boot) if boot.kernel.release.nosave_lists_entries else _nosave_between_ram(boot)
    _register_nosave(boot, regions)


def _nosave_between_ram(boot: X86Boot) -> list[tuple[int, int]]:
    """Pfns between RAM entries that do not touch, and from the last one to the end of RAM."""
    regions: list[tuple[int, int]] = []
    last = 0
    for e in boot.e820.snapshot():
        if e.type not in (E820Type.RAM, E820Type.RESERVED_KERN):
            continue
        if last < e.start:
            regions.append((last >> PAGE_SHIFT, -(-e.start >> PAGE_SHIFT)))
        last = e.end
    return [*regions, (last >> PAGE_SHIFT, boot.memblock.max_pfn)]


def _nosave_by_entry(boot: X86Boot) -> list[tuple[int, int]]:
    """Pfns of every entry that is not RAM and of every gap, before 5.12."""
    regions: list[tuple[int, int]] = []
    at = 0
    for e in boot.e820.snapshot():
        regions.append((at, -(-e.start >> PAGE_SHIFT)))
        at = e.end >> PAGE_SHIFT
        if e.type not in (E820Type.RAM, E820Type.RESERVED_KERN):
            regions.append((-(-e.start >> PAGE_SHIFT), at))
        if at >= boot.memblock.max_pfn:
            break
    return regions


def _register_nosave(boot: X86Boot, regions: list[tuple[int, int]]) -> None:
    """register_nosave_region(): one record a region, but for those that go on where the last one ends."""
    last = None
    for start, end in regions:
        if start >= end:
            continue
        if start != last:
            size = boot.kernel.profile.sizes["nosave_region"]
            boot.memblock.alloc(size, boot.kernel.smp_cache_bytes, owner="hibernation")
        last = end
        first, after = start << PAGE_SHIFT, end << PAGE_SHIFT
        boot.log.info(f"PM: hibernation: Registered nosave memory: [mem {first:#010x}-{after - 1:#010x}]")


def setup_cpu_entry_areas(boot: X86Boot) -> None:
    """setup_cpu_entry_areas(): page tables for the CPUs' entry areas, which KASLR scatters from 6.2 on.

    Where they lie is random then; each CPU most likely needs a table of two levels for itself.
    """
    k = boot.kernel
    scattered = k.release.cpu_entry_areas_random and boot.kaslr
    if scattered:
        pages = 1 + 2 * boot.cpus
    else:
        area = boot.cpus * k.profile.sizes.get("cpu_entry_area", CPU_ENTRY_AREA_SIZE) + PAGE_SIZE
        pages = 2 + -(-area // (2 << 20))
    mb, owner = boot.memblock, "page tables of CPU entry areas"
    take = partial(mb.alloc, PAGE_SIZE, PAGE_SIZE, owner=owner)
    mb.repeat(pages, PAGE_SIZE, take, 0, mb.current_limit, owner=owner)


def early_quirks(boot: X86Boot) -> None:
    """early_quirks(): memory that the graphics hardware took for itself is reserved in the E820 map."""
    for note in boot.notes("igfx_stolen"):
        start, end = note.values[:2]
        boot.e820.range_add(start, end - start, E820Type.RESERVED)
        boot.e820.update_table()


def e820_setup_pci_gap(boot: X86Boot) -> None:
    """e820__setup_pci_gap(): where devices may be put that the firmware left without an address."""
    boot.e820.setup_pci_gap(boot.memblock.max_pfn, boot.kernel.is_64bit)
