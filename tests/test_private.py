"""What `mmtool capture` leaves out and replaces: mmtool reads the same of what is left, and no secret is in it."""

from __future__ import annotations

import base64
import gzip
import io
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.blobs import blob, cells, text

from mmtool.build.make import make_profile_from
from mmtool.capture import redact, reduce
from mmtool.capture.collect import Collected
from mmtool.capture.confided import hide_table, hide_tree, hide_values
from mmtool.capture.identity import Identity, is_serial
from mmtool.capture.needed import PROCESS_OPTIONS, needed_files
from mmtool.capture.private import make_private
from mmtool.capture.redact import Redactor
from mmtool.capture.reduce import reduce_log, what_is_read
from mmtool.capture.store import INDEX, write_capture
from mmtool.cli import cli
from mmtool.errors import InputError
from mmtool.firmware import log as firmware_log
from mmtool.firmware.cmdline import READ, parse_cmdline, same_name
from mmtool.firmware.fdt import parse_fdt
from mmtool.firmware.iomem import memory_of_iomem, parse_iomem
from mmtool.firmware.lines import decode, kernel_lines
from mmtool.firmware.machine import Machine
from mmtool.firmware.packed import read_bytes
from mmtool.firmware.read import read_capture
from mmtool.firmware.slit import parse_slit
from mmtool.firmware.srat import parse_srat
from mmtool.observed import memblock_log
from mmtool.observed.reports import report
from mmtool.observed.reports.report import Report

TOP = Path(__file__).parent.parent
FIXTURES = TOP / "fixtures"
CAPTURES = [path for kind in ("captures", "arm64") for path in sorted((FIXTURES / kind).iterdir()) if path.is_dir()]
NUMA = FIXTURES / "captures" / "x86-7.3-numa3-asym"
BOARD = FIXTURES / "arm64" / "arm64-6.1-numa2"


def beside(variable: str, *patterns: str) -> list[Path]:
    """Recordings beside the project, where they are at hand."""
    folder = os.environ.get(variable)
    return sorted(path for pattern in patterns for path in Path(folder).glob(pattern)) if folder else []


LOGS = [
    *(capture / "dmesg.txt" for capture in CAPTURES),
    *(path for kind in ("logs", "kinds", "reports") for path in sorted((FIXTURES / kind).glob("*.txt"))),
    *beside("MMTOOL_CAPTURES", "*/dmesg.txt")[::3], *beside("MMTOOL_LOGS", "*.txt"),
    *beside("MMTOOL_REPORTS", "*/*.txt", "*/*.log"),
]  # fmt: skip
"""Of the captures, whose long logs are much alike, every third."""
WHOLE = {"m13-markdown-ate-stars.txt"}
"""Logs that are kept whole, since what markdown did to them can be undone only of the whole."""
NAMES_COUNT = {"5.15.0-rc4_x86_64_oom_o0_x_1.txt", "unk_x86_64_oom_o0_highuser-movable_1.txt"}
"""Reports that are read otherwise with other names: a task is called 3; mail joined lines to the next one's clock."""


@pytest.fixture(scope="module")
def read_once() -> Iterator[None]:
    """What is read of a text is kept for a while: readers, `reduce_log` and the tests ask for the same of the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduce, "what_is_read", lru_cache(maxsize=8)(reduce.what_is_read))
        lines = lru_cache(maxsize=8)(kernel_lines)
        for module in (firmware_log, memblock_log, redact, reduce, report):
            patch.setattr(module, "kernel_lines", lines)
        yield


@pytest.fixture(scope="module", params=LOGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def of_logs(request: pytest.FixtureRequest, read_once: None) -> Path:
    """A log after the other, each for all tests that ask for one."""
    return Path(request.param)


# What is left is read as before


def test_readers_read_the_same_of_fewer_lines(of_logs: Path) -> None:
    data = read_bytes(str(of_logs))
    reduced = reduce_log(data)
    assert reduced.whole == (of_logs.name in WHOLE)
    assert reduce.what_is_read(reduced.text) == reduce.what_is_read(decode(data))


def answers(place: Path, command: str, *options: str) -> tuple[int, str, str]:
    with chdir(place):
        done = CliRunner().invoke(cli, [command, "c", *options], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


COMMANDS = (
    ("boot", "-o", "json"), ("boot", "-o", "dmesg"), ("ledger", "-o", "json"), ("verify", "-o", "json"),
    ("lint", "-o", "json"),
)  # fmt: skip
CHOSEN = [*CAPTURES[::3], *(path for path in beside("MMTOOL_CAPTURES", "*")[::9] if (path / "dmesg.txt").exists())]
"""The readers' own results are compared of all; these show that nothing else reads a capture's log."""


@pytest.mark.parametrize("capture", CHOSEN, ids=lambda path: path.name)
def test_answers_of_a_reduced_capture_are_the_same(capture: Path, tmp_path: Path) -> None:
    files = files_of(capture)
    reduced = Collected(dict(files))
    changes = make_private(reduced, Identity(), whole=False, keep_names=True)
    assert {change.name for change in changes} <= {"dmesg.txt", "proc/iomem"}
    for place, held in (("a", files), ("b", reduced.files)):
        (tmp_path / place).mkdir()
        write_capture({INDEX: b"{}", **held}, f"{tmp_path}/{place}/c", force=False)
    for command in COMMANDS:
        assert answers(tmp_path / "a", *command) == answers(tmp_path / "b", *command)


@pytest.mark.parametrize("name", ["m06b-slub-memcg", "m14-headless-memcg", "w02-global-oom-then-memcg-line"])
def test_what_is_explained_of_a_reduced_log_is_the_same(name: str, tmp_path: Path) -> None:
    said = (NUMA / "dmesg.txt").read_bytes() + (FIXTURES / "kinds" / f"{name}.txt").read_bytes() + b"[9.0] eth0: up\n"
    reduced = reduce_log(said)
    assert not reduced.whole and "eth0" not in reduced.text
    for place, log in (("a", said), ("b", reduced.text.encode())):
        (tmp_path / place).mkdir()
        (tmp_path / place / "c").write_bytes(log)
    assert answers(tmp_path / "a", "explain", "-o", "json") == answers(tmp_path / "b", "explain", "-o", "json")


def test_lines_that_nobody_reads_go_and_the_others_keep_their_numbers() -> None:
    said = (FIXTURES / "logs" / "laptop-6.16.txt").read_text().splitlines()
    odd = "[    9.000000] systemd[1]: Started Session 3 of User alice: efi: ACPI: e820: cma: memblock"
    mixed = [line for pair in zip(said, [odd] * len(said), strict=True) for line in pair]
    left = reduce_log("\n".join(mixed).encode())
    assert not left.whole and left.kept < len(said)
    for before, after in zip(mixed, left.text.split("\n"), strict=True):
        assert after in (before, "") and after != odd


def test_heads_alone_keep_no_line() -> None:
    """A line is kept for what is read of it and not for how it begins."""
    odd = [
        "efi: boot file \\EFI\\acme\\grub.efi", "ACPI: alice was here", "DMI of alice", "node alice", "SRAT: of alice",
        "RAMDISK: of alice", "rcu: alice", "CPU features: alice", "IOAPIC[alice]", "memblock_alice",
    ]  # fmt: skip
    said = (NUMA / "dmesg.txt").read_text() + "".join(f"[    9.000000] {line}\n" for line in odd)
    assert "alice" not in reduce_log(said.encode()).text and "acme" not in reduce_log(said.encode()).text


def test_every_module_that_goes_through_a_logs_lines_says_which_it_reads() -> None:
    """A reader of its own would go unasked when a log is cut down."""
    imports = re.compile(r"^from mmtool\.firmware\.(?:lines|log) import .*\b(?:kernel_lines|boots_of)\b", re.MULTILINE)
    sources = {path.relative_to(TOP / "mmtool").as_posix(): path.read_text() for path in (TOP / "mmtool").rglob("*.py")}
    using = {name for name, source in sources.items() if imports.search(source)}
    readers = {"firmware/log.py", "observed/answers.py", "observed/memblock_log.py", "observed/reports/report.py"}
    assert using - readers == {"capture/reduce.py", "capture/redact.py"}
    for reader in readers:
        assert re.search(r"^def (?:lines|places)_read\(", sources[reader], re.MULTILINE), reader


def test_a_log_that_is_refused_is_cut_down_like_any_other() -> None:
    said = (
        "[0.0] Linux version 6.1.0 (a@b) #1 SMP\n[0.0] BIOS-e820: [mem 0x0-0x9ffff] usable\n"
        "[0.0] BIOS-e820: [mem 0x100000-0x1ffffffffffffffffff] usable\n[1.0] eth0: of alice\n"
    )
    assert isinstance(what_is_read(said)[0][0], str)
    left = reduce_log(said.encode())
    assert not left.whole and left.text == said.replace("[1.0] eth0: of alice", "")
    assert Redactor(Identity(frozenset({"alice"}))).log(said).endswith("of host2\n")


CONFIG = """\
#
# Automatically generated file; DO NOT EDIT.
# Linux/x86 6.1.27 Kernel Configuration
#
CONFIG_CC_VERSION_TEXT="gcc-12 (alice@acme)"
CONFIG_X86_64=y
CONFIG_NUMA=y
# CONFIG_MODULES is not set
CONFIG_NODES_SHIFT=10
CONFIG_DEFAULT_HOSTNAME="gandalf"
CONFIG_SYSTEM_TRUSTED_KEYS="/home/alice/keys/acme.pem"
CONFIG_E1000=m
"""
SYMBOLS = "".join(
    f"{0xFFFFFFFF81000000 + (i << 12):016x} T {name}\n"
    for i, name in enumerate(("_text", "alice_init", "__init_begin", "__init_end", "acme_probe", "__bss_stop", "_end"))
)


def test_a_profile_of_the_options_and_symbols_that_are_left_is_the_same() -> None:
    files = {"config": CONFIG.encode(), "System.map": SYMBOLS.encode()}
    left = needed_files(files)

    def profile(files: dict[str, bytes]) -> Any:
        return make_profile_from((files["config"].decode(), ""), (files["System.map"].decode(), ""), None)

    assert profile(left) == profile(files)
    assert [line.split()[-1] for line in left["System.map"].decode().splitlines()] == [
        "_text", "__init_begin", "__init_end", "__bss_stop", "_end",
    ]  # fmt: skip
    assert re.findall(rb"CONFIG_\w+", left["config"]) == [
        b"CONFIG_X86_64", b"CONFIG_NUMA", b"CONFIG_MODULES", b"CONFIG_NODES_SHIFT",
    ]  # fmt: skip


def test_the_options_that_processes_go_by_are_those_that_are_asked_for() -> None:
    sources = "".join(path.read_text() for path in (TOP / "mmtool" / "system").glob("*.py"))
    assert set(re.findall(r"\"CONFIG_(\w+)\"", sources)) == PROCESS_OPTIONS


def test_what_its_reader_refuses_is_left_out() -> None:
    found = Collected({"config": b"hunter2\n", "System.map": b"hunter2\n", "dmesg.txt": b""})
    make_private(found, Identity(), whole=False, keep_names=False)
    assert set(found.files) == {"dmesg.txt"}
    assert {missing.name for missing in found.missing} == {"config", "System.map"}


IOMEM = [
    *CAPTURES,
    *(path.parent.parent for path in beside("MMTOOL_CAPTURES", "*/proc/iomem")),
]


@pytest.mark.parametrize("capture", IOMEM, ids=lambda path: path.name)
def test_memory_stays_in_iomem_and_devices_have_no_names(capture: Path) -> None:
    path = capture / "proc/iomem"
    if not path.exists():
        pytest.skip("it shows no iomem")
    left = needed_files({"proc/iomem": path.read_bytes()})["proc/iomem"].decode()
    assert parse_iomem(left, "") == parse_iomem(path.read_text(), "")
    assert memory_of_iomem(left) == memory_of_iomem(path.read_text())
    assert "0000:" not in left and not re.search(r": (?!device|Kernel|Crash|GART)\w*[a-z]\w*\d", left)


# Values that go unless they are harmless


def test_a_command_line_keeps_what_is_read_and_its_length() -> None:
    cases = {
        "BOOT_IMAGE=/boot/vmlinuz root=UUID=3a1b-1111 ro": "BOOT_IMAGE=xxxxxxxxxxxxx root=xxxxxxxxxxxxxx ro",
        'mem=4G "foo.key=a b" x="c d" quiet': 'mem=4G "foo.key=x x" x="x x" quiet',
        "console=ttyS0,115200 console=alice@host/9": "console=ttyS0,115200 console=xxxxxxxxxxxx",
        "hugepages=4 hunter2 panic=1 pci=nomsi": "hugepages=4 xxxxxxx panic=1 pci=nomsi",
        "cryptdevice=/dev/sda2:luks ip=10.4::eth0": "cryptdevice=xxxxxxxxxxxxxx ip=xxxxxxxxxx",
        "rd.luks.name=7c1f nfsroot=srv:/x a_b.pin=1": "rd.luks.name=xxxx nfsroot=xxxxxx a_b.pin=x",
        "memmap=1M$2M -- single alice=secret": "memmap=1M$2M -- xxxxxx xxxxxxxxxxxx",
        "crashkernel=256M,high  hugetlb-cma=1G ": "crashkernel=256M,high  hugetlb-cma=1G ",
    }
    for said, want in cases.items():
        assert hide_values(said) == want


words = st.text(st.sampled_from('ab=." \t-\\é'), max_size=12)
options = st.lists(
    st.one_of(words, st.builds("{}={}".format, st.sampled_from([*READ, "root", "a.b"]), words)), max_size=12
).map(" ".join)


@given(options)
@settings(deadline=None)
@example('mem=1G "')
@example('="" =x= "a=b"c mem="1G')
def test_any_command_line_keeps_its_length_and_what_is_read(said: str) -> None:
    left = hide_values(said)
    assert len(left) == len(said) and hide_values(left) == left
    before, after = parse_cmdline(said).options, parse_cmdline(left).options
    assert len(before) == len(after)
    read = {same_name(name) for name in READ}
    for (name, value), (name_after, value_after) in zip(before, after, strict=True):
        if same_name(name) in read:
            assert (name, value) == (name_after, value_after)
        elif value is None:
            assert (value_after is None and set(name_after) <= set(' \t"x')) or name_after == name
        else:
            assert name_after == name and value_after is not None and len(value_after) == len(value)


def test_a_command_line_in_several_lines_is_one() -> None:
    """From 6.19 on; a quoted value may lie across the lines."""
    said = [
        '[    0.000000] Kernel command line: root=/dev/sda a.b="hunter2 \\',
        '[    0.000000] Kernel command line: hunter3 mem=7G" mem=2G \\',
        "[    0.000000] Kernel command line: quiet secret",
        "[    0.000000] Command line: mem=2G hunter2",
    ]
    left = Redactor(Identity()).log("\n".join(said)).split("\n")
    assert left == [
        '[    0.000000] Kernel command line: root=xxxxxxxx a.b="xxxxxxx \\',
        '[    0.000000] Kernel command line: xxxxxxx xxxxxx" mem=2G \\',
        "[    0.000000] Kernel command line: quiet xxxxxx",
        "[    0.000000] Command line: mem=2G xxxxxxx",
    ]


def test_a_command_line_that_was_cut_is_hidden_like_the_whole_one() -> None:
    whole = " ".join(f"option{n}=value{n}" for n in range(70)) + " crashkernel=256M secret=hunter2"
    log = f"[    0.000000] Command line: {whole}\n[    0.000000] Kernel command line: {whole[:940]}\n"
    first, second = (line.partition("ommand line: ")[2] for line in Redactor(Identity()).log(log).split("\n")[:2])
    assert len(first) == len(whole) and first[:940] == second
    left = Redactor(Identity()).log(log)
    assert [what_is_read(text)[0][0].cmdline for text in (log, left)] == [whole, first]


def test_a_table_keeps_what_is_read_and_loses_its_maker() -> None:
    for name, parse in (("SRAT.aml", parse_srat), ("SLIT.aml", parse_slit)):
        for path in FIXTURES.glob(f"captures/*/{name}"):
            data = path.read_bytes()
            left = hide_table(data)
            assert b"BOCHS" in data and b"BOCHS" not in left and b"BXPC" not in left
            assert len(left) == len(data) and parse(left, "") == parse(data, "")


def no_bootargs(value: bytes) -> bytes:
    return value


@pytest.mark.parametrize(
    "path", [*FIXTURES.glob("*/*/machine.dtb.gz"), *beside("MMTOOL_CAPTURES", "*/machine.dtb.gz")],
    ids=lambda path: path.parent.name,
)  # fmt: skip
def test_a_tree_of_the_values_that_are_read_is_the_same(path: Path) -> None:
    data = gzip.decompress(path.read_bytes())
    left = hide_tree(data, no_bootargs)
    assert len(left) == len(data) and hide_tree(left, no_bootargs) == left
    assert replace(parse_fdt(left, ""), model=None) == replace(parse_fdt(data, ""), model=None)


def test_a_tree_loses_its_names() -> None:
    tree = {
        "#address-cells": cells(2), "#size-cells": cells(2), "serial-number": text("100000008a7b6c5d"),
        "model": text("Alice's board"), "compatible": text("acme,board"),
        "memory@0": {"device_type": text("memory"), "reg": bytes(8) + (1 << 30).to_bytes(8)},
        "chosen": {"bootargs": "root=/dev/vg-böx1/root macaddr=B8:27:EB:01:02:03 mem=512M".encode() + b"\0",
                   "u-boot,version": text("2024 alice"), "rng-seed": bytes.fromhex("0badcafe0badcafe")},
        "ethernet@1": {"local-mac-address": bytes.fromhex("b827eb010203"), "label": text("alice0", "alice1")},
    }  # fmt: skip
    data = blob(tree) + b"alice, whose tree this was"
    left = Redactor(Identity()).files({"machine.dtb": data})["machine.dtb"]
    assert len(left) == len(data)
    for name in (b"8a7b6c5d", b"27:EB", bytes.fromhex("b827eb"), "böx1".encode(), b"lice", bytes.fromhex("0badcafe")):
        assert name in data and name not in left
    before, after = parse_fdt(data, ""), parse_fdt(left, "")
    assert replace(after, model=None, chosen=before.chosen) == replace(before, model=None)
    assert after.chosen.bootargs == f"root={'x' * 18} macaddr={'x' * 17} mem=512M"


def test_a_tree_that_cannot_be_read_is_left_out() -> None:
    found = Collected({"dmesg.txt": b"", "machine.dtb": b"\xd0\x0d\xfe\xed" + b"alice!"})
    make_private(found, Identity(), whole=True, keep_names=False)
    assert set(found.files) == {"dmesg.txt"}
    assert "the tree is left out; --keep-names keeps it" in str(found.missing[0])
    with pytest.raises(InputError):
        Redactor(Identity()).tree(b"\xd0\x0d\xfe\xed" + bytes(6))


def test_swap_loses_its_places() -> None:
    said = (
        "Filename\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/dm-1                 partition\t1000\t\t0\t\t-2\n"
        "/home/alice/my\\040swap file\t\t1000\t\t0\t\t-3\n"
    )
    left = Redactor(Identity()).files({"proc/swaps": said.encode()})["proc/swaps"].decode()
    assert left == said.replace("/dev/dm-1", "x" * 9).replace("/home/alice/my\\040swap", "x" * 22)


# Names in lines that are read, and in all lines where they are kept


names = st.from_regex(r"[a-z][a-z0-9]{0,12}(-[a-z0-9]{1,5})?", fullmatch=True)
numbers = st.text("ABCXYZ0123456789", min_size=6, max_size=16).filter(is_serial)


def same_but_for_names(said: str, redacted: str) -> None:
    """The readers read the same, but for the values of options and the names that stand in."""
    before, after = (reduce.what_is_read(t) for t in (said, redacted))
    for was, now in zip(before[0], after[0], strict=True):
        assert anonymous(was) == anonymous(now)
        if isinstance(was, Machine):
            assert len(was.cmdline or "") == len(now.cmdline or "")
    assert before[1] == after[1]
    assert list(map(nameless, before[2])) == list(map(nameless, after[2]))
    assert getattr(before[3], "events", before[3]) == getattr(after[3], "events", after[3])


def anonymous(machine: Any) -> Any:
    if not isinstance(machine, Machine):
        return machine
    makers = ("dmi", "smbios", "efi_version", "pae")
    silent = tuple(replace(note, text="") if note.kind in makers else note for note in machine.notes)
    return replace(machine, cmdline=None, version_line=None, notes=silent)


def nameless(report: Report) -> Any:
    kills = tuple(replace(k, name="", oom_memcg=None, task_memcg=None, cpuset=None) for k in report.kills)
    tasks = report.tasks and replace(report.tasks, rows=tuple(replace(row, name="") for row in report.tasks.rows))
    notice = report.notice and replace(report.notice, subject="", words="")
    cgroup = report.cgroup and replace(report.cgroup, path="", task_path="")
    return replace(report, comm="", kills=kills, tasks=tasks, notice=notice, cgroup=cgroup, hardware=None)


def test_what_is_read_of_a_redacted_log_stays(of_logs: Path) -> None:
    if of_logs.name in WHOLE | NAMES_COUNT:
        pytest.skip("it is read otherwise without its names")
    said = read_bytes(str(of_logs)).decode("latin-1")
    redacted = Redactor(Identity()).log(said)
    assert len(redacted) == len(said)
    same_but_for_names(said, redacted)


def test_a_line_in_which_hardware_is_named_over_and_over_takes_no_time() -> None:
    """In proportion to its length; a pattern that looks for the last of them takes an hour for this one."""
    said = "x Hardware name: Acme " * 50_000
    left = Redactor(Identity()).log(said)
    assert len(left) == len(said) and left.startswith("x Hardware name: xxxx x ") and "Acme" not in left


@given(st.sampled_from(LOGS[:30]), st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_read_stays_whatever_the_machine_is_called(read_once: None, path: Path, data: st.DataObject) -> None:
    """The machine may be called by any word of its log, and bear any number of it."""
    said = read_bytes(str(path)).decode("latin-1")
    called = st.sampled_from(sorted(set(re.findall(r"[A-Za-z][\w-]*", said))))
    borne = st.sampled_from(sorted(set(filter(is_serial, re.findall(r"\w+", said)))) or ["S3R14L"])
    identity = Identity(data.draw(st.frozensets(called, max_size=4)), data.draw(st.frozensets(borne, max_size=4)))
    same_but_for_names(said, Redactor(identity).log(said))


def test_names_of_others_are_replaced_too() -> None:
    cases = {
        "fsid 3a1b9c7e-1111-4222-8333-1234567890ab": "fsid 00000000-0000-0000-0000-000000000001",
        "nfs: server files.example not responding": "nfs: server host000000001 not responding",
        "IPv6: fe80::21b:21ff:feaa:bbcc is up": "IPv6: 0000::000:0000:0000:0001 is up",
        "mpt: sas_address(0x5000c500a1b2c3d4)": "mpt: sas_address(serial000000000001)",
        "all: ff:ff:ff:ff:ff:ff 00:00:00:00:00:00": "all: ff:ff:ff:ff:ff:ff 00:00:00:00:00:00",
        "clock 12:34:56, Serial: 8250/16550 driver": "clock 12:34:56, Serial: 8250/16550 driver",
        "IP-Config: ipaddr=10.47.11.23, 2001:db8::23": "IP-Config: ipaddr=00.00.00.01, 0000:000::02",
        "exec of /home/alice/bin/x, by a@b.example": "exec of /home/xxxxxxxxxxx, by xxxxxxxxxxx",
        "url=https://bob:pw@boot.example/x pci 0000:00:02.0": "url=https://xxxxxxxxxxxxxxxxxxxxx pci 0000:00:02.0",
        "Unknown kernel command line parameters: a=b": "Unknown kernel command line parameters: xxx",
        "DMI: QEMU Standard PC, BIOS 1.16": "DMI: xxxx xxxxxxxx xxx xxxx xxxx",
        "DMI: SMBIOS 3.0.0 present.": "DMI: SMBIOS 3.0.0 present.",
        "efi: EFI v2.7 by American Megatrends": "efi: EFI v2.7 by xxxxxxxx xxxxxxxxxx",
        "Hardware name: Acme gandalf-vm": "Hardware name: xxxx xxxxxxxxxx",
    }
    for said, want in cases.items():
        assert Redactor(Identity()).log(said) == want


def test_lines_within_reports_keep_what_is_read_alone() -> None:
    said = "\n".join((
        "[1.0] sh invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "[1.0] CPU: 1 PID: 7 Comm: sh Not tainted 6.1.0-9-amd64 #1  Debian 6.1.27-1",
        "[1.0] Mem-Info:", "[1.0] active_anon:84550 inactive_anon:0 isolated_anon:0",
        "[2.0] alice.smith: hunter2 link up gateway:10471 Node 0 secret", "[2.0] alice.smith is here",
    ))  # fmt: skip
    assert Redactor(Identity()).log(said).split("\n")[1:] == [
        "[1.0] CPU: 1 PID: 7 Comm: sh Not tainted 6.1.0-9-amd64 #1  Debian 0.0.00-0",
        "[1.0] Mem-Info:", "[1.0] active_anon:84550 inactive_anon:0 isolated_anon:0",
        "[2.0] xxxxx.xxxxx: xxxxxxx xxxx xx gateway:10471 Node 0 xxxxxx", "[2.0] alice.smith is here",
    ]  # fmt: skip
    assert "alice" not in reduce_log(Redactor(Identity()).log(said).encode()).text


def test_reports_keep_known_programs_and_lose_other_names() -> None:
    said = (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=docker-3f,mems_allowed=0,oom_memcg=/user.slice/"
        "user-1000.slice/acme.service,task_memcg=/user.slice/user-1000.slice/acme.service/alice,task=gandalf,pid=7,uid=0\n"
        "Out of memory: Killed process 7 (gandalf) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB\n"
        "bash invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
        "earlyoom[7]: sending SIGTERM to process 9 uid 1000 \"alice-job\": badness 9, VmRSS 9 MiB\n"
        "SLUB: Unable to allocate memory on node -1 (gfp=0x20)\n"
        "  cache: kmalloc-1k(17:acme.service), object size: 1024, buffer size: 1024, default order: 3, min order: 0"
    )
    want = (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=cgroup001,mems_allowed=0,oom_memcg=/user.slice/"
        "user-1000.slice/cgr2.service,task_memcg=/user.slice/user-1000.slice/cgr2.service/cgro3,task=task001,pid=7,uid=0\n"
        "Out of memory: Killed process 7 (task001) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB\n"
        "bash invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
        "earlyoom[7]: sending SIGTERM to process 9 uid 1000 \"task00002\": badness 9, VmRSS 9 MiB\n"
        "SLUB: Unable to allocate memory on node -1 (gfp=0x20)\n"
        "  cache: kmalloc-1k(17:cgr2.service), object size: 1024, buffer size: 1024, default order: 3, min order: 0"
    )
    assert Redactor(Identity()).log(said) == want


# Secrets of every kind in every file

SECRETS: dict[str, tuple[str, ...]] = {
    "dmesg.txt": (
        "systemd[1]: Hostname set to <{}>.", "systemd-logind[412]: New session 3 of user {}.",
        "EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: (null). Label {}",
        "IP-Config: Complete: device=eth0, host={0}, domain={0}, bootserver={0}", "nvme nvme0: serial {}, model {}",
        "usb 1-1: Product: {}'s iPhone", "usb 1-1: SerialNumber: {}", "ata1.00: WDC WD40EFRX {}, max UDMA/133",
        "Loaded X.509 cert '{}: 1b2c'", "audit: type=1100 acct=\"{0}\" exe=\"/home/{0}/bin/x\" addr=?",
        "run-{0}[1234]: segfault at 0 ip 00 sp 00 error 4 in run-{0}[400000+1000]", "device-mapper: luks-{}: added",
        "efi: boot file path \\EFI\\{}\\grub.efi", "cloud-init[700]: instance-id: {}", "netconsole: remote IP {}",
        "DMI: QEMU {0}/Standard PC, BIOS {0} 04/01/2014", "wlan0: associated with {}", "ACPI: {0} by {0}",
        "Unknown kernel command line parameters \"user={0} {0}\", will be passed to user space.", "CIFS: \\\\{}\\share",
        "e1000e 0000:00:19.0 en{}: renamed from eth0", "Bluetooth: hci0: {}", "mmc0: new card {}", "scsi: wwn-0x{}",
        "efi: EFI v2.70 by {}", "random text with {} in it", "rcu: {}", "e820: {}", "Key type {} registered",
        "ACPI: SSDT 0x00000000BFFE1B19 000090 (v01 {0} {0} 00000001 {0} 00000001)",
        "{} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "Hardware name: {0} Inc. {0}, BIOS {0}",
        "[    153]     0   153      779      517    40960        0             0 {}",
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={0},mems_allowed=0,oom_memcg=/a/{0}.slice,"
        "task_memcg=/user.slice/{0},task={0},pid=153,uid=0",
        "Memory cgroup out of memory: Killed process 153 ({}) total-vm:3116kB, anon-rss:1024kB, file-rss:0kB",
        "lowmemorykiller: Killing '{}' (2613), adj 1000,",
        "systemd-oomd[7]: Killed /user.slice/{0}.scope due to memory pressure for /{0} being 60.00% > 50.00% for > 20s"
        " with reclaim activity", "{}: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL), nodemask=(null)",
        "Modules linked in: {}(OE)", "{} says gateway:10471 and Node 0", "RIP: 0033:{}+0x10/0x20",
    ),
    "proc/cmdline": (
        "root=UUID={}", "root=PARTUUID={}-02", "cryptdevice=UUID={0}:{0}", "rd.luks.uuid={}", "ip={}::::{}:eth0:none",
        "nfsroot={0}:/srv/{0},v3", "netroot=iscsi:{0}:{0}@10.0.0.1::3260::iqn.{0}", "foo.password={}", "user={}", "{}",
        "url=https://{0}:{0}@{0}/x", "token=\"{0} {0}\"", "systemd.hostname={}", "BOOTIF=01-{}", "ssid={}", "init=/{}",
        "netconsole=@/eth0,@{}/", "console={0}/{0}", "-- {0} --password={0}",
    ),
    "config": (
        'CONFIG_DEFAULT_HOSTNAME="{}"', 'CONFIG_SYSTEM_TRUSTED_KEYS="/home/{}/keys.pem"', 'CONFIG_CMDLINE="x={}"',
        "CONFIG_{}=y", "# CONFIG_{} is not set", "# {}", 'CONFIG_CC_VERSION_TEXT="gcc {}"', 'CONFIG_LOCALVERSION="-{}"',
    ),
    "System.map": ("ffffffff81234000 T {}_probe", "ffffffff81234000 t mod\t[{}]"),
    "proc/iomem": ("fe000000-fe0fffff : {}", "  fe000000-fe000fff : 0000:{}:02.0", "c0000000-c00fffff : {}'s disk"),
    "proc/version": ("Linux version 7.3.4+deb13-cloud-amd64 ({0}@{0}) (gcc 14) #1 SMP Debian 7.3.4-1",),
}  # fmt: skip
"""By file, lines in which the machine's owner is named; in the command line options."""

secret = st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=9).flatmap(
    lambda word: st.integers(10_000, 99_999).map(lambda n: f"{word}{n}")
)


def files_of(capture: Path) -> dict[str, bytes]:
    """A recorded boot as what a running kernel shows."""
    files = {
        file.relative_to(capture).as_posix(): file.read_bytes()
        for file in capture.rglob("*")
        if file.is_file() and file.name != "case.yaml"
    }
    if "machine.dtb.gz" in files:
        files["machine.dtb"] = gzip.decompress(files.pop("machine.dtb.gz"))
    return files


def planted(word: str, which: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """A capture without secrets, and the same with `word` in every file, each time in the next of its places."""
    bare = files_of(NUMA)
    bare |= {"config": CONFIG_OF_NUMA, "System.map": SYMBOLS.encode(), "proc/cmdline": b"mem=4G quiet\n"}
    bare["proc/version"] = SECRETS["proc/version"][0].replace("{0}", "b").encode() + b"\n"
    told = dict(bare)
    for name, places in SECRETS.items():
        said = [place.replace("{}", word).replace("{0}", word) for place in places[which % len(places) :: 4]]
        if name == "dmesg.txt":
            told[name] = _mixed(bare[name].decode(), said).encode()
        elif name == "proc/cmdline":
            told[name] = " ".join(["mem=4G quiet", *said]).encode() + b"\n"
        elif name == "proc/version":
            told[name] = places[0].replace("{0}", word).encode() + b"\n"
        else:
            told[name] = bare[name] + "".join(f"{line}\n" for line in said).encode()
    line = re.compile(rb"(ommand line: )(.*)")
    told["dmesg.txt"] = line.sub(lambda m: m[1] + told["proc/cmdline"].strip(), told["dmesg.txt"])
    bare["dmesg.txt"] = line.sub(lambda m: m[1] + bare["proc/cmdline"].strip(), bare["dmesg.txt"])
    told["SRAT.aml"] = _signed(bare["SRAT.aml"], word)
    return bare, told


CONFIG_OF_NUMA = b"# Linux/x86 7.3.4 Kernel Configuration\nCONFIG_X86_64=y\nCONFIG_NUMA=y\nCONFIG_NODES_SHIFT=10\n"


def _mixed(log: str, said: list[str]) -> str:
    """A line after every tenth of the log's, from the map on."""
    lines = log.splitlines()
    for i, words_ in enumerate(said):
        lines.insert(12 + 10 * i, f"[    1.000000] {words_}")
    return "\n".join(lines) + "\n"


def _signed(table: bytes, word: str) -> bytes:
    signed = bytearray(table)
    signed[10:24] = word.encode().ljust(14)[:14]
    signed[9] = (signed[9] - sum(signed)) & 0xFF
    return bytes(signed)


def everything_in(packed: bytes) -> Iterator[bytes]:
    """A tar file's bytes, unpacked, and those of every file in it, unpacked again where they are packed."""
    yield gzip.decompress(packed)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            data = file.read() if file else b""
            yield member.name.encode()
            yield data
            yield re.sub(rb"\s", b"", data)
            if data[:2] == b"\x1f\x8b":
                yield gzip.decompress(data)


def forms_of(word: str) -> list[bytes]:
    """How a word may be written: plain, in capitals, in hex, in base64 at any place, in UTF-16, backwards."""
    data = word.encode()
    coded = (base64.b64encode(bytes(shift) + data)[2 * shift : -4] for shift in range(3))
    return [data, data.upper(), data.hex().encode(), word.encode("utf-16-le"), data[::-1], *coded]


@given(secret, st.integers(0, 3), st.booleans())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("alicesmith47110", 0, True)
@example("alicesmith47110", 1, True)
@example("alicesmith47110", 2, False)
@example("alicesmith47110", 3, False)
def test_no_secret_of_any_kind_in_any_file_is_left(word: str, which: int, known: bool) -> None:
    _, told = planted(word, which)
    assert all(word.encode() in told[name] for name in SECRETS)
    identity = Identity(frozenset({word}), frozenset({word})) if known else Identity()
    found = Collected(dict(told))
    make_private(found, identity, whole=False, keep_names=False)
    packed = write_capture({INDEX: b"{}", **found.files}, "-", force=False) or b""
    for data in everything_in(packed):
        for form in forms_of(word):
            assert form not in data
    without = private_without_secrets()
    assert found.files.keys() == without.keys()
    for name in found.files.keys() - {"dmesg.txt", "proc/cmdline", "proc/version", "proc/iomem"}:
        assert found.files[name] == without[name], name
    assert _kept_options(found.files["proc/cmdline"]) == _kept_options(without["proc/cmdline"])


@cache
def private_without_secrets() -> dict[str, bytes]:
    without = Collected(planted("", 0)[0])
    make_private(without, Identity(), whole=False, keep_names=False)
    return without.files


def _kept_options(cmdline: bytes) -> list[tuple[str, str | None]]:
    read = {same_name(name) for name in READ}
    return [o for o in parse_cmdline(cmdline.decode()).options if same_name(o[0]) in read]


@pytest.mark.parametrize("which", range(4))
def test_a_boot_of_a_capture_full_of_secrets_is_the_same(which: int, tmp_path: Path) -> None:
    _, told = planted("alicesmith47110", which)
    found = Collected(dict(told))
    make_private(found, Identity(), whole=False, keep_names=False)
    machines = []
    for name, files in (("a", told), ("b", found.files)):
        write_capture({INDEX: b"{}", **files}, f"{tmp_path}/{name}", force=False)
        machines.append(replace(read_capture(f"{tmp_path}/{name}"), origin=""))
    assert anonymous(machines[0]) == anonymous(machines[1])
    assert len(machines[0].cmdline or "") == len(machines[1].cmdline or "")


@given(secret)
@settings(max_examples=10, deadline=None)
def test_whole_captures_lose_what_is_known(word: str) -> None:
    """Of lines that nobody reads only what is known or has a form goes: what is left is said in SECURITY.md."""
    _, told = planted(word, 0)
    found = Collected(dict(told))
    make_private(found, Identity(frozenset({word})), whole=True, keep_names=False)
    for name in ("dmesg.txt", "proc/cmdline", "proc/version"):
        assert not re.search(rf"(?<![a-z0-9]){word}(?![a-z0-9])".encode(), found.files[name])
