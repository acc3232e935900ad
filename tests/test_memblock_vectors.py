"""The memblock model against recorded runs of the kernels' own allocator, exactly.

MMTOOL_VECTORS names a folder with more recordings in the same format, to be compared as well.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmtool.build.release import release_facts
from mmtool.system.memblock_records import compare, read_records
from mmtool.system.memblock_script import run_script

FIXTURE = Path(__file__).parent.parent / "fixtures" / "memblock" / "vectors.jsonl.gz"
MORE = os.environ.get("MMTOOL_VECTORS")
RECORDS = list(read_records(str(FIXTURE)))


def differences(records):
    for r in records:
        run = run_script(release_facts(r.version), r.numa, r.script, states=r.states_after is not None)
        difference = compare(r, run).difference
        if difference:
            yield f"{r.id}: {difference}"


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.id)
def test_recorded_run(record):
    assert list(differences([record])) == []


def test_fixture_has_every_kind_of_end():
    assert {r.outcome for r in RECORDS} == {"ok", "panic", "bug"}
    assert {r.version for r in RECORDS} == {(7, 3, 4), (6, 1, 192)}
    assert all(r.results is not None for r in RECORDS)


@pytest.mark.skipif(MORE is None, reason="MMTOOL_VECTORS is not set")
@pytest.mark.parametrize("path", sorted(Path(MORE or ".").glob("*.jsonl.gz")) if MORE else [], ids=lambda p: p.name)
def test_whole_folder(path):
    assert list(differences(read_records(str(path)))) == []
