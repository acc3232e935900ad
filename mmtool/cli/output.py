"""Where a command's answer goes, in which format, and which part of a table is shown: -o, --columns and its kin."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmtool.errors import UsageError
from mmtool.late import dataclass
from mmtool.written import part_beside

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Formats = click.ParamType["Output"]
else:  # click made its types generic only in 8.2
    Formats = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

SUFFIXES = {
    "table": (".txt",), "bar": (".txt",), "json": (".json",), "yaml": (".yaml", ".yml"), "csv": (".csv",),
    "dmesg": (".log",), "svg": (".svg",), "html": (".html",), "ndjson": (".ndjson", ".jsonl"), "proc": (),
}  # fmt: skip
"""How the name of a file ends that holds a format; the first is the usual one."""
SHAPED = ("table", "csv")
"""The formats that have columns."""


@dataclass(frozen=True)
class Output:
    """A format, and the file that it is written to; None is standard output."""

    format: str
    path: str | None = None


class OutputType(Formats):
    """A format by its name, or a file whose suffix names the format; - is standard output."""

    name = "output"

    def __init__(self, formats: Sequence[str]) -> None:
        self.formats = tuple(formats)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self.formats)}|FILE]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Output:
        if isinstance(value, Output):
            return value
        if value in self.formats:
            return Output(value)
        if value == "-":
            return Output(self.formats[0])
        from pathlib import Path

        suffix = Path(value).suffix.lower()
        for name in self.formats:
            if suffix in SUFFIXES[name]:
                return Output(name, value)
        from mmtool.suggest import among

        endings = ", ".join(end for name in self.formats for end in SUFFIXES[name][:1])
        self.fail(f"{value!r} is no format, nor a file whose suffix names one ({endings}){among(value, self.formats)}")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name) for name in self.formats if name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]


def output_option(*formats: str, shaped: Sequence[str] = SHAPED) -> Callable[[F], F]:
    """-o/--output with the formats that a command has; the first is the default.

    The command is given the format's name as `output`, and what it prints goes to the file that -o names. Where one
    of the formats is in `shaped`, the command has --columns, --bytes and --noheadings for it.
    """
    shaped = [name for name in shaped if name in formats]

    def decorate(command: F) -> F:
        @wraps(command)
        def run(
            *args: Any, output: Output, columns: str | None = None, in_bytes: bool = False, noheadings: bool = False,
            **options: Any,
        ) -> Any:  # fmt: skip
            given = shape_asked()
            if given is not None and output.format not in shaped:
                raise UsageError(f"{given} goes with -o {' or -o '.join(shaped)}, not with -o {output.format}")
            with written(output.path), _style(columns, in_bytes, noheadings) if given else nullcontext():
                return command(*args, output=output.format, **options)

        made: Any = run
        for option in (_output(formats), *(_STYLE if shaped else ())):
            made = option(made)
        return made  # type: ignore[no-any-return]

    return decorate


def _output(formats: Sequence[str]) -> Callable[[F], F]:
    return click.option(
        "-o", "--output", type=OutputType(formats), default=formats[0], show_default=True,
        help="Format, or a file whose suffix names it.",
    )  # fmt: skip


_STYLE = (
    click.option("--noheadings", is_flag=True, help="Without titles and column heads."),
    click.option("--bytes", "in_bytes", is_flag=True, help="Pages and sizes as one number, in bytes."),
    click.option("--columns", metavar="NAME,...", help="Only these columns, in this order."),
)  # fmt: skip


def shape_asked() -> str | None:
    """The first of the options on a table's shape that the command was given."""
    given = click.get_current_context().params
    names = {"columns": "--columns", "in_bytes": "--bytes", "noheadings": "--noheadings"}
    return next((option for name, option in names.items() if given.get(name) not in (None, False)), None)


@contextmanager
def _style(columns: str | None, in_bytes: bool, noheadings: bool) -> Iterator[None]:
    from mmtool.report.table import Style, styled

    names = tuple(name.strip() for name in (columns or "").split(",") if name.strip())
    if columns is not None and not names:
        raise UsageError("--columns: name at least one column")
    with styled(Style(names, in_bytes, not noheadings)):
        yield


@contextmanager
def written(path: str | None) -> Iterator[None]:
    """Let what is printed go to the file at `path`, which is written beside it and renamed; None changes nothing.

    A command that ends with an answer (exit status 0, 1 or 4) leaves the file, any other end leaves what was there.
    """
    if path is None:
        yield
        return
    from pathlib import Path

    usual = sys.stdout
    ended: click.exceptions.Exit | None = None
    try:
        target = Path(os.path.realpath(path))
        in_place = target.exists() and not target.is_file()  # a device or a pipe; a folder says itself what it is
        with nullcontext(target) if in_place else part_beside(target) as part:
            with part.open("w" if in_place else "x", encoding="utf-8", newline="\n") as file:
                sys.stdout = file
                try:
                    yield
                except click.exceptions.Exit as e:
                    ended = e
            if not in_place:
                part.replace(target)
    except OSError as e:
        raise UsageError(f"-o {path}: {e.strerror or e}") from None
    finally:
        sys.stdout = usual
    if ended is not None:
        raise ended


def note(text: str) -> None:
    """Say on standard error what goes beside the answer: a line, whatever the name of a file in it holds."""
    from mmtool.report.untrusted import one_line

    print(f"mmtool: {one_line(text)}", file=sys.stderr)


def stdout_in_colour() -> bool:
    """Is standard output a terminal whose user has not asked for NO_COLOR?"""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
