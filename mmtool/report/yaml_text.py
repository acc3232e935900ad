"""A document as YAML, written in one pass: a library's writer takes seconds for what a hostile input makes long."""

from __future__ import annotations

from collections.abc import Callable
from math import isinf, isnan
from typing import Any

from mmtool.regex import regex

_PLAIN = regex(r"[A-Za-z_/][A-Za-z0-9_./+|()-]*(?: [A-Za-z0-9_./+|()-]+)*")
"""Text that needs no quotes in any place, unless it is one of the words of YAML 1.1."""
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_UNPRINTABLE = regex(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
_Scalars = Callable[[Any], str]


def yaml_text(document: Any) -> str:
    """A document of dicts, lists and plain values as YAML 1.1 and 1.2 read it.

    Collections of plain values stand on one line; what the document holds twice is written twice, without anchors.
    Text is quoted wherever it might be read as something else, and no control character is written as it is.
    """
    known: dict[Any, str] = {}

    def scalar(value: Any) -> str:
        if type(value) is int:
            return str(value)
        if isinstance(value, str):
            if value not in known:
                known[value] = _text(value)
            return known[value]
        if value is None:
            return "null"
        if value is True or value is False:
            return "true" if value else "false"
        return _float(value) if isinstance(value, float) else str(value)

    lines: list[str] = []
    _write(document, scalar, lines.append, "", "")
    return "\n".join(lines) + "\n"


def _write(value: Any, scalar: _Scalars, line: Callable[[str], None], first: str, pad: str) -> None:
    """Write the lines of a value: `first` goes before the first of them, `pad` before the others."""
    flat = _flow(value, scalar)
    if flat is not None:
        line(first + flat)
    elif isinstance(value, dict):
        for key, entry in value.items():
            flat = _flow(entry, scalar)
            if flat is not None:
                line(f"{first}{scalar(key)}: {flat}")
            else:
                line(f"{first}{scalar(key)}:")
                inner = f"{pad}  " if isinstance(entry, dict) else pad
                _write(entry, scalar, line, inner, inner)
            first = pad
    else:
        inner = f"{pad}  "
        for entry in value:
            _write(entry, scalar, line, f"{first}- ", inner)
            first = pad


_COLLECTIONS = (dict, list, tuple)


def _flow(value: Any, scalar: _Scalars) -> str | None:
    """A plain value, or a collection of nothing else, on one line; None for a collection of collections."""
    if isinstance(value, dict):
        for entry in value.values():
            if isinstance(entry, _COLLECTIONS):
                return None
        return "{" + ", ".join([f"{scalar(key)}: {scalar(entry)}" for key, entry in value.items()]) + "}"
    if isinstance(value, list | tuple):
        for entry in value:
            if isinstance(entry, _COLLECTIONS):
                return None
        return "[" + ", ".join(map(scalar, value)) + "]"
    return scalar(value)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    import json  # which nobody else needs for a table

    return _UNPRINTABLE.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(text, ensure_ascii=False))


def _float(value: float) -> str:
    if isnan(value) or isinf(value):
        return ".nan" if isnan(value) else ".inf" if value > 0 else "-.inf"
    mantissa, e, exponent = repr(value).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{e}{exponent}"
