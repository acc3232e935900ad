"""What a document that is read back must look like, said once and checked at the border.

A shape is a function (value, path) that raises `ShapeError` for a value that is not of it. After the check whoever
reads the document may take types and ranges for granted. `shape_of` makes shapes of the JSON Schemas in mmtool/schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from mmtool.schema import load

Shape = Callable[[Any, str], None]
DEEPEST = 60
"""How deep a document may be nested."""


class ShapeError(ValueError):
    """`path` of the value, as /nodes/0/zones, and what is wrong with it."""

    def __init__(self, path: str, message: str) -> None:
        self.path, self.message = path, message
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


def constant(expected: Any) -> Shape:
    """One value, true or false or a word."""

    def check(value: Any, path: str) -> None:
        if type(value) is not type(expected) or value != expected:
            raise ShapeError(path, f"is not {expected}: {shown(value)}")

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


def matching(pattern: str, what: str) -> Shape:
    """Text that a regular expression finds; `what` says what it is in the message."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or compiled.search(value) is None:
            raise ShapeError(path, f"is not {what}: {shown(value)}")

    return check


def member_name(name: Shape) -> Shape:
    """The names of an object's members; the message says that it is about a name."""

    def check(value: Any, path: str) -> None:
        try:
            name(value, path)
        except ShapeError as e:
            raise ShapeError(path, f"has a member whose name {e.message}") from None

    return check


def or_null(shape: Shape) -> Shape:
    """A value of a shape, or null."""

    def check(value: Any, path: str) -> None:
        if value is not None:
            shape(value, path)

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


def having(names: Iterable[str]) -> Shape:
    """An object that has certain members, whatever they are."""
    return record(dict.fromkeys(names, lambda value, path: None))


def dependent(name: str, shape: Shape) -> Shape:
    """An object that is of a shape if it has a certain member."""

    def check(value: Any, path: str) -> None:
        if name in value:
            shape(value, path)

    return check


def either(condition: Shape, otherwise: Shape) -> Shape:
    """A value that meets a condition, or else one of another shape."""

    def check(value: Any, path: str) -> None:
        try:
            condition(value, path)
        except ShapeError:
            otherwise(value, path)

    return check


def all_of(*shapes: Shape) -> Shape:
    """A value of several shapes at once."""

    def check(value: Any, path: str) -> None:
        for shape in shapes:
            shape(value, path)

    return check


@cache
def shape_of(name: str, fragment: str = "") -> Shape:
    """The shape of the schema NAME.json, or of the part of it that a fragment such as /$defs/zone names.

    Of JSON Schema it knows what the schemas of documents that are read have; ValueError for anything else, so that no
    rule is passed over and every number has its bounds. Members that a schema does not name may be there.
    """
    part: Any = load(name)
    for word in filter(None, fragment.split("/")):
        part = part[word]
    return _compiled(part, name)


_SAYS_NOTHING = {"$schema", "$id", "$defs", "title", "description"}


def _compiled(schema: Mapping[str, Any], home: str) -> Shape:
    """The shape of a schema out of the file `home`."""
    said = {word: value for word, value in schema.items() if word not in _SAYS_NOTHING}
    match said:
        case {"$ref": str(target), **rest} if not rest:
            urn, _, fragment = target.partition("#")
            return shape_of(urn.split(":")[2] if urn else home, fragment)
        case {"anyOf": [one, {"type": "null"}], **rest} if not rest:
            return or_null(_compiled(one, home))
        case {"anyOf": list(choices), **rest} if not rest:
            return any_of(*(_compiled(choice, home) for choice in choices))
        case {"const": value, **rest} if not rest:
            return constant(value)
        case {"enum": list(names), **rest} if not rest.keys() - {"type"}:
            return one_of(names)
        case {"type": [str(kind), "null"], **rest}:
            return or_null(_compiled({"type": kind, **rest}, home))
        case {"type": "boolean", **rest} if not rest:
            return boolean
        case {"type": "integer", "minimum": int(low), "maximum": int(high), **rest} if not rest:
            return integer(low, high)
        case {"type": "string", "pattern": str(pattern), **rest} if not rest:
            return matching(pattern, _what(schema, pattern))
        case {"type": "string", "maxLength": int(longest), **rest} if not rest:
            return text(longest)
        case {"type": "array", **rest}:
            return _compiled_array(rest, home)
        case {"type": "object", **rest}:
            return _compiled_object(rest, home)
        case {"pattern": str(pattern), **rest} if not rest:
            return matching(pattern, _what(schema, pattern))
        case {"maxLength": int(longest), **rest} if not rest:
            return text(longest)
    raise ValueError(f"{home}: there is no shape for {said}")


def _what(schema: Mapping[str, Any], pattern: str) -> str:
    """What text of a pattern is, for a message."""
    said: str = schema.get("description", f"of the form {pattern}")
    return said[:1].lower() + said[1:].rstrip(".")


def _compiled_array(said: Mapping[str, Any], home: str) -> Shape:
    match said:
        case {"prefixItems": list(places), "items": False, "minItems": int(n), **rest} if not rest and n == len(places):
            return row(*(_compiled(place, home) for place in places))
        case {"items": {"type": "integer", "minimum": int(low), "maximum": int(high)}, **rest} if not rest:
            return integers(low, high)
        case {"items": dict(item), **rest} if not rest.keys() - {"maxItems"}:
            return array(_compiled(item, home), rest.get("maxItems", 1 << 24))
    raise ValueError(f"{home}: there is no shape for the array {said}")


def _compiled_object(said: Mapping[str, Any], home: str) -> Shape:
    if said.keys() == {"additionalProperties", "propertyNames"}:
        name, value = _compiled(said["propertyNames"], home), _compiled(said["additionalProperties"], home)
        return mapping(member_name(name), value)
    rest = dict(said)
    members = {name: _compiled(member, home) for name, member in rest.pop("properties", {}).items()}
    required = rest.pop("required", [])
    shapes = [record({n: members[n] for n in required}, {n: m for n, m in members.items() if n not in required})]
    shapes += [dependent(name, having(others)) for name, others in rest.pop("dependentRequired", {}).items()]
    if "if" in rest:
        shapes.append(either(_compiled_object(rest.pop("if"), home), having(rest.pop("else")["required"])))
    if rest:
        raise ValueError(f"{home}: there is no shape for the object {rest}")
    return all_of(*shapes) if len(shapes) > 1 else shapes[0]


def shown(value: Any) -> str:
    """A value in a message: what kind it is if it is no short one."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else f"{value[:36]}...")
    if value is None or isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else "a number of very many digits"
    return {"dict": "an object", "list": "a list"}.get(type(value).__name__, type(value).__name__)
