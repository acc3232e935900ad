"""What a document that is read back must look like, said once and checked at the border.

A shape is a function (value, path) that raises `ShapeError` for a value that is not of it. After the check whoever
reads the document may take types and ranges for granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Shape = Callable[[Any, str], None]
DEEPEST = 60
"""How deep a document may be nested."""


class ShapeError(ValueError):
    """`path` of the value, as /nodes/0/zones, and what is wrong with it."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        super().__init__(f"{path or '/'}: {message}")


def integer(low: int, high: int) -> Shape:
    """A whole number from `low` to `high`, both included."""

    def check(value: Any, path: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ShapeError(path, f"is not a whole number from {low} to {high}: {shown(value)}")

    return check


def boolean(value: Any, path: str) -> None:
    """true or false."""
    if type(value) is not bool:
        raise ShapeError(path, f"is neither true nor false: {shown(value)}")


def text(longest: int = 4096) -> Shape:
    """Text of at most `longest` characters."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or len(value) > longest:
            raise ShapeError(path, f"is not text of up to {longest} characters: {shown(value)}")

    return check


def one_of(names: Iterable[str]) -> Shape:
    """One of some words."""
    known = tuple(names)

    def check(value: Any, path: str) -> None:
        if value not in known:
            raise ShapeError(path, f"is none of {', '.join(known)}: {shown(value)}")

    return check


def any_of(*shapes: Shape) -> Shape:
    """A value of one of several shapes; the message is the first one's."""

    def check(value: Any, path: str) -> None:
        first: ShapeError | None = None
        for shape in shapes:
            try:
                return shape(value, path)
            except ShapeError as e:
                first = first or e
        if first is not None:
            raise first

    return check


def array(item: Shape, longest: int = 1 << 24) -> Shape:
    """A list of values of one shape."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list | tuple) or len(value) > longest:
            raise ShapeError(path, f"is not a list of up to {longest} entries: {shown(value)}")
        for i, entry in enumerate(value):
            item(entry, f"{path}/{i}")

    return check


def integers(low: int, high: int) -> Shape:
    """A list of whole numbers; as `array(integer(low, high))`, for long lists."""
    slow = array(integer(low, high))

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list) or not all(type(n) is int and low <= n <= high for n in value):
            slow(value, path)

    return check


def row(*items: Shape) -> Shape:
    """A list with a place for each of some values."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list | tuple) or len(value) != len(items):
            raise ShapeError(path, f"is not a list of {len(items)} entries: {shown(value)}")
        for i, (entry, item) in enumerate(zip(value, items, strict=True)):
            item(entry, f"{path}/{i}")

    return check


def mapping(key: Shape, value: Shape) -> Shape:
    """An object whose names and values are of one shape each."""

    def check(found: Any, path: str) -> None:
        if not isinstance(found, Mapping):
            raise ShapeError(path, f"is not an object: {shown(found)}")
        for name, entry in found.items():
            key(name, path)
            value(entry, f"{path}/{name}" if isinstance(name, str) else f"{path}/{shown(name)}")

    return check


def number_name(low: int, high: int) -> Shape:
    """The name of an object's member that is a number, as JSON has them: "12"."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 19:
            raise ShapeError(path, f"has a member whose name is no number: {shown(value)}")
        if not low <= int(value) <= high:
            raise ShapeError(path, f"has a member {value}, which is not from {low} to {high}")

    return check


def record(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """An object with certain members; what else it has is not looked at."""
    may = optional or {}

    def check(value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise ShapeError(path, f"is not an object: {shown(value)}")
        for name, shape in required.items():
            if name not in value:
                raise ShapeError(path, f"has no {name!r}")
            shape(value[name], f"{path}/{name}")
        for name, shape in may.items():
            if name in value:
                shape(value[name], f"{path}/{name}")

    return check


def shown(value: Any) -> str:
    """A value in a message: what kind it is if it is no short one."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else f"{value[:36]}...")
    if value is None or isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else "a number of very many digits"
    return {"dict": "an object", "list": "a list"}.get(type(value).__name__, type(value).__name__)
