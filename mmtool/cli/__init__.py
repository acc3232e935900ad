"""The command line: one module a command, each imported when it is asked for."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from signal import SIG_DFL, SIGHUP, SIGINT, SIGPIPE, SIGTERM, default_int_handler, getsignal, signal
from types import FrameType
from typing import TYPE_CHECKING

import click

from mmtool import __version__
from mmtool.cli.uses import dress
from mmtool.errors import InputError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

GROUPS = {
    "Predict": {
        "boot": "Boot a machine's memory map in the model and show what Linux makes of it.",
        "ledger": "Say where the memory went, from the firmware's map to MemTotal.",
        "whatif": "Show what other options on the command line would change.",
        "diff": "Boot two machines and show only what differs.",
        "plot": "Draw the physical memory of a boot: as SVG, or as bars in the terminal.",
        "batch": "Boot many machines and print a row for each.",
    },
    "Ask": {
        "explain": "Explain every failed allocation that a kernel log reports.",
        "reserve": "Say whether a reservation would fit, where, and what stops it.",
        "lint": "Say what is wrong with a device tree or a memory map, and what to change.",
    },
    "Check": {
        "verify": "Compare what is predicted with what the kernel reported.",
        "replay": "Do a recorded trace of allocations again, and compare page by page.",
        "capture": "Collect what this machine's kernel says of its memory, for a boot elsewhere.",
    },
    "Allocate": {
        "alloc": "Allocate pages on a state as the kernel would, and say why it went so.",
        "free": "Free pages on a state, and show what they merge into.",
        "vmalloc": "Allocate virtually contiguous memory on a state; read a /proc/vmallocinfo.",
        "buddyinfo": "Show the free blocks of a state, also as /proc/buddyinfo has them.",
    },
    "Parts of the model": {
        "memblock": "Run or replay operations of memblock, the allocator of early boot.",
        "buddy": "Hand boot memory over to the buddy allocator and show its free lists.",
        "process": "Do memory operations on a process and say what each returns, and why.",
        "reclaim": "Say which pages a memory cgroup keeps, and which reclaim takes.",
        "slab": "Lay out the caches of a kernel's slab allocator, and run calls on them.",
        "walk": "Follow an address of a process through its page tables.",
        "zram": "Show what compressed memory takes: size classes, and a device step by step.",
    },
    "Formats and help": {
        "example": "List machines that come with mmtool, to try it on: `mmtool boot example:numa4`.",
        "map": "Show the firmware's map of memory, or convert it for others.",
        "profile": "Show what is known of kernels' builds; make a profile of your own kernel.",
        "schema": "List the documents that mmtool prints and reads; show the JSON Schema of one.",
        "help": "Show the help of a command.",
    },
}
"""What a command is for -> command -> one line of help. Its module mmtool.cli.<command> holds a click command of that
name."""
COMMANDS = {name: text for group in GROUPS.values() for name, text in sorted(group.items())}


class Group(click.Group):
    """A group that shows its help on standard error, as wrong usage, when it is called alone: click before 8.2 shows
    it as an answer."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help(), file=sys.stderr)
            ctx.exit(2)
        return super().parse_args(ctx, args)


class LazyGroup(Group):
    """A group whose commands are imported only when they run or show their own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"mmtool.cli.{name}"), name)
        if ctx.resilient_parsing:  # a shell asks how a line may go on
            from mmtool.cli.completion import complete_files

            complete_files(command)
        dress(command, name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands come from the table, so that none is imported for its name; options as for any command."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=COMMANDS[name]) for name in names]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with; a file or folder alone is booted."""
        if args[0] not in COMMANDS:
            if args[0] == "-" or os.path.exists(args[0]):
                args = ["boot", *args]
            elif not args[0].startswith("-"):
                from mmtool.suggest import among

                ctx.fail(f"there is no command {args[0]!r}{among(args[0], (*COMMANDS, '--version'))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="mmtool")
@click.option(
    "--unpack", metavar="SIZE", expose_value=False, callback=lambda ctx, _, size: _allow(size),
    help="Unpack a compressed file up to SIZE, however small it is.",
)  # fmt: skip
def cli() -> None:
    """What Linux does with a machine's memory, told away from the machine.

    Give it what the firmware said (a kernel log, /sys/firmware/memmap, a device tree) and it prints what the kernel
    would: `mmtool dmesg.txt`. `mmtool help COMMAND` tells more of each command.
    """


dress(cli, "")


def _allow(size: str | None) -> None:
    """--unpack: for files that one trusts."""
    if size is None:
        return
    from mmtool.firmware.packed import allow
    from mmtool.units import parse_size

    try:
        allow(parse_size(size))
    except ValueError as e:
        raise UsageError(f"--unpack: {e}") from None


def main() -> None:
    """Entry point: exit status 0 done, 1 the answer is no, 2 wrong usage, 3 unusable input."""
    # A reader that has seen enough, as in `mmtool ... | head`, ends the program without a word.
    signal(SIGPIPE, SIG_DFL)
    end_when_told()
    if sys.stdout is None:
        _fail("standard output is closed; give it somewhere to go", 3)
    if "_MMTOOL_COMPLETE" in os.environ:
        import_module("mmtool.cli.completion")
    try:
        # Without click's own error handling, the status of a command that exits early is what the call returns.
        status = cli(_arguments(), prog_name="mmtool", standalone_mode=False)
        sys.stdout.flush()
        if status:
            sys.exit(status)
    except InputError as e:
        _fail(str(e), 3)
    except UsageError as e:
        _fail(str(e), 2)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.UsageError as e:
        _fail(_usage(e), e.exit_code)
    except click.ClickException as e:
        _fail(e.format_message(), e.exit_code)
    except OSError as e:
        # Whoever reads input says more of it; this is the output, such as a full disk.
        _fail(f"{'standard output' if e.filename is None else e.filename}: {e.strerror or e}", 3)
    except Exception as e:
        if os.environ.get("MMTOOL_DEBUG"):
            raise
        _fail(_defect(e), 3)


def end_when_told() -> None:
    """At Ctrl-C, SIGTERM and SIGHUP remove what is half written, say so and end by that signal, at whatever moment.

    Nothing is raised for it: Python drops an exception that comes while it imports or collects garbage, and the
    command would go on. Whoever has a signal ignored, as nohup does, wants it so.
    """
    started = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == started:  # no worker of a batch
            if written := sys.modules.get("mmtool.written"):  # else nobody has begun to write
                written.remove_parts()
            os.write(2, b"mmtool: stopped\n")
        signal(number, SIG_DFL)
        os.kill(os.getpid(), number)

    for number in (SIGINT, SIGTERM, SIGHUP):
        if getsignal(number) in (SIG_DFL, default_int_handler):
            signal(number, stop)


def _arguments() -> list[str]:
    """What the command is called with, a file's name in place of each `example:NAME`."""
    args = sys.argv[1:]
    if not any("example:" in arg for arg in args):
        return args
    from mmtool.examples import with_files

    return with_files(args)


def _usage(error: click.UsageError) -> str:
    """What is wrong with the command line, and where its help is."""
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    see = f"see {error.ctx.command_path if error.ctx is not None else _called()} -h"
    return f"{message} ({see})" if message.endswith("?") else f"{message}; {see}"


def _called() -> str:
    """The words of the command line that name a command, where click does not know it: an option without its value."""
    first, second = (*sys.argv[1:], "", "")[:2]
    if first not in COMMANDS:
        return "mmtool"
    command = getattr(import_module(f"mmtool.cli.{first}"), first)
    return f"mmtool {first} {second}" if second in getattr(command, "commands", {}) else f"mmtool {first}"


def _defect(error: Exception) -> str:
    """What to say of an error that no part of mmtool foresaw."""
    if isinstance(error, MemoryError):
        return "the input asks for more memory than there is (MMTOOL_DEBUG=1 shows where)"
    what = type(error).__name__
    return f"cannot go on with this input: {what}: {error} (a defect of mmtool; MMTOOL_DEBUG=1 shows where)"


LONGEST = 300
"""Characters of a message; what a hostile input makes longer is cut in the middle."""


def _fail(message: str, status: int) -> None:
    from mmtool.report.untrusted import one_line

    text = one_line(message)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 100]} ... {text[-90:]}"
    print(f"mmtool: {text}", file=sys.stderr)
    sys.exit(status)
