"""`mmtool alloc`, `free` and `buddyinfo` as people call them: where the state comes from, what is refused and how."""

from __future__ import annotations

import json
import re
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from support.captures import FIXTURES
from support.commands import mmtool

NUMA = FIXTURES / "captures" / "x86-6.1-numa4-ring"
TRIAL = FIXTURES / "trials" / "6.12-dma"


def printed(done: CompletedProcess[bytes], status: int = 0) -> str:
    assert done.returncode == status, done.stderr
    return done.stdout.decode()


def refused(done: CompletedProcess[bytes], status: int) -> str:
    """The one line on standard error of a command that does nothing."""
    assert (done.returncode, done.stdout) == (status, b"")
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and lines[0].startswith("mmtool: ")
    return lines[0].removeprefix("mmtool: ")


@pytest.fixture(scope="module")
def booted() -> bytes:
    """The document of a boot: four nodes with 6.1."""
    return mmtool("boot", "--capture", NUMA, "-o", "json").stdout


@pytest.fixture(scope="module")
def state_file(booted: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("state") / "state.json"
    path.write_bytes(booted)
    return path


def alloc_json(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(mmtool("alloc", *arguments, "-o", "json")))
    return found


# Where the state comes from


def test_a_boot_can_be_piped_into_an_allocation(booted: bytes) -> None:
    done = mmtool("alloc", "--order", "3", "-o", "json", stdin=booted)
    document = json.loads(printed(done))
    assert document["schema"] == "mmtool.alloc/1"
    (outcome,) = document["outcomes"]
    assert (outcome["ok"], outcome["node"], outcome["zone"]) == (True, 0, "DMA32")
    assert outcome["phys"] == hex(outcome["pfn"] << 12)
    assert done.stderr == b"mmtool: goes on from the state on standard input\n"


def test_without_an_option_it_goes_on_from_the_last_boot(tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> CompletedProcess[bytes]:
        return mmtool(*arguments, environment={"XDG_STATE_HOME": str(tmp_path)})

    assert "there is no state to act on" in refused(run("alloc", "--order", "0"), 2)
    assert run("boot", "--capture", NUMA, "--only", "zones").returncode == 0
    done = run("alloc", "--order", "0", "-o", "csv")
    assert done.returncode == 0
    source = f"of {NUMA}/dmesg.txt, Linux 6.1.0-50-cloud-amd64"
    assert done.stderr.decode() == f"mmtool: goes on from the last boot, {source}\n"


def test_what_an_allocation_leaves_the_next_command_reads(state_file: Path, tmp_path: Path) -> None:
    first = alloc_json("--state", state_file, "--order", "5")
    after = tmp_path / "after.json"
    after.write_text(json.dumps(first))
    second = alloc_json("--state", after, "--order", "5")
    pfn = first["outcomes"][0]["pfn"]
    assert second["outcomes"][0]["pfn"] != pfn
    freed = json.loads(printed(mmtool("free", "--state", after, "--pfn", str(pfn), "--order", "5", "-o", "json")))
    assert freed["freed"]["pfn"] == pfn
    assert freed["freed"]["block"]["order"] >= 5
    assert freed["state"]["nodes"][0]["zones"] == json.loads(state_file.read_text())["state"]["nodes"][0]["zones"]


def test_a_document_without_a_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zones.json"
    path.write_bytes(mmtool("boot", "--capture", NUMA, "--only", "zones", "-o", "json").stdout)
    said = refused(mmtool("alloc", "--state", path, "--order", "0"), 3)
    assert said == f"{path}: this mmtool.boot/1 document holds no state; print it without --only"


def test_a_state_of_another_release_is_refused(state_file: Path, tmp_path: Path) -> None:
    document = json.loads(state_file.read_text())
    document["state"]["kernel"]["facts"] = [5, 10, 0]
    document["state"]["nodes"][0]["zones"][0]["cpus"]["0"]["lists"] = {"13": [512]}
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document))
    said = refused(mmtool("alloc", "--state", path, "--order", "0"), 3)
    assert said.startswith(f"{path}: zone DMA of node 0 has list 13 of CPU 0") and "another release" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "a JSON object with a state is needed, as mmtool boot -o json prints it"),
        ('{"state": {}}', "has no 'kernel'"),
        ('{"stages": {}}', "this recording has no stage 'init'"),
    ],
)
def test_other_documents_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    assert refused(mmtool("alloc", "--state", path, "--order", "0"), 3) == f"{path}: {said}"


# /proc


def test_the_free_blocks_of_a_copy_of_proc_are_its_buddyinfo() -> None:
    for folder in sorted((FIXTURES / "trials").glob("6.12-*")):
        assert printed(mmtool("buddyinfo", "--proc", folder, "-o", "proc")) == (folder / "buddyinfo").read_text()


def test_pages_of_a_state_with_counts_only_have_no_numbers() -> None:
    document = alloc_json("--proc", TRIAL, "--order", "2")
    assert document["outcomes"][0]["ok"]
    assert document["outcomes"][0]["pfn"] is None and document["outcomes"][0]["phys"] is None
    assert document["state"]["synthetic"]


def copy_of_proc(tmp_path: Path, **texts: str) -> Path:
    for name in ("version", "zoneinfo", "buddyinfo", "pagetypeinfo"):
        (tmp_path / name).write_text(texts.get(name, (TRIAL / name).read_text()))
    return tmp_path


def test_a_file_of_proc_that_breaks_off_is_refused(tmp_path: Path) -> None:
    text = (TRIAL / "zoneinfo").read_text()
    folder = copy_of_proc(tmp_path, zoneinfo=text[: text.index("        protection")])
    said = refused(mmtool("alloc", "--proc", folder, "--order", "0"), 3)
    assert said.startswith(f"{folder / 'zoneinfo'}:") and "give the file whole" in said


def test_proc_of_another_kernel_than_its_version_says_is_refused(tmp_path: Path) -> None:
    text = (TRIAL / "buddyinfo").read_text()
    folder = copy_of_proc(tmp_path, buddyinfo="".join(f"{line} 0 \n" for line in text.splitlines()))
    said = refused(mmtool("alloc", "--proc", folder, "--order", "0"), 3)
    assert said.startswith(f"{folder}: buddyinfo has 12 orders, Linux 6.12.117")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    said = refused(mmtool("alloc", "--proc", tmp_path / "none", "--order", "0"), 3)
    assert said == f"{tmp_path}/none/version: is not there"


def test_pagetypeinfo_may_be_missing(tmp_path: Path) -> None:
    folder = copy_of_proc(tmp_path)
    (folder / "pagetypeinfo").unlink()
    done = mmtool("alloc", "--proc", folder, "--order", "3", "-o", "csv")
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        f"mmtool: {folder}/pagetypeinfo cannot be read (it is for root alone): all free blocks count as Movable"
    ]


# Requests


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--order", "11"], "order 11 is above the largest block's, 10, on Linux 6.1.0-50-cloud-amd64"),
        (["--order", "-1"], "order -1 is negative; a block of order 0 is one page"),
        (["--order", "0", "--gfp", "0x80000000"], "--gfp: 0x80000000: 0x80000000 is no gfp flag of Linux 6.1"),
        (["--order", "0", "--gfp", "GFP_FAST"], "--gfp: 'GFP_FAST' is no gfp flag of Linux 6.1"),
        (["--order", "0", "--node", "7"], "node 7 is not online; there is 0, 1, 2, 3"),
        (["--order", "0", "--nodemask", "0,9"], "node 9 is not online"),
        (["--order", "0", "--nodemask", "0,x"], "--nodemask: '0,x' is no list of nodes (0,2)"),
        (["--order", "0", "--cpu", "64"], "--cpu: CPU 64 is not online"),
        (["--order", "0", "--count", "many"], "--count: 'many' is neither a number from 1 on nor max"),
        (["--order", "0", "--count", "0"], "--count: '0' is neither a number from 1 on nor max"),
        ([], "give --order, or --script"),
        (["--order", "0", "--live", "--proc", "/proc"], "--state, --live and --proc each bring a state"),
    ],
)
def test_what_no_kernel_would_do_is_refused(state_file: Path, arguments: list[str], said: str) -> None:
    assert refused(mmtool("alloc", "--state", state_file, *arguments), 2).startswith(said)


def test_a_nodemask_keeps_others_out(state_file: Path) -> None:
    outcomes = alloc_json("--state", state_file, "--order", "9", "--nodemask", "2,3", "--count", "20")["outcomes"]
    assert {o["node"] for o in outcomes} <= {2, 3}
    assert len(outcomes) == 20


def test_a_failure_says_step_by_step_why(state_file: Path) -> None:
    request = ("--order", "10", "--gfp", "GFP_NOWAIT|__GFP_THISNODE", "--node", "1", "--count", "max")
    done = mmtool("alloc", "--state", state_file, *request, "-o", "json")
    outcomes = json.loads(printed(done, 1))["outcomes"]
    assert all(o["ok"] and o["node"] == 1 for o in outcomes[:-1]) and len(outcomes) > 100
    assert json.loads(done.stdout)["allocated"] == len(outcomes) - 1
    failed = outcomes[-1]
    assert (failed["ok"], failed["reason"]) == (False, "may not reclaim")
    assert failed["path"][0]["step"] == "__alloc_pages" and failed["path"][0]["watermark"] == "low"
    assert failed["path"][-1]["step"] == "warn_alloc"
    for step in failed["path"]:
        for zone in step.get("zones", ()):
            assert zone["result"] != "taken" and zone["why"]
            assert not zone["passes"] or zone["result"] == "no block"


def test_of_many_allocations_the_first_and_a_failure_are_listed(state_file: Path) -> None:
    request = ("--order", "3", "--gfp", "GFP_NOWAIT|__GFP_THISNODE", "--node", "1", "--count", "max")
    document = json.loads(printed(mmtool("alloc", "--state", state_file, *request, "-o", "json"), 1))
    outcomes = document["outcomes"]
    assert len(outcomes) == 1001 and document["allocated"] > 20_000
    assert [o["ok"] for o in outcomes] == [True] * 1000 + [False]
    assert outcomes[-1]["reason"] == "may not reclaim"
    steps = [step["step"] for step in outcomes[-1]["path"]]
    assert (steps[0], steps[-1]) == ("__alloc_pages", "warn_alloc")


def test_explain_is_a_table_of_the_path(state_file: Path) -> None:
    text = printed(mmtool("alloc", "--state", state_file, "--order", "0", "--explain"))
    assert "Step by step" in text
    assert re.search(r"^first attempt +0/\w+ +a block is taken .* low", text, re.M)


# Scripts


def test_a_script_keeps_and_frees(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("# a comment\nalloc 0 GFP_KERNEL count=100 keep\n\nalloc 3 0xcc0\nfree step=2\nfree all\n")
    done = mmtool("alloc", "--proc", TRIAL, "--script", script, "-o", "json")
    document = json.loads(printed(done))
    assert document["schema"] == "mmtool.alloc-script/1"
    kept, single, half, rest = document["lines"]
    assert (kept["line"], kept["allocated"], kept["stopped"]) == (2, 100, None)
    assert (single["line"], single["allocated"], sum(single["zones"].values())) == (4, 1, 1)
    assert half["freed"] + half["kept"] == 100
    assert rest == {"line": 6, "freed": half["kept"], "kept": 0}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("allocate 3 0xcc0", "is no line of a script"),
        ("alloc 3", "is no line of a script"),
        ("alloc three 0xcc0", "'three' is not a number"),
        ("alloc 12 0xcc0", "order 12 is above the largest block's, 10"),
        ("alloc 3 GFP_FAST", "'GFP_FAST' is no gfp flag of Linux 6.12"),
        ("alloc 3 0xcc0 node=3", "node 3 is not online"),
        ("alloc 3 0xcc0 cont=3", "'cont=3' does not belong here"),
        ("free some", "'some' does not belong here"),
    ],
)
def test_a_line_of_a_script_that_is_wrong_is_named(tmp_path: Path, line: str, said: str) -> None:
    script = tmp_path / "script"
    script.write_text(f"alloc 0 0xcc0\n{line}\n")
    place = refused(mmtool("alloc", "--proc", TRIAL, "--script", script), 3)
    assert place.startswith(f"{script}:2: ") and said in place


# Freeing


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--pfn", "4096"], 1, "page 0x1000 is free already"),
        (["--pfn", "4097", "--order", "3"], 2, "pfn 0x1001 is not aligned to a block of order 3"),
        (["--pfn", "0x7fffffff"], 2, "no zone spans pfn 0x7fffffff"),
        (["--phys", "0x1001"], 2, "--phys: 0x1001 is not where a page begins"),
        (["--pfn", "1", "--phys", "0x1000"], 2, "give --pfn or --phys, one of them"),
        (["--pfn", "0", "--order", "12"], 2, "order 12 is above"),
    ],
)
def test_what_cannot_be_freed(state_file: Path, arguments: list[str], status: int, said: str) -> None:
    assert refused(mmtool("free", "--state", state_file, *arguments), status).startswith(said)


def test_counts_have_no_page_to_free() -> None:
    assert "counts only" in refused(mmtool("free", "--proc", TRIAL, "--pfn", "4096"), 2)


def test_buddyinfo_in_every_format(state_file: Path) -> None:
    document = json.loads(printed(mmtool("buddyinfo", "--state", state_file, "-o", "json")))
    assert document["schema"] == "mmtool.buddyinfo/1"
    for zone in document["zones"]:
        by_type = zone["types"].values()
        assert zone["nr_free"] == [sum(counts) for counts in zip(*by_type, strict=True)]
        assert zone["free_pages"] == sum(count << order for order, count in enumerate(zone["nr_free"]))
    for output in ("table", "yaml", "csv"):
        assert printed(mmtool("buddyinfo", "--state", state_file, "-o", output))
