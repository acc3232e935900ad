"""Where mmtool knowingly differs from a real kernel: every tolerance in comparing with captures, and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any


@dataclass(frozen=True)
class Tolerance:
    """In captures whose name matches `capture` (a shell pattern), `fact` may differ, because of `reason`.

    With `pages`, it is a table of pages whose numbers may differ by so many.
    """

    capture: str
    fact: str
    reason: str
    pages: int | None = None

    def allows(self, want: Any, got: Any) -> bool:
        """Is the difference of what was predicted from what the kernel said one that the reason covers?"""
        if self.pages is None:
            return True
        return want.keys() == got.keys() and all(
            abs(value - got[zone][field]) <= self.pages
            for zone, fields in want.items()
            for field, value in fields.items()
        )


_LATE_MEMORY = "from 6.11 on the line is printed when booting has allocated a few MiB, differently from boot to boot"
_TUNED = "from 6.7 on the limit follows what each CPU's list has been through; the model says where it starts"
_EFI_TABLES = "where the EFI memory map was copied to, and how long the attributes table is, no log says"
_SCATTERED = "KASLR scatters the CPUs' entry areas, which then need a page of page tables more or less"
_VMALLOC = (
    "KASLR decides whether the vmalloc area begins inside an entry of the top-level page table, which costs a page"
)

_LINEAR_MAP = (
    "KASLR moves the linear map, and decides by chance whether a page of its tables, or of struct pages', is shared"
)

TOLERANCES: tuple[Tolerance, ...] = (
    *(Tolerance(f"x86-{release}-*", "memory", _LATE_MEMORY) for release in ("6.12", "6.18", "7.3")),
    *(Tolerance(f"x86-{release}-*", "pcp_high", _TUNED) for release in ("6.12", "6.18", "7.3")),
    Tolerance("x86-6.1-512m-debug", "memory", _VMALLOC),
    Tolerance("x86-*-efi-*", "memblock", _EFI_TABLES),
    Tolerance("x86-5.10-efi-*", "memory", _EFI_TABLES),
    Tolerance("x86-*-efi-*", "managed", _EFI_TABLES, pages=10),
    *(Tolerance(f"x86-{release}-*", "managed", _SCATTERED, pages=1) for release in ("6.12", "6.18", "7.3")),
    *(Tolerance(f"arm64-{release}-*", "memory", _LATE_MEMORY) for release in ("6.12", "6.18", "7.3")),
    *(Tolerance(f"arm64-{release}-*", "pcp_high", _TUNED) for release in ("6.12", "6.18", "7.3")),
    *(Tolerance(f"arm64-{release}-*", "managed", _LINEAR_MAP, pages=1) for release in ("6.1", "6.12")),
    Tolerance("arm64-6.1-crashkernel-high", "memblock", _LINEAR_MAP),
    Tolerance("arm64-6.1-crashkernel-high", "reservations", _LINEAR_MAP),
    Tolerance("arm64-6.1-crashkernel-high", "memory", _LINEAR_MAP),
    *(Tolerance(f"arm64-6.12-{name}", "memblock", _LINEAR_MAP) for name in ("hugepages-1g", "mem1g", "numa4-ring")),
)


def tolerance_for(capture: str, fact: str) -> Tolerance | None:
    """The first entry that lets a fact of a capture differ, if there is one."""
    return next((t for t in TOLERANCES if t.fact == fact and fnmatch(capture, t.capture)), None)
