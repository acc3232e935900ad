"""Regular expressions that are compiled when they are first used: who wants one answer needs few of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, AnyStr, cast

_METHODS = ("match", "fullmatch", "search", "finditer", "findall", "split", "sub", "subn", "pattern", "groups")
_FINDS = ("match", "fullmatch", "search", "finditer", "findall")


class _Lazy:
    """Has the methods of a compiled pattern, from the first use of one on."""

    __slots__ = ("_flags", "_text", *_METHODS)

    def __init__(self, text: str | bytes, flags: int) -> None:
        self._text, self._flags = text, flags
        _patterns.append(self)

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(name)
        compiled = re.compile(self._text, self._flags)
        if _found is not None and name in _FINDS:
            return _noting(compiled, name, _found)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)

    def forget(self) -> None:
        """Be as before the first use."""
        for method in _METHODS:
            try:
                delattr(self, method)
            except AttributeError:
                return  # it has all of them or none


_patterns: list[_Lazy] = []
_found: list[re.Match[Any]] | None = None


@contextmanager
def recorded() -> Iterator[list[re.Match[Any]]]:
    """What patterns find meanwhile, in order: which parts of a text its readers take something from."""
    global _found
    for pattern in _patterns:
        pattern.forget()
    _found = []
    try:
        yield _found
    finally:
        _found = None


def _noting(compiled: re.Pattern[Any], name: str, found: list[re.Match[Any]]) -> Any:
    """A method of a pattern that notes what it finds."""

    def method(*where: Any) -> Any:
        if name not in ("finditer", "findall"):
            m = getattr(compiled, name)(*where)
            found.extend([m] if m is not None else [])
            return m
        matches = list(compiled.finditer(*where))
        found.extend(matches)
        return iter(matches) if name == "finditer" else compiled.findall(*where)

    return method


def regex(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """What re.compile() gives, without the work before it is used."""
    return cast("re.Pattern[AnyStr]", _Lazy(text, flags))
