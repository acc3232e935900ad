"""A kernel's configuration file: /boot/config-RELEASE, /proc/config.gz, .config."""

from __future__ import annotations

from collections.abc import Mapping

from mmtool.build.profile import Option
from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.regex import regex

_TITLE = regex(r"# Linux/(\S+) (\S+) Kernel Configuration")
_UNSET = regex(r"# CONFIG_(\w+) is not set")
_SET = regex(r"CONFIG_(\w+)=(.*)")
_ARCHES = {"X86_64": "x86_64", "X86_32": "i386", "ARM64": "arm64"}


@dataclass(frozen=True)
class KernelConfig:
    """CONFIG_ options without the prefix, as in a profile ("is not set": False); `release` as the title has it."""

    options: Mapping[str, Option]
    release: str | None

    @property
    def arch(self) -> str | None:
        """x86_64, i386 or arm64; None for another architecture."""
        return next((arch for option, arch in _ARCHES.items() if self.options.get(option)), None)


def read_config(text: str, source: str) -> KernelConfig:
    """Read a configuration file; InputError with the line that is none of an option, a comment and empty."""
    options: dict[str, Option] = {}
    release = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if m := _SET.fullmatch(line):
            options[m[1]] = _value(m[2], source, number)
        elif m := _UNSET.fullmatch(line):
            options[m[1]] = False
        elif m := _TITLE.fullmatch(line):
            release = m[2]
        elif line and not line.startswith("#"):
            raise InputError(source, number, "neither CONFIG_NAME=value nor a comment")
    if not options:
        raise InputError(source, None, "no CONFIG_ options in it")
    return KernelConfig(options, release)


def _value(text: str, source: str, number: int) -> Option:
    if text in ("y", "m"):
        return True
    if text == "n":
        return False
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    try:
        return int(text, 0)
    except ValueError:
        raise InputError(source, number, f"{text[:40]!r} is neither y, n, m, a number nor a quoted text") from None
