"""`mmtool slab`: caches, kmalloc and scripts, as real kernels answered (fixtures/slab)."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.choose import kernel_for
from mmtool.build.kernel import Kernel
from mmtool.build.nearest import nearest_kernel
from mmtool.cli.slab import slab
from mmtool.errors import InputError, UsageError
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.firmware.read import read_capture
from mmtool.linux.init.main import start_kernel
from mmtool.linux.mm.slab_common import slab_build
from mmtool.linux.mm.slub.slab import Topology, evenly
from mmtool.system.codec.source import state_from_json
from mmtool.system.codec.state import state_document
from mmtool.system.of_boot import state_of_boot
from mmtool.system.restore import system_of
from mmtool.system.slab.kmalloc import slab_gfp
from mmtool.system.slab.machine import boot_slub
from mmtool.system.slab.pages import PlainPages
from mmtool.system.slab.runs import SlobRun, SlubRun, script_run
from mmtool.system.slab.script import Parser
from mmtool.system.slab.system_pages import SystemPages
from mmtool.system.system import System

FIXTURES = Path(__file__).parent.parent / "fixtures" / "slab"
BOOTS = sorted(path.name.removesuffix(".json.gz") for path in FIXTURES.glob("*.json.gz"))


def boot(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(gzip.decompress((FIXTURES / f"{name}.json.gz").read_bytes()))
    return document


def call(*args: str, given: str | None = None) -> dict[str, Any]:
    done = run(*args, "-o", "json", given=given)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def machine(recorded: dict[str, Any], folder: Path) -> list[str]:
    """The machine options of a recorded boot, its configuration in a file where it has one of its own."""
    if "config" not in recorded:
        return list(recorded["machine"])
    config = folder / "config"
    config.write_text(recorded["config"])
    return [*recorded["machine"], "--config", str(config)]


def run(*args: str, given: str | None = None) -> Result:
    return CliRunner().invoke(slab, args, input=given)


@pytest.mark.parametrize("name", BOOTS)
def test_every_field_of_every_cache(name: str) -> None:
    recorded = boot(name)
    if "creations" not in recorded:
        pytest.skip("only scripts were recorded")
    lines = "".join(json.dumps(row) + "\n" for row in recorded["creations"])
    document = call("caches", "--caches", "-", *recorded["machine"], given=lines)
    living = {member: cache for cache in document["caches"] for member in cache["members"]}
    for cache, fields in recorded["fields"].items():
        assert {field: living[cache].get(field) for field in fields} == fields, cache
    names = set(recorded["fields"]) | {member for group in recorded["groups"] for member in group}
    groups = [sorted(names & set(cache["members"])) for cache in document["caches"]]
    if recorded["groups"]:
        assert sorted(group for group in groups if len(group) > 1) == recorded["groups"]


@pytest.mark.parametrize("name", BOOTS)
def test_kmalloc(name: str, tmp_path: Path) -> None:
    recorded = boot(name)
    there = machine(recorded, tmp_path)
    for gfp, runs in recorded["kmalloc"].items():
        if gfp == "beyond":
            sizes, gfp = ",".join(str(first) for first, *_ in runs), "GFP_KERNEL"
        else:
            sizes = f"{runs[0][0]}-{runs[-1][1]}"
        assert call("kmalloc", "--size", sizes, "--gfp", gfp, *there)["map"] == runs


def test_merging_stops_where_the_kernel_stops_it() -> None:
    rows = [
        {"name": "first", "size": 200, "flags": []},
        {"name": "second", "size": 196, "flags": []},
        {"name": "other pages", "size": 200, "flags": ["RECLAIM_ACCOUNT"]},
        {"name": "rcu", "size": 200, "flags": ["TYPESAFE_BY_RCU"]},
        {"name": "made", "size": 200, "flags": [], "ctor": True},
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    caches = call("caches", "--caches", "-", given=lines)["caches"]
    assert [c["members"] for c in caches[-4:]] == [["first", "second"], ["other pages"], ["rcu"], ["made"]]
    alone = call("caches", "--caches", "-", "--cmdline", "slab_nomerge", given=lines)["caches"]
    assert [c["members"] for c in alone[-5:]] == [[row["name"]] for row in rows]


@pytest.mark.parametrize(
    ("option", "pattern", "flags"),
    [
        ("slab_debug=FZ,den*", "dentry", ["CONSISTENCY_CHECKS", "RED_ZONE"]),
        ("slub_debug=,dentry", "dentry", ["CONSISTENCY_CHECKS", "OBJECT_POISON", "POISON", "RED_ZONE", "STORE_USER"]),
        ("slab_debug=Z,dent;P", "dentry", ["OBJECT_POISON", "POISON"]),
        ("slab_debug=Z-", "dentry", []),
    ],
)
def test_debug_options_by_cache(option: str, pattern: str, flags: list[str]) -> None:
    row = json.dumps({"name": pattern, "size": 192, "flags": []})
    cache = call("caches", "--caches", "-", "--cmdline", option, given=row)["caches"][-1]
    assert set(cache["flags"]) - {"CMPXCHG_DOUBLE"} == set(flags)


@pytest.mark.parametrize(
    "line",
    ["[]", "{", '{"name": "x"}', '{"name": "x", "size": -1}', '{"name": "x", "size": 8, "flags": ["NONE"]}'],
)
def test_a_bad_list_of_caches_is_named_by_its_line(line: str) -> None:
    done = run("caches", "--caches", "-", given='{"name": "a", "size": 8, "flags": []}\n' + line)
    assert isinstance(done.exception, InputError) and str(done.exception).startswith("-:2: ")


@pytest.mark.parametrize(
    "args",
    [
        ("kmalloc", "--size", "0"),
        ("kmalloc", "--size", "9-3"),
        ("kmalloc", "--size", "8,x"),
        ("kmalloc", "--size", "8", "--gfp", "GFP_NONE"),
        ("caches", "--kernel", "sixth"),
        ("caches", "--page-size", "8192"),
        ("caches", "--nodes", "4096"),
        ("caches", "--kernel", "7.3", "--allocator", "slab"),
        ("run", "-", "--kernel", "5.10", "--allocator", "slab", "--nodes", "2"),
    ],
)
def test_wrong_usage(args: tuple[str, ...]) -> None:
    assert isinstance(run(*args).exception, UsageError)


def test_beyond_the_largest_block_is_no() -> None:
    done = run("kmalloc", "--size", str(8 << 20))
    assert done.exit_code == 1 and "No block of pages is that large" in done.stdout


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 100_000),
    align=st.sampled_from([0, 8, 64, 256, 4096]),
    flags=st.sets(st.sampled_from(["HWCACHE_ALIGN", "RED_ZONE", "POISON", "STORE_USER", "TYPESAFE_BY_RCU", "ACCOUNT"])),
    ctor=st.booleans(),
    kernel=st.sampled_from(["5.10", "6.1", "6.6", "6.12", "6.18", "7.3"]),
    cpus=st.sampled_from([1, 2, 8, 64, 512]),
)
def test_objects_never_overlap(size: int, align: int, flags: set[str], ctor: bool, kernel: str, cpus: int) -> None:
    row = json.dumps({"name": "mine", "size": size, "align": align, "flags": sorted(flags), "ctor": ctor})
    cache = call("caches", "--caches", "-", "--kernel", kernel, "--cpus", str(cpus), given=row)["caches"][-1]
    if cache["members"] != ["mine"]:
        return
    assert cache["size"] >= cache["object_size"] and cache["size"] % cache["align"] == 0
    assert cache["oo_objects"] * cache["size"] <= 4096 << cache["oo_order"]
    assert cache["min_order"] <= cache["oo_order"] and 1 <= cache["min_objects"] <= cache["oo_objects"]
    assert cache["offset"] + 8 <= cache["size"] - cache["red_left_pad"]


NOT_OURS = {
    "rc", "filled",  # 0 throughout; how much of SLOB's lists the recording filled up
    "ret", "n", "refcount", "ctor", "flags", "allocflags", "remote_node_defrag_ratio",  # not in the document
    "taken", "given_back",  # how many pages the recording machine had free
}  # fmt: skip


def ours(answer: dict[str, Any]) -> dict[str, Any]:
    """A recorded answer without what mmtool's does not have; counters of caches in use by the kernel are its own."""
    kept = {key: value for key, value in answer.items() if key not in NOT_OURS}
    if kept.get("cache") and kept.get("counters", {}).get("slabs"):
        del kept["counters"]
    return kept


@pytest.mark.parametrize(("name", "script"), [(name, script) for name in BOOTS for script in boot(name)["runs"]])
def test_scripts_object_by_object(name: str, script: str, tmp_path: Path) -> None:
    recorded = boot(name)
    text, answers = recorded["runs"][script]["script"], recorded["runs"][script]["answers"]
    lines = call("run", "-", *machine(recorded, tmp_path), given=text)["lines"]
    assert len(lines) == len(answers)
    for done, answer in zip(lines, answers, strict=True):
        want = ours(answer)
        assert {key: done.get(key) for key in want} == want


SCRIPT = """cache A size=64
alloc A 10 cpu=1
free A lifo=3
"""


@pytest.mark.parametrize(
    "line",
    [
        "alloc B 3", "alloc A", "alloc A x", "alloc A 3 cpu=2", "alloc A 3 node=1", "alloc A 3 gfp=GFP_NONE",
        "alloc A 3 sise=4", "free A", "free A every=0", "cache A size=8", "cache C", "cache C size=8 align=3",
        "cache C size=8 flags=NONE", "kmalloc", "kmalloc 0", "destroy A", "grow A",
    ],
)  # fmt: skip
def test_a_bad_line_of_a_script_is_named(line: str) -> None:
    done = run("run", "-", given=SCRIPT + line)
    assert isinstance(done.exception, InputError) and str(done.exception).startswith("-:4: ")


def test_a_cache_that_no_block_holds() -> None:
    done = run("run", "-", "-o", "json", given=f"cache A size={8 << 20}\n")
    assert done.exit_code == 1 and json.loads(done.stdout)["lines"][0]["ok"] is False


@st.composite
def scripts(draw: st.DrawFn) -> str:
    lines = [f"cache A size={draw(st.sampled_from([8, 200, 700, 3000, 5000]))}"]
    for _ in range(draw(st.integers(1, 12))):
        cpu = f"cpu={draw(st.integers(0, 3))}"
        node = draw(st.sampled_from(["", "node=0", "node=1"]))
        count = draw(st.integers(1, 150))
        lines.append(
            draw(
                st.sampled_from(
                    [
                        f"alloc A {count} {cpu} {node}", f"alloc A {count} bulk=16 {cpu}", "shrink A",
                        f"free A random={count} seed={count} {cpu}", f"free A every=3 {cpu}",
                        f"free A fifo={count} {cpu}",
                    ]
                )
            )
        )  # fmt: skip
    return "\n".join(lines)


@settings(deadline=None, max_examples=25)
@given(script=scripts(), kernel=st.sampled_from(["5.10", "6.1", "6.12", "6.18", "7.3"]))
def test_no_object_is_lost_or_given_twice(script: str, kernel: str) -> None:
    there = slab_build(
        nearest_kernel(kernel, "x86_64", 4096)[0], parse_cmdline("slab_nomerge"), present=4, possible=4, nodes=2
    )
    work = SlubRun(boot_slub(there), PlainPages(1 << 30, 2, 12), "-", evenly(4, 2))
    for line in Parser("-", slab_gfp(there), 4, 2).parse(script.splitlines()):
        work.run([line])
        owner = work.owners["A"]
        assert len({id(place) for place in owner.live}) == len(owner.live)
        assert all(place.slab.alive for place in owner.live)
        counters = owner.objects.counters()
        assert sum(counters.objects.values()) >= len(owner.live)
        taken = (1 << 18) - sum(work.pages.left)
        in_slabs = sum(n.nr_slabs for n in owner.objects.nodes) << owner.cache.oo_order
        assert taken == in_slabs
    for place in owner.live:
        owner.objects.free(place, 0)
    owner.objects.destroy()
    assert sum(work.pages.left) == 1 << 18


@settings(deadline=None, max_examples=15)
@given(script=scripts(), allocator=st.sampled_from(["slab", "slob"]))
def test_slab_and_slob_give_every_page_back(script: str, allocator: str) -> None:
    script = script.replace(" node=0", "").replace(" node=1", "")
    kernel = nearest_kernel("5.10", "x86_64", 4096)[0]
    there = slab_build(kernel, parse_cmdline("slab_nomerge"), present=4, possible=4, nodes=1)
    work = script_run(allocator, boot_slub(there), 1 << 30, "-", PlainPages(1 << 30, 1, 12), evenly(4, 1))
    work.run(Parser("-", slab_gfp(there), 4, 1).parse(script.splitlines()))
    owner = work.owners["A"]
    assert len({id(place) for place in owner.live}) == len(owner.live)
    for place in owner.live:
        owner.objects.free(place, 0)
    owner.objects.destroy()
    page_of_slob_itself = 1 if isinstance(work, SlobRun) else 0
    assert sum(work.pages.left) == (1 << 18) - page_of_slob_itself


def test_slob_keeps_the_size_before_the_object() -> None:
    args = ("--kernel", "5.10", "--allocator", "slob")
    runs = call("kmalloc", "--size", "4085-4100", *args)["map"]
    assert runs == [[4085, 4086, 4086, "slob"], [4087, 4087, 4088, "slob"], [4088, 4096, 4096, "pages"],
                    [4097, 4100, 8192, "pages"]]  # fmt: skip


def test_slab_takes_more_than_a_page_itself_before_6_1() -> None:
    old, new = (
        call("kmalloc", "--size", "100000", "--kernel", kernel, "--allocator", "slab")["map"]
        for kernel in ("5.10", "6.1")
    )
    assert old == [[100000, 100000, 131072, "kmalloc-128k"]] and new == [[100000, 100000, 131072, "pages"]]


@pytest.mark.parametrize("allocator", ["slab", "slob"])
def test_caches_of_the_old_allocators(allocator: str) -> None:
    row = json.dumps({"name": "mine", "size": 1000, "flags": ["TYPESAFE_BY_RCU"]})
    args = ("caches", "--caches", "-", "--kernel", "6.1", "--allocator", allocator)
    cache = call(*args, given=row)["caches"][-1]
    if allocator == "slab":
        assert (cache["objsize"], cache["objperslab"], cache["pagesperslab"], cache["limit"]) == (1000, 4, 1, 54)
    assert cache["size"] == 1000 and "mine" in run(*args, given=row).stdout


@lru_cache(maxsize=1)
def booted() -> tuple[str, Kernel]:
    machine = read_capture(str(FIXTURES.parent / "captures" / "x86-6.1-numa4-ring"))
    kernel = kernel_for(machine)
    return json.dumps(state_document(state_of_boot(start_kernel(machine, kernel)), kernel)), kernel


def on_state(system: System) -> SlubRun:
    cpus = [system.cpu_nodes[cpu] for cpu in sorted(system.cpu_nodes)]
    nodes = max(system.nodes) + 1
    build = slab_build(system.kernel, parse_cmdline("slab_nomerge"), present=len(cpus), possible=len(cpus), nodes=nodes)
    return SlubRun(boot_slub(build), SystemPages(system), "-", Topology(cpus, nodes))


def free_pages(system: System) -> int:
    lists = sum(count << order for zone in system.zones() for order, count in enumerate(zone.nr_free))
    return lists + sum(pcp.count for zone in system.zones() for pcp in zone.per_cpu_pageset.values())


@settings(deadline=None, max_examples=8)
@given(script=scripts(), reclaimable=st.booleans())
def test_slabs_take_their_pages_from_the_buddy_lists(script: str, reclaimable: bool) -> None:
    document, kernel = booted()
    system = system_of(state_from_json(json.loads(document), "state")[0], kernel)
    before = free_pages(system)
    work = on_state(system)
    if reclaimable:
        script = script.replace("\n", " flags=RECLAIM_ACCOUNT\n", 1)
    lines = list(Parser("-", work.gfp, len(system.cpu_nodes), len(system.nodes)).parse(script.splitlines()))
    assert isinstance(work.pages, SystemPages)
    for line in lines:
        work.run([line])
        owner = work.owners["A"]
        taken = work.pages.reclaimable + work.pages.unreclaimable
        assert taken == sum(n.nr_slabs for n in owner.objects.nodes) << owner.cache.oo_order
        assert before - free_pages(system) == taken
    assert not (work.pages.unreclaimable if reclaimable else work.pages.reclaimable)
    for place in owner.live:
        owner.objects.free(place, 0)
    owner.objects.destroy()
    assert free_pages(system) == before


def test_a_run_on_a_state_leaves_a_state(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text(booted()[0])
    document = call("run", "-", "--state", str(state), given="cache A size=4096\nalloc A 64 node=1\n")
    assert document["pages"] == {"reclaimable": 0, "unreclaimable": 64}
    assert document["kernel"]["nodes"] == 4 and document["state"]["nodes"]


@pytest.mark.parametrize(
    ("kernel", "first"),
    [
        ("6.1", "SLUB: Unable to allocate memory on node -1, gfp=0xa20(GFP_ATOMIC)"),
        ("7.3", "SLUB: Unable to allocate memory on CPU 1 (of node 0) on node -1, gfp=0x820(GFP_ATOMIC)"),
    ],
)
def test_what_the_kernel_logs_when_no_slab_can_be_had(kernel: str, first: str) -> None:
    script = "cache A size=5000\nalloc A 6\nfragment\nalloc A 200 gfp=GFP_ATOMIC cpu=1\n"
    done = run("run", "-", "--kernel", kernel, "-o", "json", given=script)
    assert done.exit_code == 1
    answer = json.loads(done.stdout)["lines"][-1]
    assert answer["log"][:2] == [
        first,
        "  cache: A, object size: 5000, buffer size: 5000, default order: 3, min order: 1",
    ]
    assert answer["got"] < 200 and answer["log"][2].startswith("  node 0: slabs: ")


SLABINFO = FIXTURES / "slabinfo.txt"
HEAD = "slabinfo - version: 2.1\n# name ...\n"


def test_whose_the_slabs_are() -> None:
    document = call("info", str(SLABINFO))
    first = document["caches"][0]
    assert (first["name"], first["pages"], first["in_use_bytes"]) == ("inode_cache", 1706, 10236 * 640)
    held = document["in_use_bytes"] + document["empty_bytes"] + document["left_over_bytes"]
    assert document["pages"] * 4096 == held == 4096 * sum(cache["pages"] for cache in document["caches"])


def test_what_has_grown(tmp_path: Path) -> None:
    row = "A {} 40 200 20 1 : tunables 0 0 0 : slabdata {} {} 0\n"
    for name, slabs in (("before", 2), ("after", 9)):
        (tmp_path / name).write_text(HEAD + row.format(slabs * 20, slabs, slabs))
    (tmp_path / "before").open("a").write("gone 4 4 1024 4 1 : tunables 0 0 0 : slabdata 1 1 0\n")
    caches = call("info", str(tmp_path / "after"), "--since", str(tmp_path / "before"))["caches"]
    assert [(cache["name"], cache["grown_pages"]) for cache in caches] == [("A", 7), ("gone", -1)]


def test_a_copy_of_sysfs(tmp_path: Path) -> None:
    files = {"slabs": "3 N0=3", "objects": "50", "total_objects": "60", "order": "1", "objs_per_slab": "20",
             "object_size": "400", "slab_size": "408"}  # fmt: skip
    (tmp_path / "A").mkdir()
    for name, text in files.items():
        (tmp_path / "A" / name).write_text(text + "\n")
    (cache,) = call("info", str(tmp_path))["caches"]
    assert (cache["pages"], cache["empty_bytes"], cache["left_over_bytes"]) == (6, 4080, 6 * 4096 - 60 * 408)


def test_prices_of_options() -> None:
    priced = {
        option: call("info", str(SLABINFO), "--kernel", "6.1", "--cmdline+", option)
        for option in ("slub_nomerge", "slub_max_order=0", "slub_debug=FZPU")
    }
    more = {option: document["more_pages"] for option, document in priced.items()}
    assert more["slub_nomerge"] == 0 < more["slub_max_order=0"] < more["slub_debug=FZPU"]
    assert priced["slub_nomerge"]["caches_apart"] > 20 and not priced["slub_max_order=0"]["caches_apart"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "-: "),
        ("nothing", "-:1: "),
        ("slabinfo - version: 1.1", "-:1: "),
        (HEAD + "A 1 2 3", "-:3: "),
    ],
)
def test_what_is_no_slabinfo(text: str, where: str) -> None:
    error = run("info", "-", given=text).exception
    assert isinstance(error, InputError) and str(error).startswith(where)
