"""Small kernel images made by the tests: ELF files, type information, symbol tables, packed."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence


def elf(sections: Sequence[tuple[str, int, bytes | int]], *, bits: int = 64, machine: int | None = None) -> bytes:
    """An ELF file with these sections: name, address, bytes (or the size of one without bytes)."""
    wide = bits == 64
    head, entry = (64, 64) if wide else (52, 40)
    names = b"\0"
    rows = [(0, 0, 0, 0, 0)]
    body = b""
    for name, address, content in sections:
        size = content if isinstance(content, int) else len(content)
        rows.append((len(names), 8 if isinstance(content, int) else 1, address, head + len(body), size))
        names += name.encode() + b"\0"
        body += b"" if isinstance(content, int) else content
    rows.append((0, 3, 0, head + len(body), len(names)))
    body += names
    table = b"".join(
        struct.pack("<IIQQQQIIQQ" if wide else "<IIIIIIIIII", name, kind, 0, address, at, size, 0, 0, 1, 0)
        for name, kind, address, at, size in rows
    )
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    kind = struct.pack("<HHI", 2, machine or (62 if wide else 3), 1)
    rest = struct.pack(
        "<QQQIHHHHHH" if wide else "<IIIIHHHHHH", 0, 0, head + len(body), 0, head, 0, 0, entry, len(rows), len(rows) - 1
    )
    return ident + kind + rest + body + table


def btf(structures: Mapping[str, int], sections: Mapping[str, int] | None = None) -> bytes:
    """Type information with an int, these structures (one member each) and data sections, by name and bytes."""
    names, types = b"\0int\0", struct.pack("<IIII", 1, 1 << 24, 4, 32)
    for kind, entries in ((4, structures), (15, sections or {})):
        for name, size in entries.items():
            types += struct.pack("<III", len(names), kind << 24 | 1, size) + struct.pack("<III", 0, 1, 0)
            names += name.encode() + b"\0"
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names)) + types + names


class Symbols:
    """A kernel's symbol table: names (each code a character) in the order of their addresses."""

    def __init__(self, symbols: Mapping[str, int]) -> None:
        self.pairs = sorted(symbols.items(), key=lambda pair: pair[1])
        self.count = struct.pack("<I", len(self.pairs))
        coded = [b"T" + name.encode() for name, _ in self.pairs]
        lengths = [bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7]) for n in map(len, coded)]
        self.names = b"".join(n + c for n, c in zip(lengths, coded, strict=True))
        starts = [0]
        for length, code in zip(lengths, coded, strict=True):
            starts.append(starts[-1] + len(length) + len(code))
        self.markers = b"".join(struct.pack("<I", at) for at in starts[: len(coded) : 256])
        used = set(b"".join(coded)) | set(b"0123456789")
        strings = [bytes([c]) + b"\0" if c in used else b"\0" for c in range(256)]
        self.tokens = b"".join(strings)
        ends = [sum(map(len, strings[:i])) for i in range(256)]
        self.index = struct.pack("<256H", *ends)

    def old(self, base: int) -> bytes:
        """As before 6.4: offsets from the base, unsigned."""
        offsets = b"".join(struct.pack("<I", at - base) for _, at in self.pairs)
        return _laid([offsets, struct.pack("<Q", base), self.count, self.names, self.markers, self.tokens, self.index])

    def percpu(self, base: int) -> bytes:
        """As from 6.4 on with CONFIG_KALLSYMS_ABSOLUTE_PERCPU: addresses below the base are absolute."""
        offsets = b"".join(struct.pack("<i", at if at < base else base - 1 - at) for _, at in self.pairs)
        parts = [self.count, self.names, self.markers, self.tokens, self.index, offsets, struct.pack("<Q", base)]
        return _laid(parts)

    def from_place(self, address: int) -> bytes:
        """As from 7.x on: offsets from their own place, all parts aligned to 4 bytes, at `address`."""
        before = _laid([self.count, self.names, self.markers, self.tokens, self.index], 4)
        table = address + len(before)
        return before + b"".join(struct.pack("<i", at - table - 4 * i) for i, (_, at) in enumerate(self.pairs))


def _laid(parts: list[bytes], align: int = 8) -> bytes:
    return b"".join(part + bytes(-len(part) % align) for part in parts)


def real_mode_code(size: int) -> bytes:
    """Real-mode code of `size` bytes: a header, code from the second page on, the signature at its end."""
    return (struct.pack("<II", 4096, size - 64) + bytes(size - 12)) + struct.pack("<I", 0x65A22C82)


def bzimage(payload: bytes) -> bytes:
    """An x86 bzImage with this payload and its uncompressed size's place behind it."""
    setup = bytearray(1024)
    setup[0x1F1] = 1
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x20F)
    struct.pack_into("<II", setup, 0x248, 512, len(payload))
    return bytes(setup) + bytes(512) + payload


def arm64_image(content: bytes, *, image_size: int, text: int, data: int, data_size: int) -> bytes:
    """An arm64 Image of 4 KiB pages: its header, a PE header that tells where .text and .data begin, `content`."""
    head = struct.pack("<IIQQQQQQ", 0x14000000, 0, 0, image_size, 0xA, 0, 0, 0) + b"ARM\x64" + struct.pack("<I", 64)
    pe = b"PE\0\0" + struct.pack("<HHIIIHH", 0xAA64, 2, 0, 0, 0, 0, 0)
    for name, start, size in ((b".text", text, data - text), (b".data", data, data_size)):
        pe += struct.pack("<8sIIII", name, size, start, size, start) + bytes(16)
    return (head + pe).ljust(4096, b"\0") + content


def lz4(content: bytes) -> bytes:
    """`content` in LZ4's legacy frame: a literal, a copy of 19 bytes of it, the rest as literals; then 4 bytes."""
    literal, rest = content[:1], content[20:]
    assert content[:20] == literal * 20 and len(rest) > 15
    more = len(rest) - 15
    block = bytes([0x1F]) + literal + b"\x01\0" + b"\0" + b"\xf0" + b"\xff" * (more // 255) + bytes([more % 255]) + rest
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block + struct.pack("<I", 1 << 30)
