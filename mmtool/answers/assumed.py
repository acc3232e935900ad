"""What a boot's answer rests on though nothing shows it: an answer that rests on nothing of the kind has none."""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.assumption import Assumption
from mmtool.linux.init.boot import Boot
from mmtool.units import human


def assumptions(boot: Boot) -> tuple[Assumption, ...]:
    """All that was taken for granted: of the kernel, of what loaded it, of the machine."""
    return (*boot.kernel.assumed, *_of_the_image(boot), *_of_the_machine(boot))


def _of_the_image(boot: Boot) -> Iterator[Assumption]:
    end = boot.kernel.profile.image.get("end", 0)
    if boot.kernel_base is None and end:
        yield Assumption(
            "kernel_image", "the kernel's image lies nowhere", "nothing shows where the boot loader put it",
            f"its {end >> 10} kB are missing from what is reserved, and from where they would split free memory",
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
    yield from _distances(boot)
    if machine.fdt is None and boot.notes("efi") and not machine.efi:
        yield Assumption(
            "efi_map", "EFI's boot services keep nothing until they end", "the log has no EFI memory map",
            "boot services' memory counts as free from the start", "the log of a boot with efi=debug",
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
