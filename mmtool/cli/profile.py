"""`mmtool profile`: what is known of a kernel's build, and how to know it of one's own kernel."""

from __future__ import annotations

import click

from mmtool.cli import Group
from mmtool.cli.kernel_files import kernel_file_options, profile_from_files
from mmtool.cli.options import profile_names
from mmtool.cli.output import output_option
from mmtool.errors import UsageError
from mmtool.units import parse_size


@click.group(cls=Group)
def profile() -> None:
    """Profiles: what only a kernel's build knows - options, sizes of structures, places in the image."""


@profile.command("list")
def list_profiles() -> None:
    """List the profiles that come with mmtool."""
    from mmtool.build.profile import available

    for name in available():
        click.echo(name)


@profile.command()
@click.argument("name", shell_complete=profile_names)
def show(name: str) -> None:
    """Print a profile that comes with mmtool, as YAML."""
    from mmtool.build.profile import profile_text

    click.echo(profile_text(name), nl=False)


@profile.command()
@kernel_file_options
@click.option("--name", metavar="NAME", help="The profile's name; otherwise made from the release's.")
@click.option(
    "--size", "given", metavar="NAME=BYTES[ REMARK]", multiple=True, help="A size that the image cannot tell."
)
@output_option("yaml")
def make(
    config: str | None,
    system_map: str | None,
    vmlinuz: str | None,
    name: str | None,
    given: tuple[str, ...],
    output: str,
) -> None:
    """Make a profile from a kernel's own files, for `mmtool boot --profile`.

    Any of the files may be missing: what is then unknown, and what that costs, is said on standard error.
    """
    from mmtool.report.profile import to_yaml

    sizes, remarks = _sizes(given)
    made = profile_from_files(config, system_map, vmlinuz, name=name, sizes=sizes)
    click.echo(to_yaml(made, remarks))


def _sizes(given: tuple[str, ...]) -> tuple[dict[str, int], dict[str, str]]:
    """Sizes in bytes and remarks by name."""
    sizes: dict[str, int] = {}
    remarks: dict[str, str] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        number, _, remark = rest.strip().partition(" ")
        try:
            size = parse_size(number)
        except ValueError:
            size = -1
        if not equals or not name.isidentifier() or size < 0 or not remark.isprintable():
            raise UsageError(f"--size {text}: give a name and bytes, such as resource=64, and a remark if you like")
        sizes[name], remarks[name] = size, remark.strip() or "given by hand"
    return sizes, remarks
