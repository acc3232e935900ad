"""Options, scripts and names of files that nobody meant: usage or input that is refused in one line, and no more work
than a line of ten words deserves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.release import release_facts
from mmtool.cli import cli
from mmtool.errors import InputError, UsageError
from mmtool.examples import with_files
from mmtool.firmware.packed import read_bytes
from mmtool.linux.arch.x86.kernel.e820 import E820Table
from mmtool.linux.kernel.printk import KernelLog
from mmtool.observed.process_records import records_of
from mmtool.observed.reports.events import find_events
from mmtool.report.untrusted import one_line, printable
from mmtool.system.process import from_start

FIXTURES = Path(__file__).parent.parent / "fixtures"
TRIAL = str(FIXTURES / "trials" / "6.12-dma")


def refusal(*args: str, stdin: str = "") -> str:
    """What a command that is refused says."""
    result = CliRunner().invoke(cli, args, input=stdin)
    assert isinstance(result.exception, InputError | UsageError | SystemExit), result.exception
    assert result.exit_code not in (0, 1) or isinstance(result.exception, InputError | UsageError)
    assert not result.stdout
    return str(result.exception) if not isinstance(result.exception, SystemExit) else result.stderr


PROCESS = {
    "repeat": "-:1: repeat needs a number and an operation",
    "repeat 100000000 read BRK 0": "-:1: more work is asked for by here",
    "sysctl vm.max_map_count x": "-:1: 'x' is no whole number",
    "thp enabled banana": "-:1: thp enabled takes always, madvise, never",
    "rlimit BANANA 5": "-:1: 'BANANA' is none of CPU",
    "mmap A 0 1_000 rw private,anon": "-:1: '1_000' is no number",
    "mmap A 0 ٣ rw private,anon": "-:1: '٣' is no number",
    "% banana": "'banana' sets nothing up",
    "%": "'' sets nothing up",
    "% rlimit STACK": "'rlimit STACK' sets nothing up",
    "% personality -1": "'personality -1' sets nothing up",
    "% sysctl vm.max_map_count -1": "'-1' is no whole number",
    "% env 99999999999": "an environment has up to",
}


@pytest.mark.parametrize("script", PROCESS)
def test_a_line_of_a_process_that_means_nothing(script: str) -> None:
    assert PROCESS[script] in refusal("process", "run", "-", stdin=script + "\n")


def test_many_mappings_of_a_script_that_is_walked() -> None:
    script = "".join(f"mmap A{n} 0 P {'r' if n % 2 else 'rw'} private,anon\n" for n in range(8000))
    assert "more work is asked for" in refusal("walk", "0", "--script", "-", stdin=script)


@pytest.mark.parametrize("operation", ["write A 1T P", "write A 1T 1", "mlock A 1T"])
def test_terabytes_of_faults_are_refused(operation: str) -> None:
    script = f"sysctl vm.overcommit_memory 1\nmmap A 0 1T rw private,anon\nmadvise A 1T nohugepage\n{operation}\n"
    assert "-:4: more" in refusal("process", "run", "-", stdin=script)


def test_a_page_of_a_record_that_its_mapping_has_not() -> None:
    text = read_bytes(str(FIXTURES / "process" / "x86_64-7.3.jsonl.xz")).decode()
    record = next(records_of(text, "r"))[1]
    record["start"]["vmas"][0]["pages"] = "0+99999999999f"
    with pytest.raises(ValueError, match="none of the mapping's"):
        from_start(record["machine"], (), record["start"])


def test_a_record_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    said = refusal("process", "run", "-", "--start", str(tmp_path / "empty"), stdin="brk BRK\n")
    assert said == f"{tmp_path / 'empty'}: there is no record of a process in it"
    assert refusal("process", "layout", "-", stdin='{"id": 7}\n') == "-:1: /id: is no text"


RMAP = {
    "anon A 99999999999": "is no whole number from 1 to",
    "anon A 0": "is no whole number from 1 to",
    "anon A 16\nanon A 16": "there is an object 'A' already",
    "anon A 16\nstore A 0-16": "'16' is no whole number from 0 to 15",
    "anon A 16\nstore A 5-3": "'3' is no whole number from 5 to 15",
    "anon A 16\nsame A 0-1 ٣": "is no whole number from 0 to 255",
    "anon A 16\nfork k\nfork k": "there is a process 'k' already",
    "anon A 16\nksm 99999999999": "is no whole number",
    "anon A 16\nmerge A\nksm 99999": "by here more than 100000 pages are told of",
    "anon A 60000\nstore A 0\nstore A 0": "by here more than 100000 pages are told of",
}


@pytest.mark.parametrize("script", RMAP)
def test_a_line_of_rmap_that_means_nothing(script: str) -> None:
    said = refusal("reclaim", "rmap", "-", stdin=script)
    assert said.startswith(f"-:{script.count(chr(10)) + 1}: ") and RMAP[script] in said


@pytest.mark.parametrize(
    "line",
    ["alloc 0 GFP_KERNEL count=-5", "alloc 0 GFP_KERNEL count=0", "alloc ٣ GFP_KERNEL", "free step=-3", "free step=0"],
)
def test_a_line_of_alloc_that_means_nothing(line: str) -> None:
    assert refusal("alloc", "--proc", TRIAL, "--script", "-", stdin=line).startswith("-:1: ")


def test_a_workload_without_accesses() -> None:
    assert refusal("reclaim", "fit", "-", "--curve", stdin="machine max=100\nfile A 400\n") == "-: no accesses in it"


def test_the_states_around_a_trace_are_of_one_machine(tmp_path: Path) -> None:
    recorded = json.loads(read_bytes(str(FIXTURES / "traces" / "two-cpus-7.3.json.xz")))
    recorded["trace"] = ""
    (tmp_path / "t").write_text(json.dumps(recorded))
    other = str(FIXTURES / "trials" / "6.12-thisnode")
    made = CliRunner().invoke(cli, ["alloc", "--proc", other, "--order", "0", "-o", "json"])
    (tmp_path / "s").write_text(made.stdout)
    said = refusal("replay", str(tmp_path / "t"), "--state", str(tmp_path / "s"))
    assert said.startswith(f"{tmp_path / 't'}:/S1: has other nodes")


def test_a_number_of_proc_that_is_none(tmp_path: Path) -> None:
    capture = tmp_path / "c"
    shutil.copytree(FIXTURES / "captures" / "x86-6.18-crashkernel", capture)
    for number in ("²", "9" * 5000, "-1"):
        (capture / "proc" / "sys" / "vm" / "min_free_kbytes").write_text(number + "\n")
        assert "min_free_kbytes:1: " in refusal("verify", str(capture))


def test_a_device_that_has_no_end() -> None:
    for command in (("slab", "caches", "--caches"), ("reclaim", "fit", "--curve")):
        assert refusal(*command, "/dev/zero") == "/dev/zero: is a device that has no end"


@pytest.mark.parametrize("access", ["I  1" + "0" * 400 + ",3", " S ffffffffffffffff,8", " L 0,-5"])
def test_an_address_that_no_processor_has(access: str) -> None:
    trace = f"==1== Lackey, an example Valgrind tool\nI  04000f10,3\n{access}\n"
    assert refusal("reclaim", "fit", "-", "--curve", stdin=trace).endswith("is no line of lackey's")


OPTIONS = {
    ("batch", str(FIXTURES / "logs"), "--jobs", "99999999999"): "1<=x<=1024",
    ("process", "layout", "--personality", " "): "sets nothing up",
    ("process", "layout", "--personality", "0x10000000000"): "sets nothing up",
    ("process", "layout", "--rlimit", "stack="): "sets nothing up",
    ("process", "layout", "--rlimit", "stack=-1"): "a resource limit is a size",
    ("process", "layout", "--rlimit", "x y=1"): "sets nothing up",
    ("boot", str(FIXTURES / "logs" / "laptop-6.16.txt"), "--config", ""): ": ",
    ("capture", "machine.tar", "--force"): "an archive is written as FILE.tar.gz",
    ("capture", "machine.zip"): "an archive is written as FILE.tar.gz",
    ("boot", "-", "--initrd", "0x0-0x10000000000000000"): "more than 64 bits hold",
    ("slab", "caches", "--memory", "16E"): "more than 64 bits hold",
    ("slab", "caches", "--cpus", "18446744073709551615"): "1<=x<=8192",
    ("slab", "caches", "--cpus", "4", "--possible-cpus", "2"): "4 CPUs are present",
    ("process", "maps", "1", "--max-map-count", "-4"): "1<=x<=",
    ("walk", "0x1000", "--memory", "255"): "no process can be made of it: ENOMEM",
    ("process", "layout", "--va-bits", "52"): "x86_64 has none so wide",
    ("process", "layout", "--arch", "i386", "--task", "compat32"): "a kernel for i386",
    ("reserve", str(FIXTURES / "logs" / "laptop-6.16.txt"), "--hugepages", "1G:²"): "write SIZE:COUNT",
    ("reserve", str(FIXTURES / "logs" / "laptop-6.16.txt"), "--hugepages", "1G:" + "9" * 5000): "write SIZE:COUNT",
    ("explain", "-", "--sysctl", "vm.panic_on_oom=²"): "--sysctl vm.panic_on_oom: '²' is no whole number from 0 to 2",
    ("alloc", "--proc", TRIAL, "--order", "0", "--count", "٣"): "neither a number from 1 on nor max",
    ("alloc", "--proc", TRIAL, "--order", "0", "--nodemask", "9" * 5000): "is no list of nodes",
    ("vmalloc", "--proc", TRIAL, "--size", "4K", "--count", "0"): "neither a number from 1 on nor max",
    ("profile", "make", "--size", "struct_page=1_0"): "give a name and bytes",
    ("slab", "kmalloc", "--size", "8", "--config", "x" * 5000, "-o", "yaml", "--columns", "x"): "--columns goes with",
}


@pytest.mark.parametrize("words", OPTIONS, ids=lambda words: " ".join(words)[-60:])
def test_a_value_of_an_option_that_means_nothing(words: tuple[str, ...]) -> None:
    assert OPTIONS[words] in refusal(*words)


def test_an_area_of_very_many_pages(tmp_path: Path) -> None:
    state = CliRunner().invoke(cli, ["boot", str(FIXTURES / "captures" / "x86-6.12-64g"), "-o", "json"]).stdout
    for words in (["--size", "40G"], ["--size", "64M", "--count", "max"]):
        assert "at most 4194304 pages" in refusal("vmalloc", "--state", "-", *words, stdin=state)


STRACE = str(FIXTURES / "process" / "strace" / "sh.strace.xz")
RECORDS = str(FIXTURES / "process" / "x86_64-7.3.jsonl.xz")
TREE = str(FIXTURES / "fdt" / "numa4-ring.dtb.gz")
TOGETHER = {
    ("alloc", "--state", "-", "--script", "-"): "standard input is asked for twice",
    ("alloc", "--proc", TRIAL, "--script", "x", "--count", "5"): "--count goes with --order",
    ("alloc", "--proc", TRIAL, "--script", "x", "--explain"): "--explain goes with --order",
    ("process", "run", RECORDS, "--start", "x"): "--start goes with a script",
    ("process", "run", STRACE, "--explain", "3"): "--explain goes with a script",
    ("process", "run", "-", "--explain", "3", "-o", "json"): "--explain shows tables",
    ("process", "layout", "x", "--exec", "pie"): "is said by the records in x",
    ("boot", str(FIXTURES / "logs" / "laptop-6.16.txt"), "--boot", "list", "-o", "json"): "does not go with -o",
    ("verify", str(FIXTURES / "logs" / "laptop-6.16.txt"), "--boot=list", "-o", "x.csv"): "does not go with -o",
    ("boot", "--dtb", TREE, "--slit", "x"): "--srat and --slit go with a map",
    ("lint", TREE, "--srat", "x"): "which says itself what --srat and --slit would",
}


@pytest.mark.parametrize("words", TOGETHER, ids=lambda words: " ".join(words)[:60])
def test_options_that_do_not_go_together(words: tuple[str, ...]) -> None:
    stdin = ""
    if "--state" in words:
        stdin = CliRunner().invoke(cli, ["alloc", "--proc", TRIAL, "--order", "0", "-o", "json"]).stdout
    assert TOGETHER[words] in refusal(*words, stdin=stdin)


@pytest.mark.parametrize("name", ["x" * 300 + ".json", "a/" * 3000 + "x.json"])
def test_the_name_of_an_output_that_is_too_long(name: str) -> None:
    assert refusal("zram", "classes", "-o", name).startswith("-o x" if name[0] == "x" else "-o a")


@pytest.mark.parametrize(
    "words", ["boot --e820", "boot --dtb", "slab info", "process maps", "capture", "verify", "batch", "explain", "lint"]
)
def test_the_name_of_an_input_that_is_too_long(words: str) -> None:
    name = "9" * 300
    assert refusal(*words.split(), name).startswith(f"{name}: ")


def test_the_name_of_a_configuration_that_is_too_long() -> None:
    result = CliRunner().invoke(cli, ["slab", "kmalloc", "--size", "8", "--config", "x" * 5000])
    assert result.exit_code == 0 and "no such file" in result.stderr


def test_no_capture_is_left_where_a_column_is_wrong(tmp_path: Path) -> None:
    assert "no column" in refusal("capture", str(tmp_path / "c"), "--columns", "x")
    assert not list(tmp_path.iterdir())


def test_what_is_said_beside_the_answer_has_no_control_characters(tmp_path: Path) -> None:
    log = tmp_path / "\x1b[31m\u202e\n.txt"
    text = (FIXTURES / "logs" / "laptop-6.16.txt").read_text()
    log.write_text(text + "[    0.000000] BIOS-e820: [mem 0x0000000000000000-zz] usable\n")
    result = CliRunner().invoke(cli, ["boot", str(log), "--only", "zones", "-o", "csv"])
    said = result.stderr
    assert said.count("\n") == sum(line.startswith("mmtool: ") for line in said.splitlines())
    assert not {"\x1b", "\u202e"} & set(said)


def test_the_name_of_a_map_in_the_findings_of_lint(tmp_path: Path) -> None:
    table = tmp_path / "\x1b[31m.txt"
    table.write_text("0x0-0x9fbff usable\n0x9000-0x9ffff reserved\n")
    said = CliRunner().invoke(cli, ["lint", str(table)]).stdout
    assert "\x1b" not in said and "\\x1b[31m.txt: " in said


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12), st.sampled_from([1, 2, 3, 4, 20])), max_size=12))
def test_a_table_of_ranges_over_one_another_is_what_its_bytes_say(ranges: list[tuple[int, int, int]]) -> None:
    table = E820Table(release_facts((6, 12, 0)), KernelLog(), 1000)
    for start, size, kind in ranges:
        table.range_add(start, size, kind)
    table.update_table()
    kinds = [max((k for s, n, k in ranges if s <= byte < s + n), default=0) for byte in range(50)]
    if len(ranges) > 1:
        assert [sum(e.type for e in table.entries if e.start <= byte < e.end) for byte in range(50)] == kinds


def test_an_option_that_is_not_read_is_named_once() -> None:
    words = ["whatif", "example:laptop", "--cmdline+", "banana=1 " * 500, "-o", "json"]
    assert CliRunner().invoke(cli, with_files(words)).stderr.count("banana") == 1


def test_what_is_invisible_is_escaped() -> None:
    assert printable("a\ufeffb\u200bc\u2066d") == "a\\ufeffb\\u200bc\\u2066d"
    assert one_line("\x85\u2028") == "\\x85\\u2028"


def test_a_report_far_along_an_endless_line_is_read_as_one_at_its_start() -> None:
    head = "hog invoked oom-killer: gfp_mask=0x100dca(GFP_KERNEL), order=0, oom_score_adj=0"
    for before in ("", "x " * 5000 + "[1.5] ", "\n" * 5000, "x" * 5000 + "\n"):
        assert [event.comm for event in find_events(before + head)] == ["hog"]


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is not installed")
def test_a_source_that_dtc_does_not_read_to_its_end(tmp_path: Path) -> None:
    tree = tmp_path / "x.dts"
    tree.write_bytes(b"/dts-v1/;\n\0" + b"/ { };\n" * 100_000)
    assert refusal("lint", str(tree)).startswith(f"{tree}: ")
    tree.write_bytes(b"/dts-v1/;\n/ { " + b"reg = <0>;\n" * 10_000 + b"};\n")  # it complains of each pair of them
    assert refusal("lint", str(tree)) == f"{tree}: is a device tree's source, on which dtc does not end"


def log_of(folder: Path, end: str) -> Path:
    """A log of a build that can fake nodes, with memory up to an address."""
    log = folder / "log.txt"
    ranges = ("0x0000000000000000-0x000000000009ffff", f"0x0000000000100000-0x{end}")
    lines = ["Linux version 6.13.0 (x@x) #1 SMP", *(f"BIOS-e820: [mem {each}] usable" for each in ranges)]
    log.write_text("\n".join(lines) + "\n")
    return log


def test_a_state_of_more_lists_than_any_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each CPU has lists of each zone: 8192 of them on hundreds of faked nodes took gigabytes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    log = log_of(tmp_path, "00000003ffffffff")
    asked = ("boot", str(log), "--cmdline", "numa=fake=64", "--cpus", "8192")
    shown = CliRunner().invoke(cli, [*asked, "--only", "nodes"])
    assert "8192 CPUs' lists of " in shown.stderr and shown.exit_code == 0
    assert shown.stderr.splitlines()[-1].startswith("mmtool: this boot is not kept: ")
    assert "are more than a state holds (150000); give --cpus N" in refusal(*asked, "-o", "json")


def test_empty_lines_of_a_log_of_memblock_are_none(tmp_path: Path) -> None:
    text = (FIXTURES / "logs" / "laptop-6.16.txt").read_text()
    said = [refusal("memblock", "replay", "-", stdin=each) for each in (text, text.replace("\n", "\n\n"))]
    assert said[0] == said[1] and "give the log of a boot with memblock=debug" in said[0]


def test_zonelists_of_more_nodes_than_any_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand faked nodes have a million entries, twice: they are printed, but no document holds them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    log = log_of(tmp_path, "00000007ffffffff")
    asked = ("boot", str(log), "--cmdline", "numa=fake=500")
    assert "more than a document holds (150000); -o dmesg and tables show them" in refusal(*asked, "-o", "json")
    shown = CliRunner().invoke(cli, [*asked, "--only", "zonelists"])
    assert shown.exit_code == 0 and "mmtool: this boot is not kept: " in shown.stderr
