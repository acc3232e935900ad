"""A prediction against what the kernel reported, fact by fact: how much is exact, what differs, and in which step.

A line counts as exact when it is predicted in its place; one too many counts against it as much as one missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from mmtool.linux.init.boot import Boot
from mmtool.linux.kernel.printk import Level
from mmtool.linux.mm.mmzone import PagesetLimits, Zone
from mmtool.linux.mm.page_alloc.pageset_limits import pcp_high_at_init, pcp_high_may_be
from mmtool.observed.answers import LOG_FACTS, OF_THE_MAP, Answers, fact_of, is_collapsed
from mmtool.observed.zoneinfo import ZoneInfo

Side = Literal["kernel", "mmtool"]
ZONE_STEPS = {
    "start_pfn": "free_area_init", "spanned": "free_area_init", "present": "free_area_init", "managed": "mem_init",
    "min": "init_per_zone_wmark_min", "low": "init_per_zone_wmark_min", "high": "init_per_zone_wmark_min",
    "protection": "init_per_zone_wmark_min", "pcp_high": "setup_per_cpu_pageset",
    "pcp_high_min": "setup_per_cpu_pageset", "pcp_high_max": "setup_per_cpu_pageset",
    "pcp_batch": "setup_per_cpu_pageset",
}  # fmt: skip
"""A zone's fields, and the step of the boot that gives each its value."""


class FactResult(NamedTuple):
    """How many of the lines or numbers of a fact are exact, of how many."""

    fact: str
    exact: int
    expected: int


class Difference(NamedTuple):
    """A line that only one side has, or a number that is not the same: of the step that is responsible.

    `line` is the number of the kernel's line in its log.
    """

    fact: str
    side: Side
    text: str
    step: str
    line: int | None = None


class Verification(NamedTuple):
    """The facts that the kernel's report shows, and every difference."""

    facts: tuple[FactResult, ...]
    differences: tuple[Difference, ...]
    not_compared: tuple[str, ...] = ()
    """What the kernel reported too, but goes by a build that there is no profile of."""

    @property
    def agrees(self) -> bool:
        return all(fact.exact == fact.expected for fact in self.facts)


def verify(boot: Boot, answers: Answers, *, debug: bool) -> Verification:
    """Compare a boot with what its kernel reported. With `debug` the kernel's log shows the debug level.

    Of a build that there is no profile of, only what follows from the map is compared.
    """
    facts: list[FactResult] = []
    differences: list[Difference] = []
    predicted = _predicted(boot, debug)
    for fact in LOG_FACTS:
        if fact in answers.log and (boot.kernel.profile.exact or fact in OF_THE_MAP):
            result, found = _compare_lines(fact, answers.log[fact], predicted[fact])
            facts.append(result)
            differences += found
    if answers.zones is not None and boot.kernel.profile.exact:
        found = list(_compare_zones(boot, answers.zones))
        wrong = [d.text for d in found if d.side == "kernel"]
        real = [zone for zone in answers.zones if zone.managed]
        fields = sum(len(_reported(zone)) for zone in real)
        facts += [
            FactResult("zoneinfo", fields - len(wrong), fields),
            FactResult("managed", len(real) - sum(" managed:" in text for text in wrong), len(real)),
        ]
        differences += found
    if answers.min_free_kbytes is not None and boot.kernel.profile.exact:
        same = boot.min_free_kbytes == answers.min_free_kbytes
        facts.append(FactResult("min_free_kbytes", int(same), 1))
        if not same:
            sides: tuple[tuple[Side, int], ...] = (
                ("kernel", answers.min_free_kbytes),
                ("mmtool", boot.min_free_kbytes),
            )
            step = ZONE_STEPS["min"]
            differences += [Difference("min_free_kbytes", side, f"{value}", step) for side, value in sides]
    compared = {result.fact for result in facts}
    reported = [fact for fact in LOG_FACTS if fact in answers.log]
    reported += ["zoneinfo", "managed"] if answers.zones is not None else []
    reported += ["min_free_kbytes"] if answers.min_free_kbytes is not None else []
    return Verification(tuple(facts), tuple(differences), tuple(f for f in reported if f not in compared))


def _predicted(boot: Boot, debug: bool) -> dict[str, list[tuple[str, str]]]:
    """The lines that the model's kernel prints, with the step that prints each, by fact."""
    lines: dict[str, list[tuple[str, str]]] = {fact: [] for fact in LOG_FACTS}
    least = Level.DEBUG if debug else Level.INFO
    for record in boot.steps:
        for line in boot.log.lines[record.log_start : record.log_end]:
            text = line.text.rstrip()
            if line.level <= least and (fact := fact_of(text)):
                lines[fact].append((text, record.name))
    return lines


def _compare_lines(
    fact: str, real: list[tuple[int, str]], predicted: list[tuple[str, str]]
) -> tuple[FactResult, list[Difference]]:
    want, got = [text for _, text in real], [text for text, _ in predicted]
    if is_collapsed(want):
        want, got = ([" ".join(text.split()) for text in side] for side in (want, got))
    matcher = SequenceMatcher(None, want, got, autojunk=False)
    differences: list[Difference] = []
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        steps = [step for _, step in predicted[j:j_end]]
        # a line that is not predicted is laid to the step of those in its place, or of the one before it
        near = steps or [step for _, step in predicted[max(j - 1, 0) : j + 1]] or ["(no step prints such a line)"]
        for k, (number, text) in enumerate(real[i:i_end]):
            differences.append(Difference(fact, "kernel", text, near[min(k, len(near) - 1)], number))
        differences += [Difference(fact, "mmtool", text, step) for text, step in predicted[j:j_end]]
    exact = sum(block.size for block in matcher.get_matching_blocks())
    return FactResult(fact, exact, max(len(want), len(got))), differences


def _reported(zone: ZoneInfo) -> dict[str, object]:
    """A zone's fields as /proc/zoneinfo has them, per-CPU lists those of the first CPU."""
    first = zone.pagesets[0] if zone.pagesets else None
    fields = {
        "start_pfn": zone.start_pfn, "spanned": zone.spanned, "present": zone.present, "managed": zone.managed,
        "min": zone.min, "low": zone.low, "high": zone.high, "protection": list(zone.protection),
    }
    if first:
        fields |= {"pcp_high": first.high, "pcp_high_min": first.high_min, "pcp_high_max": first.high_max}
        fields["pcp_batch"] = first.batch  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}


def _modelled(zone: Zone) -> dict[str, object]:
    marks, limits = zone.watermark, zone.pageset or PagesetLimits(0, 0, 0)
    return {
        "start_pfn": zone.zone_start_pfn, "spanned": zone.spanned_pages, "present": zone.present_pages,
        "managed": zone.managed_pages, "min": marks.min, "low": marks.low, "high": marks.high,
        "protection": list(zone.lowmem_reserve), "pcp_high": pcp_high_at_init(zone), "pcp_high_min": limits.high_min,
        "pcp_high_max": limits.high_max, "pcp_batch": limits.batch,
    }  # fmt: skip


def _compare_zones(boot: Boot, zones: tuple[ZoneInfo, ...]) -> Iterator[Difference]:
    """Every number of the zones that manage pages which is not as predicted."""
    mine = {(zone.nid, zone.name): zone for node in boot.nodes.values() for zone in node.populated_zones()}
    for zone in zones:
        if not zone.managed:
            continue
        model = mine.get((zone.nid, zone.name))
        predicted = _modelled(model) if model is not None else {}
        for name, value in _reported(zone).items():
            if predicted.get(name) == value:
                continue
            if name == "pcp_high" and model is not None and pcp_high_may_be(model, zone.pagesets[0].high):
                continue
            what = f"{zone.nid}/{zone.name} {name}:"
            yield Difference("zoneinfo", "kernel", f"{what} {value}", ZONE_STEPS[name], zone.line)
            if predicted:
                yield Difference("zoneinfo", "mmtool", f"{what} {predicted[name]}", ZONE_STEPS[name])
