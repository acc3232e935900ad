"""Options that several commands share, and what they make of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mmtool.units import parse_size

F = TypeVar("F", bound=Callable[..., Any])


class Size(click.ParamType):
    """A size or an address, as the kernel's memparse reads it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)


class Range(click.ParamType):
    """START-END, both inclusive as in a log; becomes a half-open pair of ints."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        start, dash, end = value.partition("-")
        try:
            if not dash:
                raise ValueError(f"{value!r} is not a range START-END")
            low, high = parse_size(start), parse_size(end)
        except ValueError as e:
            self.fail(str(e), param, ctx)
        if high < low:
            self.fail(f"{value!r} ends before it starts", param, ctx)
        return low, high + 1


SIZE, RANGE = Size(), Range()


def output_option(*formats: str) -> Callable[[F], F]:
    """-o/--output with the formats that a command has; the first is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="Output format."
    )
