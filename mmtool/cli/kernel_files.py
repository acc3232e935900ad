"""The files of a kernel's build on the command line, and the profile that is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmtool.cli.output import note
from mmtool.errors import InputError

if TYPE_CHECKING:
    from mmtool.build.profile import Profile

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--config", metavar="FILE", help="The kernel's configuration: /boot/config-RELEASE."),
    click.option("--system-map", metavar="FILE", help="Its System.map, where there is a real one."),
    click.option("--vmlinuz", metavar="FILE", help="Its image: a bzImage, an arm64 Image or a vmlinux."),
)


def kernel_file_options(command: F) -> F:
    """--config, --system-map and --vmlinuz."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def profile_from_files(
    config: str | None,
    system_map: str | None,
    vmlinuz: str | None,
    *,
    name: str | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Profile:
    """The profile of the kernel that the files belong to; what they do not tell is said on standard error.

    `sizes` (bytes) go before what the image says. Raises InputError and UsageError.
    """
    from mmtool.build.make import make_profile_from
    from mmtool.firmware.packed import read_raw

    made = make_profile_from(
        (_text(config), config) if config is not None else None,
        (_text(system_map), system_map) if system_map is not None else None,
        (read_raw(vmlinuz), vmlinuz) if vmlinuz is not None else None,
        name=name,
        sizes=sizes,
    )
    for gap in made.unknown:
        note(gap)
    return made.profile


def _text(path: str) -> str:
    from mmtool.firmware.packed import read_bytes

    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(path, f"byte {e.start}", "not text") from None
