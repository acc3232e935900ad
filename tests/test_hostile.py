"""Documents and texts from strangers: one line that says what is wrong and where, whatever they hold."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import mmtool

from mmtool.errors import InputError
from mmtool.linux.mm.memblock.ledger import Ledger
from mmtool.shape import ShapeError, array, integer, mapping, matching, member_name, one_of, record, row, text
from mmtool.system.codec.source import state_from_json
from mmtool.units import human, memparse

FIXTURES = Path(__file__).parent.parent / "fixtures"
CAPTURE = FIXTURES / "captures" / "x86-6.18-crashkernel"


@pytest.fixture(scope="module")
def state() -> Any:
    """A state as mmtool boot prints it."""
    return json.loads(mmtool("boot", CAPTURE, "-o", "json").stdout)["state"]


def set_at(document: Any, path: str, value: Any) -> Any:
    """A copy of a document with another value at a path of names and numbers."""
    changed = copy.deepcopy(document)
    *above, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    inside = changed
    for part in above:
        inside = inside[part]
    inside[last] = value
    return changed


BAD_VALUES = [
    ("nodes/0/zones/0/managed", "many", "/nodes/0/zones/0/managed"),
    ("nodes/0/zones/0/managed", 3.5, "/nodes/0/zones/0/managed"),
    ("nodes/0/zones/0/managed", True, "/nodes/0/zones/0/managed"),
    ("nodes/0/zones/0/managed", 10**40, "/nodes/0/zones/0/managed"),
    ("nodes/0/zones/0/min", -1, "/nodes/0/zones/0/min"),
    ("nodes/0/zones/0/name", "DMA\u202e", "/nodes/0/zones/0/name"),
    ("nodes/0/zones/1/name", "DMA", "a zone comes twice"),
    ("nodes/0/fallback/0/1", "HighMem", "which there is not"),
    ("nodes/0/fallback", {}, "/nodes/0/fallback"),
    ("nodes/0/zones/0/free/0/runs/0/0", 1, "that Linux"),
    ("nodes/0/zones/0/free/0/order", 99, "/nodes/0/zones/0/free/0/order"),
    ("nodes/0/nid", 5, "there is no node 0"),
    ("pageblocks", [], "no pageblocks"),
    ("pageblocks/0/2", "Immovable", "/pageblocks/0/2"),
    ("cpus", {"zero": 0}, "whose name is not a CPU's number, below 8192"),
    ("cpus", {"0": 7}, "there is no node 7"),
    ("kernel/facts", [6, 1], "/kernel/facts"),
    ("kernel/options", {"NODES_SHIFT": 64}, "/kernel/options/NODES_SHIFT"),
    ("kernel/options", {"FORCE_MAX_ZONEORDER": "1K"}, "/kernel/options/FORCE_MAX_ZONEORDER"),
]


@pytest.mark.parametrize(("path", "value", "said"), BAD_VALUES, ids=lambda v: str(v)[:30])
def test_a_state_with_a_wrong_value_is_refused_with_its_place(state: Any, path: str, value: Any, said: str) -> None:
    with pytest.raises(InputError) as told:
        state_from_json({"state": set_at(state, path, value)}, "s.json")
    assert str(told.value).startswith("s.json:") and said in str(told.value)


def test_free_blocks_that_overlap_or_lie_outside_are_refused(state: Any) -> None:
    free = state["nodes"][0]["zones"][0]["free"]
    pfn = free[-1]["runs"][0][0]
    twice = [*free, {"order": free[-1]["order"], "type": "Movable", "runs": [[pfn, 1]]}]
    with pytest.raises(InputError, match="is in two free blocks"):
        state_from_json({"state": set_at(state, "nodes/0/zones/0/free", twice)}, "s")
    outside = [{"order": 0, "type": "Movable", "runs": [[1 << 40, 1]]}]
    with pytest.raises(InputError, match="lies outside it"):
        state_from_json({"state": set_at(state, "nodes/0/zones/0/free", outside)}, "s")


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_damage_to_a_state_is_refused_or_read(state: Any, data: st.DataObject) -> None:
    """Replace or drop a value anywhere: what comes is a state or InputError, nothing else."""
    changed = copy.deepcopy(state)
    inside: Any = changed
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys[:40]))
        if not isinstance(inside[key], dict | list) or data.draw(st.booleans()):
            break
        inside = inside[key]
    if data.draw(st.booleans()):
        del inside[key]
    else:
        scalars = [None, True, -1, 2**70, 1.5, "", "x\x1b", [], {}, [[]], "DMA", 0, 10**6]
        inside[key] = data.draw(st.sampled_from(scalars))
    try:
        state_from_json({"state": changed}, "s")
    except InputError as e:
        assert "\n" not in str(e)


BAD_PROFILES = {
    "nested": "[" * 5000,
    "date": "name: 2020-13-45",
    "bool tag": "name: !!bool maybe",
    "timestamp tag": "name: !!timestamp x",
    "options": "name: a\narch: x86_64\nrelease: '6.1'\nconfig: {NODES_SHIFT: 99}\n",
    "text option": "name: a\narch: x86_64\nrelease: '6.1'\nconfig: {LOG_BUF_SHIFT: 1K}\n",
    "list option": "name: a\narch: x86_64\nrelease: '6.1'\nconfig: {NR_CPUS: [1]}\n",
    "size": "name: a\narch: x86_64\nrelease: '6.1'\nsizes: {struct_page: 0}\n",
    "huge size": f"name: a\narch: x86_64\nrelease: '6.1'\nsizes: {{percpu_static: {10**40}}}\n",
    "image": "name: a\narch: x86_64\nrelease: '6.1'\nimage: {end: -1}\n",
}


@pytest.mark.parametrize("case", BAD_PROFILES)
def test_a_bad_profile_is_one_line(case: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(BAD_PROFILES[case])
    done = mmtool("boot", CAPTURE, "--profile", path)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (3, b"", 1)
    assert done.stderr.startswith(f"mmtool: {path}".encode())


def test_messages_are_short_and_hold_no_control_characters() -> None:
    for name in ("\x1b[31mred", "x" * 10000, "a\nb", "\u202eevil"):
        done = mmtool("boot", "--kernel", name, CAPTURE)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1
        assert len(done.stderr) < 400 and b"\x1b" not in done.stderr and "\u202e".encode() not in done.stderr


def test_an_error_that_nobody_foresaw_is_one_line_and_shown_on_demand(tmp_path: Path) -> None:
    code = (
        "import sys, mmtool.cli, mmtool.cli.zram as z\n"
        "def broken(*a, **k): raise KeyError('\\x1b')\n"
        "z.run.callback = broken\n"
        "sys.argv = ['mmtool', 'zram', 'run', '-']\n"
        "mmtool.cli.main()\n"
    )
    for debug, lines in ((False, 1), (True, 2)):
        environment = os.environ | ({"MMTOOL_DEBUG": "1"} if debug else {})
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
        assert (done.stderr.count(b"\n") >= lines) and (b"Traceback" in done.stderr) == debug
        assert b"\x1b" not in done.stderr or debug
        assert done.returncode == (1 if debug else 3)


def test_every_path_may_be_named() -> None:
    for path in ("x" * 5000, "a/" * 3000, ""):
        done = mmtool("boot", "--e820", path)
        assert (done.returncode, done.stderr.count(b"\n")) == (3, 1)


@given(st.integers(0, 2**300), st.sampled_from([8, 10, 16]))
def test_numbers_of_any_length_are_read_modulo_2_64(value: int, base: int) -> None:
    text = {8: f"0{value:o}", 10: str(value), 16: f"{value:#x}"}[base]
    assert memparse(text) == (value % 2**64, len(text))


def test_numbers_beyond_what_python_reads_are_read_too() -> None:
    digits = "7" * 6000
    expected = 0
    for digit in digits:
        expected = (expected * 10 + int(digit)) % 2**64
    assert memparse(digits) == (expected, 6000)
    assert human(10**400).endswith(" EiB")


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 20), st.sampled_from("abc")), max_size=40))
def test_the_ledger_is_what_bytes_say(operations: list[tuple[bool, int, int, str]]) -> None:
    """Against a reference that keeps the owners of every byte."""
    ledger, owners = Ledger(), [set[str]() for _ in range(100)]
    for takes, start, size, owner in operations:
        if takes:
            ledger.take(start, start + size, owner)
        else:
            ledger.give_back(start, start + size)
        for byte in range(start, start + size):
            owners[byte] = owners[byte] | {owner} if takes else set()
    for byte in range(100):
        assert {owner for _, _, owner in ledger.overlapping(byte, byte + 1)} == owners[byte]
    assert sum(end - start for start, end, _ in ledger.entries) == sum(map(len, owners))


SHAPE = record(
    {"name": text(5), "kind": one_of(["a", "b"]), "pair": row(integer(0, 9), integer(0, 9))},
    {"list": array(integer(0, 3), 2), "map": mapping(member_name(matching("^[0-9]$", "a digit")), text())},
)


SOUND = {"name": "n", "kind": "a", "pair": [1, 2]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "/: is not an object: 7"),
        ({}, "/: has no 'name'"),
        ({"name": "long name", "kind": "a", "pair": [1, 2]}, "/name: is not text of up to 5 characters: 'long name'"),
        ({"name": "n", "kind": "c", "pair": [1, 2]}, "/kind: is none of a, b: 'c'"),
        ({"name": "n", "kind": [], "pair": [1, 2]}, "/kind: is none of a, b: a list"),
        ({"name": "n", "kind": "a", "pair": [1]}, "/pair: is not a list of 2 entries: a list"),
        ({"name": "n", "kind": "a", "pair": [1, 10]}, "/pair/1: is not a whole number from 0 to 9: 10"),
        (SOUND | {"list": [0] * 3}, "/list: is not a list of up to 2 entries: a list"),
        (SOUND | {"map": {"x": ""}}, "/map: has a member whose name is not a digit: 'x'"),
    ],
)
def test_what_a_shape_says(value: Any, said: str) -> None:
    with pytest.raises(ShapeError) as told:
        SHAPE(value, "")
    assert str(told.value) == said
