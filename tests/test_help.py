"""The help of every command: two lines to try at its foot, its own options before those that others have too."""

from __future__ import annotations

import re
import shlex
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from mmtool.cli import COMMANDS, cli
from mmtool.cli.uses import USES
from mmtool.examples import with_files


def commands() -> dict[str, click.Command]:
    """Every command by the words that call it; "" is mmtool."""
    found: dict[str, click.Command] = {"": cli}
    for name in COMMANDS:
        command = getattr(import_module(f"mmtool.cli.{name}"), name)
        found[name] = command
        found |= {f"{name} {sub}": inner for sub, inner in getattr(command, "commands", {}).items()}
    return found


def test_every_command_has_a_foot() -> None:
    assert set(USES) == set(commands())
    assert all(len(lines) == 2 and len(set(lines)) == 2 for lines in USES.values())
    assert all(len(f"  {line}") <= 100 for lines in USES.values() for line in lines)


@pytest.mark.parametrize("words", USES)
def test_its_lines_call_it_with_what_it_has(words: str) -> None:
    """Every line is one that the command's own parser takes."""
    for line in USES[words]:
        calls = [part for part in re.split(r"\s[|<]\s|ssh desk ", line) if "mmtool" in part]
        assert any(call.removeprefix("sudo ").startswith(f"mmtool {words}".rstrip()) for call in calls)
        for call in calls:
            args = with_files(shlex.split(call.removeprefix("sudo "))[1:])
            if args[0] == "dmesg.txt":
                args = ["boot", *args]
            name, *rest = args
            command = commands()[name]
            if isinstance(command, click.Group):
                command, rest = command.commands[rest[0]], rest[1:]
            with click.Context(cli, help_option_names=["-h", "--help"]) as parent:
                command.make_context(name, rest, parent=parent)


@pytest.mark.parametrize("words", USES)
def test_it_is_shown(words: str) -> None:
    shown = CliRunner().invoke(cli, [*words.split(), "--help"]).stdout
    assert shown.endswith("".join(f"    {line}\n" for line in USES[words]))


@pytest.mark.parametrize("name", ["boot", "plot", "whatif", "reserve", "alloc", "vmalloc"])
def test_own_options_come_first(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"]).stdout
    own = {"boot": "--why", "plot": "--bar", "whatif": "--cmdline+", "reserve": "--crashkernel"}.get(name, "--explain")
    shared = "--state" if name in ("alloc", "vmalloc") else "--cmdline TEXT"
    assert shown.index(f"  {own} ") < shown.index("  -o, --output ") < shown.index(f"  {shared}")
