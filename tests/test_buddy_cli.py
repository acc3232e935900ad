"""`mmtool buddy` as people and scripts call it."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from test_buddy_freelists import ULONG_MAX, recorded_lists, recordings

from mmtool.cli.buddy import buddy
from mmtool.errors import InputError, UsageError

FIXTURE = Path(__file__).parent.parent / "fixtures" / "freelists" / "t512m_1c.json.gz"
SMALL = {
    "memory": [{"base": 0x1000, "size": 0x9F000, "flags": 0, "nid": 0}, {"base": 1 << 20, "size": 63 << 20}],
    "reserved": [{"base": 0, "size": 0x2000, "flags": 0, "nid": 1024}, {"base": "32M", "size": "0x1800", "flags": []}],
}


def run(document: object, *arguments: str) -> Result:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return CliRunner().invoke(buddy, ["--memblock", "-", *arguments], input=data)


def answer(document: object, *arguments: str) -> dict[str, Any]:
    result = run(document, *arguments, "-o", "json")
    assert result.exception is None, result.output
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def test_json_holds_runs_from_head_to_tail() -> None:
    document = answer(SMALL)
    assert document["schema"] == "mmtool.buddy/1"
    [node] = document["nodes"]
    assert (node["nid"], node["first_deferred_pfn"]) == (0, None)
    assert [zone["name"] for zone in node["zones"]] == ["DMA", "DMA32"]
    dma, dma32 = node["zones"]
    assert (dma["managed"], dma32["managed"]) == (2 * 1 + 0x9C + 0xF00, 12288 - 2)
    assert dma["free"][-1] == {"order": 10, "type": "Movable", "count": 3, "runs": [[1024, 3]]}
    assert dma32["free"][0] == {"order": 1, "type": "Movable", "count": 1, "runs": [[8194, 1]]}
    assert dma32["free"][-1] == {"order": 10, "type": "Movable", "count": 11, "runs": [[4096, 4], [9216, 7]]}


def test_pages_are_those_of_the_kernels_build() -> None:
    """The same 64 MiB in pages of 16 KiB: a quarter of them, less what is not whole."""
    [node] = answer(SMALL, "--kernel", "debian-6.18-arm64-16k")["nodes"]
    [dma] = [zone for zone in node["zones"] if zone["managed"]]
    # below 1 MiB the first whole page is at 16 KiB, the last ends at 640 KiB; a reservation of 6 KiB takes one
    assert dma["managed"] == 39 + (63 << 6) - 1


def test_every_form_of_the_input_gives_the_same_answer(tmp_path: Path) -> None:
    recording = json.loads(gzip.decompress(FIXTURE.read_bytes()))
    stage = recording["stages"]["before_free_all"]
    want = answer(stage["memblock"])
    assert answer(stage) == want
    assert answer(recording) == want
    assert answer(FIXTURE.read_bytes()) == want
    result = CliRunner().invoke(buddy, ["--memblock", str(FIXTURE), "-o", "json"])
    assert json.loads(result.stdout) == want


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.name.removesuffix(".json.gz"))
def test_a_recording_needs_no_option(path: Path) -> None:
    """The command line and the kernel of a recording count: what the command prints is what the kernel had."""
    after = json.loads(gzip.decompress(path.read_bytes()))["stages"]["after_free_all"]
    document = json.loads(CliRunner().invoke(buddy, ["--memblock", str(path), "-o", "json"]).stdout)
    recorded = {(n["node_id"], z["name"]): z for n in after["nodes"] for z in n["zones"] if not z.get("empty")}
    printed = {(n["nid"], z["name"]): z for n in document["nodes"] for z in n["zones"]}
    assert printed.keys() == recorded.keys()
    for key, zone in recorded.items():
        lists = {
            (e["order"], e["type"]): [pfn + (i << e["order"]) for pfn, count in e["runs"] for i in range(count)]
            for e in printed[key]["free"]
        }
        assert lists == recorded_lists(zone, after["migratetypes"])
        assert printed[key]["managed"] == zone["managed"]
    deferred = [node["first_deferred_pfn"] or ULONG_MAX for node in document["nodes"]]
    assert deferred == [node["first_deferred_pfn"] for node in after["nodes"]]


def test_hex_addresses_and_flag_names_as_other_commands_print_them() -> None:
    memory = [{"base": "0x100000", "size": "0x3f00000", "flags": ["hotplug"], "nid": 0}]
    memory.append({"base": "0x4000000", "size": "0x1000000", "flags": ["nomap"], "nid": 0})
    [node] = answer({"memory": memory, "reserved": []})["nodes"]
    assert sum(zone["managed"] for zone in node["zones"]) == 0x3F00


def test_options_change_what_is_asked() -> None:
    recording = FIXTURE.read_bytes()
    node = answer(recording)["nodes"][0]
    whole = answer(recording, "--no-deferred")["nodes"][0]
    late = answer(recording, "--late")["nodes"][0]
    assert node["first_deferred_pfn"] == 65536
    assert whole["first_deferred_pfn"] is late["first_deferred_pfn"] is None
    managed = [sum(zone["managed"] for zone in each["zones"]) for each in (node, late, whole)]
    assert managed[0] < managed[1] == managed[2]
    movable = answer(recording, "--cmdline", "movablecore=256M")["nodes"][0]
    assert [zone["name"] for zone in movable["zones"]] == ["DMA", "DMA32", "Movable"]


def test_releases_differ_in_the_pageblocks_of_reserved_deferred_memory() -> None:
    memory = [{"base": 1 << 20, "size": 511 << 20, "flags": 0, "nid": 0}]
    reserved = [{"base": 384 << 20, "size": 4096, "flags": 0, "nid": 0}]
    types = {}
    for release in ("6.12", "6.13"):
        [node] = answer({"memory": memory, "reserved": reserved}, "--kernel", release, "--late")["nodes"]
        types[release] = {entry["type"] for entry in node["zones"][1]["free"]}
    assert types == {"6.12": {"Movable", "Unmovable"}, "6.13": {"Movable"}}


@pytest.mark.parametrize("output", ["table", "yaml", "csv"])
def test_other_outputs_show_the_same_lists(output: str) -> None:
    result = run(SMALL, "-o", output)
    assert result.exception is None
    if output == "csv":
        lines = result.stdout.splitlines()
        assert lines[0] == "node,zone,order,type,blocks,pages,first_pfn,last_pfn"
        assert lines[-1] == "0,DMA32,10,Movable,11,11264,4096,15360"
    elif output == "yaml":
        import yaml

        assert yaml.safe_load(result.stdout) == answer(SMALL)
    else:
        assert "Node 0, zone DMA32: 12286 pages managed, 12286 free" in result.stdout.splitlines()


def region(**changes: object) -> dict[str, object]:
    return {"base": 0, "size": 4096, "flags": 0, "nid": 0} | changes


BAD = {
    "nothing": (b"", 1),
    "not JSON": (b'{"memory": [\n}', 2),
    "not text": (b'"\xff"', "byte 1"),
    "broken gzip": (b"\x1f\x8b\x08\x00garbage", None),
    "deep": (b"[" * 200_000, None),
    "a long number": (b'{"memory": [{"base": ' + b"9" * 5000 + b"}]}", None),
    "a list": (b"[]", None),
    "a number": (b"7", None),
    "no lists": ({}, "memory"),
    "no reserved": ({"memory": [region()]}, "reserved"),
    "memory is a number": ({"memory": 3, "reserved": []}, "memory"),
    "no memory": ({"memory": [region(size=0)], "reserved": []}, "memory"),
    "a region is a number": ({"memory": [5], "reserved": []}, "memory[0]"),
    "no size": ({"memory": [{"base": 0}], "reserved": []}, "memory[0]"),
    "base is a list": ({"memory": [region(base=[1])], "reserved": []}, "memory[0].base"),
    "base is true": ({"memory": [region(base=True)], "reserved": []}, "memory[0].base"),
    "base is a word": ({"memory": [region(base="low" * 99)], "reserved": []}, "memory[0].base"),
    "base is a fraction": ({"memory": [region(base=1.5)], "reserved": []}, "memory[0].base"),
    "base is negative": ({"memory": [region(base=-1)], "reserved": []}, "memory[0].base"),
    "size too large": ({"memory": [region(size=2**64)], "reserved": []}, "memory[0].size"),
    "past the end": ({"memory": [region(base=2**64 - 4096, size=8192)], "reserved": []}, "memory[0]"),
    "overlap": ({"memory": [region(), region(base=4095)], "reserved": []}, "memory[1]"),
    "unsorted": ({"memory": [region()], "reserved": [region(base=8192), region()]}, "reserved[1]"),
    "flag unknown": ({"memory": [region(flags=["shiny"])], "reserved": []}, "memory[0].flags"),
    "flags is a word": ({"memory": [region(flags="nomap")], "reserved": []}, "memory[0].flags"),
    "nid is a word": ({"memory": [region(nid="0")], "reserved": []}, "memory[0].nid"),
    "memblock is null": ({"memblock": None}, "memblock"),
    "stage without memblock": ({"stages": {"before_free_all": {}}}, "stages.before_free_all.memory"),
    "stages is a list": ({"stages": [1]}, "stages"),
    "stages are empty": ({"stages": {}}, "stages.before_free_all"),
    "command line is a list": ({"memory": [region()], "reserved": [], "cmdline": []}, "cmdline"),
    "kernel is text": ({"memory": [region()], "reserved": [], "kernel": "6.1"}, "kernel"),
    "release is a number": ({"memory": [region()], "reserved": [], "kernel": {"release": 6.1}}, "kernel.release"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_says_what_and_where(case: str) -> None:
    document, where = BAD[case]
    result = run(document)
    assert isinstance(result.exception, InputError), result.output
    assert result.exception.source == "-"
    assert result.exception.where == where
    assert "\n" not in result.exception.message and len(result.exception.message) < 200


def test_a_missing_file_is_bad_input() -> None:
    result = CliRunner().invoke(buddy, ["--memblock", "/nonexistent/x.json"])
    assert isinstance(result.exception, InputError)
    assert result.exception.message == "cannot be read: No such file or directory"


def test_a_kernel_that_does_not_exist_is_wrong_usage() -> None:
    assert isinstance(run(SMALL, "--kernel", "new").exception, UsageError)


def test_the_kernel_is_named_by_option_or_file() -> None:
    memory = [{"base": 1 << 20, "size": 511 << 20, "flags": 0, "nid": 0}]
    reserved = [{"base": 384 << 20, "size": 4096, "flags": 0, "nid": 0}]
    lists = {"memblock": {"memory": memory, "reserved": reserved}}
    older, newer = answer(lists, "--kernel", "6.12", "--late"), answer(lists, "--kernel", "6.13", "--late")
    assert older != newer
    assert answer(lists, "--late") == answer(lists, "--kernel", "debian-6.12-cloud-amd64", "--late") == older
    assert answer(lists | {"kernel": {"release": "6.13.2"}}, "--late") == newer
    assert answer(lists | {"kernel": {"release": "6.13.2"}}, "--kernel", "6.12", "--late") == older


def test_a_32_bit_kernel_has_high_memory() -> None:
    document = {"memory": [{"base": "1M", "size": "1535M"}], "reserved": []}
    [node] = answer(document, "--kernel", "debian-6.1-686-pae")["nodes"]
    assert [zone["name"] for zone in node["zones"]] == ["DMA", "Normal", "HighMem"]
    assert sum(zone["managed"] for zone in node["zones"]) == 1535 << 8


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["memory", "reserved", "memblock", "stages", "base", "size", "nid"]), inner)
    ),
    max_leaves=12,
)
NEAR = st.fixed_dictionaries(
    {
        name: st.lists(
            st.fixed_dictionaries({"base": JSON | st.integers(0, 2**64), "size": JSON | st.integers(0, 2**60)})
        )
        for name in ("memory", "reserved")
    }
)


@settings(max_examples=60, deadline=None)
@given(JSON | NEAR)
def test_any_json_gives_an_answer_or_an_input_error(document: object) -> None:
    result = run(document, "-o", "csv")
    assert result.exception is None or isinstance(result.exception, InputError)


def test_importing_the_command_is_cheap() -> None:
    code = "import sys; before = set(sys.modules); import mmtool.cli.buddy; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"json", "gzip", "csv", "yaml", "tabulate"} & set(loaded)
    assert not [name for name in loaded if name.startswith(("mmtool.linux.mm", "mmtool.report", "mmtool.observed"))]


def test_standard_input_is_read_as_bytes() -> None:
    data = gzip.compress(json.dumps(SMALL).encode())
    assert json.load(io.StringIO(run(data, "-o", "json").stdout)) == answer(SMALL)
