"""Shells complete mmtool's commands, options, choices and file names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from support.commands import mmtool

from mmtool.cli import COMMANDS, cli

COMPLETIONS = Path(__file__).parent.parent / "completions"
SHELLS = {shell: shutil.which(shell) for shell in ("bash", "fish", "zsh")}


def offered(line: str) -> list[str]:
    """What bash is told for a line whose last word is being typed: "plain,boot", "file,/tm"."""
    words = line.split(" ")
    env = {"_MMTOOL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = mmtool(environment=env)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split()


def test_commands_are_completed() -> None:
    assert offered("mmtool ") == [f"plain,{name}" for name in sorted(COMMANDS)]
    assert offered("mmtool me") == ["plain,memblock"]
    assert offered("mmtool memblock r") == ["plain,replay", "plain,run"]
    assert offered("mmtool --v") == ["plain,--version"]


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_every_command_are_completed(name: str) -> None:
    command = getattr(import_module(f"mmtool.cli.{name}"), name)
    long = {opt for p in command.params if isinstance(p, click.Option) for opt in p.opts if opt.startswith("--")}
    assert {word.removeprefix("plain,") for word in offered(f"mmtool {name} --")} == long | {"--help"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mmtool boot -o ", ["table", "json", "yaml", "csv", "dmesg", "svg", "html"]),
        ("mmtool map x --to d", ["dts"]),
        ("mmtool boot --only zo", ["zones", "zonelists"]),
        ("mmtool boot --only Zones,zo", ["Zones,zones", "Zones,zonelists"]),
        ("mmtool boot --only zones,zo", ["zones,zonelists"]),
        ("mmtool alloc --gfp __GFP_NOR", ["__GFP_NORETRY"]),
        ("mmtool vmalloc --gfp GFP_KERNEL,__gfp_nor", ["GFP_KERNEL,__GFP_NORETRY"]),
        ("mmtool boot --kernel debian-7.3-cloud-am", ["debian-7.3-cloud-amd64"]),
        ("mmtool profile show generic-i", ["generic-i386"]),
    ],
)
def test_choices_are_completed(line: str, words: list[str]) -> None:
    assert offered(line) == [f"plain,{word}" for word in words]


@pytest.mark.parametrize(
    "line", ["boot --e820 ", "boot -o ", "boot --capture ", "memblock run ", "replay x --state ", "capture "]
)
def test_file_names_are_left_to_the_shell(line: str) -> None:
    assert offered(f"mmtool {line}/tm") == ["file,/tm"]


@pytest.mark.parametrize("line", ["boot --cmdline ", "alloc --order "])
def test_other_words_are_not_taken_for_file_names(line: str) -> None:
    assert offered(f"mmtool {line}") == []


def test_no_command_is_imported_for_its_name() -> None:
    context = click.Context(cli, resilient_parsing=True)
    code = (
        "import sys, click; from mmtool.cli import cli\n"
        "cli.shell_complete(click.Context(cli, resilient_parsing=True), 'b')\n"
        "print(*[m for m in sys.modules if m.startswith('mmtool.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"mmtool.cli", "mmtool.cli.uses", "mmtool.errors"}
    assert [item.value for item in cli.shell_complete(context, "b")] == ["batch", "boot", "buddy", "buddyinfo"]


def in_shell(shell: str, script: str, tmp_path: Path) -> str:
    """What a shell prints in which `mmtool` is this one."""
    if SHELLS[shell] is None:
        pytest.skip(f"no {shell} here")
    program = tmp_path / "mmtool"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mmtool "$@"\n')
    program.chmod(0o755)
    root = str(COMPLETIONS.parent)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": root, "HOME": str(tmp_path)}
    done = subprocess.run([shell, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def test_bash_loads_the_installed_file(tmp_path: Path) -> None:
    call = "COMP_WORDS=(mmtool memb); COMP_CWORD=1; _mmtool_completion mmtool memb mmtool; echo ${COMPREPLY[@]}"
    script = f"source {COMPLETIONS}/mmtool; complete -p mmtool; {call}"
    assert in_shell("bash", script, tmp_path) == "complete -o nosort -F _mmtool_completion mmtool\nmemblock\n"


def test_fish_loads_the_installed_file(tmp_path: Path) -> None:
    script = f"source {COMPLETIONS}/mmtool.fish; complete -C 'mmtool memb'; complete -C 'mmtool map x --to q'"
    lines = in_shell("fish", script, tmp_path).splitlines()
    assert [line.partition("\t")[0] for line in lines] == ["memblock", "qemu"]


def test_fish_shows_descriptions_whole(tmp_path: Path) -> None:
    from mmtool.cli.boot import boot

    wanted = {opt: p.help for p in boot.params if isinstance(p, click.Option) for opt in p.opts if opt.startswith("--")}
    script = f"source {COMPLETIONS}/mmtool.fish; complete -C 'mmtool boot --'"
    shown = dict(line.split("\t") for line in in_shell("fish", script, tmp_path).splitlines())
    assert {option: shown[option] for option in wanted} == wanted
    assert any("," in (text or "") for text in wanted.values())


def test_zsh_loads_the_installed_file(tmp_path: Path) -> None:
    """Autoloaded by compinit, it offers what it is told on the first call already."""
    script = (
        f"fpath=({COMPLETIONS} $fpath); autoload -U compinit; compinit -u -d {tmp_path}/dump\n"
        "print ${_comps[mmtool]}; compdef() {}; _describe() { print -l ${(P)3} }; compadd() { print $@[-1] }\n"
        "words=(mmtool memb); CURRENT=2; _mmtool\n"
    )
    assert in_shell("zsh", script, tmp_path) == f"_mmtool\nmemblock:{COMMANDS['memblock']}\n"
