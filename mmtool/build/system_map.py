"""System.map: the symbols of a kernel with their addresses, as nm lists them."""

from __future__ import annotations

from mmtool.errors import InputError
from mmtool.regex import regex

_LINE = regex(r"([0-9a-fA-F]{8,16}) ([A-Za-z?]) (\S+)(?:\s.*)?")


def read_system_map(text: str, source: str) -> dict[str, int]:
    """Symbol -> address, the first of one name; InputError with the line that holds no symbol.

    Empty for the stub that Debian's packages hold in its place, a single line that names the package with the file.
    """
    symbols: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        m = _LINE.fullmatch(line.rstrip())
        if m is None:
            raise InputError(source, number, "not a line of a System.map (address, type, symbol)")
        symbols.setdefault(m[3], int(m[1], 16))
    if not symbols:
        raise InputError(source, None, "no symbols in it")
    return {} if len(symbols) == 1 else symbols
