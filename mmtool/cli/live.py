"""This machine as the input of a command: what `mmtool capture` would collect, in memory."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from mmtool.cli.output import note

if TYPE_CHECKING:
    from mmtool.build.profile import Profile
    from mmtool.capture.collect import Collected
    from mmtool.firmware.machine import Machine
    from mmtool.observed.answers import Answers

NAME = "this machine"


@cache
def collect_this_machine() -> Collected:
    """What this machine's kernel shows; what could not be read is said on standard error. Raises InputError."""
    from pathlib import Path

    from mmtool.capture.build_files import kernel_symbols
    from mmtool.capture.collect import collect

    found = collect()
    for missing in found.missing:
        if missing.name == "System.map" and kernel_symbols(Path("/")):
            continue  # the running kernel's own symbols stand in for it
        note(str(missing))
    return found


def this_machine(*, srat: str | None, slit: str | None, boot: int | None) -> tuple[Machine, Profile | None]:
    """This machine, and the profile of its kernel's build where the kernel shows one."""
    from pathlib import Path

    from mmtool.build.profile import with_estimates
    from mmtool.capture.build_files import build_of
    from mmtool.firmware.capture import CaptureFiles
    from mmtool.firmware.read import read_collected

    found = collect_this_machine()
    machine = read_collected(CaptureFiles(NAME, found.files.get), srat=srat, slit=slit, boot=boot)
    made = build_of(found.files, Path("/"), NAME)
    return machine, None if made is None else with_estimates(made.profile)


def answers_here() -> Answers:
    """What this machine's kernel reported. Raises InputError."""
    from mmtool.firmware.capture import CaptureFiles
    from mmtool.observed.answers import answers_of

    return answers_of(CaptureFiles(NAME, collect_this_machine().files.get))
