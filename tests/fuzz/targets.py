"""What reads a stranger's input: a target for each reader, and one for each command that takes a file.

A target is a function of bytes. Right is an answer, or `InputError`, `UsageError` or click's own errors; everything
else that is raised is a finding, and so is output that holds a raw control character.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import click

from fuzz.mutate import NUMBERS
from mmtool.answers.postmortem.judge import judge_all
from mmtool.build.image.btf import read_btf
from mmtool.build.image.kallsyms import read_kallsyms
from mmtool.build.image.read import read_image
from mmtool.build.kconfig import read_config
from mmtool.build.profile import read_profile
from mmtool.build.system_map import read_system_map
from mmtool.cli import cli
from mmtool.cli.states import parse_json, system_of_json
from mmtool.errors import InputError, UsageError
from mmtool.firmware.capture import CaptureFiles, open_tar
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.firmware.e820 import parse_table
from mmtool.firmware.fdt import parse_fdt
from mmtool.firmware.iomem import parse_iomem
from mmtool.firmware.lines import decode
from mmtool.firmware.log import describe_boots, read_log
from mmtool.firmware.memmap import parse_memmap_text, read_memmap_tar
from mmtool.firmware.packed import unpack
from mmtool.firmware.read import read_collected, recognise
from mmtool.firmware.slit import parse_slit
from mmtool.firmware.srat import parse_srat
from mmtool.firmware.wrapped import unwrap
from mmtool.observed.answers import answers_of
from mmtool.observed.buddyinfo import parse_buddyinfo
from mmtool.observed.ftrace import probes_of, read_events
from mmtool.observed.memblock import memblock_from_json
from mmtool.observed.memblock_log import parse_memblock_log
from mmtool.observed.pagetypeinfo import parse_pagetypeinfo
from mmtool.observed.process_maps import parse_maps
from mmtool.observed.process_records import records_of, split_script
from mmtool.observed.reports.report import parse_reports
from mmtool.observed.slab_creations import read_creations
from mmtool.observed.slabinfo import parse_slabinfo
from mmtool.observed.strace import is_strace, parse_strace
from mmtool.observed.vmallocinfo import parse_vmallocinfo
from mmtool.observed.zoneinfo import parse_zoneinfo
from mmtool.system.memblock_records import read_records
from mmtool.system.reclaim_script import parse_workload
from mmtool.system.zram_script import parse_zram_script

CORPUS = Path(__file__).parent / "corpus"
FOLDER = Path(mkdtemp(prefix="mmtool-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
"""Where inputs lie that a reader wants as a file."""
REFUSALS = (InputError, UsageError, click.ClickException, click.exceptions.Exit, click.Abort, SystemExit)
"""How an input is refused, or a command says no."""
_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class RawControlError(Exception):
    """A control character came out as it was."""


@dataclass(frozen=True)
class Target:
    """What is tried: `kinds` are the folders of the corpus that seeds are from, `weight` says how many inputs it gets
    of the whole (cheap readers get more)."""

    kinds: tuple[str, ...]
    run: Callable[[bytes, Random], None]
    weight: int = 10

    def seeds(self) -> list[bytes]:
        paths = sorted(path for kind in self.kinds for path in (CORPUS / kind).iterdir())
        return [path.read_bytes() for path in paths]


def _text(read: Callable[[str], object]) -> Callable[[bytes, Random], None]:
    """A reader of text."""
    return lambda data, _: _drain(read(data.decode("utf-8", "replace")))


def _bytes(read: Callable[[bytes], object]) -> Callable[[bytes, Random], None]:
    """A reader of bytes."""
    return lambda data, _: _drain(read(data))


def _file(read: Callable[[str], object]) -> Callable[[bytes, Random], None]:
    """A reader of a file."""

    def run(data: bytes, _: Random) -> None:
        path = FOLDER / "input"
        path.write_bytes(data)
        _drain(read(str(path)))

    return run


def _drain(value: object) -> None:
    if hasattr(value, "__next__"):
        for _ in value:  # type: ignore[attr-defined]
            pass


def _maps(data: bytes, random: Random) -> None:
    """The tables of firmware, by the kind that they look like and as each of them."""
    text = decode(data, "F")
    recognise(text)
    for read in (parse_memmap_text, parse_iomem, parse_table):
        try:
            read(text, "F")
        except InputError:
            continue
    read_memmap_tar(data, "F")


def _logs(data: bytes, random: Random) -> None:
    text = decode(data, "F")
    read_log(text, "F", need_map=False)
    describe_boots(text, "F")


def _tables(data: bytes, random: Random) -> None:
    for read in (parse_srat, parse_slit):
        try:
            read(data, "F")
        except InputError:
            continue


def _capture(data: bytes, random: Random) -> None:
    """A tar file as it is, then its files' names over other bytes of it."""
    files = open_tar(data, "F")
    read_collected(files, srat=None, slit=None, boot=None)
    answers_of(files)


_NAMES = (
    "dmesg.txt", "memmap.txt", "SRAT.aml", "SLIT.aml", "proc/version", "proc/cmdline", "proc/iomem", "proc/meminfo",
    "sys/devices/system/cpu/possible", "proc/zoneinfo", "proc/buddyinfo", "machine.dtb",
)  # fmt: skip


def _captured(data: bytes, random: Random) -> None:
    """The capture of the corpus with one of its files replaced."""
    whole = open_tar((CORPUS / "capture" / "small.tar").read_bytes(), "F")
    name = random.choice(_NAMES)
    files = CaptureFiles("F", lambda wanted: data if wanted == name else whole.get(wanted))
    answers_of(files)
    read_collected(files, srat=None, slit=None, boot=None)


def _images(data: bytes, random: Random) -> None:
    read_kallsyms(data, 0xFFFFFFFF81000000, 64)
    at = data.find(b"\x9f\xeb")
    if at >= 0:
        with suppress(InputError):
            read_btf(data[at:], "F", ("page",))
    read_image(data, "F", ("page",))


def _profile_text(data: bytes, random: Random) -> None:
    path = FOLDER / "profile"
    path.write_bytes(data)
    read_profile(str(path))


def _state(data: bytes, random: Random) -> None:
    system_of_json(parse_json(data, "F"), "F")


def _lists(data: bytes, random: Random) -> None:
    memblock_from_json(parse_json(data, "F"), "F")


def _reports(data: bytes, random: Random) -> None:
    judge_all(parse_reports(decode(data, "F"), "F"), {})


def _memblock_log(data: bytes) -> object:
    return parse_memblock_log(decode(data, "F"), "F", (6, 1, 0))


def _trace(data: bytes, random: Random) -> None:
    text = data.decode("utf-8", "replace")
    read_events(text.splitlines(), "F")
    probes_of(text)


def _process_texts(data: bytes, random: Random) -> None:
    text = data.decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        _drain(records_of(text, "F"))
    elif is_strace(text):
        _drain(parse_strace(text, "F"))
    else:
        split_script(text)


READERS: Mapping[str, Target] = {
    "log": Target(("log",), _logs, 100),
    "map": Target(("map",), _maps, 100),
    "wrapped": Target(("wrapped",), _text(lambda text: unwrap(text, "F")), 300),
    "packed": Target(("packed",), _bytes(lambda data: unpack(data, "F")), 500),
    "tree": Target(("tree",), _bytes(lambda data: parse_fdt(data, "F")), 150),
    "acpi": Target(("acpi",), _tables, 1000),
    "capture": Target(("capture",), _capture, 200),
    "captured": Target(("log", "map", "acpi"), _captured, 150),
    "cmdline": Target(("cmdline",), _text(parse_cmdline), 750),
    "config": Target(("config",), _text(lambda text: read_config(text, "F")), 1000),
    "system-map": Target(("system-map",), _text(lambda text: read_system_map(text, "F")), 1000),
    "image": Target(("image",), _images, 150),
    "profile": Target(("profile",), _profile_text, 200),
    "state": Target(("state",), _state, 150),
    "stage": Target(("stage",), _state, 300),
    "lists": Target(("lists",), _lists, 500),
    "vectors": Target(("vectors",), _file(read_records), 300),
    "memblock-log": Target(("memblock-log",), _bytes(_memblock_log), 100),
    "report": Target(("report",), _reports, 75),
    "trace": Target(("trace",), _trace, 500),
    "zoneinfo": Target(("zoneinfo",), _text(lambda text: parse_zoneinfo(text, "F")), 500),
    "buddyinfo": Target(("proc",), _text(lambda text: parse_buddyinfo(text, "F")), 300),
    "pagetypeinfo": Target(("proc",), _text(lambda text: parse_pagetypeinfo(text, "F")), 750),
    "vmallocinfo": Target(("vmallocinfo",), _text(lambda text: parse_vmallocinfo(text.splitlines(), "F")), 500),
    "slabinfo": Target(("slabinfo",), _text(lambda text: parse_slabinfo(text.splitlines(), "F")), 500),
    "maps": Target(("maps",), _text(lambda text: parse_maps(text, "F")), 1000),
    "process": Target(("process-script", "process-records", "layout", "strace"), _process_texts, 500),
    "slab-caches": Target(("slab-caches",), _text(lambda text: read_creations(text.splitlines(), "F")), 1000),
    "reclaim-script": Target(("reclaim-script",), _text(lambda text: parse_workload(text.splitlines(), "F")), 750),
    "zram-script": Target(("zram-script",), _text(lambda text: parse_zram_script(text.splitlines(), "F", 4096)), 750),
}
"""What reads each kind of input, alone."""


def run_command(arguments: list[str]) -> None:
    """A command in this process, its output looked through for control characters."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape"), io.StringIO()
    stdin = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    try:
        with redirect_stdout(out), redirect_stderr(err):
            try:
                cli(arguments, prog_name="mmtool", standalone_mode=False)
            except REFUSALS as e:
                click.echo(str(e)[:0])
    finally:
        sys.stdin = stdin
    out.flush()
    for text in (out.buffer.getvalue().decode("utf-8", "replace"), err.getvalue()):  # type: ignore[attr-defined]
        raw = _RAW.search(text)
        if raw is not None:
            raise RawControlError(f"{raw[0]!r} after {text[max(raw.start() - 60, 0) : raw.start()]!r}")


ALL = ("table", "json", "yaml", "csv")
STATE = str(CORPUS / "state" / "boot.json")
LOG = str(CORPUS / "log" / "small.txt")


def _with_numbers(word: str, random: Random) -> str:
    """An option's value with a number for each N in it."""
    return "".join(random.choice(NUMBERS) if letter == "N" else letter for letter in word)


def _command(line: str, formats: tuple[str, ...] = ALL, more: tuple[str, ...] = ()) -> Callable[[bytes, Random], None]:
    """A command; INPUT in its line is the file with the input. `more` are options of which some are added; an N in
    the value of one is a number of any kind."""

    def run(data: bytes, random: Random) -> None:
        path = FOLDER / "input"
        path.write_bytes(data)
        arguments = [str(path) if word == "INPUT" else word for word in line.split()]
        for option in more:
            if random.random() < 0.25:
                arguments += [_with_numbers(word, random) for word in option.split(" ", 1)]
        run_command([*arguments, *(("-o", random.choice(formats)) if formats else ())])

    return run


def _of_text(line: str, formats: tuple[str, ...] = ALL) -> Callable[[bytes, Random], None]:
    """A command of which TEXT is the input itself, as an option's value."""

    def run(data: bytes, random: Random) -> None:
        text = data.decode("utf-8", "replace").replace("\0", "")
        run_command([*(text if word == "TEXT" else word for word in line.split()), "-o", random.choice(formats)])

    return run


def _proc(line: str) -> Callable[[bytes, Random], None]:
    """A command on a /proc of which one file is the input."""

    def run(data: bytes, random: Random) -> None:
        folder = FOLDER / "proc"
        folder.mkdir(exist_ok=True)
        files = ("zoneinfo", "buddyinfo", "pagetypeinfo", "version")
        mutated = next((name for name in files if data[:4] == (CORPUS / "proc" / name).read_bytes()[:4]), "zoneinfo")
        for name in files:
            (folder / name).write_bytes(data if name == mutated else (CORPUS / "proc" / name).read_bytes())
        run_command([*line.split(), "--proc", str(folder), "-o", random.choice(ALL)])

    return run


_MACHINE = (
    "--cmdline numa=fake=3", "--cmdline numa=fake=N mem=N", "--cpus 4096", "--cpus N", "--kernel 7.3", "--kernel 5.10",
    "--kernel-base N", "--initrd 0x100000-0x1fffff", "--initrd N-N", "--boot N",
)  # fmt: skip
COMMANDS: Mapping[str, Target] = {
    "boot": Target(
        ("log", "map", "tree", "capture"),
        _command("boot INPUT", ("table", "json", "yaml", "dmesg", "svg"), (*_MACHINE, "--all")),
        1,
    ),
    "boot --cmdline": Target(
        ("cmdline",), _of_text(f"boot {LOG} --cmdline TEXT", ("table", "json", "dmesg", "svg")), 2
    ),
    "boot --profile": Target(("profile",), _command(f"boot {LOG} --profile INPUT", ("table", "json", "dmesg")), 3),
    "ledger": Target(("log", "tree"), _command("ledger INPUT", ALL, _MACHINE), 1),
    "lint": Target(("log", "map", "tree"), _command("lint INPUT", ALL, _MACHINE), 1),
    "map command": Target(("log", "map", "tree", "capture"), _command("map INPUT", ALL, _MACHINE), 5),
    "plot": Target(("log", "tree"), _command("plot INPUT", (), ("--bar",)), 1),
    "whatif": Target(("cmdline",), _of_text(f"whatif {LOG} --cmdline+ TEXT"), 1),
    "diff": Target(("log", "tree"), _command(f"diff INPUT {LOG}"), 1),
    "verify": Target(("log", "capture"), _command("verify INPUT", ALL, _MACHINE), 1),
    "reserve": Target(
        ("log", "tree"), _command("reserve INPUT", ALL, ("--cma 16M", "--crashkernel 16M,high", "--hugepages 2M:3")), 4
    ),
    "batch": Target(("log", "map", "tree"), _command("batch --jobs 1 " + str(FOLDER / "one"), ("ndjson", "csv")), 2),
    "explain": Target(
        ("report", "wrapped"), _command("explain INPUT", ALL, ("--kernel 6.1", "--top 100", "--top N")), 6
    ),
    "alloc": Target(
        ("state", "stage"),
        _command(
            "alloc --order 1 --explain --state INPUT",
            ALL,
            ("--count max", "--count N", "--gfp GFP_ATOMIC", "--order 9", "--order N"),
        ),
        3,
    ),
    "alloc --script": Target(("alloc-script",), _command(f"alloc --state {STATE} --script INPUT"), 20),
    "alloc --proc": Target(("proc",), _proc("alloc --order 1 --count max"), 1),
    "buddyinfo --state": Target(("state", "stage"), _command("buddyinfo --state INPUT", (*ALL, "proc")), 5),
    "buddyinfo --proc": Target(("proc",), _proc("buddyinfo"), 10),
    "free": Target(("state", "stage"), _command("free --pfn 256 --state INPUT", ALL), 10),
    "vmalloc": Target(
        ("state",),
        _command("vmalloc --size 64K --state INPUT", ALL, ("--count max", "--count N", "--huge", "--align N")),
        5,
    ),
    "vmalloc --info": Target(("vmallocinfo",), _command("vmalloc --info INPUT"), 20),
    "replay": Target(("recorded-trace",), _command("replay INPUT", ("table", "json")), 15),
    "replay --state": Target(("trace",), _command(f"replay --state {STATE} INPUT", ("table", "json")), 10),
    "buddy": Target(("lists",), _command("buddy --memblock INPUT", ALL, ("--late", "--no-deferred")), 20),
    "memblock run": Target(("vectors",), _command("memblock run INPUT", ("table", "json")), 20),
    "memblock replay": Target(
        ("memblock-log",), _command("memblock replay INPUT", ("table", "json"), ("--kernel 6.1",)), 10
    ),
    "process run": Target(
        ("process-script", "process-records", "strace"), _command("process run INPUT", ("table", "json")), 5
    ),
    "process layout": Target(("layout",), _command("process layout INPUT", ("table", "json")), 20),
    "process maps": Target(("maps",), _command("process maps INPUT", ("table", "json")), 20),
    "walk": Target(("process-script",), _command("walk 0x400000 --script INPUT", ("table", "json")), 5),
    "slab run": Target(
        ("slab-script",), _command("slab run INPUT", ALL, ("--kernel 5.10", "--kernel 7.3", "--allocator slab")), 5
    ),
    "slab caches": Target(
        ("slab-caches",), _command("slab caches --caches INPUT", ALL, ("--kernel 5.10", "--kernel 7.3")), 5
    ),
    "slab info": Target(("slabinfo",), _command("slab info INPUT"), 10),
    "reclaim run": Target(
        ("reclaim-script",), _command("reclaim run INPUT", ("table", "json"), ("--lru mglru", "--kernel 7.3")), 5
    ),
    "reclaim rmap": Target(("rmap-script",), _command("reclaim rmap INPUT", ("table", "json"), ("--kernel 7.3",)), 10),
    "zram run": Target(("zram-script",), _command("zram run INPUT"), 15),
    "profile make": Target(("config",), _command("profile make --config INPUT", ()), 20),
    "profile make --vmlinuz": Target(("image",), _command("profile make --vmlinuz INPUT", ()), 15),
}
"""What each command makes of its input, in every format."""
TARGETS: Mapping[str, Target] = {**READERS, **COMMANDS}
