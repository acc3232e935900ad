"""What a kernel's image shows of the facts that otherwise its release stands for: distributions backport."""

from __future__ import annotations

import pkgutil
from collections.abc import Container, Iterator, Mapping
from importlib import import_module

import mmtool.build.facts
from mmtool.build.fact import Fact, Facts, Member


def groups() -> list[type[Facts]]:
    """Every class of facts in mmtool.build.facts."""
    for module in pkgutil.iter_modules(mmtool.build.facts.__path__, "mmtool.build.facts."):
        import_module(module.name)
    return [c for c in Facts.__subclasses__() if c.__module__.startswith("mmtool.build.facts.")]


def _marked() -> Iterator[Fact]:
    for group in groups():
        yield from (fact for fact in group.declared() if fact.image_marks)


def structures_asked_for() -> frozenset[str]:
    """The structures whose members show a fact."""
    return frozenset(mark.structure for fact in _marked() for mark in fact.image_marks if isinstance(mark, Member))


def shown_facts(symbols: Container[str], members: Mapping[str, Container[str]]) -> dict[str, bool]:
    """The facts that a kernel's symbols and the members of its structures prove or disprove, by name."""
    shown: dict[str, bool] = {}
    for fact in _marked():
        told = [a for mark in fact.image_marks if (a := mark.shows(symbols, members)) is not None]
        if told:
            shown[fact.name] = any(told)
    return shown
