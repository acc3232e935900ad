"""What a shell is told that asks how a line with mmtool may go on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem, FishComplete, add_completion_class

from mmtool.regex import regex

_FILE = regex(r"\b(?:FILE|DIR|LOG|TRACE)\b")


@add_completion_class
class WholeFishComplete(FishComplete):
    """fish is told descriptions as they are, where click's own script ends them at their first comma."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


def one_of(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """The names that a word may become, in whatever case it is typed."""
    return [CompletionItem(name) for name in names if name.lower().startswith(incomplete.lower())]


def some_of(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """The same for a list with commas, or with | as flags are joined: its last word goes on."""
    before, last = re.fullmatch(r"(.*[,|])?(.*)", incomplete, re.S).groups("")  # type: ignore[union-attr]
    given = set(re.split(r"[,|]", before))
    return [CompletionItem(f"{before}{item.value}") for item in one_of(names, last) if item.value not in given]


class _FileName(click.types.StringParamType):
    """Text that names a file; the shell knows which there are."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


def complete_files(command: click.Command) -> None:
    """Have the shell complete file names where the help says that a file is given, its own commands included."""
    for param in command.params:
        metavar: Any = param.metavar
        if isinstance(param.type, click.types.StringParamType) and _FILE.search(metavar or ""):
            param.type = _FileName()
    for inner in getattr(command, "commands", {}).values():
        complete_files(inner)
