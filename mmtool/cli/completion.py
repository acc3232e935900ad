"""What a shell is told that asks how a line with mmtool may go on."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from mmtool.regex import regex

_FILE = regex(r"\b(?:FILE|DIR|LOG|TRACE)\b")


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
