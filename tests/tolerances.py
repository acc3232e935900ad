"""Where mmtool knowingly differs from a real kernel: every tolerance in comparing with captures, and its reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

Bound = Callable[[Any, Any], bool]
"""Is what the kernel said (first) near enough to what was predicted?"""


@dataclass(frozen=True)
class Tolerance:
    """In captures whose name matches `capture` (a shell pattern), `fact` may differ, because of `reason`."""

    capture: str
    fact: str
    reason: str
    allows: Bound
    """Is the difference of what was predicted from what the kernel said one that the reason covers?"""


def pages(most: int) -> Bound:
    """Of tables {zone: {field: number}}: the same zones and fields, and numbers that differ by so many."""

    def bound(want: Any, got: Any) -> bool:
        return want.keys() == got.keys() and all(
            abs(value - got[zone][field]) <= most for zone, fields in want.items() for field, value in fields.items()
        )

    return bound


_OF_MEMORY = re.compile(r"Memory: (\d+)K/|(\d+)K reserved")


def memory(less: int, reserved: int) -> Bound:
    """Of the line "Memory:": up to `less` KiB fewer available (`reserved` more), `reserved` KiB to either side
    reserved, and every other number the same."""

    def bound(want: Any, got: Any) -> bool:
        if len(got) != 1 or [_OF_MEMORY.sub("", line) for line in want] != [_OF_MEMORY.sub("", line) for line in got]:
            return False
        both = [[int(a or b) for a, b in _OF_MEMORY.findall(line)] for (line,) in (want, got)]
        (free, kept), (free_got, kept_got) = both
        return -reserved <= free_got - free <= less and abs(kept - kept_got) <= reserved

    return bound


def reservations(most: int, lines: int) -> Bound:
    """Of memblock's dumps: memory the same, reserved sizes that differ by up to `most` bytes, and the number of lines
    by `lines`."""

    def memory_of(dump: Any) -> list[str]:
        return [line.split("reserved")[0] for line in dump if not line.startswith(" reserved")]

    def sizes(dump: Any) -> list[int]:
        return [int(m[1], 16) for line in dump if (m := re.search(r"reserved size = (\w+)", line))]

    def bound(want: Any, got: Any) -> bool:
        pairs = zip(sizes(want), sizes(got), strict=True)
        same = memory_of(want) == memory_of(got) and abs(len(want) - len(got)) <= lines
        return same and all(abs(a - b) <= most for a, b in pairs)

    return bound


def numbers(lines: int) -> Bound:
    """Of lines: up to so many that differ, and those only in numbers."""

    def bound(want: Any, got: Any) -> bool:
        words = [[re.sub(r"[0-9a-f]{2,}", "", line) for line in side] for side in (want, got)]
        return words[0] == words[1] and sum(a != b for a, b in zip(want, got, strict=True)) <= lines

    return bound


_SHARE = "a share of the managed pages, which here differ by some"
_EARLIER = "a share of the pages managed when the watermarks come, then one more than modelled; why is open"
_LATE_MEMORY = "from 6.11 on the line is printed when booting has allocated a few MiB, differently from boot to boot"
_EFI_TABLES = "where the EFI memory map was copied to, and how long the attributes table is, no log says"
_SCATTERED = "KASLR scatters the CPUs' entry areas, which then need a page of page tables more or less"
_VMALLOC = (
    "KASLR decides whether the vmalloc area begins inside an entry of the top-level page table, which costs a page"
)

_LINEAR_MAP = (
    "KASLR moves the linear map, and decides by chance whether a page of its tables, or of struct pages', is shared"
)

LATE = ("6.12", "6.18", "7.3")
"""Of the releases from 6.12 on those with captures of every kind; of 7.1 there is one of x86, without EFI."""
_late = memory(32 << 10, 16)

TOLERANCES: tuple[Tolerance, ...] = (
    *(
        Tolerance(f"x86-{release}-efi-*", "memory", _LATE_MEMORY + "; " + _EFI_TABLES, memory(32 << 10, 48))
        for release in LATE
    ),
    *(Tolerance(f"x86-{release}-*", "memory", _LATE_MEMORY, _late) for release in (*LATE, "7.1")),
    Tolerance("x86-6.1-512m-debug", "memory", _VMALLOC, memory(4, 4)),
    Tolerance("x86-*-efi-*", "memblock", _EFI_TABLES, reservations(48 << 10, 4)),
    Tolerance("x86-5.10-efi-*", "memory", _EFI_TABLES, memory(48, 48)),
    Tolerance("x86-*-efi-*", "managed", _EFI_TABLES, pages(10)),
    *(Tolerance(f"x86-7.3-{name}", "pcp_limits", _SHARE, pages(1)) for name in ("efi-8g-debug", "lowmem-tight")),
    Tolerance("arm64-6.18-efi", "pcp_limits", _EARLIER, pages(1)),
    *(Tolerance(f"x86-{release}-*", "managed", _SCATTERED, pages(1)) for release in LATE),
    *(Tolerance(f"arm64-{release}-*", "memory", _LATE_MEMORY, _late) for release in LATE),
    *(Tolerance(f"arm64-{release}-*", "managed", _LINEAR_MAP, pages(1)) for release in ("6.1", "6.12")),
    Tolerance("arm64-6.1-crashkernel-high", "memblock", _LINEAR_MAP, reservations(4096, 0)),
    Tolerance("arm64-6.1-crashkernel-high", "reservations", _LINEAR_MAP, numbers(1)),
    Tolerance("arm64-6.1-crashkernel-high", "memory", _LINEAR_MAP, memory(4, 4)),
    *(
        Tolerance(f"arm64-6.12-{name}", "memblock", _LINEAR_MAP, reservations(4096, 0))
        for name in ("hugepages-1g", "mem1g", "numa4-ring")
    ),
)


def tolerance_for(capture: str, fact: str) -> Tolerance | None:
    """The first entry that lets a fact of a capture differ, if there is one."""
    return next((t for t in TOLERANCES if t.fact == fact and fnmatch(capture, t.capture)), None)
