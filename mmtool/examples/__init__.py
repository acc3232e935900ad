"""Machines and reports that come with the program, to try it on: `example:NAME` stands for a file of this folder."""

from __future__ import annotations

from pathlib import Path

from mmtool.errors import UsageError
from mmtool.late import dataclass
from mmtool.suggest import among

PREFIX = "example:"
FOLDER = Path(__file__).parent


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


def resolved(path: str) -> str:
    """The path itself, or the file that an `example:NAME` stands for. Raises UsageError if there is none."""
    return str(example_path(path.removeprefix(PREFIX))) if path.startswith(PREFIX) else path


def with_files(args: list[str]) -> list[str]:
    """A command line with the files that its examples stand for: `example:numa4`, `--capture=example:numa4`.

    Raises UsageError for an example that there is not.
    """
    return args if args[:1] == ["example"] else [_with_file(arg) for arg in args]


def _with_file(arg: str) -> str:
    option, equals, value = arg.partition("=") if arg.startswith("--") else ("", "", arg)
    return f"{option}{equals}{resolved(value)}"
