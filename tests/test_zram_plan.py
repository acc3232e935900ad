"""`mmtool zram plan`: what a device takes follows from the lengths of its pages, as kernels' devices show."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.answers.zram_plan import plan, read_mm_stat, read_sizes
from mmtool.build.fact import parse_series
from mmtool.build.facts.zram import ZramFacts
from mmtool.cli.zram import zram
from mmtool.errors import InputError
from mmtool.linux.drivers.block.zram.zram_drv import Zram, table_entry_size
from mmtool.linux.mm.zsmalloc import Layout, ZsPool
from mmtool.system.zram_script import parse_zram_script

FIXTURES = Path(__file__).parent.parent / "fixtures" / "zram"
with lzma.open(FIXTURES / "runs.jsonl.xz", "rt") as _file:
    RUNS = [json.loads(line) for line in _file]


def pool(kernel: str, page_size: int = 4096, word: int = 64) -> ZsPool:
    version = parse_series(kernel)
    assert version is not None
    facts = ZramFacts(version)
    longest = 8 if facts.chain_size_is_an_option else 4
    return ZsPool(facts, Layout(page_size.bit_length() - 1, word, 52 if word == 64 else 32, longest))


def written_once(known: dict[str, Any]) -> tuple[str, int, dict[str, int]] | None:
    """The lengths of a recorded script's first line if it writes, the pages and the mm_stat after it."""
    line = parse_zram_script(known["sized"].splitlines(), "-", known["page_size"]).lines[0]
    if line.does != "write" and not line.lengths:
        return None
    lengths = " ".join(f"{'same' if size is None else size}*{count}" for size, count in line.lengths)
    return lengths, line.last - line.first + 1, known["lines"][0]["mm_stat"]


@pytest.mark.parametrize("known", RUNS, ids=lambda known: f"{known['kernel']}-{known['script']}")
def test_a_full_device_takes_what_the_kernels_took(known: dict[str, Any]) -> None:
    first = written_once(known)
    if first is None:
        pytest.skip("does not begin with writes")
    lengths, pages, stat = first
    zs = pool(known["kernel"], known["page_size"])
    sample = read_sizes([lengths], "-", zs)
    planned = plan(sample, zs, pages * known["page_size"], 0, actime=True)
    assert (planned.holds, planned.pool) == (stat["orig_data_size"], stat["mem_used_total"])
    assert (sample.same_pages, sample.compressed) == (stat["same_pages"], stat["compr_data_size"])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 4096), min_size=1, max_size=200), st.sampled_from(["5.10", "6.1", "6.12", "7.3"]),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_order_of_writing_does_not_matter(sizes: list[int], kernel: str, random: Any) -> None:
    zs = pool(kernel)
    device = Zram(zs)
    order = list(sizes)
    random.shuffle(order)
    for index, size in enumerate(order):
        if size:
            device.write_page(index, size)
        else:
            device.write_same_filled_page(index)
    text = " ".join(f"{size or 'same'}*{n}" for size, n in Counter(sizes).items())
    sample = read_sizes([text], "-", zs)
    planned = plan(sample, pool(kernel), len(sizes) * 4096, 0, actime=False)
    stat = device.mm_stat()
    assert (planned.pool, sample.huge_pages) == (stat.mem_used_total, stat.huge_pages)
    assert planned.pool_least <= planned.pool
    with_limit = plan(sample, pool(kernel), len(sizes) * 4096, max(planned.pool // 2, 4096), actime=False)
    assert with_limit.pool <= max(planned.pool // 2, 4096) and with_limit.holds <= planned.holds


def test_a_device_in_use_is_scaled() -> None:
    zs = pool("6.12")
    sample = read_mm_stat("40960000 12000000 16384000 0 20000000 100 0 50 60\n", "-", zs)
    planned = plan(sample, zs, 2 * 40960000, 0, actime=True)
    assert (planned.holds, planned.pool, planned.pool_least) == (81920000, 32768000, 24002560)
    assert planned.table == 20000 * 24 // 4096 * 4096 + 4096
    assert planned.gain == planned.holds - planned.cost


def test_entries_of_the_table() -> None:
    assert [table_entry_size(pool(k), actime=True) for k in ("5.10", "6.12", "7.2")] == [24, 24, 16]
    assert [table_entry_size(pool(k), actime=False) for k in ("5.10", "6.12", "7.2")] == [16, 16, 16]
    assert table_entry_size(pool("6.12", word=32), actime=True) is None


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("1500\n5000\n", 2, "'5000' is neither a length"), ("0\n", 1, "neither a length"), ("x", 1, "neither a length"),
        ("1500*0", 1, "neither a length"), ("# none\n", None, "no lengths"),
        (f"1*{10**12 - 1} " * 2, None, "more pages"),
    ],
)  # fmt: skip
def test_bad_lengths(text: str, line: int | None, what: str) -> None:
    with pytest.raises(InputError) as error:
        read_sizes(text.splitlines(), "-", pool("6.12"))
    assert error.value.where == line and what in error.value.message


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1 2 3", "not what"), ("a b c d e f g", "not what"), ("", "not what"), ("0 0 0 0 0 0 0", "is empty"),
        ("4096 5000 8192 0 0 0 0", "contradict"), ("4096 10 4096 0 0 2 0 0", "contradict"),
    ],
)  # fmt: skip
def test_bad_mm_stat(text: str, what: str) -> None:
    with pytest.raises(InputError) as error:
        read_mm_stat(text, "-", pool("6.12"))
    assert what in error.value.message


def run(*args: str, stdin: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(zram, ["plan", *args], input=stdin)
    return done.exit_code, done.output


def test_the_command() -> None:
    code, out = run("--sizes", "-", "--memory", "1G", "--disksize", "512M", "-o", "json", stdin="1000*3 same")
    document = json.loads(out)
    assert (code, document["schema"], document["memory"]) == (0, "mmtool.zram-plan/1", 1 << 30)
    assert [p["disksize"] for p in document["plans"]] == [1 << 29]
    assert document["plans"][0]["left"] == (1 << 30) - document["plans"][0]["cost"]
    code, out = run("--mm-stat", "-", "--memory", "1G", stdin="40960000 12000000 16384000 0 20000000 100 0\n")
    assert code == 0 and out.count("\n") > 10 and "What this rests on" in out
    code, out = run("--sizes", "-", "--arch", "i386", "--memory", "1G", "-o", "csv", stdin="1000")
    assert code == 0 and len(out.splitlines()) == 6


@pytest.mark.parametrize("args", [(), ("--sizes", "-", "--mm-stat", "-"), ("--sizes", "-", "--memory", "1")])
def test_wrong_usage(args: tuple[str, ...]) -> None:
    done = CliRunner().invoke(zram, ["plan", *args], input="1000")
    assert done.exit_code == 2 or type(done.exception).__name__ == "UsageError"
