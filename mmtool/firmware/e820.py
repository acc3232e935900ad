"""The E820 map as text: how kernels print it, and what they call its types.

An entry is bytes [start, end); the text's inclusive end ("[mem 0x0-0x9ffff]", "0-9ffff : System RAM")
becomes exclusive here. An empty entry, which a kernel prints with an end one below its start, is kept.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mmtool.errors import InputError
from mmtool.firmware.machine import E820Entry, E820Type
from mmtool.regex import regex
from mmtool.units import U64_MAX

UNKNOWN_TYPE = 0
"""Type of an entry that sysfs calls "Unknown E820 type": its number is not to be had."""

TYPES: dict[str, int] = {
    # as kernel logs have it: e820_print_type()
    "usable": E820Type.RAM,
    "reserved": E820Type.RESERVED,
    "device reserved": E820Type.RESERVED,  # since 7.0
    "acpi data": E820Type.ACPI,
    "acpi nvs": E820Type.NVS,
    "unusable": E820Type.UNUSABLE,
    "soft reserved": E820Type.SOFT_RESERVED,
    # as /proc/iomem and /sys/firmware/memmap have it: e820_type_to_string(); logs too since 7.0
    "system ram": E820Type.RAM,
    "acpi tables": E820Type.ACPI,
    "acpi non-volatile storage": E820Type.NVS,
    "unusable memory": E820Type.UNUSABLE,
    "persistent memory": E820Type.PMEM,
    "persistent memory (legacy)": E820Type.PRAM,
    "unknown e820 type": UNKNOWN_TYPE,
    # as Xen's own log and boot loaders have it
    "ram": E820Type.RAM,
}
_NUMBERED = regex(r"(?:persistent (?:ram )?\()?type (\d+)\)?")

# "[mem 0x0000000000000000-0x000000000009fbff] usable" and, since 7.0, "[gap ...]"
_MODERN = regex(r"\[mem (?:0x)?([0-9a-fA-F]+)-(?:0x)?([0-9a-fA-F]+)\]\s*(.*)")
_GAP = regex(r"\[gap (?:0x)?[0-9a-fA-F]+-(?:0x)?[0-9a-fA-F]+\]$")
# "0000000000000000 - 000000000009f400 (usable)", until 3.4; the end is exclusive
_OLD = regex(r"(?:0x)?([0-9a-f]+) - (?:0x)?([0-9a-f]+) \((.*)\)\s*", re.IGNORECASE)
# "[0000000000000000, 000000000009fbff] (usable)", Xen's own from 4.12 on; the end is inclusive
_XEN = regex(r"\[([0-9a-f]{16}), ([0-9a-f]{16})\] \((.*)\)\s*", re.IGNORECASE)
# a bare table, "0x0-0x9fbff usable" or "00000000-0009fbff : System RAM"
_BARE = regex(r"(?:0x)?([0-9a-f]+) ?- ?(?:0x)?([0-9a-f]+)(?: ?[:,] ?| +)([a-z(].*)", re.IGNORECASE)


@lru_cache(maxsize=256)
def type_number(words: str) -> int | None:
    """The number of an E820 type that a kernel names so; None when no kernel does."""
    name = " ".join(words.split()).lower()
    known = TYPES.get(name)
    if known is not None:
        return int(known)
    m = _NUMBERED.fullmatch(name)
    return int(m[1]) if m and len(m[1]) <= 10 else None


def parse_entry(text: str, source: str, line: int) -> E820Entry | None:
    """One entry of a map that a kernel printed, without its "BIOS-e820: "; None for a gap, which is no entry.

    Takes "[mem 0x..-0x..] usable" (inclusive) and "0.. - 0.. (usable)" (exclusive). Raises InputError.
    """
    if m := _MODERN.match(text):
        return make_entry(int(m[1], 16), int(m[2], 16) + 1, m[3], source, line)
    if _GAP.match(text):
        return None
    if m := _OLD.fullmatch(text):
        return make_entry(int(m[1], 16), int(m[2], 16), m[3], source, line)
    if m := _XEN.fullmatch(text):
        return make_entry(int(m[1], 16), int(m[2], 16) + 1, m[3], source, line)
    hint = "give the log whole, or leave the line out"
    raise InputError(source, line, f"the map's line ends in mid-entry: {text[:60]!r}; {hint}")


def is_bare_line(line: str) -> bool:
    """Does the line look like one of a table of ranges, with nothing in front that names whose map it is?"""
    text = line.strip()
    whole = (_OLD, _XEN, _BARE)
    return bool(_MODERN.match(text) or _GAP.match(text) or any(form.fullmatch(text) for form in whole))


Located = tuple[int | str, E820Entry]
"""An entry with where it stands: a line's number, or a path in a folder."""


def parse_table(text: str, source: str) -> tuple[Located, ...]:
    """A bare table of ranges, one a line, with the lines' numbers; "#" starts a comment. Raises InputError.

    Ends are inclusive ("0x0-0x9fbff usable", "[mem 0x0-0x9fbff] usable", "0-9fbff : System RAM") but for the
    style of kernels before 3.5 ("0000000000000000 - 000000000009f400 (usable)").
    """
    entries: list[Located] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].strip()
        if words and (entry := _bare(words, source, number)) is not None:
            entries.append((number, entry))
    if not entries:
        raise InputError(source, None, "no entry in the table; an entry reads like '0x0-0x9fbff usable'")
    return tuple(entries)


def _bare(text: str, source: str, line: int) -> E820Entry | None:
    if text[:1] == "[" or _OLD.fullmatch(text):
        return parse_entry(text, source, line)
    if m := _BARE.fullmatch(text):
        return make_entry(int(m[1], 16), int(m[2], 16) + 1, m[3], source, line)
    hint = "an entry reads like '0x0-0x9fbff usable'"
    raise InputError(source, line, f"not an entry of a memory map: {text[:60]!r}; {hint}")


def make_entry(start: int, end: int, words: str, source: str, where: int | str) -> E820Entry:
    """An entry of bytes [start, end) whose type is `words`; InputError when that cannot be."""
    kind = type_number(words)
    if kind is None:
        if not words:
            raise InputError(source, where, "the entry has no type (usable, reserved, ACPI data, ...)")
        hint = "known are usable, reserved, ACPI data, type N, ..."
        raise InputError(source, where, f"unknown type of memory: {words[:40]!r}; {hint}")
    if not start <= end <= U64_MAX + 1:
        check_range(start, end, source, where)
    return E820Entry(start, end, kind)


def check_range(start: int, end: int, source: str, where: int | str) -> None:
    """InputError unless [start, end) is a range of 64-bit addresses; an empty one is."""
    if start > U64_MAX or end > U64_MAX + 1:
        raise InputError(source, where, f"address {max(start, end - 1):#x} does not fit in 64 bits")
    if end < start:
        raise InputError(source, where, f"the range ends ({end - 1:#x}) before it starts ({start:#x})")
