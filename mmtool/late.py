"""Dataclasses of which nothing is made before it is needed.

A boot defines some seventy of them; most are made once or twice, and nobody compares or prints them. What
dataclasses.dataclass() finds out and compiles for each at once took a third of a command's time. To the type checker
the one here is dataclasses.dataclass() itself, and it is the type checker alone that keeps a frozen one as it is:
nothing is checked when the program runs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

SLOW_CALLS = 128
"""So many objects of a class are filled field by field, which takes about as long as compiling its __init__()."""

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, repr=True, kw_only=False):
        """What dataclasses.dataclass() makes with the same options, but for FrozenInstanceError.

        Whatever is annotated is a field: ClassVar, InitVar and KW_ONLY are not looked for.
        """
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, slots=slots, eq=eq, repr=repr, kw_only=kw_only)
        own = vars(cls)
        given = {name: _given(cls, name) for name in cls.__annotations__}
        filled = {}
        for base in cls.__mro__[-2:0:-1]:
            filled |= vars(base).get("__late_fields__", {})
        filled |= {name: _filled_with(value, kw_only) for name, value in given.items()}
        made = _with_slots(cls, filled) if slots else _with_defaults(cls, given, filled)
        made.__late_fields__ = filled
        made.__match_args__ = tuple(name for name, (_, _, init, by_name) in filled.items() if init and not by_name)
        made.__dataclass_fields__ = _Fields(made, given, kw_only)
        if "__init__" not in own:
            made.__init__ = _late_init(made)
        if repr and "__repr__" not in own:
            made.__repr__ = _late(made, "__repr__", "repr")
        if eq and "__eq__" not in own:
            made.__eq__ = _late(made, "__eq__", "eq")
        if eq and "__hash__" not in own:
            made.__hash__ = _late(made, "__hash__", "unsafe_hash") if frozen else None
        return made


def _given(cls: type, name: str) -> Any:
    """What the class body gives a field: a default, a dataclasses.field() or nothing."""
    value = getattr(cls, name, MISSING)
    return MISSING if isinstance(value, MemberDescriptorType) else value  # the slot of a base that has the field too


def _filled_with(value: Any, kw_only: bool) -> tuple[Any, Any, bool, bool]:
    """A field's default, the factory of its default, whether __init__() takes it, and whether by its name alone."""
    if type(value).__hash__ is None:
        raise ValueError(f"{value!r} as a default would be shared by all objects: use default_factory")
    if not isinstance(value, Field):
        return value, MISSING, True, kw_only
    return value.default, value.default_factory, value.init, kw_only if value.kw_only is MISSING else value.kw_only


def _with_defaults(cls: Any, given: dict[str, Any], filled: dict[str, Any]) -> Any:
    """The class with defaults in place of each dataclasses.field()."""
    for name, value in given.items():
        if isinstance(value, Field):
            if filled[name][0] is MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, filled[name][0])
    return cls


def _with_slots(cls: Any, filled: dict[str, Any]) -> Any:
    """The class again, with a slot for each field that no base has one for."""
    there = {slot for base in cls.__mro__[1:-1] for slot in vars(base).get("__slots__", ())}
    body = {name: value for name, value in vars(cls).items() if name not in filled}
    body["__slots__"] = tuple(name for name in filled if name not in there)
    for name in ("__dict__", "__weakref__"):  # the first class's own
        body.pop(name, None)
    again = type(cls)(cls.__name__, cls.__bases__, body)
    again.__qualname__ = cls.__qualname__
    return again


class _Fields:
    """What dataclasses.fields(), replace() and a subclass that dataclasses makes read, made when one asks for it."""

    def __init__(self, cls: type, given: dict[str, Any], kw_only: bool) -> None:
        self.cls, self.given, self.kw_only = cls, given, kw_only

    def __get__(self, instance: object, owner: type) -> dict[str, Field[Any]]:
        alike: dict[str, Any] = {name: value for name, value in self.given.items() if value is not MISSING}
        alike |= {"__annotations__": self.cls.__annotations__, "__module__": self.cls.__module__}
        alike["__doc__"] = UNSAID
        options = {"init": False, "repr": False, "eq": False, "kw_only": self.kw_only}
        made: Any = dataclasses.dataclass(**options)(type(self.cls.__name__, (), alike))
        fields: dict[str, Field[Any]] = {}
        for base in self.cls.__mro__[-2:0:-1]:
            fields |= getattr(base, "__dataclass_fields__", {})
        fields |= made.__dataclass_fields__
        cls: Any = self.cls
        cls.__dataclass_fields__, cls.__dataclass_params__ = fields, made.__dataclass_params__
        return fields


UNSAID = "Without one, dataclass() writes one, from a signature that it takes long to find."


def _compiled(cls: Any, name: str, option: str) -> Any:
    """The method of that name that dataclass() makes for the option, put into its place."""
    fields = dataclasses.fields(cls)
    alike: dict[str, Any] = {f.name: f for f in fields}
    alike |= {"__annotations__": {f.name: f.type for f in fields}, "__qualname__": cls.__qualname__}
    alike["__doc__"] = UNSAID
    if hasattr(cls, "__post_init__"):
        alike["__post_init__"] = None
    # A slot without a default among the arguments of __init__() is set by it, an attribute is not.
    options = {"init": False, "repr": False, "eq": False, "slots": any(not f.init for f in fields), option: True}
    method = getattr(dataclasses.dataclass(**options)(type(cls.__name__, (), alike)), name)
    setattr(cls, name, method)
    return method


def _late(cls: Any, name: str, option: str) -> Any:
    def method(self: object, *other: object) -> Any:
        return _compiled(cls, name, option)(self, *other)

    return method


def _late_init(cls: Any) -> Any:
    calls = 0

    def __init__(self: object, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > SLOW_CALLS or not _fill(self, cls, args, kwargs):
            _compiled(cls, "__init__", "init")(self, *args, **kwargs)

    return __init__


def _fill(self: Any, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Do what the compiled __init__() would; False if the arguments do not fit, which it can say better."""
    given = dict(zip(cls.__match_args__, args, strict=False))
    if len(args) > len(cls.__match_args__) or not given.keys().isdisjoint(kwargs):
        return False
    given |= kwargs
    for name, (default, factory, init, _) in cls.__late_fields__.items():
        if init and name in given:
            value = given.pop(name)
        elif default is not MISSING:
            value = default
        elif factory is not MISSING:
            value = factory()
        elif init:
            return False
        else:
            continue
        setattr(self, name, value)
    if given:
        return False
    if hasattr(self, "__post_init__"):
        self.__post_init__()
    return True
