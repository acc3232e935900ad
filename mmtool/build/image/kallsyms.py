"""A kernel's own symbol table (CONFIG_KALLSYMS), read from its image, which has no pointer to it.

Names are strings of tokens; 256 tokens stand in a table that can be recognised, and the rest lies around it:

    before 6.4:   offsets, base, count, names, markers, [sequence,] tokens, index of tokens
    from 6.4 on:  count, names, markers, tokens, index of tokens, offsets, [base,] sequence
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from mmtool.late import dataclass

_TOKENS = 256
# Every digit occurs in names, so each is a token of its own; in the table they follow each other.
_DIGITS = b"".join(b"%d\0" % i for i in range(10))
_FEWEST, _MOST = 16, 1 << 24
_LONGEST = 1024  # KSYM_NAME_LEN is 512 since 6.1
_TABLE = 8192  # bytes: the table of tokens takes less than 2 KiB
# When to give up the search in what only looks like a table: places tried, bytes looked through.
_TRIES, _WORK = 1000, 1 << 34
_WALK = 1 << 16  # bytes that could be looked through in the time that it takes to walk through some names

Meaning = Callable[[Sequence[int], int, int], list[int]]


@dataclass(frozen=True)
class _Tokens:
    start: int
    end: int  # after the index
    text: list[bytes]


def read_kallsyms(data: bytes, address: int, bits: int) -> dict[str, int]:
    """Symbol -> address (the first of one name), from the bytes that hold the table; empty when it is not found.

    `data` lies at `address` in the kernel's address space; `bits` is 32 or 64. Where the image leaves the base of
    all addresses to its relocations (arm64), addresses count from _text.
    """
    tokens = _find_tokens(data)
    if tokens is None:
        return {}
    found = _find_names(data, tokens, bits // 8)
    if found is None:
        return {}
    count_at, names = found
    addresses = _addresses(data, address, tokens, count_at, len(names), bits // 8)
    symbols: dict[str, int] = {}
    for name, at in zip(names, addresses, strict=False):
        symbols.setdefault(name, at)
    return symbols


def _find_tokens(data: bytes) -> _Tokens | None:
    at = -1
    for _ in range(_TRIES):
        at = data.find(_DIGITS, at + 1)
        if at < 0:
            break
        start = _back(data, at, ord("0"))
        if at - start >= _TABLE:
            continue
        # What comes before may end without a zero byte or with several: the table begins at an aligned place.
        earliest = max(data.rfind(b"\0", 0, max(start - 1, 0)) - 8, start - _TABLE, 0)
        for candidate in range(earliest // 4 * 4, data.index(b"\0", start) + 1, 4):
            if (tokens := _tokens_at(data, candidate, at)) is not None:
                return tokens
    return None


def _back(data: bytes, at: int, count: int) -> int:
    """Where the string begins that lies `count` strings before the one at `at`."""
    for _ in range(count):
        at = data.rfind(b"\0", 0, max(at - 1, 0)) + 1
    return at


def _tokens_at(data: bytes, start: int, digits: int) -> _Tokens | None:
    """The table at `start`, if it holds the digits at `digits` and its index follows."""
    if data.count(0, start, digits) != ord("0"):
        return None
    text: list[bytes] = []
    index = array("H")
    at = start
    for _ in range(_TOKENS):
        end = data.find(b"\0", at, start + _TABLE)
        if end < 0:
            return None
        index.append(at - start)
        text.append(data[at:end])
        at = end + 1
    expected = struct.pack(f"<{_TOKENS}H", *index)
    found = data.find(expected, at, at + len(expected) + 64)
    return _Tokens(start, found + len(expected), text) if found >= 0 else None


def _find_names(data: bytes, tokens: _Tokens, align: int) -> tuple[int, list[str]] | None:
    """Where the count of symbols lies, and the names: the count before the tokens that its names and markers fit."""
    limit, work = tokens.start, _WORK
    words = memoryview(data)[limit % 4 : limit].cast("I")
    for i in range(len(words) - 1, -1, -1):
        at = limit % 4 + 4 * i
        if not _FEWEST <= words[i] <= _MOST or not 3 * words[i] <= limit - at <= 128 * words[i]:
            continue
        # Each part of the table is aligned as pointers are; from 7.x on, without pointers, as the count is.
        for start, step in ((at + 4, 4), (at + align, align)):
            names = _names(data, start, limit, words[i], step)
            if names is not None:
                return at, [_expand(data[s + skip : e], tokens.text) for s, skip, e in names]
        work -= limit - at + _WALK
        if work < 0:
            break
    return None


def _has_markers(data: bytes, start: int, limit: int, count: int) -> bool:
    """Do the markers of the first names from `start` on (where each 256th lies) stand before `limit`?

    Walking through names falls into step wherever it begins, so it takes the markers to tell a beginning.
    """
    spans = _names_until(data, start, limit, min(count, 1024))
    markers = [s - start for s, _skip, _end in spans[::256]]
    return len(spans) == min(count, 1024) and data.find(struct.pack(f"<{len(markers)}I", *markers), start, limit) >= 0


def _names(data: bytes, start: int, limit: int, count: int, align: int) -> list[tuple[int, int, int]] | None:
    """(start, bytes of the length, end) of each name, if the markers of `count` names follow them."""
    if not _has_markers(data, start, limit, count):
        return None
    names = _names_until(data, start, limit, count)
    if len(names) < count:
        return None
    markers = [s - start for s, _skip, _end in names[::256]]
    expected = struct.pack(f"<{len(markers)}I", *markers)
    at = -(-names[-1][2] // align) * align
    return names if data[at : at + len(expected)] == expected else None


def _names_until(data: bytes, start: int, limit: int, count: int) -> list[tuple[int, int, int]]:
    names: list[tuple[int, int, int]] = []
    at = start
    for _ in range(count):
        if at + 1 >= limit:
            break
        length, skip = data[at], 1
        if length & 0x80:
            length, skip = length & 0x7F | data[at + 1] << 7, 2
        if not 0 < length <= _LONGEST:
            break
        names.append((at, skip, at + skip + length))
        at += skip + length
    return names


def _expand(codes: bytes, tokens: list[bytes]) -> str:
    """A name from its codes; the first character is the symbol's type."""
    return b"".join([tokens[c] for c in codes])[1:].decode("utf-8", "replace")


def _addresses(data: bytes, address: int, tokens: _Tokens, count_at: int, count: int, align: int) -> list[int]:
    """Addresses in the order of the names: the reading of the offsets under which they ascend."""
    for at, base in _offset_places(data, tokens, count_at, count, align):
        if at < 0 or at + 4 * count > len(data):
            continue
        offsets = struct.unpack_from(f"<{count}i", data, at)
        for meaning in _MEANINGS:
            values = meaning(offsets, base, address + at)
            if values and all(a <= b for a, b in pairwise(values)):
                return values
    return []


def _offset_places(data: bytes, tokens: _Tokens, count_at: int, count: int, align: int) -> Iterator[tuple[int, int]]:
    """(place of the offsets, base of all addresses), from 6.4 on and before it."""
    after = -(-tokens.end // 4) * 4
    base = -(-(after + 4 * count) // align) * align
    yield after, int.from_bytes(data[base : base + align], "little")
    base = count_at - align
    yield (base - 4 * count) // align * align, int.from_bytes(data[max(base, 0) : count_at], "little")


def _absolute_percpu(offsets: Sequence[int], base: int, _place: int) -> list[int]:
    """CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86-64 before 6.15): what is not negative is absolute."""
    return [v if v >= 0 else base - 1 - v for v in offsets] if min(offsets) < 0 else []


def _from_base(offsets: Sequence[int], base: int, _place: int) -> list[int]:
    """Unsigned, from the base; 32-bit kernels that are not relocatable have no base (7.x)."""
    return [base + (v & 0xFFFFFFFF) for v in offsets]


def _from_place(offsets: Sequence[int], _base: int, place: int) -> list[int]:
    """From the offset's own place (7.x)."""
    return [place + 4 * i + v for i, v in enumerate(offsets)]


_MEANINGS: tuple[Meaning, ...] = (_from_base, _absolute_percpu, _from_place)
