"""Mutations of inputs by a seeded generator: the same seed gives the same inputs on every machine.

Texts are mutated by lines, by words and by numbers, documents by their structure, anything by bits and bytes.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

LARGEST = 1_000_000
"""Bytes of an input."""
NUMBERS = (
    "0", "1", "-1", "2", "3", "7", "8", "10", "11", "12", "63", "64", "65", "127", "128", "255", "256", "4095",
    "4096", "65535", "65536", "1048576", "2147483647", "2147483648", "4294967295", "4294967296", "1099511627776",
    "4503599627370496", "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551615",
    "18446744073709551616", "-9223372036854775809", "1" + "0" * 40, "9" * 400, "9" * 5000, "0x", "0x0", "0xfff",
    "0xffffffff", "0x100000000", "0x7fffffffffffffff", "0xffffffffffffffff", "0x10000000000000000", "0x" + "f" * 300,
    "00", "08", "1.5", "1e9", "1e999", "NaN", "Infinity", "-Infinity", "\u0663", "\u00b2", "1_000", "+5", "1K", "4G",
    "16E", "1-0", "0-4294967295", "1,2", "0x1-", "",
)  # fmt: skip
"""What a number is replaced by: ends of types, too many digits, digits that are none to int()."""
WORDS = (
    "", " ", "\t", "\n", "\0", "\x1b[31m", "\x1b]0;title\x07", "\x7f", "\x9b31m", "\u202e", "\ud7ff", "\u00e9",
    "=cmd|' /C calc'!A0", "@SUM(1)", "%s", "../../etc/passwd", "/dev/zero", "x" * 300, "x" * 5000, ":", "=", ",", "-",
    "--", "[", "]", "{", "}", "(", ")", '"', "'", "\\", "#", "*", "max", "none", "null", "true", "nan", "<a>&amp;",
    "]]>", "\r", "\r\n", "\x85", "\u2028", "__class__",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**52, 2**52 + 1, 2**63, 2**64 - 1, 2**64, 10**40, -(10**18), 1.5, 1e308,
    float("inf"), float("nan"), "", "0", "-1", "0x10", "x\x1b[0m", "a" * 5000, [], {}, [[]], [0], [0, 1], [1, 0],
    {"": {}}, "DMA", "Normal", "Movable", [None], [{}], "\ud7ff",
)  # fmt: skip
"""What a value of a document is replaced by."""
_ENDS = (0, 1, 2, 4, 0x7F, 0xFF, 0xFFFF, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)
"""What a word of a binary file is replaced by."""
_RUNS = (
    b" ", b"\t", b"0", b"9", b"a", b"[", b"<", b"(", b":", b"=", b"-", b" \n", b", ", b"\n", b"\r", b"\r\n", b"\0",
    b"a\n", b">\n", b'"', b"\\", b"\\n", b"<!--", b"<script>", b"&lt;", b"%s", b"a=1 ", b"0x0-0x1,", b"\xff",
    b"\xc3\xa9", b"{}\n",
)  # fmt: skip
"""What stands in an input over and over."""
_KEY = re.compile(r'"\w+": ')
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,16}\b|\d+")
_WORD = re.compile(r"\w+|[^\w\s]+")


class Mutator:
    """Inputs from `seeds`. `splice` are words and lines of all of them, put where others stood."""

    def __init__(self, seeds: Sequence[bytes], random: Random, *, words: Sequence[str] = ()) -> None:
        self.seeds, self.random = list(seeds), random
        texts = [seed.decode("utf-8", "replace") for seed in seeds]
        self.is_text = [seed.count(0) == 0 and "\ufffd" not in text for seed, text in zip(seeds, texts, strict=True)]
        plain = [text for text, is_text in zip(texts, self.is_text, strict=True) if is_text]
        self.words = sorted({word for text in plain for word in _WORD.findall(text)} | set(words)) or list(WORDS)
        self.lines = sorted({line for text in plain for line in text.split("\n")}) or [""]
        self.documents = [
            _documents(text) if is_text else None for text, is_text in zip(texts, self.is_text, strict=True)
        ]
        """By seed the JSON documents in it, as they are written."""
        self.on_text: tuple[Callable[[str], str], ...] = (
            self._number, self._number, self._word, self._word, self._splice_word, self._insert, self._repeat_line,
            self._drop_line, self._swap_lines, self._splice_line, self._cut, self._drop_word, self._repeat_word,
            self._character,
        )  # fmt: skip

    def next(self) -> bytes:
        """The next input."""
        which = self.random.randrange(len(self.seeds))
        documents = self.documents[which]
        if documents is not None and self.random.random() < 0.6:
            return self._documents(documents)[:LARGEST]
        if not self.is_text[which]:
            return self._bytes(self.seeds[which])
        text = self.seeds[which].decode()
        for _ in range(self._times()):
            text = self.random.choice(self.on_text)(text)
        data = text.encode("utf-8", "surrogatepass")
        return (self._bytes(data) if self.random.random() < 0.04 else data)[:LARGEST]

    def dense(self) -> bytes:
        """A large input: lines or bytes of a seed over and over, counted up or not, or a run of something in it."""
        data = self.next()[: LARGEST // 2] or b"0"
        kind = self.random.random()
        if kind < 0.3:
            run = self.random.choice(_RUNS) * self.random.choice((1, 1, 1, 2))
            times = self.random.choice((60_000, 60_000, LARGEST)) // len(run)
            at = self.random.randrange(len(data) + 1)
            return (data[:at] + run * times + data[at:])[:LARGEST]
        if kind < 0.36:
            opening, closing = self.random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"<b>", b"</b>"), (b"- ", b"")))
            depth = self.random.choice((500, 20_000, LARGEST // 2 // len(opening + closing)))
            at = self.random.randrange(len(data) + 1)
            return (data[:at] + opening * depth + b"0" + closing * depth + data[at:])[:LARGEST]
        if kind < 0.6:
            return (data + b"\n") * (LARGEST // (len(data) + 1))
        lines = data.split(b"\n")
        at = self.random.randrange(len(lines))
        block = b"\n".join(lines[at : at + self.random.choice((1, 1, 2, 5))]) + b"\n"
        times = (LARGEST - len(data)) // max(len(block), 1)
        more = self._counted(block, times) if self.random.random() < 0.5 else block * times
        return (b"\n".join(lines[:at]) + b"\n" + more + b"\n".join(lines[at:]))[:LARGEST]

    def _counted(self, block: bytes, times: int) -> bytes:
        """A block so often, one number of it higher each time: no two are alike, and all may overlap."""
        text = block.decode("utf-8", "surrogateescape")
        found = self._place(text, _NUMBER)
        if found is None or len(found[0]) > 20:
            return block * times
        base = 16 if found[0].startswith("0x") or not found[0].isdigit() else 10
        head, tail = text[: found.start()], text[found.end() :]
        form = f"{{:#0{len(found[0])}x}}" if found[0].startswith("0x") else f"{{:0{len(found[0])}{'dx'[base == 16]}}}"
        step = self.random.choice((1, 1, 2, 4096, 1 << 20, -1))
        first = int(found[0], base)
        counted = bytearray()
        for i in range(times):
            counted += f"{head}{form.format(abs(first + step * i))}{tail}".encode("utf-8", "surrogateescape")
        return bytes(counted)

    def _times(self) -> int:
        return self.random.choice((1, 1, 1, 2, 2, 3, 5, 9))

    def _place(self, text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """One of the pattern's matches, looked for from a random place on."""
        start = self.random.randrange(len(text) + 1)
        return pattern.search(text, start) or pattern.search(text)

    def _number(self, text: str) -> str:
        found = self._place(text, _NUMBER)
        if found is None:
            return text
        new = self.random.choice(NUMBERS)
        if self.random.random() < 0.4 and len(found[0]) < 20:
            base = 16 if found[0].startswith("0x") or not found[0].isdigit() else 10
            value = int(found[0], base) + self.random.choice((-1, 1, 4096, -4096, 1 << 20, 1 << 32))
            new = f"{value:#x}" if base == 16 else str(value)
        return text[: found.start()] + new + text[found.end() :]

    def _word(self, text: str) -> str:
        found = self._place(text, _WORD)
        new = self.random.choice(WORDS)
        return text + new if found is None else text[: found.start()] + new + text[found.end() :]

    def _splice_word(self, text: str) -> str:
        found = self._place(text, _WORD)
        new = self.random.choice(self.words)
        return text + new if found is None else text[: found.start()] + new + text[found.end() :]

    def _drop_word(self, text: str) -> str:
        found = self._place(text, _WORD)
        return text if found is None else text[: found.start()] + text[found.end() :]

    def _repeat_word(self, text: str) -> str:
        found = self._place(text, _WORD)
        times = self.random.choice((1, 2, 8, 100))
        return text if found is None else text[: found.end()] + (" " + found[0]) * times + text[found.end() :]

    def _insert(self, text: str) -> str:
        at = self.random.randrange(len(text) + 1)
        return text[:at] + self.random.choice(WORDS) + text[at:]

    def _character(self, text: str) -> str:
        at = self.random.randrange(len(text) + 1)
        return (
            text[:at]
            + chr(self.random.choice((self.random.randrange(128), self.random.randrange(0xD800))))
            + text[at + 1 :]
        )

    def _cut(self, text: str) -> str:
        at = self.random.randrange(len(text) + 1)
        return text[:at] if self.random.random() < 0.7 else text[at:]

    def _repeat_line(self, text: str) -> str:
        lines = text.split("\n")
        at = self.random.randrange(len(lines))
        lines[at:at] = [lines[at]] * self.random.choice((1, 1, 2, 5, 40))
        return "\n".join(lines)

    def _drop_line(self, text: str) -> str:
        lines = text.split("\n")
        at = self.random.randrange(len(lines))
        del lines[at : at + self.random.choice((1, 1, 2, 10))]
        return "\n".join(lines)

    def _swap_lines(self, text: str) -> str:
        lines = text.split("\n")
        one, other = self.random.randrange(len(lines)), self.random.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
        return "\n".join(lines)

    def _splice_line(self, text: str) -> str:
        lines = text.split("\n")
        lines.insert(self.random.randrange(len(lines) + 1), self.random.choice(self.lines))
        return "\n".join(lines)

    def _bytes(self, data: bytes) -> bytes:
        """Bits, bytes, words at the ends of their types, blocks twice or left out, the end cut off."""
        changed = bytearray(data)
        for _ in range(self._times()):
            at = self.random.randrange(len(changed) + 1)
            kind = self.random.randrange(8)
            if kind < 2 and at < len(changed):
                changed[at] ^= 1 << self.random.randrange(8)
            elif kind == 2 and at < len(changed):
                changed[at] = self.random.choice((0, 1, 0x7F, 0x80, 0xFF, self.random.randrange(256)))
            elif kind < 5:
                width = self.random.choice((2, 4, 8))
                value = self.random.choice(_ENDS)
                at -= at % self.random.choice((1, width))
                changed[at : at + width] = (value % (1 << 8 * width)).to_bytes(
                    width, self.random.choice(("big", "little"))
                )
            elif kind == 5:
                length = self.random.choice((1, 4, 16, 64))
                changed[at:at] = changed[at : at + length] * self.random.choice((1, 1, 50))
            elif kind == 6:
                del changed[at : at + self.random.choice((1, 4, 16, 64))]
            elif self.random.random() < 0.3:
                del changed[at:]
        return bytes(changed[:LARGEST])

    def _documents(self, documents: list[str]) -> bytes:
        """One of some documents, changed in its structure, with the others as they are."""
        at = self.random.randrange(len(documents))
        holder = {"": json.loads(documents[at])}
        for _ in range(self._times()):
            self._structure(holder)
        lines = [json.dumps(holder.get("")) if i == at else document for i, document in enumerate(documents)]
        text = "\n".join(lines)
        key = self._place(text, _KEY) if self.random.random() < 0.04 else None
        if key is not None:
            text = f"{text[: key.start()]}{key[0]}{json.dumps(self.random.choice(VALUES))}, {text[key.start() :]}"
        return text.encode("utf-8", "surrogatepass")

    def _structure(self, holder: dict[str, Any]) -> None:
        """Replace, drop, double or exchange a value somewhere in what `holder` holds."""
        inside: Any = holder
        while True:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            if not keys:
                return
            key = self.random.choice(keys)
            if not isinstance(inside[key], dict | list) or not inside[key] or self.random.random() < 0.12:
                break
            inside = inside[key]
        kind = self.random.randrange(8)
        value = inside[key]
        if kind < 2 and inside is not holder:
            del inside[key]
        elif kind == 2 and isinstance(inside, list):
            inside[key:key] = [copy.deepcopy(value) for _ in range(self.random.choice((1, 2, 30)))]
        elif kind == 3 and isinstance(inside, dict):
            inside[self.random.choice((*WORDS[:12], *NUMBERS[:20], *map(str, keys)))] = value
        elif kind == 4 and type(value) is int:
            inside[key] = value + self.random.choice((-1, 1, 2, 512, 4096, 1 << 20, 1 << 32, -value, value))
        elif kind == 5 and isinstance(value, str):
            text = value
            for _ in range(self._times()):
                text = self.random.choice(self.on_text)(text)
            inside[key] = text
        elif kind == 6:
            inside[key] = copy.deepcopy(inside[self.random.choice(keys)])
        else:
            inside[key] = copy.deepcopy(self.random.choice(VALUES))


def _documents(text: str) -> list[str] | None:
    """The JSON documents that a text holds, one or one a line, written anew; None when it holds something else."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return [json.dumps(json.loads(text))]
    except ValueError:
        pass
    try:
        return [json.dumps(json.loads(line)) for line in text.splitlines() if line.strip()]
    except ValueError:
        return None
