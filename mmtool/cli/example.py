"""`mmtool example`: machines that come with the program, to try it on."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmtool.errors import UsageError
from mmtool.suggest import among

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PREFIX = "example:"
FOLDER = Path(__file__).parent.parent / "examples"


@dataclass(frozen=True)
class Example:
    """A file of mmtool/examples: what it is, and which commands say something of it."""

    file: str
    about: str
    commands: tuple[str, ...]


EXAMPLES = {
    "arm64": Example(
        "arm64.tar.xz",
        "capture of a virtual arm64 machine: Linux 6.1, 4 GiB, 2 nodes, its device tree",
        ("boot", "lint", "ledger", "verify"),
    ),
    "failure": Example(
        "failure.txt.xz",
        "report of a failed allocation: Linux 6.12, order 4, 215 MiB free in fragments",
        ("explain",),
    ),
    "laptop": Example(
        "laptop.txt.xz",
        "kernel log of a laptop: Linux 6.16 of its own build, 7.8 GiB, EFI",
        ("boot", "lint", "ledger", "verify"),
    ),
    "numa4": Example(
        "numa4.tar.xz",
        "capture of a virtual x86-64 machine: Linux 6.1, 4 GiB, 4 nodes in a ring",
        ("boot", "ledger", "plot --bar", "verify"),
    ),
    "oom": Example(
        "oom.txt.xz",
        "report of an OOM kill: Linux 3.13, 512 MiB, no swap",
        ("explain",),
    ),
}


def example_path(name: str) -> Path:
    """Where an example's file is. Raises UsageError if there is none of that name."""
    if name not in EXAMPLES:
        raise UsageError(f"there is no example {name!r}{among(name, EXAMPLES)}")
    return FOLDER / EXAMPLES[name].file


def with_files(args: list[str]) -> list[str]:
    """A command line with the files that its examples stand for: `example:numa4`, `--capture=example:numa4`.

    Raises UsageError for an example that there is not.
    """
    return args if args[:1] == ["example"] else [_with_file(arg) for arg in args]


def _with_file(arg: str) -> str:
    option, equals, value = arg.partition("=") if arg.startswith("--") else ("", "", arg)
    if not value.startswith(PREFIX):
        return arg
    return f"{option}{equals}{example_path(value.removeprefix(PREFIX))}"


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name, help=known.about) for name, known in EXAMPLES.items() if name.startswith(incomplete)]


@click.command()
@click.argument("name", required=False, shell_complete=_names)
@click.option("-o", "--output", metavar="FILE|-", help="Copy the example to that file; - is standard output.")
def example(name: str | None, output: str | None) -> None:
    """List the examples that come with mmtool, or say what the example NAME is.

    `example:NAME` stands for it wherever a command takes a file: `mmtool boot example:numa4`.
    """
    if name is None:
        if output is not None:
            raise UsageError(f"-o copies an example: which of {', '.join(EXAMPLES)}?")
        width = max(map(len, EXAMPLES))
        for each, known in EXAMPLES.items():
            print(f"{each:{width}}  {known.about}")
        return
    name = name.removeprefix(PREFIX)
    path = example_path(name)
    if output is None:
        known = EXAMPLES[name]
        print(f"{known.about}\n\nTry")
        for command in known.commands:
            print(f"  mmtool {command} {PREFIX}{name}")
        print(f"  mmtool example {name} -o {known.file}")
        return
    data = path.read_bytes()
    if output == "-":
        if sys.stdout.isatty():
            raise UsageError("a compressed file does not go to a terminal; give -o FILE")
        sys.stdout.buffer.write(data)
        return
    try:
        Path(output).write_bytes(data)
    except OSError as e:
        raise UsageError(f"--output {output}: {os.strerror(e.errno) if e.errno else e}") from None
