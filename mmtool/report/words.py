"""Words that several reports have: the line above a boot, the names of memblock's flags."""

from __future__ import annotations

from mmtool.linux.init.boot import Boot
from mmtool.report.untrusted import one_line

MEMBLOCK_FLAGS = {
    0x1: "hotplug", 0x2: "mirror", 0x4: "nomap", 0x8: "driver_managed", 0x10: "rsrv_noinit", 0x20: "rsrv_kern",
    0x40: "kho_scratch", 0x80: "hugetlb",
}  # fmt: skip


def flag_names(flags: int) -> list[str]:
    """The flags of a region by name, in the order of their bits."""
    return [name for bit, name in MEMBLOCK_FLAGS.items() if flags & bit]


def heading(boot: Boot) -> str:
    """One line: which kernel was booted, and how sure its sizes are."""
    profile = boot.kernel.profile
    sure = (
        f"profile {profile.name}" if profile.exact else f"no profile of this build; sizes are those of {profile.name}"
    )
    return one_line(f"Linux {boot.kernel.name} on {boot.kernel.arch} ({sure})")
