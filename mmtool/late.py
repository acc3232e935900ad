"""Dataclasses whose methods are compiled when they are worth it.

A boot defines some seventy of them; most are made once or twice, and nobody compares or prints them. What
dataclasses.dataclass() compiles for each at once took a third of a command's time. To the type checker the one here is
dataclasses.dataclass() itself, and it is the type checker alone that keeps a frozen one as it is: nothing is checked
when the program runs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

SLOW_CALLS = 8
"""So many objects of a class are filled field by field, which takes as long as compiling its __init__()."""

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, repr=True, kw_only=False):
        """What dataclasses.dataclass() makes with the same options, but for FrozenInstanceError."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, slots=slots, eq=eq, repr=repr, kw_only=kw_only)
        own = vars(cls)
        made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)
        if "__init__" not in own:
            made.__init__ = _late_init(made)
        if repr and "__repr__" not in own:
            made.__repr__ = _late(made, "__repr__", "repr")
        if eq and "__eq__" not in own:
            made.__eq__ = _late(made, "__eq__", "eq")
        if eq and "__hash__" not in own:
            made.__hash__ = _late(made, "__hash__", "unsafe_hash") if frozen else None
        return made


def _compiled(cls: Any, name: str, option: str) -> Any:
    """The method of that name that dataclass() makes for the option, put into its place."""
    fields = dataclasses.fields(cls)
    alike: dict[str, Any] = {f.name: f for f in fields}
    alike |= {"__annotations__": {f.name: f.type for f in fields}, "__qualname__": cls.__qualname__}
    alike["__doc__"] = "Without one, dataclass() writes one, from a signature that it takes long to find."
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
        if calls > SLOW_CALLS or not _fill(self, dataclasses.fields(cls), args, kwargs):
            _compiled(cls, "__init__", "init")(self, *args, **kwargs)

    return __init__


def _fill(self: Any, fields: tuple[dataclasses.Field[Any], ...], args: Any, kwargs: dict[str, Any]) -> bool:
    """Do what the compiled __init__() would; False if the arguments do not fit, which it can say better."""
    places = [f.name for f in fields if f.init and not f.kw_only]
    given = dict(zip(places, args, strict=False))
    if len(args) > len(places) or not given.keys().isdisjoint(kwargs):
        return False
    given |= kwargs
    for f in fields:
        if f.init and f.name in given:
            value = given.pop(f.name)
        elif f.default is not MISSING:
            value = f.default
        elif f.default_factory is not MISSING:
            value = f.default_factory()
        elif f.init:
            return False
        else:
            continue
        setattr(self, f.name, value)
    if given:
        return False
    if hasattr(self, "__post_init__"):
        self.__post_init__()
    return True
