"""What a running kernel said that it had made of its memory: the result lines of its log, zoneinfo, min_free_kbytes.

These are answers, to compare a prediction with; the readers of `firmware` leave them unread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import field

from mmtool.errors import InputError
from mmtool.firmware.capture import LOG, CaptureFiles, is_tar, open_folder, open_tar
from mmtool.firmware.lines import decode
from mmtool.firmware.log import boots_of, chosen_boot
from mmtool.firmware.packed import names_folder, read_bytes
from mmtool.late import dataclass
from mmtool.observed.zoneinfo import ZoneInfo, parse_zoneinfo
from mmtool.regex import regex
from mmtool.units import whole

ZONES, KBYTES = "proc/zoneinfo", "proc/sys/vm/min_free_kbytes"
_ZONE = r"(?:DMA|DMA32|Normal|HighMem|Movable|Device)"

LOG_FACTS: dict[str, tuple[str, ...]] = {
    "e820": (
        r"user-defined physical RAM map|user: \[",
        # where the boot loader's data lies, RAM becomes RAM: that is told to the kernel, not by it
        r"e820: (?:update|remove) (?!.*(?:usable ==> usable|System RAM ==> System RAM))",
        r"last_pfn = |\[(?:mem|gap) .*available for PCI",
    ),
    "zones": (
        r"Zone ranges:|Movable zone start|Early memory node ranges|Initmem setup node|Initializing node",
        rf"  {_ZONE} +(?:\[mem|empty)|  Node \d+: |  node +\d+: ",
        rf"On node \d+(?:, zone| totalpages)|  {_ZONE} zone: |Could not find start_pfn",
        r"\d+MB (?:HIGHMEM|LOWMEM) available|  (?:mapped low ram|low ram): ",
    ),
    "zonelists": (r"Fallback order for Node|Built \d+ zonelists|Policy zone",),
    "reservations": (
        r"(?:NUMA: )?NODE_DATA|Reserving .*crashkernel|crashkernel|cma: |OF: reserved mem|Reserved memory: ",
        r"PM: hibernation: Registered|(?:NUMA: )?Faking a node|(?:NUMA: )?No NUMA config|percpu: Embedded",
        r"Dentry cache|Inode-cache|HugeTLB: .*pre-alloc|HugeTLB registered",
    ),
    "memory": (r"Memory: \d",),
    "memblock": (r"MEMBLOCK configuration:| (?:memory|reserved)(?:\.cnt| size|\[)",),
}
"""How the lines begin that tell each fact."""
OF_THE_MAP = ("e820", "zones")
"""Facts that follow from the map and the command line; the others want the sizes of the very build."""

_FACT = {fact: regex("|".join(patterns)) for fact, patterns in LOG_FACTS.items()}
_ANY = regex("|".join(pattern for patterns in LOG_FACTS.values() for pattern in patterns))
_HISTORY = regex(r"memblock_|mminit::|   ?memblock_")
"""What memblock=debug and mminit_loglevel= print in between."""
_RUNNING = regex(r"Run /init|Freeing unused kernel")


@dataclass(frozen=True)
class Answers:
    """`log`: the lines of each fact with their numbers; `zones` and `min_free_kbytes` None where they are not there."""

    source: str
    log: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    zones: tuple[ZoneInfo, ...] | None = None
    min_free_kbytes: int | None = None


def fact_of(line: str) -> str | None:
    """The fact that a line of a log (without its prefix) tells; None for any other."""
    if not _ANY.match(line) or _HISTORY.match(line):
        return None
    return next((fact for fact, pattern in _FACT.items() if pattern.match(line)), None)


def read_answers(path: str, boot: int | None = None) -> Answers:
    """The answers in a log, or in a folder with dmesg.txt, proc/zoneinfo and proc/sys/vm/min_free_kbytes.

    Of several boots in a log it is that of `firmware.log.chosen_boot`. Raises InputError.
    """
    is_folder = names_folder(path)
    data = b"" if is_folder else read_bytes(path)
    if is_folder or is_tar(data):
        return answers_of(open_folder(path) if is_folder else open_tar(data, path), boot)
    return Answers(path, of_log(decode(data, path), path, boot))


def answers_of(files: CaptureFiles, boot: int | None = None) -> Answers:
    """The answers among a capture's files. Raises InputError."""
    log, zones, kbytes = (files.read(name) for name in (LOG, ZONES, KBYTES))
    if log is None and zones is None:
        raise InputError(files.place(LOG), None, "is not there: there is nothing to compare with")
    return Answers(
        files.place(LOG),
        of_log(decode(log or b"", files.place(LOG)), files.place(LOG), boot),
        parse_zoneinfo(decode(zones, files.place(ZONES)), files.place(ZONES)).zones if zones is not None else None,
        _number(decode(kbytes), files.place(KBYTES)) if kbytes is not None else None,
    )


def of_log(text: str, path: str, boot: int | None) -> dict[str, list[tuple[int, str]]]:
    """The lines of each fact with their numbers."""
    boots = boots_of(text)
    return _of_boot(boots[chosen_boot(boots, boot, path) - 1])[0] if boots else {}


def _of_boot(lines: list[tuple[int, str]]) -> tuple[dict[str, list[tuple[int, str]]], int | None]:
    """The lines of each fact, and the line that says that init runs, if it was come to."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    indent = _indented if is_collapsed(words for _, words in lines) else str
    for number, words in lines:
        if not words:
            continue
        if _RUNNING.match(words) and "memory" in found:
            return dict(found), number
        if fact := fact_of(indent(words)):
            found[fact].append((number, words))
    return dict(found), None


def lines_read(text: str) -> set[int]:
    """The numbers of the lines of a log that tell a fact, of whichever boot in it."""
    told: set[int] = set()
    for lines in boots_of(text):
        facts, running = _of_boot(lines)
        told |= {number for fact in facts.values() for number, _ in fact}
        told |= set() if running is None else {running}
    return told


def is_collapsed(lines: Iterable[str]) -> bool:
    """Has a page or a mail made one space of several? Of a whole log's lines some have two in a row."""
    return all("  " not in words for words in lines)


_INDENTED = regex(rf" ?(?={_ZONE} (?:\[mem|empty|zone: )|[Nn]ode \d+: |mapped low ram: |low ram: )")


def _indented(line: str) -> str:
    """A line that lost its leading spaces, with them where the kernel indents it."""
    return _INDENTED.sub("  ", line, count=1) if _INDENTED.match(line) else line


def _number(text: str, path: str) -> int:
    try:
        return whole(text.strip())
    except ValueError as e:
        raise InputError(path, 1, str(e)) from None
