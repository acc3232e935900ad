"""Whatever is fed to the readers, they read it or refuse it with one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmtool.errors import InputError
from mmtool.firmware.e820 import parse_table
from mmtool.firmware.iomem import parse_iomem
from mmtool.firmware.lines import decode
from mmtool.firmware.log import read_log
from mmtool.firmware.machine import Machine
from mmtool.firmware.memmap import parse_memmap_text, read_memmap_tar
from mmtool.firmware.packed import unpack
from mmtool.firmware.read import read_machine, recognise

LOGS = sorted((Path(__file__).parent.parent / "fixtures" / "logs").glob("*.txt"))
TEXTS = [path.read_text() for path in LOGS]
SEEDS = [
    *TEXTS,
    "/sys/firmware/memmap/0/start:0x0\n/sys/firmware/memmap/0/end:0x9fbff\n/sys/firmware/memmap/0/type:System RAM\n",
    "00001000-0009fbff : System RAM\n  00001000-00001fff : Kernel code\n000f0000-000fffff : Reserved\n",
    "0x0-0x9fbff usable\n[mem 0x9fc00-0x9ffff] reserved\n0000000000100000 - 0000000000200000 (ACPI data)\n",
]
PARSERS: tuple[Callable[[str, str], object], ...] = (read_log, parse_memmap_text, parse_iomem, parse_table)

DAMAGE = st.tuples(st.integers(0, 10_000), st.integers(0, 20), st.text("0x9af-:[] \nmem\0BIOS/", max_size=6))

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read_all(text: str) -> None:
    recognise(text)
    for parse in PARSERS:
        try:
            result = parse(text, "F")
        except InputError as e:
            assert str(e).startswith("F:") and "\n" not in str(e)
        else:
            if isinstance(result, Machine):
                check(result)


def check(machine: Machine) -> None:
    """What every Machine keeps to."""
    assert machine.e820 or machine.efi
    assert all(0 <= e.start <= e.end <= 2**64 and e.type >= 0 for e in machine.e820)
    assert all(a.line <= b.line for a, b in zip(machine.notes, machine.notes[1:], strict=False) if b.kind[-3:] != "pae")
    assert "\n" not in (machine.cmdline or "")


@relaxed
@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    read_all(text)


@relaxed
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    for source in (data, b"\x1f\x8b" + data, b"\xfd7zXZ\0" + data, b"BZh9" + data):
        try:
            text = decode(unpack(source, "F"))
        except InputError:
            continue
        read_all(text)
    with pytest.raises(InputError):
        read_memmap_tar(data, "F")


@relaxed
@given(st.sampled_from(SEEDS), st.lists(DAMAGE, max_size=6))
def test_damaged_inputs(text: str, damage: list[tuple[int, int, str]]) -> None:
    for at, length, new in damage:
        at %= len(text) + 1
        text = text[:at] + new + text[at + length :]
    read_all(text)


@relaxed
@given(st.sampled_from(TEXTS), st.integers(0, 10_000), st.integers(0, 10_000))
def test_cut_logs(text: str, first: int, last: int) -> None:
    read_all(text[first % len(text) : last % len(text)])


@relaxed
@given(st.sampled_from(TEXTS), st.data())
def test_shuffled_logs(text: str, data: st.DataObject) -> None:
    read_all("\n".join(data.draw(st.permutations(text.splitlines()[:30]))))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=600))
def test_any_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(data)
    try:
        read_machine(str(path))
    except InputError as e:
        assert str(e).startswith(str(path)) and "\n" not in str(e)
