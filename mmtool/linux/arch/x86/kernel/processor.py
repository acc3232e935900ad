"""What the processor can do, as far as the log shows it: arch/x86/include/asm/processor.h, kernel/head64.c."""

from __future__ import annotations

from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.init.boot import Boot

# (vendor of family 6 and up, family): models whose page tables can have five levels (CPUID.7:ECX.LA57).
LA57_MODELS = {
    0x6: {0x6A, 0x6C, 0x8F, 0xCF, 0xAD, 0xAE, 0xAF},
    0x19: {*range(0x10, 0x20), *range(0xA0, 0xB0)},
    0x1A: set(range(0x00, 0x20)),
}
LA57_NAME = "QEMU TCG CPU"
"""QEMU's model "max" under emulation, which has whatever can be emulated, whichever family it says it is of."""


def has_la57(boot: X86Boot) -> bool:
    """Does the kernel run with five levels of page tables (52 physical bits) on this machine?

    Models paging_prepare() and check_la57_support(): the build has it (always from 6.17 on), the command line does
    not forbid it ("no5lvl"), and the CPU can. The CPU's model is in the log; a virtual one may lack what the model has.
    Whatever the CPU, an address of the kernel's own that needs 57 bits shows five levels.
    A log that ends before it names the CPU may still show a server's (it has an SRAT) that reports split locks by an
    exception: Intel has built those since Ice Lake, all with LA57.
    """
    kernel = boot.kernel
    if not (kernel.enabled("X86_5LEVEL") or kernel.release.five_levels_always) or boot.cmdline.has("no5lvl"):
        return False
    if boot.notes("la57") or any(LA57_NAME in note.text for note in boot.notes("cpu")):
        return True
    if is_model_with_la57(boot):
        return not boot.notes("hypervisor")
    return not boot.notes("cpu") and is_server_with_split_locks(boot)


def is_model_with_la57(boot: Boot) -> bool:
    """Does the log name a processor whose model has LA57? A hypervisor may name it and hide that."""
    models = (note.values for note in boot.notes("cpu") if len(note.values) >= 2)
    return any(values[1] in LA57_MODELS.get(values[0], ()) for values in models)


def is_server_with_split_locks(boot: Boot) -> bool:
    """Does the log show one of Intel's server processors from Ice Lake on, though not by name?"""
    return bool(boot.notes("split_lock")) and boot.machine.srat is not None and not boot.notes("hypervisor")
