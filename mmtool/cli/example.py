"""`mmtool example`: machines that come with the program, to try it on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mmtool.cli.output import written
from mmtool.errors import UsageError
from mmtool.examples import EXAMPLES, PREFIX, example_path

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name, help=known.about) for name, known in EXAMPLES.items() if name.startswith(incomplete)]


@click.command()
@click.argument("name", required=False, shell_complete=_names)
@click.option("-o", "--output", metavar="FILE|-", help="Copy it to that file, named as it is; - is standard output.")
def example(name: str | None, output: str | None) -> None:
    """List the examples that come with mmtool, or say what the example NAME is.

    `example:NAME` stands for it wherever a command takes a file: `mmtool boot example:numa4`.
    """
    if name is None:
        if output is not None:
            raise UsageError(f"-o copies an example: which of {', '.join(EXAMPLES)}?")
        from mmtool.report.table import folded

        width = max(map(len, EXAMPLES))
        for each, known in EXAMPLES.items():
            print(folded(f"{each:{width}}  {known.about}"))
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
    suffixes = "".join(path.suffixes)
    if output == "-" and sys.stdout.isatty():
        raise UsageError("a compressed file does not go to a terminal; give -o FILE")
    if output != "-" and not output.lower().endswith(suffixes):
        raise UsageError(f"-o {output}: the example is a {suffixes[1:]}: name a file {name}{suffixes} or the like")
    with written(None if output == "-" else output):
        sys.stdout.buffer.write(path.read_bytes())
