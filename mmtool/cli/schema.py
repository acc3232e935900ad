"""`mmtool schema`: the JSON Schemas of what mmtool prints and reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from mmtool.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from mmtool.schema import load, names

    return [CompletionItem(name, help=load(name)["description"]) for name in names() if name.startswith(incomplete)]


@click.command()
@click.argument("name", required=False, shell_complete=_names)
def schema(name: str | None) -> None:
    """List the documents that mmtool prints and reads, or print the JSON Schema of the document NAME.

    The schema of mmtool.boot/1 is `mmtool schema boot`; it holds those that it refers to.
    """
    from mmtool.schema import bundle, load, names

    known = names()
    if name is None:
        width = max(map(len, known))
        for each in known:
            print(f"{each:{width}}  {load(each)['description']}")
        return
    if name not in known:
        from mmtool.suggest import among

        raise UsageError(f"there is no schema {name!r}{among(name, known)}")
    print(json.dumps(bundle(name), indent=2, ensure_ascii=False))
