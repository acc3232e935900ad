"""Which kernel wrote a report: the release that it names, held against what its lines can only mean."""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.build.fact import Version, parse_version
from mmtool.build.gfp import GfpFlags, gfp_flags
from mmtool.build.release import Release, release_facts
from mmtool.build.report_forms import ERAS, FIELDS_SINCE, NAMES_SINCE
from mmtool.observed.reports import MemInfo, Report

_NEWEST: Version = (999, 0, 0)


def candidates(report: Report) -> list[tuple[Release, GfpFlags]]:
    """The releases that may have written the report, with the meaning of masks; one when the report says which.

    A vendor's kernel that prints what later releases print has taken their code over: it counts as the first of
    them. Where no release is named, every era that could have printed the lines stands for itself.
    """
    since, until = _bounds(report)
    named = parse_version(report.release) if report.release else None
    if named is not None:
        version = max(named, since) if since < until else named
        return [(release_facts(version), _flags(report, version))]
    eras = [v for v in ERAS if since <= v < until] or list(ERAS)
    versions = [v for v in eras if _prints(report, v)] or eras
    if report.mask is not None and report.names is None:
        odd = {v: _odd_flags(report.mask, v) for v in versions}
        versions = [v for v in versions if odd[v] == min(odd.values())]
    return [(release_facts(v), gfp_flags(release_facts(v))) for v in versions]


def _bounds(report: Report) -> tuple[Version, Version]:
    """From which release on, and before which, a kernel prints such lines."""
    since, until = ERAS[0], _NEWEST
    if report.mask is not None:
        since, until = (NAMES_SINCE, until) if report.names is not None else (since, NAMES_SINCE)
    for field, seen in _evidence(report.mem_info):
        since, until = (max(since, FIELDS_SINCE[field]), until) if seen else (since, min(until, FIELDS_SINCE[field]))
    return since, until


def _evidence(mem_info: MemInfo | None) -> Iterator[tuple[str, bool]]:
    """Fields that some zone's line has, and those that a line lacks though it is whole."""
    if mem_info is None:
        return
    printed = {field for zone in mem_info.zones for field in zone.kb}
    whole = any("present" in zone.kb and "mlocked" in zone.kb for zone in mem_info.zones)
    for field in FIELDS_SINCE:
        if field in printed or whole:
            yield field, field in printed


def _prints(report: Report, version: Version) -> bool:
    """Would this release print the mask as the report does? A mask without names must at least have no foreign bits."""
    flags = gfp_flags(release_facts(version))
    if report.mask is None:
        return True
    if report.names is None:
        return not report.mask & ~flags.known
    return flags.format(report.mask) == report.names


def _odd_flags(mask: int, version: Version) -> int:
    """How many flags of a mask belong to no combination: read with another era's bits, masks fall into such."""
    return sum(not name.startswith("GFP_") for name in gfp_flags(release_facts(version)).names(mask))


def _flags(report: Report, version: Version) -> GfpFlags:
    """What masks mean: on this release, unless the names in the report are those of the era after it (linux-next)."""
    following = next((v for v in ERAS if v > version), version)
    wanted = following if not _prints(report, version) and _prints(report, following) else version
    return gfp_flags(release_facts(wanted))
