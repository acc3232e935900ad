"""`mmtool memblock replay`: the model against the answers in logs of real kernels, which it must not need."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mmtool.cli.memblock import memblock
from mmtool.errors import InputError
from mmtool.observed.memblock_log import parse_memblock_log
from mmtool.system.memblock_replay import Replay, replay

FIXTURES = Path(__file__).parent.parent / "fixtures"
LOGS = {
    **{f"captures/{name}/dmesg.txt": count for name, count in {
        "i386-6.1-1g-debug": 34, "i386-6.1-pae-vmalloc256": 36, "x86-5.10-kernelcore-1g": 51,
        "x86-5.10-numa2-memless-cpu": 55, "x86-6.1-movablecore": 57, "x86-6.1-numa4-ring": 66,
        "x86-6.12-efi-8g-debug": 69, "x86-6.18-crashkernel": 57, "x86-6.18-mem1g": 50, "x86-7.3-numa3-asym": 98,
    }.items()},
    "memblock/arm64-5.10-1g.txt.gz": 28,
    "memblock/arm64-6.12-begins-late.txt.gz": 471,
    "memblock/arm64-6.18-16k-reserved-memory.txt.gz": 101,
    "memblock/x86-7.3-hugepages.txt.gz": 120,
}  # fmt: skip
"""Logs, with how many allocations each asks for."""

REQUEST = re.compile(r"memblock_(?:phys_)?alloc\w*: (\d+) bytes")
RESERVE = re.compile(r"memblock_reserve: \[0x([0-9a-f]+)-0x([0-9a-f]+)\].* memblock_alloc")

SMALL = """\
[    0.000000] Linux version 6.1.0-50-cloud-amd64 (a@b) (gcc) #1 SMP Debian 6.1.176-1 (2024-01-01)
[    0.000000] Command line: memblock=debug
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x0000000007ffffff] usable
[    0.000000] MEMBLOCK configuration:
[    0.000000]  memory size = 0x0000000007f00000 reserved size = 0x0000000000100000
[    0.000000]  memory.cnt  = 0x1
[    0.000000]  memory[0x0]\t[0x0000000000100000-0x0000000007ffffff], 0x0000000007f00000 bytes flags: 0x0
[    0.000000]  reserved.cnt  = 0x1
[    0.000000]  reserved[0x0]\t[0x0000000000100000-0x00000000001fffff], 0x0000000000100000 bytes flags: 0x0
[    0.000000] RAMDISK: [mem 0x06000000-0x06ffffff]
[    0.000000] memblock_reserve: [0x0000000006000000-0x0000000006ffffff] setup_arch+0x1/0x2
[    0.000000] memblock_alloc_try_nid: 4096 bytes align=0x1000 nid=-1 from=0x0000000000000000 \
max_addr=0x0000000000000000 first+0x1/0x2
[    0.000000] memblock_reserve: [0x0000000007fff000-0x0000000007ffffff] memblock_alloc_range_nid+0x1/0x2
[    0.000000] memblock_alloc_try_nid: 268435456 bytes align=0x1000 nid=-1 from=0x0000000000000000 \
max_addr=0x0000000000000000 large+0x1/0x2
[    0.000000] memblock_alloc_try_nid: 8192 bytes align=0x1000 nid=-1 from=0x0000000000000000 \
max_addr=0x0000000000000000 second+0x1/0x2
[    0.000000] memblock_reserve: [0x0000000007ffd000-0x0000000007ffefff] memblock_alloc_range_nid+0x1/0x2
"""


def text_of(name: str) -> str:
    data = (FIXTURES / name).read_bytes()
    return (gzip.decompress(data) if name.endswith(".gz") else data).decode(errors="replace")


def without_answers(text: str) -> str:
    """The log without the reservation that follows a request."""
    kept: list[str] = []
    pending = 0
    for line in text.split("\n"):
        if m := REQUEST.search(line):
            pending = int(m[1])
        elif (m := RESERVE.search(line)) and int(m[2], 16) + 1 - int(m[1], 16) == pending:
            pending = 0
            continue
        kept.append(line)
    return "\n".join(kept)


def replayed(text: str) -> Replay:
    return replay(parse_memblock_log(text, "log"))


def run(*arguments: str, stdin: str | bytes | None = None):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(memblock, ["replay", *arguments], input=stdin)


@pytest.mark.parametrize(("name", "count"), LOGS.items())
def test_every_allocation_lies_where_the_kernel_put_it(name: str, count: int) -> None:
    done = replayed(text_of(name))
    assert [a for a in done.allocations if not a.answered or not a.agrees] == []
    assert len(done.allocations) == count
    assert done.dumps_apart == ()


@pytest.mark.parametrize("name", LOGS)
def test_the_answers_are_not_needed(name: str) -> None:
    text = text_of(name)
    told, alone = replayed(text), replayed(without_answers(text))
    assert alone.answered == 0
    assert [a.address for a in alone.allocations] == [a.kernel for a in told.allocations]
    assert alone.dumps_apart == ()


@pytest.mark.parametrize("name", ["captures/x86-6.12-efi-8g-debug/dmesg.txt", "captures/i386-6.1-1g-debug/dmesg.txt"])
def test_node_data_and_a_moved_ram_disk_are_known_from_their_own_lines(name: str) -> None:
    text = text_of(name)
    bare = "\n".join(line for line in text.split("\n") if not RESERVE.search(line))
    assert [a.address for a in replayed(bare).allocations] == [a.kernel for a in replayed(text).allocations]


def test_json_is_the_documented_one() -> None:
    result = run(str(FIXTURES / "memblock" / "x86-7.3-hugepages.txt.gz"), "-o", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["schema"] == "mmtool.memblock-replay/1"
    assert document["allocations"][0] == {
        "line": 43, "function": "memblock_phys_alloc_range", "size": 28672, "align": 4096, "nid": -1, "from": "0x0",
        "max_addr": "0x100000", "address": "0x98000",
    }  # fmt: skip
    assert next(a for a in document["allocations"] if a["function"] == "memblock_alloc_hugetlb") == {
        "line": 155, "function": "memblock_alloc_hugetlb", "size": 1 << 30, "align": 1 << 30, "nid": 0, "from": "0x0",
        "max_addr": "0x0", "address": "0x180000000",
    }  # fmt: skip


def test_a_request_that_the_kernel_could_not_serve_agrees_when_the_model_cannot_either() -> None:
    result = run("-", stdin=SMALL)
    assert (result.exit_code, result.output) == (0, "3 of 3 allocations agree with the log\n")
    document = json.loads(run("-", "-o", "json", stdin=SMALL).stdout)
    assert [a["address"] for a in document["allocations"]] == ["0x7fff000", None, "0x7ffd000"]


def test_after_a_miss_the_replay_goes_on_from_the_kernels_address() -> None:
    wrong = SMALL.replace("0x0000000007fff000-0x0000000007ffffff", "0x0000000005fff000-0x0000000005ffffff")
    wrong = wrong.replace("0x0000000007ffd000-0x0000000007ffefff", "0x0000000007ffe000-0x0000000007ffffff")
    result = run("-", stdin=wrong)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "2 of 3 allocations agree with the log",
        "line 13: memblock_alloc_try_nid of 4096 bytes, align 0x1000, for first+0x1/0x2: 0x7fff000 in the model,"
        " 0x5fff000 in the kernel; something above the kernel's place was taken, or out of reach, that the log does not"
        " show",
        "went on from the kernel's address 1 times",
    ]


def test_without_answers_the_models_addresses_are_taken() -> None:
    result = run("-", stdin=without_answers(SMALL))
    assert result.exit_code == 0
    assert result.output == (
        "0 of 0 allocations agree with the log; 3 have no answer in it, the model's addresses were taken\n"
    )


def test_memory_gets_its_nodes_where_no_dump_shows_them() -> None:
    numa = SMALL.replace(
        "[    0.000000] memblock_alloc_try_nid: 4096 bytes align=0x1000 nid=-1",
        "[    0.000000] NUMA: Node 0 [mem 0x00000000-0x03ffffff]\n"
        "[    0.000000]   node   0: [mem 0x0000000000100000-0x0000000003ffffff]\n"
        "[    0.000000]   node   1: [mem 0x0000000004000000-0x0000000007ffffff]\n"
        "[    0.000000] memblock_alloc_try_nid: 4096 bytes align=0x1000 nid=0",
    )
    assert replayed(without_answers(numa)).allocations[0].address == 0x3FFF000


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ("nothing here\n", "-: no memblock_alloc... lines in it; give the log of a boot with memblock=debug"),
        (
            SMALL.replace("memory.cnt  = 0x1", "memory.cnt  = 0x2"),
            '-:1: no whole "MEMBLOCK configuration:" in it; give the log from its beginning',
        ),
        (SMALL.replace("version 6.1.0", "version 3.10.0").replace("6.1.176", "3.10.5"),
         "-:1: a log of Linux 3.10.5; memblock is modelled from 4.20 on"),
    ],
)  # fmt: skip
def test_unusable_logs_are_refused_in_one_line(stdin: str, message: str) -> None:
    result = run("-", stdin=stdin)
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == message


def test_a_log_that_lost_its_first_line_may_be_given_a_release() -> None:
    late = SMALL.split("\n", 1)[1]
    assert run("-", "--kernel", "5.15", stdin=late).exit_code == 0
    assert parse_memblock_log(late, "log").facts.version == (5, 10, 0)


LINES = SMALL.splitlines()


@given(
    st.lists(st.integers(0, len(LINES) - 1), max_size=40),
    st.lists(st.tuples(st.integers(0, 2000), st.sampled_from("0f1x[] \t-:ek")), max_size=12),
)
def test_damaged_logs_are_replayed_or_refused(order: list[int], noise: list[tuple[int, str]]) -> None:
    text = "\n".join([*LINES, *(LINES[i] for i in order)])
    for at, character in noise:
        text = text[:at] + character + text[at + 1 :]
    try:
        replayed(text)
    except InputError as error:
        assert "\n" not in str(error)
