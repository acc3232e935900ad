"""Which architecture a kernel log comes from, and which page tables a 32-bit x86 kernel was built with.

The log says neither in so many words, but many a line is printed by one kind of kernel only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmtool.firmware.machine import LogNote

SIGNS: tuple[tuple[str, str, str], ...] = (
    # arm and RISC-V say so in their first lines
    ("arm64", "Booting Linux on physical CPU ", r"0x[0-9a-f]{10} \["),
    ("arm", "Booting Linux on physical CPU ", r"0x[0-9a-f]{1,8}$"),
    ("arm64", "CPU features: ", r"detected: "),
    ("arm64", "Boot CPU: AArch64 Processor ", r""),
    ("riscv", "SBI specification ", r"v"),
    # only a 64-bit kernel maps memory with pages of 1 GiB, and its pointers have 16 digits
    ("x86_64", "Using GB pages for direct mapping", r""),
    ("x86_64", "mapped APIC to ", r"\s*[0-9a-f]{16}\b"),
    ("x86_64", "Base memory trampoline at ", r"\[[0-9a-f]{16}\]"),
    # the largest page frame that can be is 2^34 or more with 64 bits, 2^24 with PAE, 2^20 without
    ("x86_64", "last_pfn = ", r"0x[0-9a-f]+ max_arch_pfn = 0x[0-9a-f]{8,}"),
    ("i386", "last_pfn = ", r"0x[0-9a-f]+ max_arch_pfn = 0x1?[0-9a-f]{6}$"),
    # only a 32-bit kernel has memory that is not mapped, and its pointers have 8 digits
    ("i386", "initial memory mapped: ", r""),
    ("i386", "mapped APIC to ", r"\s*[0-9a-f]{8}\b"),
    ("i386", "Base memory trampoline at ", r"\[[0-9a-f]{8}\]"),
    ("i386", "Notice: NX (Execute Disable) protection ", r"cannot be enabled: non-PAE"),
    ("i386", "Checking if this processor honours the WP bit", r""),
    ("i386", "mapped IOAPIC to ", r"[0-9a-f]{8} \([0-9a-f]{8}\)"),
    ("i386", "Use a HIGHMEM", r""),
    ("i386", "Warning: only 4GB will be used", r""),
    # no-execute and page-table isolation need the three levels of PAE
    ("pae", "NX (Execute Disable) protection: ", r""),
    ("pae", "Kernel/User page tables isolation: ", r""),
    ("non_pae", "Notice: NX (Execute Disable) protection ", r"cannot be enabled: non-PAE"),
    ("non_pae", "Warning: only 4GB will be used", r""),
)
"""(what it is a sign of, how the line begins, what follows)."""

_BY_PREFIX: dict[str, list[tuple[str, str]]] = {}
for _sign, _prefix, _follows in SIGNS:
    _BY_PREFIX.setdefault(_prefix, []).append((_sign, _follows))

SIGN_PREFIXES = tuple(_BY_PREFIX)


def find_signs(words: str, prefix: str) -> Iterator[str]:
    """What a line that begins with `prefix` is a sign of."""
    for sign, follows in _BY_PREFIX.get(prefix, ()):
        if re.match(follows, words[len(prefix) :]):
            yield sign


def architecture(
    signs: dict[str, tuple[int, str]], version_line: str, *, early_cmdline: bool, late_cmdline: bool
) -> str | None:
    """The architecture, by the surest sign first; None when nothing tells.

    `version_line` is the "Linux version" line or "". A 64-bit x86 kernel's next line is "Command line: "
    (`early_cmdline`); a log with the one and with "Kernel command line: " (`late_cmdline`), but without the other,
    is a 32-bit kernel's. A log that has neither is an excerpt, which tells nothing by what it leaves out.
    `late_cmdline` also where other lines show that the log is whole.
    """
    for sure in ("arm64", "arm", "riscv"):
        if sure in signs:
            return sure
    release = _release(version_line)
    if re.search(r"arm64|aarch64", version_line):
        return "arm64"
    if early_cmdline or "x86_64" in signs or re.search(r"amd64|x86[_-]64", release):
        return "x86_64"
    if "i386" in signs or re.search(r"\bi[3-6]86\b|[-.][3-6]86\b|pae\b", release):
        return "i386"
    if re.search(r"\bx86_64-", version_line):
        return "x86_64"
    return "i386" if version_line and late_cmdline else None


def page_tables(signs: dict[str, tuple[int, str]], version_line: str) -> LogNote | None:
    """The note "pae" or "non_pae" of a 32-bit x86 kernel; None when nothing tells."""
    for kind in ("non_pae", "pae"):
        if kind in signs:
            return LogNote(kind, (), *signs[kind])
    return LogNote("pae", (), 0, version_line) if "pae" in _release(version_line).lower() else None


def _release(version_line: str) -> str:
    words = version_line.split()
    return words[2] if len(words) > 2 else ""
