"""What a hostile file asks for beyond its size: work is linear in it, or refused in a line that says what to do."""

from __future__ import annotations

import gzip
from base64 import encodebytes
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmtool.cli import cli
from mmtool.errors import InputError
from mmtool.firmware.lines import MOST_SHORT_LINES, decode, kernel_lines
from mmtool.firmware.packed import SMALL

VERSION = "Linux version 6.1.0\n"


def refused(text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        decode(text.encode() if isinstance(text, str) else text, "F")
    assert str(caught.value).startswith("F: ") and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_text_of_crumbs_is_no_log() -> None:
    assert "2 characters a line" in refused(VERSION + "a\n" * (MOST_SHORT_LINES + 1))
    assert "no kernel's log" in refused("a\r" * (MOST_SHORT_LINES + 2))


def test_empty_lines_are_no_crumbs() -> None:
    """A capture has them in place of what is not read."""
    text = decode((VERSION + "\n" * MOST_SHORT_LINES * 2 + "end").encode(), "F")
    assert kernel_lines(text)[-1] == (2 + MOST_SHORT_LINES * 2, "end")


def test_a_log_in_a_mail_that_unpacks_without_end() -> None:
    mail = b"Content-Transfer-Encoding: base64\n\n" + encodebytes(gzip.compress(VERSION.encode() + bytes(SMALL)))
    assert "the log in the mail unpacks to more than 16 MiB" in refused(mail)
    assert VERSION in decode(b"Content-Transfer-Encoding: base64\n\n" + encodebytes(gzip.compress(VERSION.encode())))


def test_a_large_log_in_yaml() -> None:
    assert "give the log out of it" in refused("- a: Linux version 1\n" * 40_000)
    assert decode(b"- a: Linux version 1\n- a: Linux version 2\n") == "Linux version 1\nLinux version 2"


@pytest.mark.parametrize("opening", ["<script>", "<style>", "<!--", "<!DOCTYPE"])
def test_what_a_page_never_ends(opening: str) -> None:
    """Looked for once, and not again from each beginning on."""
    text = decode(("<pre>" + VERSION + opening * 50_000 + "</pre>").encode())
    assert text.startswith(VERSION)


def test_what_a_page_does_not_show() -> None:
    page = f"<!DOCTYPE html><pre><SCRIPT>a</script >{VERSION}<!-- b --><style>c</STYLE>end</pre>"
    assert decode(page.encode()).split() == [*VERSION.split(), "end"]


def test_records_in_records() -> None:
    deep = '{"a":' * 30 + '"Linux version 6.1"' + "}" * 30
    assert decode(deep.encode()) == "Linux version 6.1"
    deeper = '{"a":' * 300 + '"Linux version 6.1"' + "}" * 300
    assert decode(deeper.encode()) == deeper


RECLAIM = "machine max=11 swap=zram:4096\nanon B 200\n"


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("process run", "mmap A 0 1T rw private,anon,noreserve,populate\n", ":1: more page faults"),
        ("walk 0x400000 --script", "repeat 90000 mmap A 0 1M rw shared,anon\n", ":1: more work"),
        ("walk 0x400000 --script", "repeat 9000 mmap A 0 1M rw shared,anon\n", ":1: more work"),
        ("process run", "let A 1\n" * 9000, "more work"),
        ("process run", "mmap A 0 16M rw private,anon\nmadvise A 16M nohugepage\nwrite A 16M\n" + "fork\nwait\n" * 900,
         "make two of it"),
        ("reclaim rmap", "".join(f"fork k{i}\n" for i in range(900)), "pages are told of"),
        ("reclaim run", RECLAIM + "store B seq 0-199\n" * 400, "rounds of reclaim by here"),
        ("reclaim run", RECLAIM + "mlock B 0-0\n" * 9000, "--accesses N"),
        ("zram run", "machine disksize=64M\nwrite 0-999999 9*1000000\n", ":2: the script touches more"),
        ("zram run", "machine disksize=64M\n" + "idle\n" * 20_001, ":20002: the whole device is told of after each"),
        ("slab run", "cache A size=8\nalloc A 1000000\n", ":2: more than 200000 objects by here"),
        ("slab run", "cache A size=8\nalloc A 9999\n" + "shrink A\n" * 900, "objects by here; make two of it"),
        ("explain", "Mem-Info:\n" * 20_000, "20000 reports are in 200000 characters; give a part of the log"),
        ("explain", "a invoked oom-killer: order=0\nMem-Info:\nNode 0 Normal free:1kB min:2kB\n" * 2000, "cut short"),
    ],
)  # fmt: skip
def test_what_asks_for_more_than_it_is(command: str, text: str, said: str, tmp_path: Path) -> None:
    """A few words that ask for hours, and many that each show everything again."""
    path = tmp_path / "input"
    path.write_text(text)
    done = CliRunner().invoke(cli, [*command.split(), str(path)])
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception) and "\n" not in str(done.exception)


def test_records_of_one_file_share_what_they_may_ask_for(tmp_path: Path) -> None:
    record = Path(__file__).parent / "fuzz" / "corpus" / "process-records"
    line = sorted(record.iterdir())[0].read_text().splitlines()[0]
    path = tmp_path / "records"
    path.write_text(f"{line}\n" * 20)
    assert CliRunner().invoke(cli, ["process", "run", str(path)]).exit_code == 0


def test_a_command_line_longer_than_any(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable\n")
    done = CliRunner().invoke(cli, ["boot", str(path), "--cmdline", "a " * 10_000])
    assert str(done.exception) == f"{path}: a command line of 20000 characters; kernels read 2048 to 4096"


def test_more_blocks_of_nodes_than_there_is_room_for(tmp_path: Path) -> None:
    """The kernel takes two for each node that there may be, and goes without the SRAT where there are more."""
    map_line = "BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable\n"
    blocks = (f"SRAT: Node 0 PXM 0 [mem {i << 12:#x}-{(i << 12) + 0xFFF:#x}]\n" for i in range(0x100, 0x100 + 9000))
    path = tmp_path / "log"
    path.write_text(f"Linux version 6.1.0\n{map_line}{''.join(blocks)}")
    said = CliRunner().invoke(cli, ["boot", str(path), "-o", "dmesg"]).output
    assert "\ntoo many memblk ranges\n" in said and "ACPI: SRAT: SRAT not used.\n" in said
    assert "No NUMA configuration found" in said


def test_a_trace_of_nothing_but_mappings(tmp_path: Path) -> None:
    trace = Path(__file__).parent / "fuzz" / "corpus" / "strace"
    path = tmp_path / "trace"
    more = "16289 mmap(NULL, 8192, PROT_NONE, MAP_SHARED|MAP_ANONYMOUS, -1, 0) = 0x7ffff7fb2000\n" * 6000
    path.write_text(sorted(trace.iterdir())[0].read_text() + more)
    done = CliRunner().invoke(cli, ["process", "run", str(path)])
    assert "give a part of the trace" in str(done.exception)
