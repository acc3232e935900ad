"""What a log shows of the configuration that its kernel was built with."""

from __future__ import annotations

import re

from mmtool.build.fact import Version, parse_candidate, parse_version
from mmtool.build.profile import Option
from mmtool.firmware.machine import Machine
from mmtool.regex import regex

# The stable release behind a distribution's own numbering: "Debian 5.10.223-1", "(Ubuntu 5.13.0-20.20 5.13.14)".
_STABLE = regex(r"\bDebian (\d+\.\d+\.\d+)-|\(Ubuntu \S+ (\d+\.\d+\.\d+)\)$")

# What distributions add to the name of a build with large pages: "arm64-16k", "aarch64+64k", "64kb".
_LARGE_PAGES = regex(r"[-+_.](16|64)kb?\b|(?:[-+.](rpi-2712))\b", re.IGNORECASE)

FOR_ANYBODY = 128
"""CPUs from which on a build is meant for machines at large. Who configures for a machine of his own also leaves out
the zone for device memory, which distributions ask for: of 389 logs with the count, 60 of 72 below and 28 of 317 above
are without that zone."""


FOR_ALL_ARM64 = 4096
"""CPUs from which on an arm64 build is a distribution's, with the zone for device memory; of 70 logs 8 of 10 are, and
5 of 60 others, which a distribution's name tells from the rest."""
DEFCONFIG_CMA_MIB = 32
"""What arm64's defconfig has for CMA; distributions have 64. Of 38 logs of other builds 27 show 32 MiB, 5 have 64."""

_DISTRIBUTION = regex(
    r"\.(?:fc|el)\d+|\+bpo-arm64$|-(?:generic|lowlatency|default|pae)$|^\d+\.\d+\.\d+-\d+-(?:arm64|686)(?:-pae)?$"
)


_VMSPLITS = {0xB0000000: "VMSPLIT_3G_OPT", 0x80000000: "VMSPLIT_2G", 0x40000000: "VMSPLIT_1G"}
"""How a 32-bit kernel splits its 4 GiB by where its direct map begins; at 0xc0000000 without one of these."""


def stable_version(release: str, version_line: str) -> Version | None:
    """The mainline or stable release that a kernel was made from, for its facts: what its maker says, else its name.

    `release` is as uname -r has it ("5.10.0-32-cloud-amd64"), `version_line` the "Linux version" line or "".
    A release candidate comes before its release. None when the name does not begin with a version.
    """
    named = parse_candidate(release)
    said = (parse_version(m[1] or m[2]) for m in _STABLE.finditer(version_line))
    return next((v for v in said if v and named and v[:2] == named[:2]), named)


def _page_kib(machine: Machine, release: str) -> int | None:
    """16 or 64 where the kernel's name says so, or the per-CPU areas, which arm64 allocates in pages; else None."""
    if m := _LARGE_PAGES.search(release):
        return int(m[1] or 16)
    sizes = {note.values[1] for note in machine.notes if note.kind == "pcpu_alloc" and len(note.values) > 1}
    same_kernel = release == (machine.release or release)
    return next((kib for kib in (16, 64) if sizes == {kib << 10}), None) if same_kernel else None


def build_options(machine: Machine, release: str | None = None) -> dict[str, Option]:
    """CONFIG_ options (without the prefix) that the log of `machine` settles, for a build that has no profile.

    `release` is the kernel's name where it is not the log's. From the name and the per-CPU areas (pages of 16 or 64
    KiB), the version line (SMP, who built it), the lines that only some builds print, and the count of CPUs that the
    kernel was built for.
    """
    options: dict[str, Option] = {}
    kinds = {n.kind for n in machine.notes}
    version_line = machine.version_line or ""
    for note in machine.notes:
        if note.kind == "nr_cpus":
            options["NR_CPUS"] = note.values[0]
    if machine.arch == "arm64":
        counts = [note.values[0] for note in machine.notes if note.kind == "rcu_nr_cpus"]
        if counts:
            options["NR_CPUS"] = counts[-1]
        for_all = any(count >= FOR_ALL_ARM64 for count in counts)
        if kib := _page_kib(machine, release or machine.release or ""):
            options |= {"ARM64_4K_PAGES": False, f"ARM64_{kib}K_PAGES": True}
        options["DEFERRED_STRUCT_PAGE_INIT"] = "deferred_pages" in kinds
        # who boots with numa=fake= has a kernel that can
        options["NUMA_EMU"] = "numa=fake=" in (machine.cmdline or "")
        distribution = for_all or _DISTRIBUTION.search(release or machine.release or "") is not None
        options["ZONE_DEVICE"] = distribution
        if machine.version_line is not None and not distribution:
            options["CMA_SIZE_MBYTES"] = DEFCONFIG_CMA_MIB
    if " SMP" not in version_line and version_line:
        options["NR_CPUS"] = 1
    if machine.arch == "i386":
        if kinds & {"pae", "non_pae"}:
            options["X86_PAE"] = "pae" in kinds
        if "no_highmem" in kinds:
            options["HIGHMEM"] = False
        options["MEMCG"] = _DISTRIBUTION.search(release or machine.release or "") is not None
        offsets = {note.values[0] for note in machine.notes if note.kind in ("trampoline", "lowmem_area")}
        options |= {_VMSPLITS[offset]: True for offset in offsets & _VMSPLITS.keys()}
    elif machine.arch == "arm64" or "memory_block_size" in kinds:
        pass
    elif "devtmpfs" in kinds:
        # Kernels with memory hotplug say their block size just before they start devtmpfs.
        options |= {"MEMORY_HOTPLUG": False, "ZONE_DEVICE": False}
    elif int(options.get("NR_CPUS", FOR_ANYBODY)) < FOR_ANYBODY:
        options["ZONE_DEVICE"] = False
    return options
