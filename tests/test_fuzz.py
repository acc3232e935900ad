"""A part of the campaign for every run: a fixed number of inputs for each target, and what was found before.

`python tests/fuzz/campaign.py` does more of it, for as long as it is asked to, and looks at time and memory too.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from random import Random
from types import FrameType
from zlib import crc32

import pytest
from fuzz.campaign import Campaign, TooLongError, place
from fuzz.mutate import Mutator
from fuzz.targets import COMMANDS, READERS, REFUSALS, TARGETS, RawControlError

SEED = int(os.environ.get("MMTOOL_SEED", "1"))
TIMES = int(os.environ.get("MMTOOL_FUZZ", "1"))
FOUND = sorted((Path(__file__).parent / "fuzz" / "found").iterdir())


@pytest.fixture(autouse=True)
def given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An input that takes far too long is given up, so that the run says which it was."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    signal.signal(signal.SIGPROF, stop)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_are_answered_or_refused(name: str) -> None:
    cheap = name in READERS and name not in ("log", "tree", "image", "captured", "memblock-log", "report")
    dear = name in COMMANDS and TARGETS[name].weight < 5
    campaign = Campaign(SEED, [name])
    for _ in range(TIMES * (300 if cheap else 12 if dear else 60)):
        campaign.one(name, dense=False)
    assert {kind for kind in campaign.results[name].findings if not kind.startswith("more than")} == set()


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    """Each stands for a kind; the name says the target and what came."""
    name = path.name.partition("--found-")[0].replace("_", " ")
    data = path.read_bytes()
    with suppress(*REFUSALS):
        TARGETS[name].run(data, Random(crc32(data)))


def test_the_same_seed_gives_the_same_inputs() -> None:
    for name in ("report", "state", "tree"):
        seeds = TARGETS[name].seeds()
        one, other = (Mutator(seeds, Random(7)) for _ in range(2))
        assert [one.next() for _ in range(30)] == [other.next() for _ in range(30)]
    assert Mutator([b"x"], Random(1)).dense() != b""


def test_a_finding_is_named_by_its_place_in_mmtool() -> None:
    try:
        TARGETS["config"].run(None, Random(1))  # type: ignore[arg-type]
    except AttributeError as e:
        assert place(e).startswith("AttributeError")
    assert "raw" in place(RawControlError("raw"))
