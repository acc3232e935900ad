"""`mmtool help`: the help of a command, asked for as a command."""

from __future__ import annotations

import click


@click.command()
@click.argument("command", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help(context: click.Context, command: tuple[str, ...]) -> None:
    """Show the help of COMMAND; without one, what commands there are."""
    at: click.Context | None = context.parent
    assert at is not None
    for name in command:
        group = at.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{at.command_path} has no commands", at)
        found, inner, _ = group.resolve_command(at, [name])
        assert found is not None and inner is not None
        at = click.Context(inner, parent=at, info_name=found)
    click.echo(at.get_help())
