"""Which kernel a machine's log speaks of: its release, its very build or the nearest profile."""

from __future__ import annotations

import re
from dataclasses import replace

from mmtool.assumption import Assumption
from mmtool.build.build import build_options, stable_version
from mmtool.build.fact import LAST_OF_MAJOR, Fact, dotted, parse_version
from mmtool.build.facts.arm64 import Arm64Facts
from mmtool.build.facts.of import OfFacts
from mmtool.build.facts.x86 import X86Facts
from mmtool.build.kernel import Kernel
from mmtool.build.profile import (
    GENERIC,
    Profile,
    available,
    debian_name,
    load_profile,
    parse_profile,
    profile_name,
    with_estimates,
)
from mmtool.build.release import Release, release_facts
from mmtool.errors import UsageError
from mmtool.firmware.machine import Machine
from mmtool.regex import regex

DEFAULT_PROFILE = "debian-6.12-cloud-amd64"


def kernel_for(machine: Machine, name: str | None = None, profile: Profile | None = None) -> Kernel:
    """The kernel to boot `machine` with, and what of it nothing shows.

    `name` is a release or a profile's name and goes before what the log says; `profile` is one of the user's and
    gives the build. Without either it is the profile that was collected with the machine; without that the log's "Linux
    version" line decides, else the default profile.
    A build that no profile was made from gets one that is near, or the generic one of its architecture with what its
    log shows of it (`kernel.build`). UsageError when `name` is neither.
    """
    release = machine.release
    if name is None and profile is None and machine.build is not None:
        profile = parse_profile(*machine.build)
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
    of_this_build = profile.uname == kernel_name
    version = stable_version(profile.release if of_this_build else kernel_name, says)
    if version is None:
        raise UsageError(f"{kernel_name!r} is neither a kernel release (6.1, 6.12.3) nor a profile")
    shown = profile.shown or _backports(kernel_name)
    facts = Release(version, shown) if shown else release_facts(version)
    assumed = [] if release is not None else [_no_release(kernel_name)]
    assumed += _out_of_reach(kernel_name, version, profile.arch)
    if machine.arch is None and name is None:
        assumed.append(_no_arch(profile))
    if release is not None and not of_this_build and not says:
        assumed += _series_only(kernel_name, facts, profile.arch)
    if not profile.exact:
        assumed.append(_other_build(profile))
    if profile.config_of is not None:
        assumed.append(_config_of(profile, profile.config_of))
    assumed += _open_facts(facts, profile.arch)
    return Kernel(kernel_name, facts, profile, tuple(assumed))


_RHEL7 = regex(r"\.el7(?:[._]|$)")


def _backports(name: str) -> dict[str, bool]:
    """Facts of a distribution's kernel that its mainline release does not have, as its logs show them, by its name."""
    return {"numa_prints_initmem": False} if _RHEL7.search(name) else {}


def _profile(release: str | None, machine: Machine) -> Profile:
    near = profile_name(release) if release is not None else None
    if near is not None:
        profile = load_profile(near)
        return profile if profile.uname == release else replace(profile, exact=False)
    if release is not None and (neighbour := _neighbour(release)) is not None:
        return replace(neighbour, exact=False, uname=None, shown={})
    if release is None and machine.arch in (None, "x86_64"):
        return replace(load_profile(DEFAULT_PROFILE), exact=False)
    generic = GENERIC.get(machine.arch or "x86_64", GENERIC["arm64"])
    profile = load_profile(generic).nearest(build_options(machine, release))
    if profile.arch == "i386" and profile.enabled("MEMCG"):
        # a page knows its memory cgroup, in a word more, and begins at a multiple of two
        return replace(profile, sizes={**profile.sizes, "struct_page": profile.sizes["struct_page"] + 8})
    return profile


def _neighbour(release: str) -> Profile | None:
    """The profile of Debian's nearest series of the same flavour, for a kernel of Debian's of which there is none.

    It stands in for what is not older than the oldest that there is. What its release has no size for, or no option
    any more because it is always so, the older one may need.
    """
    m = SHIPPED_NAME.fullmatch(debian_name(release) or "")
    if m is None or (int(m[1]), int(m[2]), 0) < OLDEST_SLABS:
        return None
    others = [other for name in available() if (other := SHIPPED_NAME.fullmatch(name)) and other[4] == m[4]]
    nearest = min(others, key=lambda other: (series_between(other, int(m[1]), int(m[2])), other[3] != m[3]))
    profile = with_estimates(load_profile(nearest[0]))
    made_from = parse_version(profile.release)
    assert made_from is not None
    facts = release_facts(made_from)
    always = {"X86_5LEVEL": facts.five_levels_always, "RODATA_FULL_DEFAULT_ENABLED": facts.rodata_on_is_full}
    return replace(profile, config={**{name: True for name, gone in always.items() if gone}, **profile.config})


def _no_release(name: str) -> Assumption:
    return Assumption(
        "release", f"Linux {name}", "the input has no \"Linux version\" line",
        "all that differs between releases goes by it", "--kernel RELEASE, or the log from its first line on",
    )  # fmt: skip


OLDEST = {"arm64": (4, 14, 0)}
"""The first release whose boot is modelled where it is not FIRST_KNOWN."""
FIRST_KNOWN, NEWEST_KNOWN = (3, 0, 0), (7, 3)
"""The first release whose boot is modelled, and the newest series whose source the facts were read in."""


def _out_of_reach(name: str, version: tuple[int, int, int], arch: str) -> list[Assumption]:
    """A release that the facts do not reach to, or that there never was."""
    oldest = OLDEST.get(arch, FIRST_KNOWN)
    if version < oldest:
        like, why = f"{oldest[0]}.{oldest[1]}", f"what differs before {oldest[0]}.{oldest[1]} on {arch} is not modelled"
    elif version[:2] > NEWEST_KNOWN:
        like = ".".join(map(str, NEWEST_KNOWN))
        why = f"the newest source that was at hand is {like}'s"
    elif version[1] > LAST_OF_MAJOR.get(version[0], version[1]):
        like = f"{version[0]}.{LAST_OF_MAJOR[version[0]]}"
        why = f"there is no such release: {version[0] + 1}.0 came after {like}"
    else:
        return []
    effect, give = "whatever differs between the two", f"--kernel RELEASE (3.0 to {NEWEST_KNOWN[0]}.{NEWEST_KNOWN[1]})"
    return [Assumption("release", f"Linux {name} does as {like}", why, effect, give)]


def _no_arch(profile: Profile) -> Assumption:
    return Assumption(
        "arch", profile.arch, "nothing in the input shows the architecture", "zones and addresses are this one's",
        "--kernel PROFILE, or the log from its first line on",
    )  # fmt: skip


def _other_build(profile: Profile) -> Assumption:
    sizes = profile.sizes
    image = profile.image.get("end", 0)
    amounts = [f"the image's {image >> 10} kB"] if image else []
    amounts += [f"{sizes[key]} bytes of {what}" for key, what in _TELLING if key in sizes]
    return Assumption(
        "profile", f"the build is like {profile.name}'s", "there is no profile of this very build",
        f"estimates: {', '.join(amounts)}; what boot reserves is off by some pages",
        "--profile, or --config with --vmlinuz",
    )  # fmt: skip


def _config_of(profile: Profile, other: str) -> Assumption:
    return Assumption(
        "config", f"the configuration is {other}'s", f"that of {profile.uname or profile.name} was not at hand",
        "an option that differs between the two is as there",
        "--config with --vmlinuz",
    )  # fmt: skip


_TELLING = (("percpu_static", "per-CPU data"), ("struct_page", "a struct page"), ("pg_data_t", "a node's pg_data_t"))


def _series_only(name: str, facts: Release, arch: str) -> list[Assumption]:
    """A name that hides the patch level: "6.12", or a distribution's "6.1.0-50-amd64"."""
    m = re.match(r"(\d+)\.(\d+)(?:\.0-|$)", name)
    if m is None:
        return []
    first, last = (int(m[1]), int(m[2]), 0), (int(m[1]), int(m[2]), _LAST_PATCH)
    moved = [
        fact.name for fact in _of_arch(arch) if fact.name not in facts.shown and fact.holds(first) != fact.holds(last)
    ]
    if not moved:
        return []
    return [
        Assumption(
            "release", f"Linux {m[1]}.{m[2]}.0", f"{name!r} does not tell the stable release",
            f"{len(moved)} facts differ within {m[1]}.{m[2]}.y: {', '.join(moved)}",
            "--kernel with the stable release, as 6.12.57",
        )
    ]  # fmt: skip


def _open_facts(facts: Release, arch: str) -> list[Assumption]:
    mine = {fact.name for fact in _of_arch(arch)} if facts.open_facts else ()
    unknown = [name for name in facts.open_facts if name in mine]
    if not unknown:
        return []
    release = dotted(facts.version)
    return [
        Assumption(
            "facts", ", ".join(f"{name}: {'yes' if getattr(facts, name) else 'no'}" for name in unknown),
            f"no source of {release} was at hand", f"{len(unknown)} facts of this release are likely, not known",
            "--vmlinuz, where it shows them",
        )
    ]  # fmt: skip


def _of_arch(arch: str) -> list[Fact]:
    """The facts of releases that concern an architecture."""
    others = (X86Facts,) if arch == "arm64" else (Arm64Facts, OfFacts)
    return [fact for fact in Release.declared() if fact.owner not in others]


_LAST_PATCH = 9999

OLDEST_SLABS = (5, 10, 0)
"""The first release whose slab allocators are known from its own source."""
SHIPPED_NAME = regex(r"debian-(\d+)\.(\d+)-(cloud-)?(.+)")


def series_between(shipped: re.Match[str], major: int, minor: int) -> int:
    """How many series lie between a shipped profile's and another; 5.19 is followed by 6.0, 6.19 by 7.0."""
    return abs(20 * (int(shipped[1]) - major) + int(shipped[2]) - minor)
