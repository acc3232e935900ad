"""The library as scripts import it: its documentation's examples, and that its answers are those of the commands."""

from __future__ import annotations

import dataclasses
import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import mmtool as call

import mmtool
from mmtool import api
from mmtool.errors import InputError, UsageError

ROOT = Path(__file__).parent.parent
CAPTURE = ROOT / "fixtures" / "captures" / "x86-6.1-numa4-ring"


def printed(*arguments: str | Path) -> str:
    return call(*arguments).stdout.decode()


def test_the_examples_of_the_documentation_run() -> None:
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        failed, tried = doctest.testfile(str(ROOT / "docs" / "api.md"), module_relative=False)
    finally:
        os.chdir(before)
    assert (failed, tried > 10) == (0, True)


def test_a_bare_import_loads_no_part_of_the_model() -> None:
    code = "import sys, mmtool; print([m for m in sys.modules if m.startswith('mmtool.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_boot_is_what_the_command_says() -> None:
    machine = mmtool.boot(str(CAPTURE))
    document = json.loads(printed("boot", CAPTURE, "-o", "json"))
    assert json.loads(json.dumps(machine.to_dict())) == document
    assert [n["nid"] for n in document["nodes"]] == [n.nid for n in machine.nodes]
    zones = [z for n in document["nodes"] for z in n["zones"]]
    assert [(z["name"], z["managed"], z["min"]) for z in zones] == [
        (z.name, z.managed_pages, z.min) for z in machine.zones
    ]
    assert machine.log == tuple(printed("boot", CAPTURE, "-o", "dmesg").splitlines())
    assert machine.memtotal == json.loads(printed("ledger", CAPTURE, "-o", "json"))["memtotal"]


def test_results_are_frozen_and_escaped() -> None:
    machine = mmtool.boot(str(CAPTURE), cmdline="<b>")
    with pytest.raises(dataclasses.FrozenInstanceError):
        machine.zones[0].name = "HighMem"  # type: ignore[misc]
    ledger = machine.ledger()
    for result in (ledger, ledger.lines[0], machine.explain(0)[0], mmtool.verify(CAPTURE), machine.nodes[0]):
        with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
            setattr(result, next(iter(getattr(result, "_fields", None) or result.__dataclass_fields__)), None)
    assert machine._repr_html_().startswith("<pre") and "<b>" not in machine._repr_html_()


def test_allocations_follow_one_another_until_memory_is_out() -> None:
    machine = mmtool.boot(str(CAPTURE))
    got = [machine.alloc(10, "GFP_DMA") for _ in range(4)]
    assert [a.ok for a in got] == [True, True, True, False]
    assert len({a.phys for a in got}) == 4
    assert got[-1].reason and got[-1].steps


def test_bad_input_and_usage_have_types() -> None:
    with pytest.raises(InputError):
        mmtool.boot("/nowhere")
    with pytest.raises(UsageError):
        mmtool.boot(str(CAPTURE), kernel="newest")
    with pytest.raises(UsageError):
        mmtool.boot(str(CAPTURE)).alloc(99)
    with pytest.raises(AttributeError):
        mmtool.nothing  # noqa: B018


def test_the_documentation_names_every_type_and_field() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    named = set(re.findall(r"\w+", text))
    assert set(api.__all__) <= named
    for name in api.__all__:
        found = getattr(api, name)
        fields = getattr(found, "_fields", None) or getattr(found, "__dataclass_fields__", ())
        assert {field for field in fields if not field.startswith("_")} <= named, name


def test_a_path_is_a_source_as_well() -> None:
    machine = mmtool.boot(CAPTURE, kernel="6.12", profile=None)
    assert machine.kernel == "6.12" and machine.ledger() is machine.ledger()
    assert mmtool.verify(CAPTURE).agrees and not mmtool.verify(CAPTURE, kernel="5.10").agrees
