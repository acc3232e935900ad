"""Which kernel a machine's log speaks of: its release, its very build or the nearest profile."""

from __future__ import annotations

from mmtool.build.build import build_options, stable_version
from mmtool.build.fact import parse_version
from mmtool.build.kernel import Kernel
from mmtool.build.profile import GENERIC, Profile, available, load_profile, profile_name
from mmtool.build.release import release_facts
from mmtool.errors import UsageError
from mmtool.firmware.machine import Machine

DEFAULT_PROFILE = "debian-6.12-cloud-amd64"


def kernel_for(machine: Machine, name: str | None = None, profile: Profile | None = None) -> Kernel:
    """The kernel to boot `machine` with.

    `name` is a release or a profile's name and goes before what the log says; `profile` is one of the user's and
    gives the build. Without either, the log's "Linux version" line decides, else the default profile.
    A build that no profile was made from gets the generic one of its architecture, with what its log shows of it
    (`kernel.build`). UsageError when `name` is neither.
    """
    release = machine.release
    if name is not None and parse_version(name) is None:
        named = load_profile(name)
        profile, release = profile or named, named.release
    elif name is not None:
        release = name
    elif profile is not None:
        release = release or profile.release
    if profile is None:
        profile = _profile(release, machine)
    kernel_name = release or profile.release
    says = machine.version_line or "" if kernel_name == machine.release else ""
    version = stable_version(kernel_name, says)
    if version is None:
        raise UsageError(f"{kernel_name!r} is neither a kernel release (6.1, 6.12.3) nor a profile")
    return Kernel(kernel_name, release_facts(version), profile)


def _profile(release: str | None, machine: Machine) -> Profile:
    exact = profile_name(release) if release is not None else _of_percpu_size(machine)
    if exact is not None:
        return load_profile(exact)
    if release is None and machine.arch in (None, "x86_64"):
        return load_profile(DEFAULT_PROFILE)
    return load_profile(GENERIC[machine.arch or "x86_64"]).nearest(build_options(machine))


def _of_percpu_size(machine: Machine) -> str | None:
    """The profile whose static per-CPU data is as large as a log without a "Linux version" line says, if one is.

    Logs of arm64 often lost their beginning; the size is the build's own, and hardly two builds share it.
    """
    sizes = {note.values[0] for note in machine.notes if note.kind == "pcpu_alloc"}
    if machine.arch is None or len(sizes) != 1:
        return None
    profiles = (load_profile(name) for name in available() if name not in GENERIC.values())
    same = [p.name for p in profiles if p.arch == machine.arch and p.sizes.get("percpu_static") in sizes]
    return same[0] if len(same) == 1 else None
