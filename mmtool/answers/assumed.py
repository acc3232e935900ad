"""What a boot's answer rests on though nothing shows it: an answer that rests on nothing of the kind has none."""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.assumption import Assumption
from mmtool.linux.arch.x86.kernel.mtrr import told_by_number
from mmtool.linux.arch.x86.kernel.processor import LA57_NAME, is_model_with_la57, is_server_with_split_locks
from mmtool.linux.init.boot import Boot
from mmtool.units import human

UNMODELLED: dict[str, tuple[str | None, ...]] = {
    "alloc_mptable": (), "efi_fake_mem": (), "hugetlb_cma_only": ("0", "n", "no", "off"),
    "kfence.sample_interval": ("0",), "memory_corruption_check": ("0",), "ohci1394_dma": (None,),
    "percpu_alloc": ("embed",),
}  # fmt: skip
"""Options that take memory or mark it in a way that is not modelled (linux/init/inventory.txt), and with which values
they do not."""


def assumptions(boot: Boot) -> tuple[Assumption, ...]:
    """All that was taken for granted: of the kernel, of what loaded it, of the machine."""
    return (
        *boot.kernel.assumed, *_of_the_command_line(boot), *_of_the_image(boot), *_of_the_machine(boot),
        *_of_the_map(boot),
    )  # fmt: skip


def _of_the_command_line(boot: Boot) -> Iterator[Assumption]:
    for name, idle in UNMODELLED.items():
        if boot.cmdline.has(name) and boot.cmdline.get(name) not in idle:
            yield Assumption(
                "options", f"{name}= takes no memory", "what it does is not modelled",
                "what it takes or marks is missing", "a command line without it",
            )  # fmt: skip


def _of_the_image(boot: Boot) -> Iterator[Assumption]:
    end = boot.kernel.profile.image.get("end", 0)
    if boot.kernel_base is None and end:
        yield Assumption(
            "kernel_image", "the kernel's image lies nowhere", "nothing shows where the boot loader put it",
            f"its {end >> 10} kB count in the ledger and MemTotal, but leave no gap in the lists of free memory",
            "--kernel-base ADDR (/proc/iomem: Kernel code)",
        )  # fmt: skip


def _of_the_machine(boot: Boot) -> Iterator[Assumption]:
    machine = boot.machine
    has_log = machine.version_line is not None or bool(machine.notes)
    if machine.cpus is None:
        unit = boot.kernel.profile.sizes.get("percpu_static", 0)
        yield Assumption(
            "cpus", f"{boot.cpus} CPU{'s' * (boot.cpus != 1)}", "nothing shows how many the kernel allows for",
            f"{human(unit)} of per-CPU data, and more in tables, for each CPU" if unit else "the per-CPU data of each",
            "--cpus N",
        )  # fmt: skip
    if machine.initrd is None and machine.fdt is None and not has_log:
        yield Assumption(
            "initrd", "there is no initial RAM disk", "a map alone does not show one",
            "its size is missing from what is reserved until init runs", "--initrd START-END",
        )  # fmt: skip
    yield from _of_the_boot_loader(boot)
    yield from _distances(boot)
    yield from _page_table_levels(boot)
    yield from _zone_device(boot)
    yield from _cma(boot)
    if machine.fdt is None and boot.notes("efi") and not machine.efi:
        yield Assumption(
            "efi_map", "EFI's boot services keep nothing until they end", "the log has no EFI memory map",
            "boot services' memory counts as free from the start", "the log of a boot with efi=debug",
        )  # fmt: skip


def _of_the_boot_loader(boot: Boot) -> Iterator[Assumption]:
    """What a boot loader leaves in memory and no input shows."""
    tree = boot.machine.fdt
    if tree is not None and boot.machine.initrd is None and tree.chosen.bootargs is None:
        yield Assumption(
            "initrd", "there is no initial RAM disk", "no boot loader has filled in the tree's /chosen",
            "its size; what is placed from above, as CMA and a crash kernel, may lie lower",
            "--initrd START-END, or /sys/firmware/fdt of the running machine",
        )  # fmt: skip
    if boot.edits_map and boot.kernel.release.setup_data_only_in_memblock and boot.notes("efi_version"):
        yield Assumption(
            "boot_loader_memory", "EFI's boot stub left nothing for the kernel to read (setup_data)",
            "no log shows it from 6.15 on", "some kB below the RAM disk; an option ROM may have more",
            "a log of an older kernel on this machine, whose e820 updates show it",
        )  # fmt: skip


def _of_the_map(boot: Boot) -> Iterator[Assumption]:
    """What is taken of the firmware's map, and of what else decides about it."""
    for cut in boot.notes("map_cut"):
        yield Assumption(
            "map_complete", "the map is whole", cut.text, "memory that the log has lost is missing from every sum",
            "the log from its start (dmesg of a fresh boot, log_buf_len=), or /sys/firmware/memmap",
        )  # fmt: skip
    if boot.notes("map_by_resources"):
        yield Assumption(
            "efi_map", "memory is what proc/iomem calls System RAM and, not to be mapped, reserved",
            "the log has lost EFI's map", "what EFI's boot services hold counts as free, so that CMA may lie higher",
            "the log of a boot with efi=debug, from its start",
        )  # fmt: skip
    shown = boot.notes("mtrr_default") or boot.notes("mtrr_reg") or boot.notes("mtrr_var")
    # one range beside the default is an uncached hole in cached memory, which takes no RAM away
    several = any(note.values[2] > 1 for note in boot.notes("mtrr_map"))
    if not shown and (boot.notes("mtrr_covered") or several):
        told = "their sum" if boot.notes("mtrr_covered") else "their number" if told_by_number(boot) else None
        yield Assumption(
            "mtrr", f"{told} tells where the MTRRs end" if told else "the MTRRs cover all RAM",
            "the log does not show the registers", "a line of e820 updates up to 4 GiB, and RAM that they leave out",
            "the log of a boot with mtrr=debug (6.5 on)",
        )  # fmt: skip
    if any("MOKvar" in owner for owner in boot.memblock.ledger.owners):
        yield Assumption(
            "mokvar", "the table of machine owner keys has one page", "no log shows its length",
            "4 kB for each page more", "the e820 update of a log of this boot",
        )  # fmt: skip


def _distances(boot: Boot) -> Iterator[Assumption]:
    machine, nodes = boot.machine, len(boot.nodes)
    told = machine.slit is not None or machine.fdt is not None or nodes < 2
    if told or (machine.acpi and not any(table.signature == "SLIT" for table in machine.acpi)):
        return
    yield Assumption(
        "slit", "distance 10 within a node, 20 between nodes", "the log does not hold the SLIT",
        f"the order in which {nodes} nodes fall back on each other", "--slit FILE (/sys/firmware/acpi/tables/SLIT)",
    )  # fmt: skip


def _page_table_levels(boot: Boot) -> Iterator[Assumption]:
    kernel = boot.kernel
    always = boot.edits_map and kernel.bits_per_long == 64 and kernel.release.five_levels_always
    may = (kernel.enabled("X86_5LEVEL") or always) and not boot.cmdline.has("no5lvl") and not boot.notes("la57")
    if may and boot.notes("cpu") and boot.notes("hypervisor") and is_model_with_la57(boot):
        if not any(LA57_NAME in note.text for note in boot.notes("cpu")):
            yield Assumption(
                "page_table_levels", "four levels of page tables", "a hypervisor may hide what its processor can",
                "with five, vmalloc has 12800 TiB, and addresses begin elsewhere", "a log that shows an address of it",
            )  # fmt: skip
    elif may and not boot.notes("cpu"):
        five = is_server_with_split_locks(boot)
        yield Assumption(
            "page_table_levels", f"{'five' if five else 'four'} levels of page tables",
            "the log does not name the processor" + ", but shows one of a server that reports split locks" * five,
            f"with {'four, vmalloc has 32 TiB' if five else 'five, vmalloc has 12800 TiB'}, and addresses begin "
            "elsewhere",
            "a log with the processor's line",
        )  # fmt: skip


def _cma(boot: Boot) -> Iterator[Assumption]:
    """The configured size of the CMA area, where nothing else asks for one."""
    size = boot.kernel.number("CMA_SIZE_MBYTES", 0)
    by_build = size and not boot.cmdline.has("cma") and not any("linux,cma" in area.name for area in boot.cma.areas)
    if boot.kernel.profile.exact or not boot.cma.areas or not by_build:
        return
    yield Assumption(
        "cma", f"the build's CMA area has {size} MiB", "there is no profile of this very build",
        "where the area lies, and what does", "--cmdline with cma=SIZE, or --config FILE",
    )  # fmt: skip


def _zone_device(boot: Boot) -> Iterator[Assumption]:
    kinds = {note.kind for note in boot.machine.notes}
    # x86 says so itself; of an arm64 build the count of processors and its name only hint at it
    known = boot.kernel.profile.exact or (
        kinds & {"devtmpfs", "memory_block_size"} if boot.edits_map else "rcu_nr_cpus" not in kinds
    )
    if known or boot.kernel.bits_per_long != 64 or not boot.kernel.release.has_zone_device:
        return
    yield Assumption(
        "zone_device", f"the build has {'a' if boot.kernel.enabled('ZONE_DEVICE') else 'no'} zone for device memory",
        "the log ends before it would show" if boot.edits_map else "the log does not show it",
        "one number more or less in every zone's protection", "--config FILE",
    )  # fmt: skip
