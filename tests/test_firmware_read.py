"""What a file is, is recognised; what is wrong with it is one line that says what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.blobs import Tree, blob, cells, text
from support.effort import SECOND, is_within
from test_firmware_acpi import slit, srat

from mmtool.errors import InputError, UsageError
from mmtool.firmware.machine import E820Entry, Machine, Slit, Srat
from mmtool.firmware.read import read_board, read_capture, read_input, read_machine, read_this_machine

LOG = b"""\
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
"""
GREP = """\
/sys/firmware/memmap/10/type:ACPI Tables
/sys/firmware/memmap/10/start:0xa0000
/sys/firmware/memmap/10/end:0xaffff
/sys/firmware/memmap/2/start:0x9fc00
/sys/firmware/memmap/2/end:0x9ffff
/sys/firmware/memmap/2/type:Reserved
/sys/firmware/memmap/0/start:0x0
/sys/firmware/memmap/0/type:System RAM
/sys/firmware/memmap/0/end:0x9fbff
"""
IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
  000b0000-000b0fff : Reserved
000f0000-000fffff : Reserved
  000f0000-000fffff : System ROM
00100000-3fffffff : System RAM
  02000000-02ffffff : Kernel code
  03000000-03ffffff : Kernel data
40000000-7fffffff : Soft Reserved
  40000000-7fffffff : dax0.0
    40000000-7fffffff : System RAM (kmem)
80000000-ffffffff : Persistent Memory
  80000000-ffffffff : namespace0.0
"""
ENTRIES = (E820Entry(0, 0x9FC00, 1), E820Entry(0x9FC00, 0xA0000, 2))
MEMORY: Tree = {"device_type": text("memory"), "reg": cells(0x40000000, 0x1000)}
KNOWN = "known are usable, reserved, ACPI data, type N, ..."
NO_RAM = "no System RAM and nothing reserved in it; give /proc/iomem whole, read as root"
MEMMAP = (*ENTRIES, E820Entry(0xA0000, 0xB0000, 3))


Put = Callable[[bytes | str], str]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Puts data into a file and gives its name."""

    def write(data: bytes | str) -> str:
        path = tmp_path / "input"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    return write


def tree(at: Path) -> Path:
    for line in GREP.splitlines():
        path, _, value = line.partition(":")
        file = at / path[len("/sys/firmware/") :]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")
    return at / "memmap"


def refusal(path: str) -> str:
    with pytest.raises(InputError) as caught:
        read_machine(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(path, "F")


def test_log_plain_and_packed(put: Put) -> None:
    for data in (LOG, gzip.compress(LOG), gzip.compress(LOG[:60]) + gzip.compress(LOG[60:]), lzma.compress(LOG)):
        path = put(data)
        assert read_machine(path) == Machine("BIOS-e820", ENTRIES, origin=path, e820_places=(1, 2))
    assert read_machine(put(bz2.compress(LOG))).e820 == ENTRIES
    assert read_machine(put(LOG.decode().encode("utf-16"))).e820 == ENTRIES


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(LOG))))
    assert read_machine("-") == Machine("BIOS-e820", ENTRIES, origin="-", e820_places=(1, 2))


def test_memmap_text_sorts_by_number(put: Put) -> None:
    path = put(GREP)
    assert read_machine(path) == Machine("sysfs memmap", MEMMAP, origin=path, e820_places=(7, 4, 2))
    assert read_machine(put(GREP.replace("/sys/firmware/memmap/", "./").replace("\n", "\r\n"))).e820 == MEMMAP


def test_memmap_tree(tmp_path: Path) -> None:
    path = tree(tmp_path)
    assert read_machine(str(path)) == Machine("sysfs memmap", MEMMAP, origin=str(path), e820_places=("0", "2", "10"))
    assert read_machine(str(tmp_path)).e820 == MEMMAP


def test_memmap_tar(tmp_path: Path, put: Put) -> None:
    path = tree(tmp_path)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(path, "sys/firmware/memmap")
    assert read_machine(put(packed.getvalue())).e820 == MEMMAP
    assert read_machine(put(gzip.compress(packed.getvalue()))).e820 == MEMMAP
    assert "the tar file is damaged" in refusal(put(packed.getvalue()[:700]))


def test_any_input_is_recognised(tmp_path: Path, put: Put) -> None:
    """A log, a folder of sysfs, a capture, a device tree: plain or packed."""
    path = put(LOG)
    assert read_input(path) == read_machine(path)
    assert read_input(str(tree(tmp_path))).e820 == MEMMAP
    board = gzip.compress(blob({"#address-cells": cells(1), "#size-cells": cells(1), "memory": MEMORY}))
    path = put(board)
    assert read_input(path) == read_board(path)
    capture = tmp_path / "capture"
    capture.mkdir()
    (capture / "dmesg.txt").write_bytes(LOG)
    assert read_input(str(capture)) == read_capture(str(capture))
    (capture / "machine.dtb.gz").write_bytes(board)
    assert read_input(str(capture)).fdt == read_board(path).fdt


@pytest.mark.parametrize(("option", "given"), [("dmesg", "log.txt"), ("memory", ((0, 4096),))])
def test_what_belongs_to_a_tree_goes_with_no_other_input(put: Put, option: str, given: Any) -> None:
    path = put(LOG)
    with pytest.raises(UsageError, match=rf"--{option} goes with a device tree, which .* is not"):
        read_input(path, **{option: given})


def test_memory_that_the_boot_loader_would_fill_in(put: Put) -> None:
    path = put(blob({"#address-cells": cells(1), "#size-cells": cells(1), "memory": {**MEMORY, "reg": cells(0, 0)}}))
    for read in (read_board, read_input):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}:/: no memory node says where memory is; ")
        assert "--memory 0x40000000-0xbfffffff" in str(caught.value)
        assert read(path, need_memory=False).fdt == replace(read(path, memory=((1, 2),)).fdt, memory=())
        given = read(path, memory=((1 << 32, 2 << 32), (0x40000000, 0xC0000000))).fdt
        assert [(node.start, node.end) for node in given.memory] == [(1 << 32, 2 << 32), (0x40000000, 0xC0000000)]


def test_memory_given_goes_before_the_tree_and_efi(put: Put, tmp_path: Path) -> None:
    log = tmp_path / "dmesg.txt"
    log.write_text("efi: mem00: [Conventional|WB] range=[0x40000000-0x7fffffff] (1024MB)\n")
    path = put(blob({"#address-cells": cells(1), "#size-cells": cells(1), "memory": MEMORY}))
    assert len(read_board(path, str(log)).efi) == 1
    machine = read_board(path, str(log), ((0x80000000, 0x90000000),))
    assert (machine.efi, [(node.start, node.end) for node in machine.fdt.memory]) == ((), [(0x80000000, 0x90000000)])


def test_iomem(put: Put) -> None:
    path = put(IOMEM)
    assert read_machine(path) == Machine(
        "iomem",
        (
            E820Entry(0, 0x1000, 2),
            E820Entry(0x1000, 0x9FC00, 1),
            E820Entry(0xB0000, 0xB1000, 2),
            E820Entry(0xF0000, 0x100000, 2),
            E820Entry(0x100000, 0x40000000, 1),
            E820Entry(0x40000000, 0x80000000, 0xEFFFFFFF),
            E820Entry(0x80000000, 0x100000000, 7),
        ),
        origin=path,
        e820_places=(1, 2, 4, 5, 7, 10, 13),
        kernel_base=0x2000000,
    )


def test_bare_table(put: Put) -> None:
    assert read_machine(put("# two\n0x0-0x9fbff usable\n0x9fc00-0x9ffff reserved\n")).e820 == ENTRIES
    assert read_machine(put("[mem 0x0-0x9fbff] usable\n[mem 0x9fc00-0x9ffff] reserved\n")).source == "table"
    assert read_machine(put("0x0-0x9fbff usable\n"), kind="table").e820 == ENTRIES[:1]


def test_tables_beside_the_map(tmp_path: Path, put: Put) -> None:
    (tmp_path / "SRAT").write_bytes(srat())
    (tmp_path / "SLIT").write_bytes(slit(1, b"\x0a"))
    machine = read_machine(put(LOG), srat=str(tmp_path / "SRAT"), slit=str(tmp_path / "SLIT"))
    assert (machine.srat, machine.slit) == (Srat(()), Slit(((10,),)))


def test_an_unknown_type_is_told(put: Put) -> None:
    machine = read_machine(put(GREP.replace("ACPI Tables", "Unknown E820 type")))
    assert machine.e820[2].type == 0
    assert machine.warnings == ((0, "the type of [0xa0000-0xaffff] has no number here"),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "F: empty file; give a kernel log (dmesg) or `grep -r . /sys/firmware/memmap`"),
        ("\n \n", "F: empty file; give a kernel log (dmesg) or `grep -r . /sys/firmware/memmap`"),
        (
            "hello\n",
            "F: no memory map in it: looked for 'BIOS-e820: [mem ...]' lines of a kernel log, /sys/firmware/memmap, "
            "/proc/iomem and a table; give a log from the start of a boot (dmesg, journalctl -k -b) or "
            "`grep -r . /sys/firmware/memmap`",
        ),
        (b"\xd0\x0d\xfe\xed" + bytes(36), "F: is a device-tree blob; give it with --dtb"),
        (srat(), "F: is an ACPI table; give it with --srat, next to a map"),
        (slit(0, b""), "F: is an ACPI table; give it with --slit, next to a map"),
        (gzip.compress(LOG, mtime=0)[:-9], "F: the compressed file ends too early; copy it again"),
        (
            LOG + b"BIOS-e820: [mem 0x00000000",
            "F:3: the map's line ends in mid-entry: '[mem 0x00000000'; give the log whole, or leave the line out",
        ),
        ("0x0-1 usable\n0x0-\n", "F:2: not an entry of a memory map: '0x0-'; an entry reads like '0x0-0x9fbff usable'"),
        ("0x0-0xfff vacant\n", f"F:1: unknown type of memory: 'vacant'; {KNOWN}"),
        ("0x2000-0xfff usable\n", "F:1: the range ends (0xfff) before it starts (0x2000)"),
        ("0x0-0xfffffffffffffffff usable\n", "F:1: address 0xfffffffffffffffff does not fit in 64 bits"),
        (
            "00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n",
            "F: every address is zero: it was read without privilege; read /proc/iomem as root",
        ),
        ("00000000-00000fff : Reserve\n", f"F: {NO_RAM}"),
        (IOMEM + "?\n", "F:15: not a line of /proc/iomem: '?'; it reads like '00100000-3fffffff : System RAM'"),
        ("memmap/3/start:0x0\nmemmap/3/type:Reserved\n", "F:1: entry 3 has no end; copy the folder whole"),
        ("memmap/3/end:0x0\n", "F:1: entry 3 has no start and no type; copy the folder whole"),
        ("0/start:0x1000\n0/end:0xff\n0/type:Reserved\n", "F:2: the range ends (0xff) before it starts (0x1000)"),
        ("0/start:zero\n0/end:0xff\n0/type:Reserved\n", "F:1: not a hexadecimal address: 'zero'"),
        ("0/start:0\n0/end:0xff\n0/type:RAM disk\n", f"F:3: unknown type of memory: 'RAM disk'; {KNOWN}"),
        ("0/start:0x0\n0/start:0x1\n", "F:2: entry 0 has two different values of 'start'"),
        (
            "0/start:0x0\ngrep: 0/end: Permission denied\n",
            "F:2: not a line of `grep -r . /sys/firmware/memmap`: 'grep: 0/end: Permission denied'; "
            "it reads like '/sys/firmware/memmap/0/start:0x0'",
        ),
    ],
)
def test_bad_files(put: Put, data: bytes | str, message: str) -> None:
    assert refusal(put(data)) == message


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "none")) == "F: cannot be read: No such file or directory"
    assert refusal("a\0b").startswith("F: cannot be read: ")
    (tmp_path / "0").mkdir()
    assert refusal(str(tmp_path)) == "F: no entries (0/start, 0/end, 0/type, ...); give a copy of /sys/firmware/memmap"
    (tmp_path / "0" / "start").write_text("0x0\n")
    assert refusal(str(tmp_path)) == "F:0/start: entry 0 has no end and no type; copy the folder whole"
    (tmp_path / "dmesg.txt").write_bytes(LOG)
    assert refusal(str(tmp_path)) == "F: is a capture, not a copy of /sys/firmware/memmap; give it with --capture"


def test_many_entries_are_read_quickly(put: Put) -> None:
    entry = "[    0.000000] BIOS-e820: [mem 0x{:016x}-0x{:016x}] usable\n"
    path = put("".join(entry.format(i << 13, (i << 13) + 4095) for i in range(100_000)))
    assert len(read_machine(path).e820) == 100_000
    assert is_within(3 * SECOND, lambda: read_machine(path))


def test_this_machine_is_its_map_and_what_proc_says(tmp_path: Path) -> None:
    entry = tmp_path / "sys/firmware/memmap/0"
    entry.mkdir(parents=True)
    for name, content in (("start", "0x0"), ("end", "0x9fbff"), ("type", "System RAM")):
        (entry / name).write_text(f"{content}\n")
    bare = read_this_machine(tmp_path)
    assert (bare.release, bare.cmdline, bare.srat) == (None, None, None)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/version").write_text("Linux version 6.1.9 (x@x) #1 SMP\n")
    (tmp_path / "proc/cmdline").write_text("movablecore=1G\n")
    machine = read_this_machine(tmp_path)
    assert (machine.release, machine.cmdline) == ("6.1.9", "movablecore=1G")
    assert [(e.start, e.end) for e in machine.e820] == [(0, 0x9FC00)]


def test_a_machine_without_a_map_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_this_machine(tmp_path)
    assert "dmesg | mmtool boot --e820 -" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"schema": "mmtool.boot/1", "log": ["' + LOG.splitlines()[0] + b'"]}\n',
        b'{\n  "schema": "mmtool.state/1"}\n' + LOG,
        b"schema: mmtool.boot/1\nlog: |\n" + LOG,
        b"<!doctype html>\n<pre>" + LOG + b'</pre><script type="application/gzip" id="document"></script>',
    ],
    ids=["JSON", "indented", "YAML", "page"],
)
def test_what_mmtool_printed_of_a_boot_is_no_log(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "boot"
    file.write_bytes(data)
    with pytest.raises(InputError, match="--state takes it"):
        read_machine(str(file))
