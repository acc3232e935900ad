"""The command as people and scripts call it: what it imports, what it prints, how it refuses bad input."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import Started, mmtool
from test_firmware_acpi import slit, srat

from mmtool.build.choose import NEWEST_KNOWN

FIXTURES = Path(__file__).parent.parent / "fixtures"
NUMA = FIXTURES / "captures" / "x86-6.1-numa4-ring"
LOG = NUMA / "dmesg.txt"
ENTRY = "BIOS-e820: [mem {:#018x}-{:#018x}] {}\n"
NEWEST = ".".join(map(str, NEWEST_KNOWN))
RAM = ENTRY.format(0x100000, 0x3FFFFFFF, "usable")


def started(*arguments: str | Path, out: Any = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    """A call in an interpreter of its own."""
    command = [sys.executable, "-m", "mmtool", *map(str, arguments)]
    return subprocess.run(command, stdout=out, stderr=subprocess.PIPE)


def answer(*arguments: str | Path) -> str:
    done = mmtool("boot", "--e820", LOG, *arguments)
    assert (done.returncode, beside_assumptions(done)) == (0, b"")
    return done.stdout.decode()


def beside_assumptions(done: subprocess.CompletedProcess[bytes]) -> bytes:
    """Standard error without the remarks on what an answer rests on."""
    return b"".join(line for line in done.stderr.splitlines(True) if not line.startswith(b"mmtool: assumed: "))


# What is imported


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded for `code`, beside those it always has."""
    script = f"import sys; before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


HEAVY = {"tabulate", "yaml", "pyfdt", "json", "csv", "importlib.metadata", "importlib.resources", "subprocess"}


@pytest.mark.parametrize(
    "code",
    [
        "import mmtool.cli",
        "import mmtool.cli; mmtool.cli.cli(['--help'], standalone_mode=False)",
        "import mmtool.cli; mmtool.cli.cli(['--version'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported_before_a_command_runs(code: str) -> None:
    loaded = modules_after(code)
    assert "mmtool.cli" in loaded
    assert not loaded & HEAVY
    assert not [m for m in loaded if m.startswith(("mmtool.linux", "mmtool.report", "mmtool.firmware"))]


def test_a_boot_imports_no_renderer_that_it_does_not_use() -> None:
    code = f"import mmtool.cli; mmtool.cli.cli(['boot', '--e820', {str(LOG)!r}, '-o', 'dmesg'], standalone_mode=False)"
    assert not modules_after(code) & {"tabulate", "csv", "pyfdt", "pathlib", "textwrap"}


# What is printed


def test_json_is_the_document_of_the_contract() -> None:
    document = json.loads(answer("--srat", NUMA / "SRAT.aml", "--slit", NUMA / "SLIT.aml", "-o", "json"))
    assert document["schema"] == "mmtool.boot/1"
    assert document["arch"] == "x86_64"
    assert document["cmdline"].startswith("console=ttyS0 ")
    assert document["kernel"]["release"] == "6.1.0-50-cloud-amd64"
    assert document["kernel"]["page_size"] == 4096
    assert document["firmware"]["source"] == "BIOS-e820"
    assert document["firmware"]["map"][0] == {"start": "0x0", "end": "0x9fbff", "type": "usable"}
    assert set(document["memblock"]) == {"memory", "reserved"}
    assert {"base", "size", "nid", "flags"} <= set(document["memblock"]["memory"][0])
    assert {"base", "size", "nid", "flags", "owners"} <= set(document["memblock"]["reserved"][0])
    assert {"step", "does"} <= set(document["steps"][0])
    assert [node["nid"] for node in document["nodes"]] == [0, 1, 2, 3]
    assert document["nodes"][0]["distance"] == [10, 20, 30, 20]
    assert document["nodes"][1]["fallback"][0] == [1, "DMA32"]
    zone = document["nodes"][0]["zones"][0]
    assert (zone["name"], zone["start_pfn"], zone["spanned"]) == ("DMA", 1, 4095)
    assert {"present", "managed", "free"} <= set(zone)
    assert {"order", "type", "count", "runs"} <= set(zone["free"][0])
    assert int(document["vmalloc"]["start"], 16) < int(document["vmalloc"]["end"], 16)
    assert document["vmalloc"]["VMALLOC_END"] == document["vmalloc"]["end"] == "0xffd1ffffffffffff"
    check_numbers(document)


def check_numbers(value: Any, key: str = "") -> None:
    """Addresses are strings in hex, counts are numbers."""
    if isinstance(value, dict):
        for k, v in value.items():
            check_numbers(v, k)
    elif isinstance(value, list):
        for v in value:
            check_numbers(v, key)
    elif key in ("start", "end", "base", "size"):
        assert isinstance(value, str) and value == f"{int(value, 16):#x}"
    elif key in ("start_pfn", "spanned", "present", "managed", "count", "runs", "order"):
        assert isinstance(value, int)


def test_yaml_is_the_same_document() -> None:
    assert yaml.safe_load(answer("-o", "yaml")) == json.loads(answer("-o", "json"))


def test_only_chooses_sections() -> None:
    document = json.loads(answer("--only", "firmware,vmalloc", "-o", "json"))
    assert {"schema", "arch", "kernel", "firmware", "vmalloc"} <= set(document)
    assert not {"memblock", "steps", "nodes"} & set(document)
    titles = answer("--only", "zones").splitlines()
    assert "Zones" in titles and not [t for t in titles if t.startswith(("Firmware map", "Zonelists", "memblock"))]


SECTIONS = ["firmware", "memblock", "nodes", "zones", "zonelists", "buddy", "vmalloc", "steps"]


@pytest.mark.parametrize("section", SECTIONS)
def test_csv_has_a_header_and_rows_as_wide(section: str) -> None:
    header, *rows = csv.reader(io.StringIO(answer("--only", section, "-o", "csv")))
    assert rows and len(set(header)) == len(header)
    assert all(len(row) == len(header) for row in rows)


def test_csv_of_zones_is_exact() -> None:
    rows = list(csv.DictReader(io.StringIO(answer("--only", "zones", "-o", "csv"))))
    zones = {(n["nid"], z["name"]): z for n in json.loads(answer("-o", "json"))["nodes"] for z in n["zones"]}
    assert {(int(r["node"]), r["zone"]): int(r["present"]) for r in rows} == {k: z["present"] for k, z in zones.items()}


def test_an_interpreter_of_its_own_says_the_same() -> None:
    """The other tests call the program in a child that has it loaded."""
    for arguments in (("boot", LOG, "--all"), ("boot", LOG, "-o", "json"), ("-h",), ("boot", LOG, "-o", "xml"), ()):
        fresh, loaded = started(*arguments), mmtool(*arguments)
        assert (fresh.returncode, fresh.stdout, fresh.stderr) == (loaded.returncode, loaded.stdout, loaded.stderr)


def test_dmesg_is_the_kernel_log_and_nothing_else() -> None:
    lines = answer("-o", "dmesg").splitlines()
    assert lines[0] == "BIOS-provided physical RAM map:"
    assert lines[1] == "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable"
    assert "Zone ranges:" in lines and not [line for line in lines if line.startswith("[ ")]


def test_standard_input_is_read_for_a_dash() -> None:
    done = mmtool("boot", "--e820", "-", "-o", "dmesg", stdin=LOG.read_bytes())
    assert done.returncode == 0 and done.stdout.decode() == answer("-o", "dmesg")


@pytest.mark.parametrize("output", ["table", "json", "yaml", "csv", "dmesg"])
def test_a_closed_pipe_ends_it_quietly(output: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = Started(("boot", LOG, "-o", output, *["--only=zones"] * (output == "csv")), out=pipe).wait()
    assert (done.status, done.said) == (-signal.SIGPIPE, [])


def test_a_closed_output_is_said_in_one_line() -> None:
    command = f"exec {sys.executable} -m mmtool boot --e820 {LOG} >&-"
    done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr.count(b"\n")) == (3, 1)
    assert done.stderr.startswith(b"mmtool: standard output is closed")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_said_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = started("boot", "--e820", LOG, out=full)
    assert (done.returncode, done.stderr) == (3, b"mmtool: standard output: No space left on device\n")


# Bad input

BAD_LOGS = {
    "empty": (b"", ""),
    "blank": (b"\n \n\t\n", ""),
    "no map": (b"Linux version 6.1.0 (x@x)\nhello\n", ""),
    "no map at all": (b"lorem ipsum\ndolor sit amet\n", ""),
    "cut off": ((RAM + "BIOS-e820: [mem 0x00000001000").encode(), ":2"),
    "no type": ((RAM + "BIOS-e820: [mem 0x0000000100000000-0x000000013fffffff]\n").encode(), ":2"),
    "backwards": ((RAM + ENTRY.format(0x2000, 0xFFF, "usable")).encode(), ":2"),
    "beyond 2^64": (f"{RAM}\n{ENTRY.format(2**64, 2**64 + 4095, 'usable')}".encode(), ":3"),
    "ends beyond 2^64": (ENTRY.format(0, 2**64, "usable").encode(), ":1"),
    "unknown type": (ENTRY.format(0, 0xFFF, "delicious").encode(), ":1"),
    "noise": (bytes(range(256)) * 64, ""),
    "no RAM": (ENTRY.format(0, 2**32 - 1, "reserved").encode(), ""),
    "less than a page of RAM": (ENTRY.format(0x1000, 0x1FFE, "usable").encode(), ""),
    "half a sysfs entry": (b"/sys/firmware/memmap/0/start:0x0\n/sys/firmware/memmap/0/end:0xfff\n", ":1"),
    "masked iomem": (b"00000000-00000000 : System RAM\n00000000-00000000 : Reserved\n", ""),
    "broken gzip": (b"\x1f\x8b\x08\x00" + b"x" * 50, ""),
    "a device tree": (b"\xd0\x0d\xfe\xed" + bytes(40), ""),
}


def check_refused(done: subprocess.CompletedProcess[bytes], place: str) -> None:
    """One line on standard error that begins with the place, nothing on standard output, status 3."""
    assert (done.returncode, done.stdout) == (3, b""), done
    [line] = done.stderr.decode().splitlines()
    assert line.startswith(f"mmtool: {place}: ")
    assert len(line.removeprefix(f"mmtool: {place}: ")) < 240


@pytest.mark.parametrize("case", BAD_LOGS)
def test_bad_input_is_one_line(case: str, tmp_path: Path) -> None:
    data, where = BAD_LOGS[case]
    path = tmp_path / "dump.txt"
    path.write_bytes(data)
    check_refused(mmtool("boot", "--e820", path), f"{path}{where}")


def test_bad_standard_input_is_called_a_dash() -> None:
    check_refused(mmtool("boot", "--e820", "-", stdin=b""), "-")


def test_missing_files_and_empty_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.txt", tmp_path, FIXTURES / "logs"):
        check_refused(mmtool("boot", "--e820", path), str(path))


SRAT, SLIT = srat(), slit(2, bytes([10, 20, 20, 10]))
BAD_TABLES = {
    "missing": ("--srat", None, ""),
    "empty": ("--srat", b"", ":0x0"),
    "wrong checksum": ("--srat", SRAT[:-1] + bytes([SRAT[-1] ^ 1]), ":0x9"),
    "too short": ("--srat", SRAT[:-1], ":0x4"),
    "too long": ("--srat", SRAT + b"\0", ":0x4"),
    "another table": ("--srat", SLIT, ":0x0"),
    "wrong checksum of the SLIT": ("--slit", SLIT[:-1] + b"\xff", ":0x9"),
    "too short a SLIT": ("--slit", SLIT[:40], ":0x4"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_one_line(case: str, tmp_path: Path) -> None:
    option, data, where = BAD_TABLES[case]
    path = tmp_path / "table.aml"
    if data is not None:
        path.write_bytes(data)
    check_refused(mmtool("boot", "--e820", LOG, option, path), f"{path}{where}")


def test_a_bad_profile_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text("name: [\n")
    check_refused(mmtool("boot", "--e820", LOG, "--profile", path), f"{path}:2")


def test_overlaps_are_no_error(tmp_path: Path) -> None:
    path = tmp_path / "dump.txt"
    low = [(0, 0x3FFFFFFF, 1), (0x1000, 0x1FFF, 3), (0, 0xFFFFFFFF, 20), (0x100000, 0xFFFFFFF, 2), (0x5000, 0x4FFF, 1)]
    ranges = [*low, (4 << 30, (5 << 30) - 1, 1)]
    path.write_text("".join(ENTRY.format(start, last, f"type {kind}") for start, last, kind in ranges))
    document = json.loads(mmtool("boot", "--e820", path, "-o", "json").stdout)
    [node] = document["nodes"]
    assert [(z["name"], z["present"]) for z in node["zones"]] == [("Normal", 1 << 18)]


def test_many_entries_are_read_in_time(tmp_path: Path) -> None:
    path = tmp_path / "dump.txt"
    path.write_text("".join(ENTRY.format(i << 20, (i << 20) + 0xFFFFF, "usable") for i in range(100_000)))
    done = mmtool("boot", "--e820", path, "--only", "firmware", "-o", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    # The kernel's own table has room for so many.
    [entry] = json.loads(done.stdout)["firmware"]["map"]
    assert entry["end"] == f"{((128 + 3 * 1024) << 20) - 1:#x}"


WRONG_USAGE = [
    ("boot", "--e820"),
    ("boot", "--e820", LOG, "-o", "xml"),
    ("boot", "--e820", LOG, "--only", "zoans"),
    ("boot", "--e820", LOG, "--kernel", "newest"),
    ("boot", "--e820", LOG, "--kernel-base", "here"),
    ("boot", "--e820", LOG, "--initrd", "0x2000-0x1000"),
    ("boot", "--e820", LOG, "--initrd", "0x2000"),
    ("boot", "--e820", LOG, "--cpus", "0"),
    ("boot", "--e820", LOG, "more"),
    ("boot", LOG, "--only", "zones,nodes", "-o", "csv"),
    ("boot", LOG, "-o", "csv"),
    ("boot", LOG, "--all", "--only", "zones"),
    ("help", "bot"),
    ("help", "boot", "zones"),
    ("boot", "--shiny"),
    ("reboot",),
]


@pytest.mark.parametrize("arguments", WRONG_USAGE, ids=lambda a: " ".join(map(str, a[-2:])).replace(str(LOG), "LOG"))
def test_wrong_usage_has_status_2(arguments: tuple[str | Path, ...]) -> None:
    done = mmtool(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"mmtool: ") and done.stderr.count(b"\n") == 1


# The first minute


TREE = FIXTURES / "arm64" / "arm64-6.1-numa2" / "machine.dtb.gz"


@pytest.mark.parametrize("path", [LOG, NUMA, TREE], ids=lambda path: path.name)
@pytest.mark.parametrize("command", ["boot", "ledger"])
def test_a_file_alone_is_recognised(command: str, path: Path) -> None:
    forced = {"dmesg.txt": "--e820", "x86-6.1-numa4-ring": "--capture", "machine.dtb.gz": "--dtb"}[path.name]
    one, other = mmtool(command, path), mmtool(command, forced, path)
    assert (one.returncode, one.stderr) == (0, b"")
    assert one.stdout == other.stdout


def test_a_file_without_a_command_is_booted() -> None:
    assert mmtool(LOG).stdout == mmtool("boot", LOG).stdout
    assert mmtool("-", stdin=LOG.read_bytes()).stdout == mmtool("boot", LOG).stdout


FIRST_SCREENS = sorted(
    [*(FIXTURES / "logs").glob("*.txt"), *(FIXTURES / "captures").glob("*-*"), *(FIXTURES / "arm64").glob("*-*"),
     FIXTURES / "captures" / "x86-6.12-64g" / "memmap.txt", FIXTURES / "arm64" / "arm64-6.1-numa2" / "machine.dtb.gz"]
)  # fmt: skip


@pytest.mark.parametrize("path", FIRST_SCREENS, ids=lambda path: path.name)
def test_the_first_screen_is_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 30 lines of 80 columns for a machine of one node; a node more adds its zones, its list and its bar."""
    monkeypatch.setenv("COLUMNS", "80")
    document = json.loads(mmtool("boot", path, "-o", "json").stdout)
    nodes = [node for node in document["nodes"] if node["zones"]]
    lines = mmtool("boot", path).stdout.decode().splitlines()
    assert len(lines) <= 30 + sum(len(node["zones"]) + 2 for node in nodes[1:])
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert all(f"{node['nid']:>4} {zone['name']}" in text for node in nodes for zone in node["zones"])


def test_help_is_a_command() -> None:
    assert mmtool("help").stdout.splitlines()[1:] == mmtool("-h").stdout.splitlines()[1:]
    assert b"--explain" in mmtool("help", "boot").stdout
    assert b"Compares with the results" in mmtool("help", "memblock", "run").stdout


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("bot",), b"did you mean boot?"),
        (("plto", LOG), b"did you mean plot?"),
        (("boot", LOG, "--only", "Zone"), b"did you mean zones or zonelists?"),
        (("boot", LOG, "-o", "csv"), b"CSV is one table"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(arguments: tuple[str | Path, ...], meant: bytes) -> None:
    assert meant in mmtool(*arguments).stderr


def test_an_option_that_changes_nothing_is_said_to() -> None:
    done = mmtool("whatif", LOG, "--cmdline+", "crashkernal=512M")
    assert done.returncode == 0
    assert b"mmtool reads no option 'crashkernal'; did you mean crashkernel?" in done.stderr
    assert b"reads no option" not in mmtool("whatif", LOG, "--cmdline+", "crashkernel=64M memmap=1G$4G").stderr


@pytest.mark.parametrize("gfp", ["gfp_kernel", "GFP_KERNEL,__gfp_noretry", "gfp_kernel|0x400000"])
def test_gfp_flags_in_any_case_and_with_commas(gfp: str) -> None:
    done = mmtool("alloc", "--proc", FIXTURES / "trials" / "6.12-dma", "--order", "0", "--gfp", gfp)
    assert done.returncode == 0, done.stderr


def test_a_flag_that_there_is_not_is_answered_with_the_nearest() -> None:
    done = mmtool("alloc", "--proc", FIXTURES / "trials" / "6.12-dma", "--order", "0", "--gfp", "GFP_KERNAL")
    assert done.returncode == 2 and b"did you mean GFP_KERNEL" in done.stderr


def test_a_table_in_place_of_a_document_is_told() -> None:
    table = mmtool("boot", LOG).stdout
    done = mmtool("alloc", "--order", "0", "--state", "-", stdin=table)
    assert done.returncode == 3 and done.stderr.endswith(b"add -o json to mmtool boot\n")


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_tables_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = mmtool("boot", LOG, "--all").stdout.decode()
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = mmtool("boot", LOG, "--all").stdout.decode()
    rules = [line for line in narrow.splitlines() if set(line) == {"-", " "}]
    assert rules
    assert columns == 40 or max(map(len, rules)) <= columns
    assert set(re.findall(r"0x[0-9a-f]+", wide)) == set(re.findall(r"0x[0-9a-f]+", narrow))
    assert ("left out for width: " in narrow) == (columns < 120)


@pytest.mark.parametrize("command", [(), ("slab",)])
def test_a_group_alone_tells_its_commands(command: tuple[str, ...]) -> None:
    done = mmtool(*command)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == mmtool(*command, "-h").stdout


def test_sections_add_up_in_any_case() -> None:
    assert answer("--only", "Zones", "--only", "nodes") == answer("--only", "zones,nodes")
    assert answer("--all").count("\n\n") == 10


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("0x1", "--kernel-base 0x1: an image for x86_64 lies at a multiple of 0x200000"),
        ("0xffffffffffe00000", "--kernel-base 0xffffffffffe00000: there is no memory for the kernel's image"),
        ("0xc0000000", "--kernel-base 0xc0000000: there is no memory for the kernel's image"),
    ],
)
def test_a_kernel_lies_where_one_may(base: str, said: str) -> None:
    done = mmtool("boot", LOG, "--kernel-base", base)
    assert (done.returncode, done.stdout, beside_assumptions(done).decode()) == (2, b"", f"mmtool: {said}\n")


@pytest.mark.parametrize(
    ("release", "like"),
    [("9.9", NEWEST), ("2.6.32", "3.0"), ("5.30", "5.19"), ("7.3.9", None), ("3.0", None), ("4.20", None)],
)
def test_a_release_out_of_reach_is_said_to_be(release: str, like: str | None) -> None:
    found = json.loads(mmtool("boot", LOG, "--kernel", release, "-o", "json").stdout)["assumed"]
    said = {entry["what"] for entry in found if entry["kind"] == "release" and "does as" in entry["what"]}
    assert said == ({f"Linux {release} does as {like}"} if like else set())


EXPLAINED = [
    # direct map, vmemmap, image, nowhere; with five levels of page tables, four, 32 bits and on arm64
    (NUMA, "0xff11000000100000", "direct map: physical 0x100000, unless KASLR moved it", "page 0x100 is in node 0"),
    (NUMA, "ff11000000100000", "direct map: physical 0x100000, unless KASLR moved it", "page 0x100 is in node 0"),
    (NUMA, "0xff11f00000100000", "direct map, moved by KASLR: what is behind it cannot be told", None),
    (NUMA, "FFD4000000004000", "vmemmap: struct page of page 0x100, physical 0x100000, unless", "page 0x100 is in"),
    (NUMA, "0xffff888000100000", "physical 0x100000 with another number of levels of page tables", "page 0x100 is in"),
    (NUMA, "0xffffffff81000000", "kernel text: no physical address follows from it", None),
    (NUMA, "0xf000000000000000", "in no area of this kernel's", None),
    (FIXTURES / "captures/i386-6.1-pae-vmalloc256", "c0100000", "direct map: physical 0x100000", "page 0x100 is in"),
    (FIXTURES / "arm64/arm64-6.1-numa2", "ffff000000200000", "linear map: physical 0x40200000, unless", "page 0x40200"),
]


@pytest.mark.parametrize(("path", "address", "area", "page"), EXPLAINED)
def test_a_virtual_address_is_explained_by_what_is_behind_it(
    path: Path, address: str, area: str, page: str | None
) -> None:
    first, *rest = json.loads(mmtool("boot", path, "--explain", address, "-o", "json").stdout)["findings"]
    assert first["stage"] == "address space" and first["says"].startswith(area)
    assert [f["says"].startswith(page or "?") for f in rest if f["stage"] == "zone"] == ([True] if page else [])
    assert mmtool("boot", path, "--explain", address).stdout.splitlines()[2].startswith(b"Virtual address 0x")


@pytest.mark.parametrize("address", ["0x100000", "1M", "1048576", "04000000"])
def test_an_address_is_physical_and_as_memparse_reads_it_otherwise(address: str) -> None:
    assert mmtool("boot", LOG, "--explain", address).stdout.splitlines()[2] == b"Physical address 0x100000"


def test_a_warning_of_the_kernel_is_part_of_what_changes() -> None:
    assert b"\nthe kernel warns: crashkernel: memory value expected\n" in mmtool(
        "whatif", LOG, "--cmdline+", "crashkernel=banana"
    ).stdout
    assert b"the kernel warns" not in mmtool("whatif", LOG, "--cmdline+", "crashkernel=64M").stdout


def test_a_state_may_be_yaml() -> None:
    outputs = [mmtool("boot", NUMA, "-o", form).stdout for form in ("json", "yaml")]
    assert b"&id" not in outputs[1]
    command = ("alloc", "--order", "3", "--state", "-", "-o", "json")
    from_json, from_yaml = (mmtool(*command, stdin=text).stdout for text in outputs)
    assert from_yaml == from_json != b""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"schema: mmtool.boot/1\nstate: {a: [1,\n", "mmtool: -:3: not YAML: "),
        (b"schema: mmtool.boot/1\na: &x [1]\nstate: [*x, *x]\n", "mmtool: -: YAML with aliases (*name)"),
        (b"schema: mmtool.boot/1\nstate: !!python/object:os.system {}\n", "mmtool: -:2: not YAML: "),
        (b"schema: mmtool.boot/1\nstate: " + b"[" * 5000, "mmtool: -"),
    ],
)
def test_broken_yaml_is_told_in_one_line(text: bytes, said: str) -> None:
    done = mmtool("alloc", "--order", "0", "--state", "-", stdin=text)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.decode().startswith(said) and done.stderr.count(b"\n") == 1


def test_an_order_below_zero_is_negative() -> None:
    done = mmtool("alloc", "--proc", FIXTURES / "trials" / "6.12-dma", "--order", "-1")
    assert done.returncode == 2 and b"order -1 is negative" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("boot", "--only"), "option '--only' requires an argument; see mmtool boot -h"),
        (("slab", "kmalloc", "--size"), "option '--size' requires an argument; see mmtool slab kmalloc -h"),
        (("boot", "x", "y"), "got unexpected extra argument (y); see mmtool boot -h"),
        (("bot",), "there is no command 'bot'; did you mean boot? (see mmtool -h)"),
        (("version",), "there is no command 'version'; did you mean --version or verify? (see mmtool -h)"),
        (("map", LOG, "--to", "qemu", "--bytes"), "--to has a format of its own: it does not go with --bytes"),
        (("boot", LOG, "-o", "josn"), "(.txt, .json, .yaml, .csv, .log, .svg, .html); did you mean json?"),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_its_help_is(arguments: tuple[str | Path, ...], said: str) -> None:
    done = mmtool(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert done.stderr.startswith(b"mmtool: ") and said in done.stderr.decode()
