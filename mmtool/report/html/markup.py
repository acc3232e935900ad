"""Elements of HTML from values: whatever is not `Markup` already is escaped here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from mmtool.report.untrusted import printable


class Markup(str):
    """Text that is HTML: what `tag` and `text` make, and joins of that."""

    __slots__ = ()


VOID = frozenset({"meta", "input", "br", "option"})
"""Elements of this report that have no content."""

PLAIN = frozenset(b"-_.~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

Attribute = str | int | float | bool | None


def text(value: object) -> Markup:
    """A value as text: control characters as \\x.., markup as references."""
    return value if isinstance(value, Markup) else Markup(escape(printable(str(value))))


def fragment(name: str) -> str:
    """A link within the page that asks for a name, as encodeURIComponent() writes it."""
    encoded = printable(name).encode()
    return "#" + "".join(chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in encoded)


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Elements and texts, one after the other."""
    return Markup(text(between).join(text(part) for part in parts))


def tag(name: str, /, *content: object, **attributes: Attribute) -> Markup:
    """An element. `class_` is class, `data_k` is data-k; False and None leave an attribute out, True has no value."""
    shown = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        shown.append(f" {key}" if value is True else f' {key}="{text(value)}"')
    opened = f"<{name}{''.join(shown)}"
    if name in VOID:
        return Markup(f"{opened}>")
    return Markup(f"{opened}>{join(content)}</{name}>")
