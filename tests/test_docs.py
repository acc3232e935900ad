"""README, tour and man pages say what the program does: every command, every option, every quoted output.

`python tests/test_docs.py` writes the outputs that the commands print now in place of those that are quoted, and draws
README's picture.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mmtool.cli import COMMANDS, cli
from mmtool.examples import with_files

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "man").glob("*.[157]"))
CONCEPTS = ROOT / "man" / "mmtool-concepts.7"
PICTURE = ROOT / "docs" / "laptop.svg"
TOURS = [ROOT / "docs" / name for name in ("tour.md", "tour.zh.md")]
QUOTED = dict.fromkeys([README, *TOURS], ("```console\n", "```\n")) | dict.fromkeys(PAGES, (".EX\n", ".EE\n"))
"""How a file begins and ends a block of commands ("$ ...") with what they print."""
OPTION = re.compile(r"(?<![\w-])(?:--[a-z][a-z0-9-]*\+?|-[a-zA-Z])(?![\w+-])")
LONG_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*\+?(?![\w+-])")
ESCAPES = {r"\(aq": "'", r"\(ga": "`", r"\(ha": "^", r"\(ti": "~", r"\e": "\\"}


def commands() -> dict[str, click.Command]:
    """Every command by the words that call it: "boot", "memblock run"."""
    found = {}
    for name in COMMANDS:
        command = getattr(import_module(f"mmtool.cli.{name}"), name)
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": inner for sub, inner in command.commands.items()}
    return found


def options_of(command: click.Command) -> set[str]:
    context = click.Context(command, help_option_names=cli.context_settings["help_option_names"])
    return {opt for p in command.get_params(context) if isinstance(p, click.Option) for opt in p.opts}


def unescaped(roff: str) -> str:
    """Roff text as the reader sees it, requests left as they are."""
    text = re.sub(r"\\f(?:\[[A-Z]*\]|.)|\\&", "", roff).replace("\\-", "-")
    for escape, character in ESCAPES.items():
        text = text.replace(escape, character)
    return text


def plain(roff: str) -> str:
    """A man page's words, without requests and comments."""
    lines = [line for line in roff.splitlines() if not line.startswith('.\\"')]
    words = (re.sub(r"^\.[A-Z]+ ?", "", line).replace('"', "") if line.startswith(".") else line for line in lines)
    return unescaped("\n".join(words))


def defined(roff: str) -> set[str]:
    """The options that a page explains: those of its .TP tags."""
    tags = re.findall(r"^\.TP.*\n(\.[BI].*|\\f.*)\n", roff, flags=re.M)
    return {option for tag in tags for option in OPTION.findall(plain(tag))}


def known_options(name: str) -> set[str]:
    """Options of a command and its subcommands; of all when there is no such command (the page is about all)."""
    found = {words: options_of(command) for words, command in commands().items()}
    mine = [options for words, options in found.items() if words.split()[0] == name]
    return set().union(*(mine or found.values()), options_of(cli))


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_command_and_option_is_in_its_man_page(name: str) -> None:
    page = (ROOT / "man" / (f"mmtool-{name}.1" if name else "mmtool.1")).read_text()
    if name:
        assert known_options(name) - options_of(cli) <= defined(page) <= known_options(name)
        assert all(f"mmtool {words}" in plain(page) for words in commands() if words.split()[0] == name)
    else:
        assert defined(page) == options_of(cli)
        assert set(re.findall(r"\bmmtool-([a-z]+) ?\(1\)", plain(page))) == set(COMMANDS)


@pytest.mark.parametrize("path", [README, *PAGES], ids=lambda path: path.name)
def test_no_option_is_mentioned_that_does_not_exist(path: Path) -> None:
    own = path.stem.removeprefix("mmtool-")
    for line in (path.read_text() if path == README else plain(path.read_text())).splitlines():
        for option in LONG_OPTION.finditer(line.partition("bin/pytest ")[0]):
            called = re.findall(r"\bmmtool ([a-z]+)", line[: option.start()])
            assert option[0] in known_options(called[-1] if called else own), line


def environment() -> dict[str, str]:
    """The environment in which a reader runs the examples: this installation's mmtool first, no terminal."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}


@cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """What stands for /tmp in the documentation: two runs at once do not meet there."""
    return tempfile.TemporaryDirectory(prefix="mmtool-docs-")


@cache
def run(line: str) -> subprocess.CompletedProcess[str]:
    """A command line of the documentation, run in the repository."""
    line = line.replace("/tmp/", f"{scratch().name}/")
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, env=environment(), capture_output=True, text=True)
    out, err = (said.replace(f"{scratch().name}/", "/tmp/") for said in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(line, done.returncode, out, err)


@cache
def printed(command: str) -> str:
    """What a command line of the documentation prints."""
    done = run(command)
    return done.stdout + done.stderr


def examples(path: Path) -> Iterator[tuple[str, str]]:
    """Each quoted command of a file with the output that stands under it, as the reader sees them."""
    first, last = QUOTED[path]
    for block in re.findall(f"^{re.escape(first)}(.*?)^{re.escape(last)}", path.read_text(), flags=re.M | re.S):
        text = block if path.suffix == ".md" else unescaped(block)
        yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, flags=re.M)


EXAMPLES = [(path, *example) for path in QUOTED for example in examples(path)]


@pytest.mark.parametrize(("path", "command", "output"), EXAMPLES, ids=lambda value: getattr(value, "name", None) or "")
def test_a_quoted_output_is_what_the_command_prints(path: Path, command: str, output: str) -> None:
    assert printed(command) == output


def test_the_tours_have_the_same_ten_stops() -> None:
    english, chinese = ([command for command, _ in examples(path)] for path in TOURS)
    assert english == chinese
    for path in TOURS:
        stops = re.split(r"^## \d+\. ", path.read_text(), flags=re.M)[1:]
        assert len(stops) == 10
        assert all("```console\n$ mmtool " in stop or "| mmtool " in stop for stop in stops)
    functions = [re.findall(r"`\w+\(\)`", path.read_text()) for path in TOURS]
    assert set(functions[0]) == set(functions[1])


def drawn() -> str:
    """The picture that README shows, as the command draws it now."""
    command = ["mmtool", "plot", "example:laptop"]
    return subprocess.run(command, env=environment(), capture_output=True, text=True).stdout


def test_the_picture_is_what_the_command_draws() -> None:
    assert PICTURE.read_text() == drawn()
    assert f"(docs/{PICTURE.name})" in README.read_text()


def shell_lines() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```\n", README.read_text(), flags=re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("line", shell_lines())
def test_every_command_of_the_readme_works(line: str) -> None:
    done = run(line)
    # that a log reports a failure is explain's exit status, as that they differ is diff's
    remarks = [said for said in done.stderr.splitlines() if not said.startswith("mmtool: assumed: ")]
    assert (done.returncode, remarks) == (int("mmtool explain" in line), [])
    assert done.stdout


def terms() -> dict[str, str]:
    """Each term of mmtool-concepts(7) with what is said of it."""
    parts = re.split(r"^\.SS (.*)\n", CONCEPTS.read_text(), flags=re.M)
    return dict(zip(map(unescaped, parts[1::2]), parts[2::2], strict=True))


@pytest.mark.parametrize("term", terms())
def test_a_term_has_a_few_lines_and_a_command_that_works(term: str) -> None:
    said, block, _ = re.split(r"^\.(?:EX|EE)\n", terms()[term], flags=re.M)
    assert 200 < len(plain(said)) < 640
    assert re.search(r"^\.RI \( [a-z_]\w+ \(\)\)$", said, flags=re.M)
    command = unescaped(block)
    assert re.search(r"\bmmtool [a-z]", command)
    # that a log reports a failure is explain's exit status
    expected = int("mmtool explain" in command)
    if "|" in command:
        done = run(f"cd / && {command}")
        assert (done.returncode, done.stdout != "") == (expected, True), done.stderr
        return
    for line in command.splitlines():
        result = CliRunner().invoke(cli, with_files(shlex.split(line)[1:]))
        assert (result.exit_code, result.stdout != "") == (expected, True), result.stderr


@pytest.mark.skipif(shutil.which("man") is None, reason="no man here")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_man_pages_are_without_errors(page: Path) -> None:
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)]
    env = os.environ | {"LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")


def roff(text: str) -> str:
    """Lines of output as they stand in a man page."""
    for escape, character in reversed(ESCAPES.items()):
        text = text.replace(character, escape)
    text = text.replace("-", "\\-")
    return re.sub(r"^(?=[.])", r"\\&", text, flags=re.M)


def rewrite(path: Path) -> None:
    """Put what every quoted command prints now in place of its output."""
    first, last = QUOTED[path]
    quote = str if path.suffix == ".md" else roff

    def block(match: re.Match[str]) -> str:
        calls = re.findall(r"^\$ .*\n", match[1], flags=re.M)
        if not calls:
            return match[0]
        run = [(call, printed((call if path.suffix == ".md" else unescaped(call))[2:].rstrip("\n"))) for call in calls]
        return first + "".join(call + quote(output) for call, output in run) + last

    text = re.sub(f"^{re.escape(first)}(.*?)^{re.escape(last)}", block, path.read_text(), flags=re.M | re.S)
    path.write_text(text)


if __name__ == "__main__":
    for file in QUOTED:
        rewrite(file)
    PICTURE.write_text(drawn())
