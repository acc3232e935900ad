"""What the processors can address, as far as it decides about memory: asm/pgtable-prot.h, kernel/cpufeature.c."""

from __future__ import annotations

from mmtool.linux.arch.arm64.mm.pgtable import va_bits_min
from mmtool.linux.init.boot import Boot
from mmtool.units import round_down


def has_wide_addresses(boot: Boot) -> bool:
    """Have the processors virtual addresses of 52 bits (FEAT_LVA, with small pages FEAT_LPA2)? The log says so.

    arm64.nolva on the command line does without.
    """
    return bool(boot.notes("va52")) and not boot.cmdline.has("arm64.nolva")


def va_bits(boot: Boot) -> int:
    """vabits_actual: bits of a kernel address; a build for 52 makes do with less where the processors have no more."""
    return boot.kernel.number("ARM64_VA_BITS", 48) if has_wide_addresses(boot) else va_bits_min(boot.kernel)


def pa_bits(boot: Boot) -> int:
    """PHYS_MASK_SHIFT: bits of a physical address; 52 bits take FEAT_LPA2 too where pages have less than 64 KiB."""
    configured = boot.kernel.number("ARM64_PA_BITS", 48)
    return 48 if configured == 52 and boot.kernel.page_shift < 16 and not has_wide_addresses(boot) else configured


def memstart_align(boot: Boot) -> int:
    """ARM64_MEMSTART_ALIGN of asm/kernel-pgtable.h: large leaves of the linear map fit, and whole sections."""
    return 1 << max({12: 30, 14: 30, 16: 29}[boot.kernel.page_shift], boot.kernel.section_size_bits)


def memstart(boot: Boot) -> int:
    """memstart_addr where KASLR does not move it: the start of memory, rounded down to ARM64_MEMSTART_ALIGN."""
    return round_down(boot.memblock.start_of_DRAM(), memstart_align(boot))
