"""A series of allocations and frees on one state, as a file of lines tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import field

from mmtool.errors import InputError, UsageError
from mmtool.late import dataclass
from mmtool.linux.mm.page_alloc.outcome import Estimate
from mmtool.system.restore import state_of, system_of
from mmtool.system.system import System

USAGE = "alloc ORDER GFP [node=N] [count=N|max] [keep], free all or free step=S"


@dataclass(frozen=True, slots=True)
class AllocLine:
    """alloc ORDER GFP [node=N] [count=N|max] [keep]; `count` None is "max", `node` None the acting CPU's."""

    line: int
    order: int
    gfp: int
    node: int | None = None
    count: int | None = 1
    keep: bool = False


@dataclass(frozen=True, slots=True)
class FreeLine:
    """free all, or free step=S: the kept blocks whose number in their order is no multiple of S."""

    line: int
    step: int = 0


@dataclass
class LineResult:
    """What a line did: blocks allocated, by zone, and why it stopped short; or blocks freed, and those still kept."""

    line: int
    allocated: int | None = None
    zones: Counter[tuple[int, str]] = field(default_factory=Counter)
    stopped: str | None = None
    freed: int | None = None
    kept: int = 0
    estimates: tuple[Estimate, ...] = ()
    """What the line rests on, or one before, that the state does not tell."""
    without_reclaim: int | None = None
    """Blocks allocated if reclaim never frees anything, where that it does is an estimate."""


def parse_script(lines: Iterable[str], system: System, source: str) -> list[AllocLine | FreeLine]:
    """The lines of a script; "#" starts a comment. InputError, at the line, for what is none."""
    parsed: list[AllocLine | FreeLine] = []
    for number, text in enumerate(lines, 1):
        words = text.split("#")[0].split()
        if words:
            try:
                parsed.append(_parse(number, words, system))
            except ValueError as e:
                raise InputError(source, number, str(e)) from None
    return parsed


def _parse(number: int, words: list[str], system: System) -> AllocLine | FreeLine:
    if words[0] == "free" and len(words) == 2:
        return FreeLine(number, 0 if words[1] == "all" else _value("step", words[1], 1))
    if words[0] != "alloc" or len(words) < 3:
        raise ValueError(f"{' '.join(words)[:60]!r} is no line of a script: {USAGE}")
    order = _number(words[1])
    check_order(system, order)
    node: int | None = None
    count: int | None = 1
    for word in words[3:]:
        if word.startswith("count="):
            count = None if word == "count=max" else _value("count", word, 1)
        elif word != "keep":
            node = _value("node", word, -1)
    if node is not None and node < 0:
        node = None
    if node is not None:
        check_node(system, node)
    return AllocLine(number, order, _gfp(words[2], system), node, count, "keep" in words[3:])


def _gfp(text: str, system: System) -> int:
    """A mask; of a number the bits that are no flag of the release are left out: the kernel looks at none of them."""
    if text[:1].isdigit():
        return _number(text) & system.gfp.known
    return system.gfp.parse(text)


def _number(text: str) -> int:
    try:
        if not text.isascii() or "_" in text or len(text) > 40:
            raise ValueError
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a number") from None


def _value(name: str, word: str, least: int) -> int:
    key, _, value = word.partition("=")
    if key != name:
        raise ValueError(f"{word!r} does not belong here: {USAGE}")
    number = _number(value)
    if number < least:
        raise ValueError(f"{name} is a number from {least} on, not {number}")
    return number


def check_order(system: System, order: int) -> None:
    """ValueError where no block can have that order."""
    largest = system.kernel.max_page_order
    if order < 0:
        raise ValueError(f"order {order} is negative; a block of order 0 is one page")
    if order > largest:
        raise ValueError(f"order {order} is above the largest block's, {largest}, on Linux {system.kernel.name}")


def check_node(system: System, nid: int) -> None:
    """ValueError where the node is not online."""
    if nid not in system.nodes:
        raise ValueError(f"node {nid} is not online; there is {', '.join(str(n) for n in system.nodes)}")


LEAST_BLOCKS, ROUNDS, MOST_BLOCKS = 100_000, 8, 4_000_000
"""What a script may allocate: so many blocks, or all pages so often if that is more; in the end so many."""
FAILURE = 20
"""What an allocation that looks everywhere counts for."""


def run_script(script: Sequence[AllocLine | FreeLine], system: System) -> list[LineResult]:
    """Do the lines in turn on `system`; what each did. Where reclaim is estimated, what they do without is told too.

    UsageError where they want very many blocks, over and over.
    """
    other = without_reclaim(system)
    results = _run(script, system)
    if other is not None:
        for result, bound in zip(results, _run(script, other), strict=True):
            if Estimate.LISTS in result.estimates:
                result.without_reclaim = bound.allocated
    return results


def without_reclaim(system: System) -> System | None:
    """A copy on which reclaim frees nothing, the other bound; None where there is nothing to reclaim."""
    if not any(zone.lru.reclaimable for zone in system.zones()):
        return None
    other = system_of(state_of(system), system.kernel)
    other.cpu = system.cpu
    other.reclaim_frees = False
    return other


def _run(script: Sequence[AllocLine | FreeLine], system: System) -> list[LineResult]:
    system.estimates.clear()
    kept: list[tuple[int, int]] = []
    results = []
    left = min(max(LEAST_BLOCKS, ROUNDS * sum(zone.managed_pages for zone in system.zones())), MOST_BLOCKS)
    for line in script:
        if isinstance(line, FreeLine):
            gone = [b for b in kept if not line.step or (b[0] >> b[1]) % line.step]
            kept = [b for b in kept if line.step and not (b[0] >> b[1]) % line.step]
            for pfn, order in gone:
                system.free_pages(pfn, order)
            results.append(LineResult(line.line, freed=len(gone), kept=len(kept)))
        else:
            results.append(_allocate(line, system, kept, left))
            results[-1].estimates = tuple(system.estimates)
            left -= (results[-1].allocated or 0) + FAILURE
            if left < 0:
                raise UsageError(f"line {line.line} of the script: too many blocks by here; make more than one of it")
    return results


def _allocate(line: AllocLine, system: System, kept: list[tuple[int, int]], most: int) -> LineResult:
    """Do a line, as far as `most` blocks and one more."""
    result = LineResult(line.line, allocated=0)
    blocks: list[int] = []
    order, gfp, node, left = line.order, line.gfp, line.node, line.count
    while (left is None or len(blocks) < left) and len(blocks) <= most:
        pfn = system.alloc_pfn(gfp, order, node)
        if pfn is None:
            result.stopped = system.failure.reason if system.failure else ""
            break
        blocks.append(pfn)
    result.allocated = len(blocks)
    for pfn in blocks:
        zone = system.zone_of(pfn)
        result.zones[zone.nid, zone.name] += 1
    if line.keep:
        kept.extend((pfn, order) for pfn in blocks)
    else:
        for pfn in blocks:
            system.free_pages(pfn, order)
    result.kept = len(kept)
    return result
