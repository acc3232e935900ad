"""The command line is taken apart as the kernel does it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtool.firmware.cmdline import Cmdline, parse_cmdline


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", ()),
        ("   ", ()),
        ("quiet", (("quiet", None),)),
        (" ro  root=/dev/sda1\tquiet\n", (("ro", None), ("root", "/dev/sda1"), ("quiet", None))),
        ("mem=1G mem=512M", (("mem", "1G"), ("mem", "512M"))),
        ("root=UUID=0-1", (("root", "UUID=0-1"),)),
        ("crashkernel=", (("crashkernel", ""),)),
        ("=odd", (("=odd", None),)),
        ('dyndbg="file a.c +p" ro', (("dyndbg", "file a.c +p"), ("ro", None))),
        ('"dyndbg=file a.c +p" ro', (("dyndbg", "file a.c +p"), ("ro", None))),
        ('a=b" c"d e', (("a", 'b" c"d'), ("e", None))),
        ('a="b c', (("a", "b c"),)),
        ('a="', (("a", ""),)),
        ('"', (("", None),)),
        ('""', (("", None),)),
        ("--x=1 -- y", (("--x", "1"),)),
    ],
)
def test_options(text: str, options: tuple[tuple[str, str | None], ...]) -> None:
    assert parse_cmdline(text).options == options


def test_dashes_end_the_kernels_part() -> None:
    line = "ro -- single --x=1 mem=2G"
    assert parse_cmdline(line) == Cmdline((("ro", None),), line)


def test_names_compare_with_dash_and_underscore_alike() -> None:
    line = parse_cmdline("numa_balancing=on numa-balancing=off kernelcore=1G")
    assert (line.get("numa-balancing"), line.all("numa_balancing")) == ("off", ("on", "off"))
    assert (line.has("kernelcore"), line.has("movablecore"), line.get("movablecore")) == (True, False, None)
    assert parse_cmdline("nokaslr").has("nokaslr") and parse_cmdline("nokaslr").get("nokaslr") is None


@given(st.text(alphabet=' ="-_ab\t', max_size=40))
def test_any_text_is_a_command_line(text: str) -> None:
    line = parse_cmdline(text)
    assert all("=" not in name[1:] for name, _ in line.options)


@given(st.lists(st.tuples(st.from_regex(r"[a-z_.]{1,8}", fullmatch=True), st.none() | st.text("abc1,:@$", max_size=6))))
def test_plain_options_come_back(options: list[tuple[str, str | None]]) -> None:
    text = " ".join(name if value is None else f"{name}={value}" for name, value in options)
    assert parse_cmdline(text).options == tuple(options)
