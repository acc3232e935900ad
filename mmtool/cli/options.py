"""Options that several commands share, and what they make of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from mmtool.cli.kernel_files import kernel_file_options, profile_from_files
from mmtool.cli.output import Output, note
from mmtool.errors import UsageError
from mmtool.units import parse_size

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from mmtool.assumption import Assumption
    from mmtool.build.kernel import Kernel
    from mmtool.firmware.machine import Machine
    from mmtool.linux.init.boot import Boot

    IntParam = click.ParamType[int]
    RangeParam = click.ParamType[tuple[int, int]]
else:  # click made its types generic only in 8.2
    IntParam = RangeParam = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])


def profile_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For shells: the profiles that come with mmtool."""
    from mmtool.build.profile import available
    from mmtool.cli.completion import one_of

    return one_of(available(), incomplete)


class Size(IntParam):
    """A size or an address, as the kernel's memparse reads it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)


class Address(Size):
    """An address, also as an oops prints it: hex without 0x, where it could be nothing else."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        bare = isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{16}", value, re.I)
        return int(value, 16) if bare and not value.isdigit() else super().convert(value, param, ctx)


class Range(RangeParam):
    """START-END, both inclusive as in a log; becomes a half-open pair of ints."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        start, dash, end = value.partition("-")
        try:
            if not dash:
                raise ValueError(f"{value!r} is not a range START-END")
            low, high = parse_size(start), parse_size(end)
        except ValueError as e:
            self.fail(str(e), param, ctx)
        if high < low:
            self.fail(f"{value!r} ends before it starts", param, ctx)
        return low, high + 1


class BootNumber(IntParam):
    """A boot of a log, from 1 on or from the end; 0 stands for the list of them."""

    name = "boot"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value == "list":
            return LIST_BOOTS
        if not re.fullmatch(r"-?[1-9]\d{0,8}", value):
            self.fail(f"{value!r} is neither the number of a boot (1, 2, ..., -1 is the last) nor list", param, ctx)
        return int(value)


def _gfp_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from mmtool.build.choose import NEWEST_KNOWN
    from mmtool.build.gfp import gfp_flags
    from mmtool.build.release import release_facts
    from mmtool.cli.completion import some_of

    # Which flags a state's kernel has is known when it is read.
    return some_of(gfp_flags(release_facts((*NEWEST_KNOWN, 0))).masks, incomplete)


gfp_option = click.option(
    "--gfp", default="GFP_KERNEL", show_default=True, metavar="MASK", help="Flags by name or number.",
    shell_complete=_gfp_names,
)  # fmt: skip
KERNEL_ALIGN = {"x86_64": 2 << 20, "i386": 8 << 10, "arm64": 4 << 10}
"""What the physical address of an image's text is a multiple of in every build: the least CONFIG_PHYSICAL_ALIGN of x86;
of arm64 a page, since releases differ in how far behind the image's head it begins."""
LIST_BOOTS = 0
MOST_CPUS = 8192
"""The most that CONFIG_NR_CPUS may be."""
SIZE, ADDRESS, RANGE, BOOT = Size(), Address(), Range(), BootNumber()


SOURCE_OPTIONS = (
    click.argument("input", metavar="[FILE|DIR|-]", required=False),
    click.option("--e820", metavar="FILE|DIR|-", help="Read as a kernel log, /sys/firmware/memmap or a bare table."),
    click.option("--dtb", metavar="FILE|-", help="Read as a device-tree blob, as /sys/firmware/fdt."),
    click.option("--capture", metavar="DIR|FILE", help="Read as what mmtool capture made: a folder, or a tar of one."),
)
MACHINE_OPTIONS = (
    click.option("--boot", type=BOOT, metavar="N|list", help="Which of a log's boots, -1 the last; list shows them."),
    click.option("--dmesg", metavar="FILE|-", help="With a device tree: the machine's log, for the kernel's release."),
    click.option(
        "--memory",
        type=RANGE,
        metavar="START-END",
        multiple=True,
        help="With a device tree: memory, in place of its memory nodes. May be given several times.",
    ),
    click.option("--cmdline", metavar="TEXT", help="Command line in place of the input's."),
    click.option(
        "--kernel", metavar="NAME", help="A release (6.1) or a profile in place of the input's.",
        shell_complete=profile_names,
    ),
    click.option("--profile", metavar="FILE", help="A YAML profile of the kernel's build."),
    click.option(
        "--kernel-base", type=SIZE, metavar="ADDR", help="Where the kernel image lies (/proc/iomem: Kernel code)."
    ),
    click.option("--initrd", type=RANGE, metavar="START-END", help="Where the initial RAM disk lies."),
    click.option("--srat", metavar="FILE", help="The machine's SRAT, as a binary ACPI table."),
    click.option("--slit", metavar="FILE", help="The machine's SLIT, as a binary ACPI table."),
    click.option("--cpus", type=click.IntRange(1, MOST_CPUS), metavar="N", help="CPUs of the machine."),
    click.option(
        "--strict", is_flag=True, expose_value=False, callback=lambda ctx, _, wanted: _be_strict(ctx, wanted),
        help="End with exit status 4 where the answer rests on an assumption.",
    ),
)  # fmt: skip
STRICT = "mmtool.strict"
"""Where a command's context keeps whether --strict was given."""


def _be_strict(ctx: click.Context, wanted: bool) -> None:
    if wanted:
        ctx.meta[STRICT] = True


def rests_on(assumed: Sequence[Assumption]) -> None:
    """With --strict the command ends with exit status 4 where its answer rests on something that nothing shows."""
    ctx = click.get_current_context(silent=True)
    if ctx is None or not assumed or not ctx.meta.get(STRICT):
        return

    def end() -> None:
        raised = sys.exc_info()[1]
        if raised is None or isinstance(raised, click.exceptions.Exit):
            raise click.exceptions.Exit(4)

    ctx.call_on_close(end)


def machine_options(command: F) -> F:
    """INPUT and the options that say which machine is booted with which kernel: the arguments of boot_machine().

    What INPUT is, is recognised; --e820, --dtb and --capture say it. Without any of them it is this machine.
    """
    return _with_options(command, (*SOURCE_OPTIONS, *MACHINE_OPTIONS))


def input_options(command: F) -> F:
    """The same with the machine as an argument, INPUT: what it is, is recognised."""
    return _with_options(command, (click.argument("input", metavar="FILE|DIR|-"), *MACHINE_OPTIONS))


def input_or_here_options(command: F) -> F:
    """The same with INPUT, which may be left out: it is this machine then."""
    return _with_options(command, (click.argument("input", metavar="FILE|DIR", required=False), *MACHINE_OPTIONS))


def boot_options(command: F) -> F:
    """The same without what names the machine."""
    return _with_options(command, MACHINE_OPTIONS)


def _with_options(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    command = kernel_file_options(command)
    for option in reversed(options):
        command = option(command)
    return command


def boot_machine(*, cmdline: str | None, kernel_base: int | None, cpus: int | None, **sources: Any) -> Boot:
    """Boot the machine of the machine options (or of the input options); without a file it is this one.

    Addresses and ranges in bytes. Raises InputError and UsageError.
    """
    from mmtool.answers.assumed import assumptions
    from mmtool.firmware.machine import E820Type
    from mmtool.linux.init.main import start_kernel

    machine, kernel = machine_and_kernel(**sources)
    if kernel_base is not None:
        if kernel_base % KERNEL_ALIGN[kernel.arch]:
            place = f"a multiple of {KERNEL_ALIGN[kernel.arch]:#x}"
            raise UsageError(f"--kernel-base {kernel_base:#x}: an image for {kernel.arch} lies at {place}")
        machine = replace(machine, kernel_base=kernel_base)
    if cpus is not None:
        machine = replace(machine, cpus=cpus)
    booted = start_kernel(machine, kernel, cmdline=cmdline)
    ram = [e for e in booted.firmware_map if e.type == E820Type.RAM]
    if kernel_base is not None and not any(e.start <= kernel_base < e.end for e in ram):
        raise UsageError(f"--kernel-base {kernel_base:#x}: there is no memory for the kernel's image")
    say_warnings(machine)
    rests_on(assumptions(booted))
    return booted


def say_warnings(machine: Machine) -> None:
    """Say on standard error what the reader of the machine left out or took for something, by line."""
    for line, warning in machine.warnings:
        note(f"{machine.origin}:{f'{line}:' if line else ''} {warning}")


def machine_and_kernel(
    *,
    input: str | None = None,
    e820: str | None = None,
    dtb: str | None = None,
    capture: str | None = None,
    dmesg: str | None,
    memory: tuple[tuple[int, int], ...],
    kernel: str | None,
    profile: str | None,
    initrd: tuple[int, int] | None,
    srat: str | None,
    slit: str | None,
    config: str | None,
    system_map: str | None,
    vmlinuz: str | None,
    boot: int | None = None,
    need_memory: bool = True,
) -> tuple[Machine, Kernel]:
    """What the options say of the machine and of its kernel. Raises InputError and UsageError.

    Without `need_memory` a device tree need not say where memory is.
    """
    from mmtool.build.choose import kernel_for
    from mmtool.build.profile import read_profile, with_estimates
    from mmtool.firmware.read import read_board, read_capture, read_input, read_machine

    if sum(source is not None for source in (input, e820, dtb, capture)) > 1:
        raise UsageError("a file, --e820, --dtb and --capture each bring a map of their own; give one of them")
    if boot == LIST_BOOTS:
        _list_boots(dmesg or input or e820 or capture)
    if dtb is None and input is None:
        if dmesg is not None:
            raise UsageError("--dmesg goes with --dtb; a log with a map is given with --e820")
        if memory and capture is None:
            raise UsageError("--memory goes with --dtb; another map says itself where memory is")
    files = (config, system_map, vmlinuz)
    if profile is not None and files != (None, None, None):
        raise UsageError("--profile says what --config, --system-map and --vmlinuz would; give one or the others")
    here = None
    if input is not None:
        machine = read_input(input, dmesg, memory, srat=srat, slit=slit, need_memory=need_memory, boot=boot)
    elif dtb is not None:
        if srat is not None or slit is not None:
            raise UsageError("--srat and --slit go with a map; a device tree says itself which memory is whose")
        machine = read_board(dtb, dmesg, memory, need_memory=need_memory, boot=boot)
    elif capture is not None:
        machine = read_capture(capture, memory, srat=srat, slit=slit, boot=boot)
    elif e820 is not None:
        machine = read_machine(e820, srat=srat, slit=slit, boot=boot)
    else:
        from mmtool.cli.live import this_machine

        machine, here = this_machine(srat=srat, slit=slit, boot=boot)
    if initrd is not None:
        machine = replace(machine, initrd=initrd)
    made = here if kernel is None else None
    if profile is not None:
        made = read_profile(profile)
    elif files != (None, None, None):
        made = with_estimates(profile_from_files(*files))
    return machine, kernel_for(machine, kernel, made)


def _list_boots(path: str | None) -> None:
    """Print the boots of the log at `path` (or of a capture's) and end. Raises InputError and UsageError."""
    from mmtool.firmware.read import read_boots

    if path is None:
        raise UsageError("--boot list goes with a log")
    ctx = click.get_current_context(silent=True)
    asked = ctx is not None and ctx.get_parameter_source("output") is ParameterSource.COMMANDLINE
    if ctx is not None and asked and ctx.params["output"] != Output("table"):
        raise UsageError("--boot list prints lines; it does not go with -o")
    for line in read_boots(path):
        print(line)
    sys.exit(0)
