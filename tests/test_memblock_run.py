"""`mmtool memblock run`: what it prints, and what it says of unusable input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmtool.cli.memblock import memblock
from mmtool.errors import InputError

FIXTURE = Path(__file__).parent.parent / "fixtures" / "memblock" / "vectors.jsonl.gz"

GOOD = {
    "id": "a",
    "kernel": "6.12.100",
    "numa": False,
    "script": [["memblock_add", 0, 1048576], ["memblock_phys_alloc", 4096, 4096], ["memblock_is_reserved", 1044480]],
    "outcome": "ok",
    "results": [0, 1044480, True],
    "state": {
        "memory": {"cnt": 1, "max": 128, "total_size": 1048576, "regions": [[0, 1048576, 0, None]]},
        "reserved": {"cnt": 1, "max": 128, "total_size": 4096, "regions": [[1044480, 4096, 0, None]]},
        "bottom_up": False,
        "current_limit": 18446744073709551615,
        "mirror_warnings": 0,
        "warns": 0,
    },
}


def run(*arguments, stdin=None):
    return CliRunner().invoke(memblock, ["run", *map(str, arguments)], input=stdin)


def record(**changes):
    return json.dumps(GOOD | changes).encode()


def error(stdin):
    """The message that the command line prints for this input."""
    result = run("-", stdin=stdin)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


def test_all_records_of_the_fixture_agree():
    result = run(FIXTURE)
    assert (result.exit_code, result.output) == (0, "160 of 160 records agree\n")


def test_standard_input_may_be_compressed():
    assert run("-", stdin=FIXTURE.read_bytes()).output == "160 of 160 records agree\n"
    assert run("-", stdin=gzip.compress(record())).output == "1 of 1 records agree\n"


def test_json_is_one_line_a_record_as_recorded():
    result = run("-", "-o", "json", stdin=record() + b"\n\n" + record(id="b", states_after=[]) + b"\n")
    first, second = map(json.loads, result.output.splitlines())
    assert first == {key: GOOD[key] for key in ("id", "outcome", "results", "state")}
    assert second["id"] == "b"
    assert len(second["states_after"]) == 3
    assert second["states_after"][-1] == GOOD["state"]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"results": [0, 0, True]}, "operation 1, memblock_phys_alloc: 1044480, recorded 0"),
        ({"results": [0, 1044480, 1]}, "operation 2, memblock_is_reserved: true, recorded 1"),
        ({"results": [0], "outcome": "panic"}, "operation 1, memblock_phys_alloc: ends 'ok', recorded 'panic'"),
        ({"results": [0]}, "3 operations ran, recorded 1"),
        ({"state": GOOD["state"] | {"warns": 7}}, "state at the end: warns 0, recorded 7"),
        ({"states_after": [GOOD["state"]] * 3}, "state after operation 0, memblock_add: reserved.cnt 0, recorded 1"),
        ({"states_after": [{}]}, "3 states, recorded 1"),
    ],
)
def test_a_difference_is_named_with_its_operation(changes, difference):
    result = run("-", stdin=record(**changes))
    assert result.exit_code == 1
    assert result.output == f"0 of 1 records agree\na (line 1): {difference}\n"


def test_nothing_is_compared_from_where_a_record_is_irregular():
    wrong = {"results": [0, 7, 7], "state": None, "outcome": "bug", "irregular_from": 1}
    assert run("-", stdin=record(**wrong)).exit_code == 0
    assert run("-", stdin=record(**wrong | {"irregular_from": 2})).exit_code == 1


def test_only_the_first_few_differences_are_shown():
    wrong = b"\n".join(record(id=str(n), results=[1]) for n in range(9))
    lines = run("-", stdin=wrong).output.splitlines()
    assert lines[0] == "0 of 9 records agree"
    assert len(lines) == 7
    assert lines[-1] == "and 4 more"


def test_scripts_without_results_are_run_and_counted():
    script = {key: GOOD[key] for key in ("id", "kernel", "numa", "script")}
    result = run("-", stdin=json.dumps(script).encode())
    assert (result.exit_code, result.output) == (
        0,
        "0 of 0 records agree, 1 hold no results to compare with\n",
    )


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "a record is a JSON object"),
        (b"7", "a record is a JSON object"),
        (record(kernel=None), '"kernel" is not a string'),
        (record(kernel="4.19"), "'4.19' is not a Linux release from 4.20 on"),
        (record(kernel="new"), "'new' is not a Linux release"),
        (record(id=5), '"id" is not a string'),
        (record(numa=1), '"numa" is not true or false'),
        (record(script={}), '"script" is not a list'),
        (record(results=3), '"results" is not a list'),
        (record(irregular_from=True), '"irregular_from" is not a whole number'),
        (b'{"id": "a"}', '"kernel" is missing'),
        (record(script=[7]), "operation 0: an operation is a list that begins with a name"),
        (record(script=[[]]), "operation 0: an operation is a list"),
        (record(script=[[["a"]]]), "operation 0: an operation is a list"),
        (record(script=[["memblock_add", 0, 1], ["memblock_ad", 0]]), "operation 1: unknown operation 'memblock_ad'"),
        (record(script=[["memblock_reserve_kern", 0, 1]]), "memblock_reserve_kern does not exist in Linux 6.12.100"),
        (record(script=[["memblock_add", 0]]), "memblock_add takes 2 arguments (base size), not 1"),
        (record(script=[["memblock_allow_resize", 1]]), "memblock_allow_resize takes 0 arguments (none), not 1"),
        (record(script=[["memblock_add", 0, -1]]), "memblock_add: size -1 is not between 0 and 18446744073709551615"),
        (record(script=[["memblock_add", 2**64, 1]]), "base 18446744073709551616 is not between"),
        (record(script=[["memblock_add", True, 1]]), "base True is not a number"),
        (record(script=[["memblock_add", 0.5, 1]]), "base 0.5 is not a number"),
        (record(script=[["memblock_add", "0", 1]]), "base '0' is not a number"),
        (record(script=[["memblock_add", None, [1]]]), "base None is not a number"),
        (record(script=[["memblock_set_bottom_up", 2]]), "bool 2 is not 0 or 1"),
        (record(script=[["memblock_set_node", 0, 1, "physmem", 0]]), "list 'physmem' is not \"memory\" or"),
        (record(script=[["memblock_set_node", 0, 1, ["memory"], 0]]), "list ['memory'] is not"),
        (record(script=[["memblock_alloc_node", 1, 1, 2**31]]), "nid 2147483648 is not between"),
        (
            record(script=[["memblock_add", 0, 2**60], ["set_max_low_pfn", 2**52], ["memblock_free_all"]]),
            "operation 2: memblock_free_all would list",
        ),
    ],
)
def test_bad_input_names_the_line(stdin, message):
    text = error(record() + b"\n" + stdin + b"\n")
    assert text.startswith("-:2: ")
    assert message in text
    assert "\n" not in text


def test_damaged_gzip_data():
    assert "damaged gzip data" in error(gzip.compress(record())[:-20])
    assert "damaged gzip data" in error(b"\x1f\x8b nothing of the kind")


def test_files_that_cannot_be_read(tmp_path):
    missing = run(tmp_path / "missing.jsonl")
    assert str(missing.exception) == f"{tmp_path / 'missing.jsonl'}: No such file or directory"
    assert "Is a directory" in str(run(tmp_path).exception)
    assert isinstance(missing.exception, InputError)


def test_a_file_without_records_is_no_failure(tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"")
    assert run(tmp_path / "empty.jsonl").output == "0 of 0 records agree\n"
