"""-o with a format or a file, and which part of a table is shown: one meaning in every command."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from mmtool.cli import COMMANDS, cli
from mmtool.cli.output import SUFFIXES, Output, OutputType
from mmtool.errors import UsageError
from mmtool.examples import with_files

FIXTURES = Path(__file__).parent.parent / "fixtures"
NUMA = str(FIXTURES / "captures" / "x86-6.1-numa4-ring")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def said(*arguments: str) -> str:
    """What is wrong with a command line."""
    done = run(*arguments)
    assert isinstance(done.exception, UsageError | SystemExit)
    assert done.stdout == ""
    return str(done.exception) if isinstance(done.exception, UsageError) else done.stderr


@pytest.mark.parametrize(
    ("command", "name", "option"),
    [
        (("boot", NUMA), "x.json", ("-o", "json")),
        (("boot", NUMA), "x.YML", ("-o", "yaml")),
        (("boot", NUMA), "x.log", ("-o", "dmesg")),
        (("boot", NUMA), "x.svg", ("-o", "svg")),
        (("boot", NUMA), "x.txt", ()),
        (("boot", NUMA, "--only", "zones"), "x.csv", ("-o", "csv")),
        (("plot", NUMA), "x.svg", ()),
        (("plot", NUMA), "x.txt", ("--bar",)),
        (("ledger", NUMA), "a.b.csv", ("-o", "csv")),
        (("process", "layout"), "x.json", ("-o", "json")),
        (("profile", "make", "--config", "config"), "x.yaml", ()),
    ],
)
def test_a_file_gets_what_its_suffix_names(
    command: tuple[str, ...], name: str, option: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").write_text("# Linux/x86 6.1.0 Kernel Configuration\nCONFIG_X86_64=y\n")
    path = tmp_path / name
    done = run(*command, "-o", str(path))
    assert (done.exit_code, done.stdout) == (0, "")
    assert path.read_text() == run(*command, *option).stdout != ""
    assert {p.name for p in tmp_path.iterdir()} == {"config", name}  # nothing is left beside it


def outputs() -> dict[str, click.Option]:
    """The -o of every command and subcommand, by its words."""
    found = {}
    for name in COMMANDS:
        command = getattr(import_module(f"mmtool.cli.{name}"), name)
        inner = command.commands if isinstance(command, click.Group) else {}
        for words, each in {name: command, **{f"{name} {sub}": c for sub, c in inner.items()}}.items():
            for param in each.params:
                if isinstance(param, click.Option) and "-o" in param.opts:
                    found[words] = param
    return found


def test_every_command_means_the_same_by_it() -> None:
    odd = {words for words, option in outputs().items() if not isinstance(option.type, OutputType)}
    assert odd == {"example"}  # it copies a file as it is, whose name its target has to keep the end of


@pytest.mark.parametrize("words", sorted(outputs().keys() - {"example"}))
def test_what_is_neither_format_nor_file_is_refused(words: str) -> None:
    option = outputs()[words]
    assert isinstance(option.type, OutputType)
    assert all(name in SUFFIXES for name in option.type.formats)
    for wrong in ("xml", "file", "x.png", "x.", ".json", ""):
        with pytest.raises(click.BadParameter, match="is no format, nor a file whose suffix names one"):
            option.type.convert(wrong, option, None)
    assert option.type.convert("-", option, None) == Output(option.type.formats[0])


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("what was there")
    link = tmp_path / "link.json"
    link.symlink_to(path)
    done = run("explain", "/no/such/log", "-o", str(path))
    assert done.exit_code and path.read_text() == "what was there"
    # an answer of no is an answer, and a link is followed
    done = run("explain", str(FIXTURES / "kinds" / "m07-swiotlb.txt"), "-o", str(link))
    assert done.exit_code == 1
    assert json.loads(path.read_text())["schema"] == "mmtool.explain/1"
    assert link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    assert said("boot", NUMA, "-o", "/no/such/x.json") == "-o /no/such/x.json: No such file or directory"
    (tmp_path / "x.json").mkdir()
    assert "Is a directory" in said("boot", NUMA, "-o", str(tmp_path / "x.json"))
    if Path("/dev/full").exists():
        (tmp_path / "full.json").symlink_to("/dev/full")
        assert "No space left" in said("boot", NUMA, "-o", str(tmp_path / "full.json"))


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "x.csv"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert run("boot", NUMA, "--only", "nodes", "-o", str(pipe)).exit_code == 0
    assert os.read(reader, 100).startswith(b"node,state,start,last")
    os.close(reader)


def rows(*arguments: str) -> list[list[str]]:
    done = run("boot", NUMA, *arguments, "-o", "csv")
    assert done.exit_code == 0, done
    return list(csv.reader(io.StringIO(done.stdout)))


def test_columns_in_their_order() -> None:
    whole = rows("--only", "zones")
    chosen = rows("--only", "zones", "--columns", "Managed, node")
    assert chosen == [[row[-1], row[0]] for row in whole]
    assert rows("--only", "zones", "--columns", "managed", "--noheadings") == [row[-1:] for row in whole[1:]]
    assert rows("--only", "watermarks", "--columns", "pcp_high")[0] == ["pcp_high"]


def test_bytes_are_one_number() -> None:
    whole, in_bytes = rows("--only", "zones"), rows("--only", "zones", "--bytes")
    assert [[int(n) << 12 for n in row[4:]] for row in whole[1:]] == [[int(n) for n in row[4:]] for row in in_bytes[1:]]
    table = run("boot", NUMA, "--only", "zones", "--bytes", "--noheadings", "--columns", "zone,managed").stdout
    assert [line.split() for line in table.splitlines()] == [[row[1], row[-1]] for row in in_bytes[1:]]


def test_a_head_names_the_unit() -> None:
    def heads(*arguments: str) -> str:
        return "\n".join(run("boot", NUMA, *arguments).stdout.splitlines()[3:5])

    assert heads("--only", "zones").count("(pages)") == 3
    assert heads("--only", "zones", "--bytes").count("(bytes)") == 3
    assert heads("--only", "firmware").count("(bytes)") == 1


def test_of_several_tables_those_without_a_column_are_left_out() -> None:
    done = run("boot", NUMA, "--all", "--columns", "managed,node")
    assert "\nZones\n" in done.stdout and "Nodes" in done.stdout
    assert "Firmware map" not in done.stdout


def test_without_headings_there_are_rows_alone() -> None:
    done = run("ledger", NUMA, "--noheadings", "--columns", "bytes")
    assert all(line.strip().lstrip("-").isdigit() for line in done.stdout.splitlines())
    done = run("boot", f"{NUMA}/dmesg.txt", "--only", "zones", "--noheadings")
    assert len(done.stdout.splitlines()) == 5
    assert done.stderr.count("mmtool: assumed: ") == 2  # nothing that an answer rests on is lost with them


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "zones", "--columns", "mangaed"), "--columns: no column 'mangaed'; did you mean managed?"),
        (("--only", "zones", "--columns", ","), "--columns: name at least one column"),
        (("--columns", "node"), "--columns goes with a table; say which, as --only zones"),
        (("--only", "zones", "--bytes", "-o", "json"), "--bytes goes with -o table or -o csv, not with -o json"),
        (("--noheadings", "-o", "svg"), "--noheadings goes with -o table or -o csv, not with -o svg"),
    ],
)
def test_what_makes_no_table_is_refused(arguments: tuple[str, ...], message: str) -> None:
    assert said("boot", NUMA, *arguments) == message


def test_equal_neighbours_share_a_line_in_tables_alone() -> None:
    log = str(FIXTURES / "logs" / "laptop-6.16.txt")
    shown = run("boot", log, "--only", "memblock").stdout
    [line] = [line for line in shown.splitlines() if "17 x 104 B" in line]
    assert " ".join(line.split()) == (
        "reserved 0x21e5c8780 0x21e5c8fe7 1768 (1.73 KiB) rsrv_kern /sys/firmware/memmap 17 x 104 B"
    )
    regions = json.loads(run("boot", log, "--only", "memblock", "-o", "json").stdout)["memblock"]
    for arguments in (("-o", "csv"), ("--noheadings",)):
        plain = run("boot", log, "--only", "memblock", *arguments).stdout
        assert len(plain.splitlines()) - (arguments[0] == "-o") == sum(map(len, regions.values()))
        assert " x " not in plain
    steps = run("boot", log, "--only", "steps").stdout
    assert "reserves 21 x 104 B " in steps and " x " not in run("boot", log, "--only", "steps", "--noheadings").stdout


def test_a_folded_line_has_the_first_and_the_last_address_and_the_sum() -> None:
    log = str(FIXTURES / "logs" / "laptop-6.16.txt")
    regions = json.loads(run("boot", log, "--only", "memblock", "-o", "json").stdout)["memblock"]["reserved"]
    units = [r for r in regions if r["owners"] == ["per-CPU"] and r["size"] == "0x42000"]
    assert len(units) == 4
    [line] = [line for line in run("boot", log, "--only", "memblock").stdout.splitlines() if "4 x 264 KiB" in line]
    last = int(units[-1]["base"], 16) + 0x42000 - 1
    assert line.split()[1:4] == [units[0]["base"], f"{last:#x}", str(4 * 0x42000)]


def test_what_is_not_known_is_on_the_first_screen_with_what_to_give() -> None:
    lines = run("boot", f"{NUMA}/dmesg.txt").stdout.splitlines()
    at = lines.index("Not known, so taken for granted (--all says why):")
    assert lines[at + 1 : at + 3] == [
        "  the kernel's image lies nowhere; give --kernel-base ADDR",
        "  distance 10 within a node, 20 between nodes; give --slit FILE",
    ]
    assert "Not known" not in run("boot", NUMA).stdout


WIDE = [
    ("explain", "example:oom"),
    ("explain", "example:failure"),
    ("lint", str(FIXTURES / "fdt" / "faults.dtb.gz")),
    ("whatif", NUMA, "--cmdline+", "crashkernel=256M hugepages=100 transparent_hugepage=never"),
    ("slab", "kmalloc", "--size", "5000"),
    ("boot", NUMA, "--all"),
    ("boot", NUMA, "--explain", "0x98000"),
    ("ledger", NUMA),
    ("reserve", NUMA, "--crashkernel", "512M"),
    ("map", NUMA),
    ("example",),
]


@pytest.mark.parametrize("command", WIDE, ids=" ".join)
def test_at_80_columns_no_line_is_longer(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables drop columns, sentences go on in the next line; what nobody gave a width for stays as it is."""
    arguments = with_files(list(command))
    whole = run(*arguments).stdout
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run(*arguments).stdout
    assert [line for line in narrow.splitlines() if len(line) > 80 and " " in line.strip()] == []
    words = [re.findall(r"[A-Za-z]{4,}", text) for text in (whole, narrow)]
    assert len(words[1]) > 0.6 * len(words[0])
