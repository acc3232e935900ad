"""What mmtool reads of the other files of a capture, so that no more of them is kept.

Which options, symbols and properties that is, the readers show themselves: they read through a mapping that notes what
it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from mmtool.build.kconfig import KernelConfig, read_config
from mmtool.build.make import make_profile
from mmtool.build.system_map import read_system_map
from mmtool.errors import InputError, UsageError
from mmtool.firmware.e820 import type_number
from mmtool.regex import regex

V = TypeVar("V")


PROCESS_OPTIONS = frozenset(
    (
        "ARCH_MMAP_RND_BITS", "ARCH_MMAP_RND_COMPAT_BITS", "ARM64_16K_PAGES", "ARM64_MTE", "ARM64_VA_BITS", "KSM",
        "LSM_MMAP_MIN_ADDR", "MEM_SOFT_DIRTY", "PGTABLE_LEVELS", "PT_RECLAIM", "TRANSPARENT_HUGEPAGE",
        "TRANSPARENT_HUGEPAGE_ALWAYS", "X86_5LEVEL", "X86_PAE",
    )
)  # fmt: skip
"""What `mmtool process --config` reads, whose machine is a record of names (tests/test_capture.py compares them)."""


class Asked(Mapping[str, V]):
    """A mapping that notes the names that it is asked for."""

    def __init__(self, held: Mapping[str, V]) -> None:
        self._held = held
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> V:
        self.names.add(name)
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        self.names.update(self._held)
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def needed_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The configuration, the symbols and the list of resources with nothing but what is read of them.

    One that its reader refuses is left out.
    """
    needed: dict[str, bytes] = {}
    config, symbols = _read(read_config, files.get("config")), _read(read_system_map, files.get("System.map"))
    asked, symbols_asked = _asked(config, symbols)
    for name, data in files.items():
        text = data.decode("latin-1")
        lines = text.splitlines(keepends=True)
        if name == "config":
            text = "" if config is None else "".join(line for line in lines if _is_asked(line, asked))
        elif name == "System.map":
            text = "" if symbols is None else _symbols(text, symbols_asked)
        elif name == "proc/iomem":
            text = "".join(map(_resource, lines))
        else:
            needed[name] = data
            continue
        if text:
            needed[name] = text.encode("latin-1")
    return needed


def _read(read: Callable[[str, str], V], data: bytes | None) -> V | None:
    try:
        return None if data is None else read(data.decode("latin-1"), "")
    except InputError:
        return None


def _asked(config: KernelConfig | None, symbols: Mapping[str, int] | None) -> tuple[set[str], set[str]]:
    """The options and the symbols that a profile is made of."""
    options = Asked(config.options if config is not None else {})
    names = Asked(symbols or {})
    try:
        made = KernelConfig(options, config.release) if config is not None else None
        make_profile(made, names or None, None, name=None, sizes={})
    except UsageError:  # an architecture that mmtool has no kernel for
        return set(), set()
    return options.names | PROCESS_OPTIONS, names.names


_OPTION = regex(r"(?:# )?CONFIG_(\w+)(?:=| is not set)")
_TITLE = regex(r"# Linux/\S+ \S+ Kernel Configuration\s*$")


def _is_asked(line: str, asked: set[str]) -> bool:
    m = _OPTION.match(line)
    return _TITLE.match(line) is not None if m is None else m[1] in asked


_SYMBOL = regex(r"[0-9a-fA-F]{8,16} [A-Za-z?] (\S+)")


def _symbols(text: str, asked: set[str]) -> str:
    return "".join(f"{m[0]}\n" for line in text.splitlines() if (m := _SYMBOL.match(line)) and m[1] in asked)


_RANGE = regex(r"( *[0-9a-f]+-[0-9a-f]+ : )(.*?)\s*$")
_PARTS = regex(r"Kernel (?:code|rodata|data|bss)|Crash kernel|(?:System|Video|Adapter) ROM|Reserved|GART")
_OTHER = "device"


def _resource(line: str) -> str:
    """A line of /proc/iomem; what it names stays if it is memory or the kernel's, else any device could be there."""
    m = _RANGE.match(line)
    if m is None:
        return ""
    return line if type_number(m[2]) is not None or _PARTS.fullmatch(m[2]) else f"{m[1]}{_OTHER}\n"
