"""Sections and segments of a kernel's ELF file (vmlinux, with or without its symbols)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import field

from mmtool.errors import InputError
from mmtool.late import dataclass

ELF_MAGIC = b"\x7fELF"
_NOBITS, _SYMTAB = 8, 2
_MACHINES = {3: "i386", 62: "x86_64", 183: "arm64"}
# By class (1: 32 bits, 2: 64 bits): the file header from e_entry on, a section header, a program header, a symbol.
_FILE = {1: struct.Struct("<IIIIHHHHHH"), 2: struct.Struct("<QQQIHHHHHH")}
_SECTION = {1: struct.Struct("<IIIIIIIIII"), 2: struct.Struct("<IIQQQQIIQQ")}
_PROGRAM = {1: struct.Struct("<IIIIIIII"), 2: struct.Struct("<IIQQQQQQ")}
_SYMBOL = {1: struct.Struct("<IIIBBH"), 2: struct.Struct("<IBBHQQ")}


@dataclass(frozen=True)
class Section:
    """A section: its name, virtual address and size in bytes, and where its bytes lie in the file (none: .bss)."""

    name: str
    address: int
    size: int
    offset: int
    kind: int
    link: int

    @property
    def end(self) -> int:
        """The address after it."""
        return self.address + self.size


@dataclass(frozen=True)
class Segment:
    """A program header that is loaded: virtual and physical address, size in the file and in memory, in bytes."""

    address: int
    physical: int
    offset: int
    file_size: int
    size: int


@dataclass(frozen=True)
class Elf:
    """A kernel's ELF file. `arch` is x86_64, i386 or arm64; `sections` and `segments` are in the file's order."""

    data: bytes = field(repr=False)
    source: str
    arch: str
    sections: tuple[Section, ...]
    segments: tuple[Segment, ...]

    def section(self, name: str) -> Section | None:
        """The section of this name."""
        return next((s for s in self.sections if s.name == name), None)

    def content(self, section: Section) -> bytes:
        """Its bytes; empty for one without (.bss)."""
        return b"" if section.kind == _NOBITS else self.data[section.offset : section.offset + section.size]

    def symbols(self) -> dict[str, int]:
        """Symbol -> address, from the symbol table; empty for a stripped file."""
        table = next((s for s in self.sections if s.kind == _SYMTAB), None)
        if table is None or table.link >= len(self.sections):
            return {}
        names, record = self.content(self.sections[table.link]), _SYMBOL[1 if self.arch == "i386" else 2]
        content = self.content(table)
        found: dict[str, int] = {}
        for entry in record.iter_unpack(content[: len(content) // record.size * record.size]):
            name = _text(names, entry[0])
            if name:
                found.setdefault(name, entry[1] if self.arch == "i386" else entry[4])
        return found


def read_elf(data: bytes, source: str) -> Elf:
    """The sections and loaded segments of an ELF file; InputError for another kind of file or a broken one."""
    if data[:4] != ELF_MAGIC or len(data) < 20:
        raise InputError(source, None, "not an ELF file")
    bits, order = data[4], data[5]
    if bits not in _FILE or order != 1:
        raise InputError(source, None, "an ELF file, but not of 32 or 64 bits in little-endian order")
    machine = int.from_bytes(data[18:20], "little")
    if machine not in _MACHINES:
        raise InputError(source, None, f"an ELF file for machine {machine}, not for x86 or arm64")
    header = _unpack(_FILE[bits], data, 24, source, "the file header")
    _entry, phoff, shoff, _flags, _ehsize, phentsize, phnum, shentsize, shnum, shstrndx = header
    sections = tuple(_sections(data, source, bits, shoff, shentsize, shnum, shstrndx))
    segments = tuple(_segments(data, source, bits, phoff, phentsize, phnum))
    return Elf(data, source, _MACHINES[machine], sections, segments)


def _sections(
    data: bytes, source: str, bits: int, offset: int, entry: int, count: int, names_at: int
) -> Iterator[Section]:
    rows = [_unpack(_SECTION[bits], data, offset + i * entry, source, f"section {i}") for i in range(count)]
    names = b""
    if names_at < len(rows):
        at, size = rows[names_at][4], rows[names_at][5]
        names = data[at : at + size]
    for i, (name, kind, _flags, address, at, size, link, *_) in enumerate(rows):
        if kind not in (0, _NOBITS) and at + size > len(data):
            raise InputError(source, f"section {i}", "lies beyond the end of the file")
        yield Section(_text(names, name), address, size, at, kind, link)


def _segments(data: bytes, source: str, bits: int, offset: int, entry: int, count: int) -> Iterator[Segment]:
    for i in range(count):
        row = _unpack(_PROGRAM[bits], data, offset + i * entry, source, f"program header {i}")
        if row[0] != 1:  # PT_LOAD
            continue
        if bits == 1:
            _kind, at, virtual, physical, file_size, size, _flags, _align = row
        else:
            _kind, _flags, at, virtual, physical, file_size, size, _align = row
        yield Segment(virtual, physical, at, file_size, size)


def _unpack(record: struct.Struct, data: bytes, offset: int, source: str, what: str) -> tuple[int, ...]:
    if offset + record.size > len(data):
        raise InputError(source, None, f"ends before {what}")
    return record.unpack_from(data, offset)


def _text(names: bytes, offset: int) -> str:
    end = names.find(b"\0", offset)
    return names[offset : end if end >= 0 else len(names)].decode("utf-8", "replace")
