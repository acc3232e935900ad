"""zsmalloc and zram against what kernels did (fixtures/zram), properties of a pool, and bad input."""

from __future__ import annotations

import json
import lzma
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import mmtool

from mmtool.build.fact import parse_version
from mmtool.build.facts.zram import ZramFacts
from mmtool.errors import InputError
from mmtool.linux.mm.zsmalloc import Handle, Layout, ZsPool
from mmtool.system.zram_script import parse_zram_script, run_zram_script

FIXTURES = Path(__file__).parent.parent / "fixtures" / "zram"
CLASSES = json.loads((FIXTURES / "classes.json").read_text())
with lzma.open(FIXTURES / "runs.jsonl.xz", "rt") as _file:
    RUNS = [json.loads(line) for line in _file]
SCRIPT = b"machine disksize=100 limit=2\nwrite 0-9 same*4,100*6\ncompact\n"


def facts(kernel: str) -> ZramFacts:
    version = parse_version(kernel)
    assert version is not None
    return ZramFacts(version)


def pool(kernel: str, page_size: int = 4096, *, chain: int | None = None, word: int = 64, physmem: int = 52) -> ZsPool:
    f = facts(kernel)
    longest = chain or (8 if f.chain_size_is_an_option else 4)
    return ZsPool(f, Layout(page_size.bit_length() - 1, word, physmem, longest))


@pytest.mark.parametrize("known", CLASSES, ids=lambda known: known["kernel"])
def test_size_classes_are_the_kernels(known: dict[str, Any]) -> None:
    made = pool(known["kernel"], known["page_size"])
    assert made.huge_class_size == known["huge_class_size"]
    assert [list(row) for row in made.class_map()] == known["map"]


@pytest.mark.parametrize("known", RUNS, ids=lambda known: f"{known['kernel']}-{known['script']}")
def test_a_device_takes_what_the_kernels_took(known: dict[str, Any]) -> None:
    script = parse_zram_script(known["sized"].splitlines(), "-", known["page_size"])
    results = list(run_zram_script(script, pool(known["kernel"], known["page_size"])))
    assert [r.line for r in results] == [line["line"] for line in known["lines"]]
    for result, line in zip(results, known["lines"], strict=True):
        stat = {name: value for name, value in asdict(result.mm_stat).items() if value is not None}
        pages = re.sub(r"\d*\.$", "", line.get("pages", ""))
        assert (result.line, stat, result.pages) == (line["line"], line["mm_stat"], pages)
        assert result.failed == line.get("rc", 0)


def test_narrow_words_have_larger_smallest_classes() -> None:
    """PAE leaves 8 bits of a word for an object's index, of which the tag took one before 6.4."""
    assert pool("6.1", word=32, physmem=36).min_alloc_size == 128
    assert pool("6.12", word=32, physmem=36).min_alloc_size == 128
    assert pool("6.1", word=32, physmem=32).min_alloc_size == 32
    assert pool("6.12", word=32, physmem=36, chain=4).min_alloc_size == 64


OPERATIONS = st.lists(st.one_of(st.integers(1, 4096), st.integers(-50, 0)), max_size=200)


@settings(deadline=None, max_examples=60)
@given(OPERATIONS, st.sampled_from(["5.10", "6.1", "6.12", "7.3"]))
def test_no_object_is_lost_and_all_freed_leaves_nothing(operations: list[int], kernel: str) -> None:
    made = pool(kernel)
    live: list[Handle] = []
    for operation in operations:
        if operation > 0:
            live.append(made.zs_malloc(operation))
        elif live and operation < 0:
            made.zs_free(live.pop(-operation % len(live)))
        else:
            before = made.pages_allocated
            assert before - made.zs_compact() == made.pages_allocated
            assert not any(c.can_compact() for c in made.size_class)
        assert len({(id(h.zspage), h.index) for h in live}) == len(live)
        assert all(h.zspage.handles[h.index] is h for h in live)
        classes = dict.fromkeys(made.size_class)
        assert sum(len(z.handles) for c in classes for group in c.fullness_list for z in group) == len(live)
        assert made.pages_allocated == sum(c.pages_per_zspage * len(g) for c in classes for g in c.fullness_list)
    for handle in live:
        made.zs_free(handle)
    assert made.pages_allocated == 0


def test_a_write_over_the_limit_fails_and_keeps_what_was_there() -> None:
    text = "machine disksize=9 limit=1\nwrite 0-0 4000\nwrite 0-0 3800\nwrite 1-1 4096\n"
    first, second, third = run_zram_script(parse_zram_script(text.splitlines(), "-", 4096), pool("6.12"))
    assert (first.failed, second.failed, third.failed) == (0, 1, 1)
    assert third.mm_stat.compr_data_size == 4096 and third.mm_stat.mem_used_max == 8192
    assert third.pages == "h"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("write 0-1 same*2", 1, "a script begins with machine disksize=PAGES"),
        ("machine disksize=10\nwrite 0-10 same*11", 2, "pages 0-10 do not lie on a device of 10 pages"),
        ("machine disksize=10\nwrite 0-3 same*3", 2, "4 pages are written, and 3 lengths told"),
        ("machine disksize=10\nwrite 0 5000", 2, "a page compresses to 1 to 4096 bytes, not to 5000"),
        ("machine disksize=10\nwrite 0 x", 2, "'x' is not a length LEN[*N] or same[*N]"),
        ("machine disksize=10\ncompact\nmachine disksize=10", 3, "machine comes before the first access"),
        ("machine algo=rot13 disksize=10", 1, "algo=rot13: there are lzo, lzo-rle, lz4, lz4hc, zstd, deflate, 842"),
        ("machine limit=3", 1, "machine needs disksize=PAGES"),
        ("machine disksize=1T\nwrite 0-9999999999 same*10000000000", 2, "the script touches more than 262144 pages"),
    ],
)
def test_bad_scripts_are_told_with_their_line(text: str, line: int, message: str) -> None:
    with pytest.raises(InputError) as told:
        parse_zram_script(text.splitlines(), "s", 4096)
    assert str(told.value) == f"s:{line}: {message}"


def test_the_command_runs_a_script_from_a_pipe() -> None:
    done = mmtool("zram", "run", "-", "--kernel", "6.1", "-o", "json", stdin=SCRIPT)
    document = json.loads(done.stdout)
    assert (done.returncode, document["schema"]) == (0, "mmtool.zram-run/1")
    assert document["lines"][0]["pages"] == "4s6x"
    assert document["lines"][1]["mm_stat"]["mem_used_total"] == 8192
    assert b"memory of data %" in mmtool("zram", "run", "-", stdin=SCRIPT).stdout
    full = b"machine disksize=100 limit=1\nwrite 0-1 3500*2\n"
    assert mmtool("zram", "run", "-", stdin=full).returncode == 1


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (("zram", "classes", "--kernel", "6.1", "--chain-size", "8"), 2),
        (("zram", "classes", "--kernel", "newest"), 2),
        (("zram", "classes", "--page-size", "16384", "--arch", "i386"), 2),
        (("zram", "run", "-", "--algorithm", "rot13"), 2),
        (("zram", "run", "/nowhere"), 3),
    ],
)
def test_wrong_usage_and_input(args: tuple[str, ...], status: int) -> None:
    done = mmtool(*args)
    assert done.returncode == status
    assert done.stderr.count(b"\n") == 1 and done.stderr.startswith(b"mmtool: ")
