"""Prefixes and suffixes of no known tool, learnt from the lines that every boot log has.

Where a log's best-known lines ("Linux version", "BIOS-e820:" ...) all stand behind words of one shape, every line has
such words in front; what stands behind the type of every entry of the map stands behind every line.
"""

from __future__ import annotations

import re
from collections import Counter

from mmtool.late import dataclass
from mmtool.regex import regex

_ANCHOR = regex(
    r"Linux version \d|BIOS-provided physical RAM map|BIOS-e820: \[mem 0x|BIOS-e820: [0-9a-f]{16} |Command line: |"
    r"Kernel command line: |Booting Linux on physical CPU |Zone ranges:|Early memory node ranges|Mem-Info:|efi: mem\d"
)
_LONGEST = 200
"""Characters of a prefix at the most."""
_SUFFIX = regex(
    r"BIOS-e820: \[mem 0x[0-9a-f]+-0x[0-9a-f]+\] (?:usable|reserved|ACPI data|ACPI NVS|unusable|type \d+)(\W.*)$", re.I
)
_ENTRY = regex(r"BIOS-e820: \[mem 0x[0-9a-f]+-0x[0-9a-f]+\] \w")
_AT_LEAST = 2
"""Lines from which on something is learnt."""


@dataclass(frozen=True)
class Learnt:
    """The lines without the learnt suffix, and where in each the kernel's words begin."""

    raw: list[str]
    heads: list[int]


def learn(raw: list[str], heads: list[int]) -> Learnt | None:
    """What the lines show of an unknown prefix or suffix; None without one. `heads`: the known prefixes' ends."""
    found = [(i, m.start()) for i, line in enumerate(raw) if line and (m := _ANCHOR.search(line, 0, _LONGEST + 40))]
    if len(found) < _AT_LEAST:
        return None
    suffix = _suffix(raw)
    hidden = [(i, at) for i, at in found if not _is_head(raw[i], heads[i], at)]
    if suffix is None and len(hidden) * 2 <= len(found):
        return None
    if suffix is not None:
        raw = [line.removesuffix(suffix) for line in map(str.rstrip, raw)]
    if len(hidden) * 2 > len(found):
        shapes = Counter(_shape(raw[i][:at]) for i, at in hidden if at <= _LONGEST)
        known = [re.compile(shape) for shape, count in shapes.most_common(4) if count >= _AT_LEAST]
        heads = [_end(known, line, head) for line, head in zip(raw, heads, strict=True)]
    return Learnt(raw, heads)


def _is_head(line: str, head: int, at: int) -> bool:
    """Do the kernel's words begin at the anchor, but for spaces of a stamp that follows?"""
    return at <= head or not line[head:at].strip() or re.search(r"\[\s*\d+\.\d{6}\]", line[head:at]) is not None


def _shape(prefix: str) -> str:
    """The pattern of a prefix: any word for a word, any number of spaces for one, the rest as it is."""
    out = []
    for token in re.findall(r"\w+|\s+|[^\w\s]", prefix):
        if token.isspace():
            out.append(r"\s+")
        elif token[0].isalnum() or token[0] == "_":
            out.append(r"\w+")
        else:
            out.append(re.escape(token))
    if out and out[-1] == r"\s+":
        # what the kernel indents keeps its spaces
        out[-1] = re.escape(prefix[len(prefix.rstrip()) :])
    return "".join(out)


def _end(shapes: list[re.Pattern[str]], line: str, head: int) -> int:
    return next((m.end() for shape in shapes if (m := shape.match(line))), head)


def _suffix(raw: list[str]) -> str | None:
    """What stands behind the type of (nearly) every entry of the map, if it is the same."""
    entries = [line.rstrip() for line in raw if _ENTRY.search(line)]
    if len(entries) < _AT_LEAST:
        return None
    behind = Counter(m[1] for line in entries if (m := _SUFFIX.search(line)))
    if not behind:
        return None
    (suffix, count), *_ = behind.most_common(1)
    return suffix if count * 5 >= len(entries) * 4 else None
