"""Unpacked kernel sources: their release, and what a mark shows in them."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from mmtool.build.fact import Fact, Mark, Version

_NUMBER = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d+)", re.M)


class Source:
    """One source tree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        numbers = dict(_NUMBER.findall((path / "Makefile").read_text()[:1000]))
        self.version: Version = (int(numbers["VERSION"]), int(numbers["PATCHLEVEL"]), int(numbers["SUBLEVEL"]))
        self._read = lru_cache(maxsize=None)(self._text)

    def shows(self, fact: Fact) -> bool | None:
        """Does the tree show that a fact holds? None where none of its marks speaks of this release."""
        answers = [self._shows(mark) for mark in fact.marks if mark.speaks_of(self.version)]
        told = [answer for answer in answers if answer is not None]
        return any(told) if told else None

    def _shows(self, mark: Mark) -> bool | None:
        text = self._read(mark.file, mark.inside)
        if text is None:
            # No such file, no such function: the mark's text is nowhere; that it is gone is shown where it was. Of a
            # folder that was not unpacked nothing is known.
            return None if mark.gone or not (self.path / mark.file).parent.is_dir() else False
        return (_joined(mark.text) in text) != mark.gone

    def _text(self, file: str, function: str) -> str | None:
        path = self.path / file
        if not path.is_file():
            return None
        text = path.read_text(errors="replace")
        return _joined(text) if not function else _joined(found) if (found := body(text, function)) else None


def body(text: str, function: str) -> str | None:
    """The definition of a function in C text, from its name to the closing brace at the line's beginning."""
    for m in re.finditer(rf"^(?![ \t/#])[^\n;]*\b{re.escape(function)}\([^;{{]*\{{", text, re.M):
        end = text.find("\n}", m.end())
        return text[m.start() : end if end >= 0 else len(text)]
    return None


def _joined(text: str) -> str:
    return " ".join(text.split())
