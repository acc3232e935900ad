"""Every way in which kernels print a map, and every word they have for a type."""

from __future__ import annotations

import pytest

from mmtool.errors import InputError
from mmtool.firmware.e820 import is_bare_line, parse_entry, parse_table, type_number
from mmtool.firmware.machine import E820Entry


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("usable", 1),
        ("System RAM", 1),
        (" System RAM", 1),
        ("reserved", 2),
        ("Reserved", 2),
        ("device reserved", 2),
        ("ACPI data", 3),
        ("ACPI Tables", 3),
        ("ACPI NVS", 4),
        ("ACPI Non-volatile Storage", 4),
        ("unusable", 5),
        ("Unusable memory", 5),
        ("persistent (type 7)", 7),
        ("Persistent Memory", 7),
        ("persistent (type 12)", 12),
        ("persistent RAM (type 12)", 12),
        ("Persistent Memory (legacy)", 12),
        ("soft reserved", 0xEFFFFFFF),
        ("Soft Reserved", 0xEFFFFFFF),
        ("type 20", 20),
        ("Unknown E820 type", 0),
        ("usab", None),
        ("type", None),
        ("", None),
    ],
)
def test_types(words: str, number: int | None) -> None:
    assert type_number(words) == number


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("[mem 0x0000000000000000-0x000000000009fbff] usable", E820Entry(0, 0x9FC00, 1)),
        ("[mem 0x0000000000100000-0x00000000bffdffff]  System RAM", E820Entry(0x100000, 0xBFFE0000, 1)),
        ("[gap 0x00000000000a0000-0x00000000000fffff]", None),
        ("0000000000000000 - 000000000009f400 (usable)", E820Entry(0, 0x9F400, 1)),
        ("00000000cff80000 - 00000000cff8e000 (ACPI data)", E820Entry(0xCFF80000, 0xCFF8E000, 3)),
        ("[mem 0x0000000000001000-0x0000000000000fff] reserved", E820Entry(0x1000, 0x1000, 2)),
        ("[mem 0xfffffffffffff000-0xffffffffffffffff] reserved", E820Entry(2**64 - 4096, 2**64, 2)),
    ],
)
def test_entries(text: str, entry: E820Entry | None) -> None:
    assert parse_entry(text, "log", 1) == entry


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[mem 0x00000000",
            "the map's line ends in mid-entry: '[mem 0x00000000'; give the log whole, or leave the line out",
        ),
        ("[mem 0x0-0xfff] usab", "unknown type of memory: 'usab'; known are usable, reserved, ACPI data, type N, ..."),
        ("[mem 0x0-0xfff]", "the entry has no type (usable, reserved, ACPI data, ...)"),
        ("[mem 0x2000-0xfff] usable", "the range ends (0xfff) before it starts (0x2000)"),
        ("[mem 0x0-0x10000000000000000] usable", "address 0x10000000000000000 does not fit in 64 bits"),
    ],
)
def test_bad_entries(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_entry(text, "log", 7)
    assert str(caught.value) == f"log:7: {message}"


def test_bare_table() -> None:
    table = """\
        # a machine of 3 GiB
        0x0-0x9fbff usable
        [mem 0x9fc00-0x9ffff] reserved
        0000000000100000-00000000bffdffff : System RAM
        00000000bffe0000 - 00000000c0000000 (ACPI NVS)   # this style has an exclusive end
        [gap 0xc0000000-0xffffffff]
    """
    assert parse_table(table, "t") == (
        (2, E820Entry(0, 0x9FC00, 1)),
        (3, E820Entry(0x9FC00, 0xA0000, 2)),
        (4, E820Entry(0x100000, 0xBFFE0000, 1)),
        (5, E820Entry(0xBFFE0000, 0xC0000000, 4)),
    )


def test_overlaps_are_kept() -> None:
    assert parse_table("0x1000-0x2fff usable\n0x0-0x1fff reserved\n", "t") == (
        (1, E820Entry(0x1000, 0x3000, 1)),
        (2, E820Entry(0, 0x2000, 2)),
    )


@pytest.mark.parametrize("line", ["0x0 0x1000 usable", "user: [mem 0x0-0xfff] usable", "0-1", "[mem 0x0", "a - b"])
def test_what_is_no_table(line: str) -> None:
    assert not is_bare_line(line)
    with pytest.raises(InputError):
        parse_table(line, "t")
