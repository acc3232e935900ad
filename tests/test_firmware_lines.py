"""Whatever stands in front of a kernel's words goes; its own leading spaces stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtool.firmware.lines import decode, kernel_lines, plain


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "[    0.000000] ",
        "[    0.000000]",
        "[ 0.000000] ",
        "[12345.678901] ",
        "[  +0.000001] ",
        "[    0.000000 <    0.000000>] ",
        "[    0.000000@0] ",
        "<6>[    0.000000] ",
        "<6>",
        "[    0.000000][    T0] ",
        "[    0.000000] [      T0] ",
        "[    0.000000][    C1] ",
        "kern  :info  : [    0.000000] ",
        "[Thu Feb  1 10:00:00 2024] ",
        "[Feb13 10:00] ",
        "Jan  1 00:00:00 host kernel: [    0.000000] ",
        "Mär 13 10:00:00 host kernel: ",
        "oct. 10 23:51:01 localhost kernel: ",
        "Mai 01 10:00:00.123456 host.example kernel: ",
        "2024-04-03T18:55:33.123456+02:00 host kernel: [    0.000000] ",
        "2024-04-03 18:55:33.123 kernel: ",
        "2024-12-17 14:39:28,481 DEBUG:\t",
        "10:00:00 archlinux kernel: ",
        "[    0.000000] host kernel: ",
        "[    0.000000] kernel: ",
        "kernel: ",
        "Jan 01 00:00:00 host kernel[1]: <6>[    0.000000] ",
        "6,339,5140900,-;",
        "4,19685342,241227987454,-,caller=T12845;",
        "> [    0.000000] ",
        "> > [    0.000000] ",
        "   [    0.000000] ",
        "| [    0.000000] ",
    ],
)
def test_prefixes_go(prefix: str) -> None:
    assert plain(prefix + "BIOS-provided physical RAM map:\r") == "BIOS-provided physical RAM map:"


@pytest.mark.parametrize("prefix", ["", "[    0.000000] ", "<6>[    0.000000][    T0] ", "Jan  1 00:00:00 x kernel: "])
def test_own_spaces_stay(prefix: str) -> None:
    assert plain(prefix + "  DMA      [mem 0x1000-0xffffff]") == "  DMA      [mem 0x1000-0xffffff]"


@pytest.mark.parametrize("line", ["BRK [0x01fde000, 0x01fdefff] PGTABLE", "[mem 0xc0000000-0xfeffbfff]", " (1)"])
def test_words_stay(line: str) -> None:
    assert plain(line) == line


def test_two_messages_on_a_line() -> None:
    first = "[    0.000000] e820: remove [mem 0xf8000000-0xfbffffff] reserved "
    text = first + "[    0.000000][    T0] SMBIOS 2.7 present.\nroot# [    0.1] x\n"
    assert kernel_lines(text) == [
        (1, "e820: remove [mem 0xf8000000-0xfbffffff] reserved"),
        (1, "SMBIOS 2.7 present."),
        (2, "root#"),
        (2, "x"),
        (3, ""),
    ]


def test_decode() -> None:
    assert decode(b"\xef\xbb\xbfa\xff\n") == "a\ufffd\n"
    assert decode(b"\x1b[32m[    0.000000] \x1b[0m\x1b[33mBIOS-e820\x1b[0m: x") == "[    0.000000] BIOS-e820: x"
    assert decode("aä\n".encode("utf-16")) == "aä\n"


@given(st.text(alphabet="[]<>0123456789.: TCkernl\t\r\n|+@", max_size=200))
def test_line_numbers_follow_the_text(text: str) -> None:
    lines = kernel_lines(text)
    assert [number for number, _ in lines] == sorted(number for number, _ in lines)
    assert all("\n" not in words and 1 <= number <= text.count("\n") + 1 for number, words in lines)
