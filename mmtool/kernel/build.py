"""What a log shows of the configuration that its kernel was built with."""

from __future__ import annotations

from mmtool.firmware.machine import Machine
from mmtool.kernel.profile import Option
from mmtool.kernel.release import parse_version


def build_options(machine: Machine) -> dict[str, Option]:
    """CONFIG_ options (without the prefix) that the log of `machine` settles, for a build that has no profile.

    From the version line (SMP, who built it), the lines that only some builds print, and the count of CPUs that
    the kernel was built for.
    """
    options: dict[str, Option] = {}
    kinds = {n.kind for n in machine.notes}
    version_line = machine.version_line or ""
    for note in machine.notes:
        if note.kind == "nr_cpus":
            options["NR_CPUS"] = note.values[0]
    if " SMP" not in version_line and version_line:
        options["NR_CPUS"] = 1
    if machine.arch == "i386":
        if "non_pae" in kinds:
            options["X86_PAE"] = False
        elif any(n.kind == "nx" and n.values == (1,) for n in machine.notes):
            options["X86_PAE"] = True
        if kinds & {"no_highmem", "no_highmem64g"}:
            options["HIGHMEM"] = False
    elif _without_device_zone(version_line, machine.release or ""):
        options["ZONE_DEVICE"] = False
    return options


def _without_device_zone(version_line: str, release: str) -> bool:
    """CONFIG_ZONE_DEVICE is off unless asked for: distributions ask for it, those who configure for themselves seldom do."""
    version = parse_version(release)
    by_hand = "Gentoo" in version_line and "-dist" not in release
    return by_hand or (version is not None and version < (4, 4, 0))
