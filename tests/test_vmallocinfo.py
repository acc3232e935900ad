"""/proc/vmallocinfo: every line of real ones, what is told of them, and files that are none."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.vmalloc import FIXTURES

from mmtool.cli.vmalloc import vmalloc
from mmtool.errors import InputError
from mmtool.observed.vmallocinfo import holes_of, parse_vmallocinfo

MORE = os.environ.get("MMTOOL_CAPTURES", "")
FILES = [
    *sorted(FIXTURES.glob("*/vmallocinfo*")),
    *(sorted(Path(MORE).glob("*/proc/vmallocinfo")) if MORE else []),
]  # fmt: skip
EXHAUSTED = FIXTURES / "i386-6.1-exhausted"


def text_of(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()


def answer(*arguments: str) -> str:
    return CliRunner().invoke(vmalloc, arguments, catch_exceptions=False, standalone_mode=False).stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3:]))
def test_every_line_of_a_real_file_is_read(path: Path) -> None:
    lines = text_of(path).splitlines()
    info = parse_vmallocinfo(lines, str(path))
    assert len(info.areas) == len([line for line in lines if line.strip()])
    assert all(area.kinds for area in info.areas)
    assert sum(area.pages for area in info.areas) == sum(count for a in info.areas for _, count in a.nodes) or (
        not any(area.nodes for area in info.areas)
    )
    assert all((area.pages + 1) << 12 <= area.size for area in info.areas)


def test_what_a_line_says() -> None:
    lines = [
        "0xffa0000000200000-0xffa0000000a01000 8392704 alloc_large_system_hash+0x197/0x270 pages=2048 vmalloc vpages "
        "N0=1024 N1=1024",
        "0xffa0000000005000-0xffa0000000007000    8192 acpi_os_map_iomem+0x1b6/0x1d0 phys=0x00000000bffe1000 ioremap",
        "0xffa0000000a08000-0xffa0000000a49000  266240 vm_map_ram",
        "0xffa0000000b00000-0xffa0000000b05000   20480 unpurged vm_area",
        "0xffa0000000c00000-0xffa0000000c03000   12288 load_module+0x1/0x2 [nf_tables] pages=2 vmalloc",
        "0xffa0000000d00000-0xffa0000000d02000    8192",
    ]
    hash_table, device, ram, waiting, module, bare = parse_vmallocinfo(lines, "f").areas
    assert (hash_table.function, hash_table.pages, hash_table.nodes) == (
        "alloc_large_system_hash", 2048, ((0, 1024), (1, 1024)))  # fmt: skip
    assert hash_table.kinds == ("vmalloc", "vpages") and hash_table.placed
    assert (device.phys, device.kinds) == (0xBFFE1000, ("ioremap",))
    assert (ram.kinds, ram.caller) == (("vm_map_ram",), "")
    assert (waiting.kinds, waiting.caller) == (("unpurged",), "")
    assert module.caller == "load_module+0x1/0x2 [nf_tables]" and module.function == "load_module"
    assert bare.size == 8192


def test_an_exhausted_area_has_the_room_that_the_kernel_found() -> None:
    """Nine areas of 16 KiB wait to be purged, and but for seven pages here and there are the only room."""
    info = parse_vmallocinfo(text_of(EXHAUSTED / "vmallocinfo-4.gz").splitlines(), "f")
    holes = holes_of(info)
    assert holes is not None
    assert holes.largest == (0xFDDAD000, 0xFDDD1000)
    assert holes.fits(4096) == 35 * 4096
    whole = holes_of(info, 0xFDBFE000, 0xFEBFE000)
    assert whole is not None and whole.total == holes.total + 0x2000
    assert whole.fragmentation == pytest.approx(7 / 43)


HASHED = [
    "0x000000009421a946-0x000000003a0c13ac    8192 bpf_jit_binary_alloc+0x6c/0xf4 pages=1 vmalloc N0=1",
    "0x(____ptrval____)-0x(____ptrval____)    8192 a+0x1/0x2 pages=1 vmalloc",
    "0x0000000000000000-0x0000000000000000    8192 a+0x1/0x2 pages=1 vmalloc",
]


@pytest.mark.parametrize("line", HASHED)
def test_hashed_addresses_are_named_as_such(line: str, tmp_path: Path) -> None:
    path = tmp_path / "vmallocinfo"
    path.write_text(line + "\n")
    info = parse_vmallocinfo([line], "f")
    assert info.hashed and holes_of(info) is None
    assert "The addresses are hashed" in answer("--info", str(path))
    document = json.loads(answer("--info", str(path), "-o", "json"))
    assert document["hashed"] is True and document["holes"] is None
    assert document["bytes"] == 8192


def test_every_format_says_the_same() -> None:
    path = str(FIXTURES / "x86-7.3-nokaslr" / "vmallocinfo")
    document = json.loads(answer("--info", path, "-o", "json"))
    assert yaml.safe_load(answer("--info", path, "-o", "yaml")) == document
    rows = list(csv.DictReader(io.StringIO(answer("--info", path, "-o", "csv"))))
    assert [(row["caller"] or None, int(row["size"])) for row in rows] == [
        (use["caller"], use["bytes"]) for use in document["callers"]
    ]
    assert sum(use["bytes"] for use in document["callers"]) == document["bytes"]
    assert sum(use["areas"] for use in document["callers"]) == document["areas"] == 78
    stacks = next(use for use in document["callers"] if use["caller"] == "kernel_clone")
    assert (stacks["areas"], stacks["pages"], stacks["kinds"]) == (57, 228, ["vmalloc"])
    table = answer("--info", path)
    assert all(use["caller"] in table for use in document["callers"] if use["caller"])


@pytest.mark.parametrize(("text", "line"), [
    ("", None),
    ("\n\n", None),
    ("MemTotal: 1 kB\n", 1),
    ("0x1000-0x3000 8192 a pages=1 vmalloc\n0x3000 8192\n", 2),
    ("0x1000-0x3000 8192 a pages=x vmalloc\n", 1),
    ("0x1000-0x3000 8192 a phys=0xzz ioremap\n", 1),
])  # fmt: skip
def test_what_is_none_is_refused_with_its_line(text: str, line: int | None) -> None:
    with pytest.raises(InputError) as error:
        parse_vmallocinfo(text.splitlines(), "f")
    assert str(error.value).startswith("f:" if line is None else f"f:{line}:")
    assert "\n" not in str(error.value)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        info = parse_vmallocinfo(text.splitlines(), "f")
    except InputError as e:
        assert "\n" not in str(e)
    else:
        holes_of(info)
