"""mmtool process: a process's memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmtool.cli import Group
from mmtool.cli.options import Size
from mmtool.cli.output import output_option

if TYPE_CHECKING:
    from mmtool.linux.fs.proc.task_mmu import Smap
    from mmtool.system.process import Process
    from mmtool.system.process_memory import Backing


@click.group(cls=Group)
def process() -> None:
    """A process's address space: mappings, faults, page tables, huge pages."""


KINDS = {"fixed": "/vmrun", "pie": "/vmrun-pie", "static-pie": "/vmrun-spie"}
F = TypeVar("F", bound=Callable[..., Any])


def machine_options(command: F) -> F:
    """The options that describe a machine for who brings no record of one."""
    for option in reversed(
        (
            click.option("--kernel", default="6.12", show_default=True, metavar="RELEASE", help="The release."),
            click.option("--arch", type=click.Choice(["x86_64", "i386", "arm64"]), default="x86_64", show_default=True),
            click.option("--task", type=click.Choice(["native", "compat32"]), default="native", show_default=True,
                         help="A 64-bit program, or a 32-bit one on a 64-bit kernel."),
            click.option("--va-bits", type=click.Choice(["48", "57", "52"]), help="Bits of a virtual address."),
            click.option("--memory", type=Size(), default="1G", show_default=True, help="MemTotal of the machine."),
            click.option("--config", metavar="FILE", help="The kernel's own configuration."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def machine_of(options: dict[str, Any]) -> dict[str, Any]:
    from mmtool.build.fact import parse_version
    from mmtool.build.kconfig import read_config
    from mmtool.errors import UsageError
    from mmtool.observed.process_records import read_text
    from mmtool.system.process_default import machine

    if parse_version(options["kernel"]) is None:
        raise UsageError(f"{options['kernel']!r} is not a kernel release (6.1, 6.12.3)")
    config = None
    if options["config"] is not None:
        config = read_config(read_text(options["config"]), options["config"]).options
    bits = int(options["va_bits"]) if options["va_bits"] is not None else None
    if bits not in (None, 48, {"x86_64": 57, "arm64": 52}.get(options["arch"])):
        raise UsageError(f"--va-bits {bits}: {options['arch']} has none so wide")
    if options["arch"] == "i386" and (bits == 48 or options["task"] == "compat32"):
        raise UsageError("a kernel for i386 has no 64-bit programs beside which one of 32 bits would be another")
    return machine(options["kernel"], options["arch"], options["task"], options["memory"], va_bits=bits, config=config)


@process.command("run", short_help="Do a script of memory operations and say what each returns and why.")
@click.argument("file", metavar="SCRIPT|FILE.jsonl|-")
@machine_options
@click.option("--start", metavar="FILE.json", help="The process to begin with: a record's machine and start.")
@click.option(
    "--explain", type=int, metavar="LINE", help="Show what this line of the script changed, mapping by mapping."
)
@click.option(
    "--root", type=click.Path(path_type=Path), default="/", metavar="DIR", help="Where the programs of a trace lie."
)
@click.option("--exe", metavar="PROGRAM", help="The program of a trace that does not begin with its execve.")
@click.option("--state", metavar="FILE|-", help="The machine that a script's process gets its pages from.")
@output_option("table", "json")
def run(
    file: str,
    start: str | None,
    explain: int | None,
    root: Path,
    exe: str | None,
    state: str | None,
    output: str,
    **options: Any,
) -> None:
    """Do a script of memory operations: what each returns and why, and what it changes.

    FILE is a script, one operation a line, or records of scripts, one JSON object a line (plain, gzip or xz);
    of records the answers come one a line. What strace -e trace=memory,process wrote of a program under setarch -R
    (plain, -f, -y) is done again, and compared with what the kernel returned.
    """
    from mmtool.errors import InputError, UsageError
    from mmtool.linux.mm.mmap.mm_types import Refused
    from mmtool.observed.process_records import read_text, records_of, split_script
    from mmtool.observed.strace import is_strace
    from mmtool.report.process import explain_tables, memory_json, memory_tables, run_json, run_table
    from mmtool.report.table import text_tables
    from mmtool.system.process import from_start
    from mmtool.system.process_default import default_process
    from mmtool.system.process_script import ScriptError
    from mmtool.system.process_script import run as run_script

    if explain is not None and output == "json":
        raise UsageError("--explain shows tables; json has every mapping after every step")
    text = read_text(file)
    of_script = {"--start": start, "--state": state, "--explain": explain}
    extra = next((name for name, value in of_script.items() if value is not None), None)
    if extra is not None and (text.lstrip().startswith("{") or is_strace(text)):
        raise UsageError(f"{extra} goes with a script, which {file} is not")
    if text.lstrip().startswith("{"):
        _run_records(text, file, output)
        return
    if is_strace(text):
        run_trace(text, file, machine_of(options), root, exe, output)
        return
    backing: Backing | None = None
    setup, operations = split_script(text)
    script = [words for _, words in operations]
    try:
        if start is not None:
            records = [record for _, record in records_of(read_text(start).replace("\n", " "), start)]
            if not records:
                raise InputError(start, None, "there is no record of a process in it")
            record = records[0]
            made = from_start(record["machine"], [*record.get("setup", ()), *setup], record["start"])
        else:
            if state is not None:
                backing = backing_of(state, options)
            made = default_process(machine_of(options), setup)
        before = [snapshot_rows(made)]
    except (Refused, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise InputError(start or file, None, f"no process can be made of it: {error}") from None
    steps = []
    try:
        if backing is not None:
            backing.note()
            backing.follow(made)
        for step in run_script(made, script):
            steps.append(step)
            if backing is not None:
                backing.follow(made)
    except ScriptError as error:
        raise InputError(file, operations[error.line][0], str(error)) from None
    memory = None
    if backing is not None:
        backing.note()
        held = backing.pages()
        backing.exit(made)
        backing.note()
        memory = memory_json(backing, held)
    if output == "json":
        click.echo(run_json(None, steps, memory))
        return
    if explain is not None:
        at = next((i for i, step in enumerate(steps) if step.line >= 0 and operations[step.line][0] == explain), None)
        if at is None:
            raise InputError(file, explain, "no operation on this line was done")
        rows = steps[at - 1].rows if at else before[0]
        click.echo(text_tables(explain_tables(script[steps[at].line], steps[at], rows)))
        return
    tables = [run_table("Operations", script, steps, [number for number, _ in operations])]
    click.echo(text_tables(tables + (memory_tables(memory) if memory is not None else [])))


def _run_records(text: str, file: str, output: str) -> None:
    """Run the scripts of records, each on the process that its record begins with; an answer each."""
    from mmtool.errors import InputError
    from mmtool.linux.mm.mmap.mm_types import Refused, TooManyFaults
    from mmtool.observed.process_records import records_of
    from mmtool.report.process import run_json, run_table
    from mmtool.report.table import text_tables
    from mmtool.system.process import Left, from_start
    from mmtool.system.process_script import ScriptError
    from mmtool.system.process_script import run as run_script

    left = Left.of_records(len(text))
    for number, record in records_of(text, file):
        try:
            made = from_start(record["machine"], record.get("setup", ()), record["start"], left)
            steps = list(run_script(made, record["script"]))
        except (ScriptError, Refused, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise InputError(file, number, f"{type(error).__name__}: {error}") from None
        except TooManyFaults:
            raise InputError(file, number, "more pages by here than are looked at; make two of it") from None
        if output == "json":
            click.echo(run_json(record.get("id"), steps))
        else:
            click.echo(text_tables([run_table(str(record.get("id") or "script"), record["script"], steps)]))


def backing_of(state: str, options: dict[str, Any]) -> Backing:
    """The system of a state, whose release, architecture and memory count then."""
    from mmtool.cli.states import read_json, system_of_json
    from mmtool.system.process_memory import Backing

    system = system_of_json(read_json(state), state)
    page = 1 << system.kernel.page_shift
    options |= {
        "kernel": system.kernel.name, "arch": system.kernel.arch,
        "memory": sum(zone.managed_pages for zone in system.zones()) * page,
    }  # fmt: skip
    return Backing(system)


def run_trace(text: str, file: str, machine: dict[str, Any], root: Path, exe: str | None, output: str) -> None:
    """What `run` does of strace's output."""
    from mmtool.errors import InputError
    from mmtool.observed.program import read_program
    from mmtool.observed.strace import parse_strace
    from mmtool.report.process import trace_json, trace_tables
    from mmtool.report.table import text_tables
    from mmtool.system.process_layout import program
    from mmtool.system.process_strace import BadTrace, Replay

    def load(name: str) -> tuple[Any, Any]:
        described, interpreter = read_program(root / name.lstrip("/") if name.startswith("/") else root / name)
        needed = program(read_program(root / interpreter.lstrip("/"))[0], interpreter) if interpreter else None
        return program(described, name), needed

    replay = Replay(machine, load)
    try:
        if exe is not None:
            replay.first = replay.execve(exe)
        done = list(replay.run(parse_strace(text, file)))
    except BadTrace as error:
        raise InputError(file, error.line, str(error)) from None
    click.echo(trace_json(done) if output == "json" else text_tables(trace_tables(done)))


def snapshot_rows(made: Process) -> list[Smap]:
    """The mappings of a process before its script begins."""
    from mmtool.linux.fs.proc.task_mmu import smap

    return [smap(made.task, vma) for vma in made.task.mm.vmas]


@process.command("layout", short_help="Say where a program and its mappings lie after exec.")
@click.argument("file", metavar="[FILE.jsonl|-]", required=False)
@machine_options
@click.option("--rlimit", multiple=True, metavar="NAME=VALUE", help="A resource limit: stack=unlimited, stack=64K.")
@click.option("--personality", metavar="BITS", default="0", show_default=True, help="As personality(2) takes it.")
@click.option(
    "--exec",
    "kind",
    type=click.Choice(["fixed", "pie", "static-pie"]),
    default="fixed",
    show_default=True,
    help="The kind of program.",
)
@click.option("--randomize", is_flag=True, help="The ranges with randomisation on, in place of one layout.")
@output_option("table", "json")
def layout(
    file: str | None, rlimit: tuple[str, ...], personality: str, kind: str, randomize: bool, output: str, **options: Any
) -> None:
    """Say where program, stack, heap, vdso and mappings lie after exec, or in which ranges with randomisation on.

    FILE holds records, one JSON object a line (plain, gzip or xz); answers come one a line. Without it a small
    program of the kind asked for is laid out.
    """
    from mmtool.errors import InputError, UsageError
    from mmtool.linux.mm.mmap.mm_types import Refused
    from mmtool.observed.process_records import read_text, records_of
    from mmtool.report.process import layout_json, layout_tables, ranges_json
    from mmtool.report.table import text_tables
    from mmtool.system import process_default, process_layout

    def answer(asked: process_layout.Question, name: str | None, quick: bool) -> None:
        if quick:
            found = process_layout.ranges(asked)
            line, tables = ranges_json(name, found), layout_tables(ranges=found)
        else:
            rows, where = process_layout.layout(asked)
            line, tables = layout_json(name, rows, where), layout_tables(rows, where)
        click.echo(line if output == "json" else text_tables(tables))

    if file is None:
        setup = [f"personality {personality}", f"exec {KINDS[kind]}"]
        for text in rlimit:
            name, equals, value = text.partition("=")
            if not equals:
                raise UsageError(f"--rlimit {text}: not NAME=VALUE")
            setup.append(f"rlimit {name.upper()} {value}")
        try:
            answer(process_default.ask(machine_of(options), setup), None, randomize)
        except (ValueError, Refused) as error:
            raise UsageError(str(error)) from None
        return
    if rlimit or personality != "0" or kind != "fixed" or randomize:
        raise UsageError(f"what is laid out, and with which limits, is said by the records in {file}")
    for number, record in records_of(read_text(file), file):
        try:
            asked = process_layout.question(record)
            answer(asked, record.get("id"), "mode quick" in asked.setup)
        except Refused as error:
            raise InputError(file, number, f"exec fails: {error}") from None
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise InputError(file, number, f"{type(error).__name__}: {error}") from None


@process.command("maps", short_help="Say what a process's map of mappings tells.")
@click.argument("source", metavar="FILE|PID|-")
@click.option(
    "--max-map-count", type=click.IntRange(1, 2**31 - 1), metavar="N", help="vm.max_map_count, if not the default."
)
@output_option("table", "json")
def maps(source: str, max_map_count: int | None, output: str) -> None:
    """Read /proc/PID/maps or smaps (a file, a process's number, standard input) and say what they tell.

    Gaps and the largest mapping that fits, neighbours that are not one mapping and why, huge pages, limits.
    """
    from pathlib import Path

    from mmtool.answers.process_maps import DEFAULT_MAX_MAP_COUNT, answer_maps
    from mmtool.observed.process_maps import parse_maps
    from mmtool.observed.process_records import read_text
    from mmtool.report.process_maps import maps_json, maps_tables
    from mmtool.report.table import text_tables

    if source.isdigit() and len(source) < 10 and not Path(source).exists():
        source = f"/proc/{source}/smaps"
    answer = answer_maps(parse_maps(read_text(source), source), max_map_count or DEFAULT_MAX_MAP_COUNT)
    click.echo(maps_json(answer) if output == "json" else text_tables(maps_tables(answer)))
