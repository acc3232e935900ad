"""`mmtool reclaim fit`: stack distances, traces in all their forms, and the kernel's model at chosen sizes."""

from __future__ import annotations

import json
import lzma
from collections import OrderedDict
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.answers.reclaim_fit import CHARGED_AHEAD, ScriptSource, TraceSource, fit_curve, fit_target, swap_for
from mmtool.answers.stack_distance import BLOCK_SHIFT, StackDistances
from mmtool.build.fact import parse_series
from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.cli.reclaim import reclaim
from mmtool.errors import InputError
from mmtool.observed import accesses as observed
from mmtool.observed.accesses import LOAD, OBJECT_SHIFT, READ, STORE, WRITE, AccessTrace, read_accesses
from mmtool.system import reclaim_run
from mmtool.system.reclaim_run import run_workload
from mmtool.system.reclaim_script import Step, WorkloadMachine, parse_workload

FIXTURES = Path(__file__).parent.parent / "fixtures" / "reclaim" / "lru"
TRACES = FIXTURES.parent / "traces"
with lzma.open(FIXTURES / "runs.jsonl.xz", "rt") as lines:
    RECORDS = [json.loads(line) for line in lines]
REFAULTS = ("workingset_refault_file", "workingset_refault_anon")


def facts(release: str) -> ReclaimFacts:
    version = parse_series(release)
    assert version is not None
    return ReclaimFacts(version)


def trace(text: str, **options: bool) -> AccessTrace:
    return read_accesses(text.encode().splitlines(keepends=True), "-", **options)


def accesses(t: AccessTrace) -> list[tuple[int, str, int]]:
    keys = [t.keys[number] for number in t.ids]
    return [
        (op, t.objects[key >> OBJECT_SHIFT][0], key & ((1 << OBJECT_SHIFT) - 1))
        for op, key in zip(t.ops, keys, strict=True)
    ]


# Stack distances


def strict_lru(ids: list[int], size: int) -> int:
    kept: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for page in ids:
        if page in kept:
            kept.move_to_end(page)
            continue
        misses += 1
        kept[page] = None
        if len(kept) > size:
            kept.popitem(last=False)
    return misses


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 30), max_size=300), st.integers(1, 32))
def test_stack_distances_are_strict_lru_at_every_size(ids: list[int], size: int) -> None:
    measured = StackDistances(ids, 31)
    assert measured.misses(size) == strict_lru(ids, size)
    assert measured.cold == len(set(ids))
    misses = [measured.misses(n) for n in range(34)]
    assert misses == sorted(misses, reverse=True) and misses[-1] == measured.cold


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.integers(0, 100))
def test_the_smallest_strict_lru_is_the_smallest(ids: list[int], reloads: int) -> None:
    measured = StackDistances(ids, 31)
    size = measured.smallest(reloads)
    assert measured.misses(size) - measured.cold <= reloads
    assert size == 1 or measured.misses(size - 1) - measured.cold > reloads


def test_moments_are_used_again() -> None:
    ids = [n * n % 97 for n in range((1 << BLOCK_SHIFT) * 3)]
    measured = StackDistances(ids, 97)
    assert [measured.misses(n) for n in (1, 10, 30, 96, 97)] == [strict_lru(ids, n) for n in (1, 10, 30, 96, 97)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=300), st.integers(1, 20))
def test_steps_are_points_of_the_curve(ids: list[int], most: int) -> None:
    measured = StackDistances(ids, 41)
    steps = measured.steps(most)
    assert steps == sorted(steps) and len(steps) <= most + 1
    assert all(measured.misses(size) == misses for size, misses in steps)
    assert steps[-1][1] == measured.cold


# The kernel's model


@pytest.mark.parametrize(
    "record",
    [pytest.param(r, id=f"{r['release']}-{r['script']}") for r in RECORDS if r["lru"] == "classic"][:24],
)
def test_refaults_at_the_recorded_size_are_the_kernels(record: dict) -> None:  # type: ignore[type-arg]
    workload = parse_workload((FIXTURES / "scripts" / f"{record['script']}.lru").read_text().splitlines(), "-")
    if workload.machine.max is None or record.get("differ"):
        pytest.skip("no limit, or the kernel's second run differs from its first")
    point = ScriptSource(workload).run(facts(record["release"]), record["lru"], workload.machine.max)
    if point.failed_at is None:
        kernel = [sum(line["counters"].get(name, 0) for line in record["lines"]) for name in REFAULTS]
        assert [point.refaults_file, point.refaults_anon] == kernel


PATTERNS = st.lists(
    st.one_of(
        st.builds("read A seq 0-{}".format, st.integers(0, 99)),
        st.builds("read A uniform 0-99 n={} seed={}".format, st.integers(1, 400), st.integers(0, 99)),
        st.builds("write A zipf 0-99 n={} seed={}".format, st.integers(1, 300), st.integers(0, 99)),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@settings(deadline=None, max_examples=8)
@given(PATTERNS, st.sampled_from(["5.10", "6.12", "7.3"]), st.integers(0, 300))
def test_what_fit_answers_is_what_run_counts(lines: list[str], release: str, refaults: int) -> None:
    script = ["machine max=100", "file A 100", *lines]
    fit = fit_target(ScriptSource(parse_workload(script, "-")), facts(release), ["classic"], refaults)
    target = fit.targets[0]
    assert target.best is not None and target.best.refaults <= refaults
    for point in [*fit.curve["classic"][:3], target.best]:
        if point.failed_at is not None:
            continue  # where a run finds no memory it may be given up
        workload = parse_workload(script, "-")
        workload.machine.max = point.memory_max
        run = run_workload(workload, facts(release))
        assert point.refaults == sum(
            line.counters.get(name, 0) for line in run.lines for name in REFAULTS
        )
    assert all(p.refaults <= refaults for p in fit.curve["classic"] if p.memory_max >= target.best.memory_max)
    below = target.below
    assert target.every or below is not None
    if below is not None:
        assert below.refaults > refaults or below.failed_at is not None
        assert below.memory_max == target.best.memory_max - 1


@settings(deadline=None, max_examples=15)
@given(PATTERNS, st.sampled_from([("5.10", "classic"), ("6.1", "mglru"), ("7.3", "mglru")]), st.integers(40, 110))
def test_a_trace_does_what_its_script_does(lines: list[str], kernel: tuple[str, str], size: int) -> None:
    release, lru = kernel
    workload = parse_workload(["machine max=100", "file A 100", *lines], "-")
    text = "".join(f"{step.op[0]} A:{page}\n" for step in workload.steps for page in step.pages)
    t = trace(text)
    # A trace is a script of one line.
    uses = tuple((step.op, "A", page) for step in workload.steps for page in step.pages)
    workload.steps[:] = [Step(1, "", "mix", mix=uses)]
    script = ScriptSource(workload).run(facts(release), lru, size)
    assert script == TraceSource(t, WorkloadMachine()).run(facts(release), lru, size)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.tuples(st.sampled_from(["load", "store", "read", "write"]), st.integers(0, 149)), min_size=400,
             max_size=800),
    st.sampled_from([("5.10", "classic"), ("6.12", "classic"), ("6.1", "mglru"), ("7.3", "mglru")]),
    st.integers(80, 200),
)  # fmt: skip
def test_the_short_way_is_the_long_way(uses: list[tuple[str, int]], kernel: tuple[str, str], size: int) -> None:
    """Loads and stores too; but that the process of a script flushes its TLB, which empties the CPU's batches."""
    release, lru = kernel
    machine = "machine max=100 swap=ram:2000"
    workload = parse_workload([machine, "file A 150", "anon B 150"], "-")
    mixed = tuple((op, "B" if op[0] in "ls" and page % 2 else "A", page) for op, page in uses)
    # A trace's first load of an anonymous page is taken to be a store.
    known: set[int] = set()
    once = []
    for op, name, page in mixed:
        once.append(("store" if name == "B" and page not in known else op, name, page))
        known.add(page if name == "B" else -1)
    workload.steps[:] = [Step(1, "", "mix", mix=tuple(once))]
    names = {"A": "f", "B": "anon"}
    # Every page once, so that the trace has the script's places.
    pages = "".join(f"r f:{page}\nl anon:{page}\n" for page in range(150))
    everything = trace(pages + "".join(f"{op[0]} {names[name]}:{page}\n" for op, name, page in mixed))
    everything.ids, everything.ops = everything.ids[300:], everything.ops[300:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reclaim_run, "lru_add_drain", lambda m: None)
        script = ScriptSource(workload).run(facts(release), lru, size)
    traced = TraceSource(everything, WorkloadMachine(swap=workload.machine.swap)).run(facts(release), lru, size)
    assert script == traced


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.sampled_from("rwls"), st.integers(0, 2000)), min_size=1, max_size=200))
def test_with_room_for_all_only_first_uses_miss(uses: list[tuple[str, int]]) -> None:
    t = trace("".join(f"{op} {'anon' if page % 2 else 'f'}:{page}\n" for op, page in uses))
    source = TraceSource(t, WorkloadMachine(swap=swap_for(t)))
    for lru in ("classic", "mglru"):
        point = source.run(facts("6.12"), lru, source.footprint + CHARGED_AHEAD)
        assert (point.misses, point.refaults, point.reclaimed) == (source.footprint, 0, 0)


def test_memory_that_cannot_be_had_ends_the_run() -> None:
    t = trace("".join(f"s anon:{page}\n" for page in range(400)))
    point = TraceSource(t, WorkloadMachine()).run(facts("6.1"), "classic", 200)
    assert point.failed_at == 201
    fit = fit_target(TraceSource(t, WorkloadMachine()), facts("6.1"), ["classic"], 0)
    assert fit.targets[0].best is not None and fit.targets[0].best.memory_max == 400


def test_a_script_that_reclaims_has_no_size_that_will_do() -> None:
    script = ["machine max=100", "file A 200", "read A seq 0-99", "reclaim 90", "read A seq 0-99"]
    fit = fit_target(ScriptSource(parse_workload(script, "-")), facts("6.12"), ["classic"], 0)
    assert fit.targets[0].best is None


# Traces


def test_page_numbers() -> None:
    t = trace("# a comment\n3\nw 4\n5 w\nr data:0x10\nl anon:7\nw anon/heap:8\nstore lib.so:2\n\n")
    assert accesses(t) == [
        (READ, "file", 3), (WRITE, "file", 4), (WRITE, "file", 5), (READ, "data", 16), (LOAD, "anon", 7),
        (STORE, "anon/heap", 8), (STORE, "lib.so", 2),
    ]  # fmt: skip
    assert t.objects == [("file", False), ("data", False), ("anon", True), ("anon/heap", True), ("lib.so", False)]


def test_addresses() -> None:
    t = trace("r 0x7f0000001234\nw 4096\n", addresses=True)
    assert accesses(t) == [(LOAD, "memory", 0x7F0000001), (STORE, "memory", 1)]
    assert t.objects == [("memory", True)]
    assert trace("1\n", addresses=True, addresses_anon=False).objects == [("memory", False)]


def test_lackey() -> None:
    t = trace(
        "==7== Lackey, an example Valgrind tool\nI  04000f10,3\nI  04000f13,5\n S 1ffeffeff8,8\n L 04001ffc,8\n"
        " M 04001000,4\n==7== \n"
    )
    assert accesses(t) == [
        (LOAD, "memory", 0x4000), (STORE, "memory", 0x1FFEFFE), (LOAD, "memory", 0x4001), (LOAD, "memory", 0x4002),
        (STORE, "memory", 0x4001),
    ]  # fmt: skip
    assert t.merged == 1


PERF_OF_FILLS = """\
             cat  4711 [000]  100.000001: filemap:mm_filemap_add_to_page_cache: dev 254:1 ino 1a2b pfn=0x1234 ofs=4096 order=0
             cat  4711 [000]  100.000002: filemap:mm_filemap_add_to_page_cache: dev 254:1 ino 1a2b page=0x1 pfn=7 ofs=8192
             cat  4711 [000]  100.000003: filemap:mm_filemap_delete_from_page_cache: dev 254:1 ino 1a2b pfn=0x1 ofs=0 order=0
             cat  4711 [000]  100.000004: filemap:mm_filemap_add_to_page_cache: dev 254:1 ino 1a2b pfn=0x1234 ofs=16384 order=2
"""  # noqa: E501


def test_events_of_what_was_brought_in() -> None:
    t = trace(PERF_OF_FILLS)
    assert accesses(t) == [(READ, "254:1:1a2b", page) for page in (1, 2, 4, 5, 6, 7)]
    assert t.ignored == {"mm_filemap_delete_from_page_cache": 1}
    assert any("what was brought into memory" in said for said in t.rests_on)


def test_events_of_reads_make_those_of_fills_superfluous() -> None:
    t = trace(
        "  cat-9 [000] ..... 1.0: mm_filemap_get_pages: dev=8:1 ino=7 ofs=0-16383\n"
        "  cat-9 [000] ..... 1.1: mm_filemap_add_to_page_cache: dev 8:1 ino 9 pfn=0x1 ofs=4096 order=0\n"
        "  cat-9 [000] ..... 1.2: mm_filemap_get_pages: dev=8:1 ino=7 ofs=8192-16383\n"
        "  sh-10 [000] ..... 1.3: mm_filemap_fault: dev=8:1 ino=7 ofs=4096\n"
        "  cat-9 [000] ..... 1.4: mm_filemap_get_pages: dev=8:1 ino=7 ofs=0-4095\n"
    )
    # The second event serves the rest of the first one's read.
    assert accesses(t) == [
        (READ, "8:1:7", 0), (READ, "8:1:7", 1), (READ, "8:1:7", 2), (READ, "8:1:7", 3), (LOAD, "8:1:7", 1),
        (READ, "8:1:7", 0),
    ]  # fmt: skip
    assert len(t.keys) == 4
    assert t.ignored == {"mm_filemap_add_to_page_cache": 1}
    assert not any("what was brought into memory" in said for said in t.rests_on)


def test_faults() -> None:
    t = trace(
        "stress 12/13 [001] 5.0: exceptions:page_fault_user: address=0x7f12345678 ip=0x401000 error_code=0x6\n"
        "stress 12/13 [001] 5.1: exceptions:page_fault_user: address=0x7f12345678 ip=0x401000 error_code=0x4\n"
        "stress 12 5.2:     1 page-faults:u:  7f12346000 401000 main+0x1 (/bin/stress)\n"
        "stress 12 5.3:     1 major-faults: 7f12347000\n"
        "stress 12 [000] 5.4: exceptions:page_fault_kernel: address=_etext+0x1 ip=0x1 error_code=0x0\n"
    )
    assert accesses(t) == [
        (STORE, "memory/12", 0x7F12345), (LOAD, "memory/12", 0x7F12345), (LOAD, "memory/12", 0x7F12346),
        (LOAD, "memory/12", 0x7F12347),
    ]  # fmt: skip
    assert t.ignored == {"page_fault_kernel": 1}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("r 1\nr x\n", 2, "'x' is no number of a page"),
        ("r 1\nr -1\n", 2, "'-1' is no number of a page"),
        ("1\n2 3\n", 2, "'3' is no way to use a page"),
        ("1\nr a:1 2\n", 2, "'r a:1 2' is no access"),
        ("1\n99999999999999999999999\n", 2, "is no number of a page"),
        ("", None, "no accesses in it"),
        ("# nothing\n", None, "no accesses in it"),
        ("PERFILE2\0\1\n", None, "perf's own file"),
        ("I  04000f10,3\n L zz,3\n", 2, "is no line of lackey's"),
        ("a-1 [000] 1.0: mm_filemap_add_to_page_cache: pfn=1\n", 1, "without dev, ino and ofs"),
        ("a-1 [000] 1.0: mm_filemap_get_pages: dev=8:1 ino=7 ofs=8192-0\n", 1, "names"),
        ("a 1 1.0: 1 page-faults: main+0x1 (/bin/a)\n", 1, "without an address"),
        ("a-1 [0] 1.0: mm_filemap_delete_from_page_cache: dev 1:1 ino 1 pfn=1 ofs=0\n", None, "no event of an access"),
    ],
)
def test_bad_traces(text: str, line: int | None, what: str) -> None:
    with pytest.raises(InputError) as error:
        trace(text)
    assert error.value.where == line and what in error.value.message


def test_a_trace_is_not_read_on_when_it_has_too_many_accesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "MOST_ACCESSES", 100)
    line = "a-1 [0] 1.0: mm_filemap_get_pages: dev=8:1 ino={} ofs=0-262143\n"
    with pytest.raises(InputError) as error:
        trace("".join(line.format(n) for n in range(9)))
    assert error.value.where == 3 and "more than 100 accesses" in error.value.message
    with pytest.raises(InputError):
        trace("1\n" * 101)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_trace_or_an_input_error(data: bytes, addresses: bool) -> None:
    try:
        t = read_accesses(data.splitlines(keepends=True), "-", addresses=addresses)
    except InputError:
        return
    assert len(t.ids) == len(t.ops) > 0


def test_what_a_kernel_wrote_of_reads() -> None:
    """ftrace of 6.12: dd wrote five pages, read 20 one by one, 40 at once, and two in eight pieces."""
    with lzma.open(TRACES / "filemap-6.12.txt.xz") as lines:
        t = read_accesses(lines, "-")
    read = [*range(20), *range(40), *[0] * 4, *[1] * 4]
    assert accesses(t) == [(READ, "0:24:14a", page) for page in read]
    # Read at once, what the second event names is what the first one had no room for.
    assert t.ignored == {"mm_filemap_map_pages": 140, "mm_filemap_add_to_page_cache": 5}
    assert any("were not read" in said for said in t.rests_on)


def test_what_lackey_wrote() -> None:
    with lzma.open(TRACES / "lackey.txt.xz") as file:
        lines = file.readlines()
    touched: list[tuple[str, int]] = []
    for line in lines:
        if not line.startswith(b"=="):
            first, size = line[3:].decode().split(",")
            at, end = int(first, 16), int(first, 16) + int(size) - 1
            kind = chr(line[0] if line[:1] == b"I" else line[1])
            touched += [(kind, page) for page in range(at >> 12, (end >> 12) + 1)]
    t = read_accesses(lines, "-")
    assert len(t.ids) + t.merged == len(touched) > 12_000
    assert len(t.keys) == len({page for _, page in touched})
    kinds = {"I": LOAD, "L": LOAD, "S": STORE, "M": STORE}
    merged = [(kinds[kind], page) for kind, page in touched]
    merged = [one for one, before in zip(merged, [None, *merged], strict=False) if one != before]
    assert [(op, page) for op, _, page in accesses(t)] == merged


# The command


def run(*args: str, stdin: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(reclaim, ["fit", *args], input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


SCRIPT = "machine max=10\nfile A 200\nread A seq 0-199 times=3\n"


def test_the_target_as_a_document() -> None:
    code, out = run("-", "--target-refaults", "0", "--lru", "classic", "-o", "json", stdin=SCRIPT)
    document = json.loads(out)
    assert (code, document["schema"], document["target_refaults"]) == (0, "mmtool.reclaim-fit/1", 0)
    assert document["source"] == {"form": "script", "accesses": 600, "merged": 0, "pages": 200, "ignored": {}}
    target = {"lru": "classic", "memory_max": 200, "refaults": 0, "next_smaller": 199, "tried": 133}
    assert document["targets"] == [{**target, "every_larger_size_tried": True}]
    assert document["estimate"]["curve"][-1] == [200, 200]
    assert any("199 pages are too few" in said for said in document["rests_on"])


def test_the_curve_in_every_form() -> None:
    twice = "\n".join(map(str, [*range(150)] * 2))
    code, out = run("-", "--at", "100,200", "--kernel", "6.12", "-o", "csv", stdin=twice)
    rows = [line.split(",") for line in out.splitlines()]
    assert code == 0 and rows[0][:4] == ["memory.max", "lru", "misses", "miss_ratio"]
    assert [row[:4] for row in rows[1:]] == [
        ["100", "strict LRU", "300", "1.0"], ["100", "classic", "300", "1.0"], ["100", "mglru", "300", "1.0"],
        ["200", "strict LRU", "150", "0.5"], ["200", "classic", "150", "0.5"], ["200", "mglru", "150", "0.5"],
    ]  # fmt: skip
    code, out = run("-", "--curve", "--points", "2", stdin=SCRIPT)
    assert code == 0 and "What this rests on" in out and "out of memory" not in out
    code, out = run("-", "--curve", "--swap", "none", "--points", "2", stdin="s anon:1\ns anon:2\n" * 3)
    assert code == 0 and "there is no swap" in out


def test_a_release_without_the_second_lru() -> None:
    code, out = run("-", "--curve", "--kernel", "5.10", "--points", "2", stdin=SCRIPT)
    assert code == 0 and "the classic LRU alone" in out and "mglru" not in out.split("rests on")[0].split("\n", 1)[1]


def test_no_size_that_will_do_is_exit_status_1() -> None:
    script = "machine max=100\nfile A 20\nread A seq 0-19\nreclaim 19\nread A seq 0-19\n"
    assert run("-", "--target-refaults", "0", "--kernel", "6.12", stdin=script)[0] == 1


@pytest.mark.parametrize(
    "args",
    [
        (), ("--target-refaults", "1", "--curve"), ("--curve", "--lru", "mglru", "--kernel", "5.10"),
        ("--curve", "--kernel", "x"), ("--at", "1,x"), ("--curve", "--swap", "floppy:3"), ("--at", "0"),
        ("--at", "x" * 30), ("--at", "9" * 30), ("--at", ""),
    ],
)  # fmt: skip
def test_wrong_usage(args: tuple[str, ...]) -> None:
    done = CliRunner().invoke(reclaim, ["fit", "-", *args], input=SCRIPT)
    assert done.exit_code == 2 or type(done.exception).__name__ == "UsageError"


def test_sizes_are_chosen_up_to_where_all_fits() -> None:
    source = TraceSource(trace("\n".join(map(str, [*range(500)] * 2))), WorkloadMachine())
    fit = fit_curve(source, facts("6.1"), ["classic"], None, 6)
    sizes = [point.memory_max for point in fit.curve["classic"]]
    assert sizes == sorted(set(sizes)) and sizes[-1] == 500 + CHARGED_AHEAD
    assert fit.curve["classic"][-1].reclaimed == 0
