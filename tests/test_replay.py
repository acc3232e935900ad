"""Traces of a real kernel, done again: every page frame number, and every list at the end, block by block in order.

MMTOOL_FREELISTS names a folder with more traces (trace_*.json.gz).
"""

from __future__ import annotations

import json
import lzma
import os
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mmtool.cli.replay import replay
from mmtool.errors import InputError, UsageError
from mmtool.firmware.packed import read_bytes

FIXTURES = Path(__file__).parent.parent / "fixtures" / "traces"
FILES = FIXTURES / "files-6.1.json.xz"


def traces() -> list[Path]:
    more = os.environ.get("MMTOOL_FREELISTS")
    return sorted(FIXTURES.glob("*.json.xz")) + (sorted(Path(more).glob("trace_*.json.gz")) if more else [])


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(replay, [str(a) for a in arguments], catch_exceptions=False)


def document(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    done = run(*arguments, "-o", "json")
    assert done.exit_code == status
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def recorded(path: Path = FILES) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_bytes(str(path)))
    return found


@pytest.mark.parametrize("path", traces(), ids=lambda path: path.name)
def test_every_page_and_every_list_is_the_kernels(path: Path) -> None:
    done = document(path)
    events = sum(" mm_page_alloc: " in line for line in recorded(path)["trace"].splitlines())
    assert done["allocations"] == events > 500
    assert (done["exact"], done["forced"], done["first_miss"]) == (events, 0, None)
    assert (done["final_lists_equal"], done["lists_apart"]) == (True, [])
    assert (done["pageblocks_apart"], done["zones_apart"]) == ([], [])


def without(trace: str, *names: str) -> str:
    return "".join(f"{line}\n" for line in trace.splitlines() if line.split(": ")[1].rstrip(":") not in names)


def test_without_probes_nearly_all_pages_are_the_kernels(tmp_path: Path) -> None:
    found = recorded(FIXTURES / "all-6.1.json.xz")
    found["trace"] = without(found["trace"], "rqbulk", "bulkin", "bulkret", "f1p", "rcvs")
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(found))
    done = document(path, status=1)
    assert 0.9995 < done["exact"] / done["allocations"] < 1
    assert not done["final_lists_equal"]


def as_ftrace(trace: str) -> str:
    """The lines as ftrace itself writes them, with task names, pages and flag names."""
    lines = ["# tracer: nop\n", "#\n"]
    for line in trace.splitlines():
        line = line.replace("-1 [000]", "          <...>-1       [000]", 1).replace(
            ": pfn=", ": page=00000000cafe pfn="
        )
        lines.append(line.replace("gfp_flags=0x140cca", "gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_COMP") + "\n")
    return "".join(lines)


def test_a_plain_trace_with_a_state_beside_it(tmp_path: Path) -> None:
    found = recorded()
    plain, state = tmp_path / "trace.txt", tmp_path / "state.json.xz"
    trace = as_ftrace("\n".join(found["trace"].splitlines()[:20_000]))
    events = trace.count(" mm_page_alloc: ")
    plain.write_text(trace)
    state.write_bytes(lzma.compress(json.dumps(found["S0"]).encode()))
    done = document(plain, "--state", state)
    assert done["exact"] == done["allocations"] == events > 2000
    assert done["final_lists_equal"] is None
    # What it leaves is a state as well, in which the trace can go on.
    state.with_name("end.json").write_text(json.dumps(done))
    again = document(plain, "--state", state.with_name("end.json"), status=1)
    assert again["allocations"] == events


def test_a_page_that_the_kernel_does_not_hand_out_is_a_miss(tmp_path: Path) -> None:
    found = recorded()
    lines = found["trace"].splitlines()[:20_000]
    assert " mm_page_alloc: pfn=0x3a81 " in lines[0]
    lines[0] = lines[0].replace("pfn=0x3a81", "pfn=0x3b50")
    found["trace"] = "\n".join(lines)
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(found))
    result = run(path)
    assert result.exit_code == 1
    assert "line 1: order 0: 0x3a81 in the model, 0x3b50 in the kernel" in result.stdout.splitlines()
    done = document(path, status=1)
    assert done["first_miss"] == {"line": 1, "order": 0, "kernel": 0x3B50, "model": 0x3A81}
    assert done["forced"] >= 1
    assert done["exact"] < done["allocations"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["fragments-7.3", "nodes-6.1"])
def test_events_that_are_lost_do_not_end_the_replay(tmp_path: Path, name: str, seed: int) -> None:
    """Once the model is not the kernel any more it goes on as far as it can."""
    found = recorded(FIXTURES / f"{name}.json.xz")
    chosen = random.Random(seed)
    lines = [line for line in found["trace"].splitlines() if chosen.random() < 0.9]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(found | {"trace": "\n".join(lines)}))
    done = document(path, status=1)
    assert done["allocations"] == sum(" mm_page_alloc: " in line for line in lines)
    assert 0 < done["exact"] < done["allocations"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-1 [000] ..... 4: mm_page_alloc: pfn=0x3a81 order=0\n", "no field .gfp_flags"),
        (
            "-1 [000] ..... 4: mm_page_alloc: pfn=0x3a81 order=0 gfp_flags=0xcc0\n"
            "-1 [000] ..... 5: mm_page_free: pfn=0xffffff order=0\n",
            "page 0xffffff is in no zone",
        ),
        ("nothing of a trace\n", "no mm_page_alloc events"),
        (' {"trace": 1}', "a recorded trace has the state S0"),
        ("{", "not JSON"),
    ],
)
def test_bad_traces(tmp_path: Path, text: str, said: str) -> None:
    path, state = tmp_path / "trace", tmp_path / "state.json"
    path.write_text(text)
    state.write_text(json.dumps(recorded()["S0"]))
    with pytest.raises(InputError, match=said):
        run(path, "--state", state)


def test_a_flag_of_another_release_names_the_line(tmp_path: Path) -> None:
    path, state = tmp_path / "trace", tmp_path / "state.json"
    good, bad = (
        "-1 [000] ..... 4: mm_page_alloc: pfn=0x3a81 order=0 gfp_flags=" + flags for flags in ("0xcc0", "GFP_NEW")
    )
    path.write_text(f"{good}\n{bad}\n")
    state.write_text(json.dumps(recorded()["S0"]))
    with pytest.raises(InputError, match=r"trace:2: mm_page_alloc: 'GFP_NEW' is no gfp flag of Linux 6\.1"):
        run(path, "--state", state)


def test_a_plain_trace_needs_a_state(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("")
    with pytest.raises(UsageError, match="--state"):
        run(path)
