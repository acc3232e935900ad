"""Nothing is written down that nobody reads: notes of a log, options, sizes, facts."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from mmtool.build.options import OPTIONS, STRUCTURES
from mmtool.build.shown import groups
from mmtool.firmware.cmdline import READ
from mmtool.firmware.notes import NOTES

PACKAGE = Path(__file__).parent.parent / "mmtool"


@cache
def words(but: str) -> set[str]:
    """Every name and every quoted word of the package's code, without what `but` matches by its path."""
    paths = [path for path in PACKAGE.rglob("*.py") if but not in str(path.relative_to(PACKAGE))]
    found = (re.findall(r"\.(\w+)\b|[\"'](\w+)[\"']", path.read_text()) for path in paths)
    return {word for pairs in found for pair in pairs for word in pair}


def test_every_kind_of_note_is_read() -> None:
    assert {kind for kind, *_ in NOTES} - words("firmware/notes") == set()


def test_every_parameter_that_is_said_to_be_read_is() -> None:
    """SLUB's by what stands behind slub_ or slab_."""
    code = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "cmdline.py")
    asked = set(re.findall(r"[\"']([\w.-]+)=?[\"']", code))
    assert [name for name in sorted(READ) if not {name, re.sub("^sl[ua]b_", "", name)} & asked] == []


def test_every_option_and_size_that_a_profile_keeps_is_asked_for() -> None:
    asked = words("build/options")
    assert {option.name for option in OPTIONS} - asked == set()
    assert set(STRUCTURES) - asked == set()


def test_profiles_hold_nothing_else() -> None:
    kept = {option.name for option in OPTIONS}
    for path in sorted((PACKAGE / "build" / "profiles").glob("*.yaml")):
        config = re.search(r"^config:\n((?: .*\n|#.*\n)*)", path.read_text(), re.M)
        assert config is not None
        assert set(re.findall(r"^  (\w+):", config[1], re.M)) - kept == set(), path.name


def test_every_fact_is_asked_for() -> None:
    facts = {fact.name for group in groups() for fact in group.declared()}
    assert facts - words("build/facts") == set()
