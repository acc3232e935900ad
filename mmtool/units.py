"""Sizes and addresses: rounding them, the kernel's way of reading them, and the two ways people read them."""

from __future__ import annotations

from mmtool.regex import regex

_MEMPARSE = regex(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)([KkMmGgTtPpEe]?)")
_SHIFT = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
U64_MAX = 2**64 - 1


def round_up(value: int, unit: int) -> int:
    """The smallest multiple of `unit` that is not below `value`."""
    return -(-value // unit) * unit


def round_down(value: int, unit: int) -> int:
    """The largest multiple of `unit` that is not above `value`."""
    return value // unit * unit


def div_round_up(value: int, unit: int) -> int:
    """How many units hold `value`: DIV_ROUND_UP()."""
    return -(-value // unit)


def memparse(text: str, at: int = 0) -> tuple[int, int]:
    """Read a number with an optional suffix K, M, G, T, P or E at `text[at:]`.

    Models memparse() of lib/cmdline.c: base 0 (0x.. hex, 0.. octal, else decimal), arithmetic modulo
    2**64, and no number at all reads as 0 without consuming anything. Returns the value (bytes) and
    the index of the first character that was not read.
    """
    m = _MEMPARSE.match(text, at)
    if m is None:
        return 0, at
    digits, suffix = m.groups()
    return (modulo(digits, _base(digits)) << _SHIFT[suffix.lower()]) & U64_MAX, m.end()


def _base(digits: str) -> int:
    return 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10


_AT_ONCE = 512
"""Digits that are read at once: Python refuses to read thousands of decimal ones."""


def modulo(digits: str, base: int = 10) -> int:
    """A number modulo 2**64, however long it is, as the kernel's readers have it."""
    value = int(digits[:_AT_ONCE], base)
    for i in range(_AT_ONCE, len(digits), _AT_ONCE):
        part = digits[i : i + _AT_ONCE]
        value = (value * pow(base, len(part), U64_MAX + 1) + int(part, base)) & U64_MAX
    return value


def parse_size(text: str) -> int:
    """A whole size or address as memparse reads it; ValueError when anything is left over, or more than 64 bits."""
    m = _MEMPARSE.fullmatch(text)
    if m is None:
        raise ValueError(f"{text!r} is not a size or an address (4096, 0x1000, 64K, 1G)")
    digits, suffix = m.groups()
    value = int(digits, _base(digits)) << _SHIFT[suffix.lower()] if len(digits) <= _AT_ONCE else U64_MAX + 1
    if value > U64_MAX:
        raise ValueError(f"{text!r} is more than 64 bits hold")
    return value


def whole(text: str, most: int = U64_MAX, least: int = 0) -> int:
    """A whole number in the ten digits, as people and files write a count; ValueError for what is none in the range."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 20 or not least <= int(text) <= most:
        raise ValueError(f"{text[:40]!r} is no whole number from {least} to {most}")
    return int(text)


def human(size: int) -> str:
    """Bytes as people say them: exact in the largest unit that keeps at most two decimals ("512 MiB", "639 KiB")."""
    for shift, unit in ((60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            hundredths, rest = divmod(size * 100, 1 << shift)
            half = 1 << shift - 1
            hundredths += rest > half or (rest == half and hundredths % 2)
            return f"{hundredths // 100}.{hundredths % 100:02}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{size} B"
