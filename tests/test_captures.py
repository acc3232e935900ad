"""The model against real kernels: given what a machine said, it must print what the kernel then printed, exactly.

MMTOOL_CAPTURES names a folder of further captures, to be compared as well. What may differ is in tolerances.py.
"""

from __future__ import annotations

import json

import pytest
from support.captures import FACTS, Capture, answer_of, captures, mmtool_boot, sort_lines
from tolerances import TOLERANCES, Tolerance, tolerance_for

from mmtool.build.fact import parse_version
from mmtool.build.release import Release, release_facts

CAPTURES = [c for c in captures() if c.says_where_memory_is]
X86 = [c for c in CAPTURES if c.memmap.exists()]


def _name(capture: Capture) -> str:
    return f"{capture.path.parent.parent.name}/{capture.name}"


each_capture = pytest.mark.parametrize("capture", CAPTURES, ids=_name)


@each_capture
@pytest.mark.parametrize("fact", FACTS)
def test_predicted_exactly(capture: Capture, fact: str) -> None:
    want = capture.observed(fact)
    if want is None:
        pytest.skip(f"{capture.name} does not show {fact}")
    got = capture.predicted(fact)
    tolerance = tolerance_for(capture.name, fact)
    assert got == want or (tolerance is not None and tolerance.allows(want, got))


def _facts(capture: Capture) -> Release:
    version = parse_version(capture.document["kernel"]["release"])
    assert version is not None
    return release_facts(version)


@each_capture
def test_a_list_may_hold_what_the_kernel_says(capture: Capture) -> None:
    """From 6.7 on a list's high follows its use, within limits, and is 0 before: nr_pcp_alloc() and nr_pcp_high()."""
    reported, limits = capture.observed("pcp_high"), capture.predicted("pcp_limits")
    if reported is None:
        pytest.skip(f"{capture.name} does not show pcp_high")
    if not _facts(capture).pcp_high_is_tuned:
        assert reported == capture.predicted("pcp_high")
        return
    batches = capture.predicted("zoneinfo")
    assert reported.keys() == limits.keys()
    for zone, fields in reported.items():
        # a CPU that has not used its list since keeps what it had before the watermarks came: from four batches on
        low = min(limits[zone]["pcp high_min"], 4 * batches[zone]["pcp batch"])
        assert fields["pcp high"] == 0 or low <= fields["pcp high"] <= limits[zone]["pcp high_max"], zone


@pytest.mark.parametrize("capture", X86, ids=_name)
def test_sysfs_shows_the_same_firmware_map(capture: Capture) -> None:
    document = mmtool_boot(
        "--e820", str(capture.memmap), "--kernel", capture.release, "--only", "firmware", "-o", "json"
    )
    assert json.loads(document)["firmware"]["map"] == capture.document["firmware"]["map"]


def test_every_fact_is_shown_by_some_fixture() -> None:
    assert {fact for fact in FACTS if any(c.observed(fact) for c in CAPTURES)} == set(FACTS)


def test_tolerances_name_facts() -> None:
    assert all(t.fact in FACTS and t.reason for t in TOLERANCES)


@pytest.mark.parametrize("tolerance", TOLERANCES, ids=lambda t: f"{t.capture} {t.fact}")
def test_no_tolerance_lets_everything_pass(tolerance: Tolerance) -> None:
    """An answer of a fixture passes; none at all does not, nor one with numbers far from it or with too many lines."""
    answer = next(value for c in CAPTURES if (value := c.observed(tolerance.fact)))
    assert tolerance.allows(answer, answer)
    assert not tolerance.allows(answer, type(answer)())
    if isinstance(answer, dict):
        zone, fields = max(answer.items(), key=lambda item: max(item[1].values()))
        assert not tolerance.allows({**answer, zone: {f: 100 * n + 100 for f, n in fields.items()}}, answer)
    else:
        assert not tolerance.allows(answer * 2, answer)


@pytest.mark.skipif(len(CAPTURES) < 100, reason="needs more captures than fixtures/ has; MMTOOL_CAPTURES names them")
@pytest.mark.parametrize("tolerance", TOLERANCES, ids=lambda t: f"{t.capture} {t.fact}")
def test_every_tolerance_is_needed(tolerance: Tolerance) -> None:
    mine = [c for c in CAPTURES if tolerance_for(c.name, tolerance.fact) is tolerance]
    assert any(c.predicted(tolerance.fact) != c.observed(tolerance.fact) for c in mine)


def test_no_answer_is_left_in_the_input() -> None:
    for capture in CAPTURES:
        inputs, answers = sort_lines(capture.input_log)
        assert not answers and inputs == capture.input_log
        assert "BIOS-e820: " in inputs or capture not in X86
    assert answer_of("e820: update [mem 0x10000-0x1ffff] usable ==> usable") is None
    assert answer_of("e820: update [mem 0x00000000-0x00000fff] System RAM ==> device reserved") == "e820"
