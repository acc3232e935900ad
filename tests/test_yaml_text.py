"""YAML that is written in one pass reads back as what it was, by both of PyYAML's readers."""

from __future__ import annotations

import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.report.yaml_text import yaml_text

MISLEADING = (
    "yes", "No", "ON", "null", "~", "", " ", " a", "a ", "1:30", "1_000", "0x1f", "012", "0o7", "2020-01-01", "1e3",
    "1e5", ".5", "+1", "-1", ".inf", ".nan", "- a", "a: b", "a:", "a #b", "#", "=", "<<", "!x", "&a", "*b", "%c",
    "@d", "`e", "?", "[a", "{b", "a,b", "|", ">", "\t", "\n", "\r", "\x00", "\x1b[31m", "\x7f", "\x85", "\u2028",
    "\ufeff", "\u202e", "\ud7ff", "\U0001f600", "_", "_1", "y", "n", "...", "---",
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(MISLEADING)
)
KEYS = st.text(max_size=5) | st.sampled_from(MISLEADING)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


@settings(deadline=None, max_examples=300)
@given(DOCUMENTS)
def test_it_reads_back(document: Any) -> None:
    text = yaml_text(document)
    assert yaml.safe_load(text) == document
    assert yaml.load(text, yaml.CSafeLoader) == document
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text)


def test_how_it_looks() -> None:
    document = {
        "a": 1,
        "b": [1, 2],
        "c": {"d": None, "e f": "g: h"},
        "i": [{"j": [], "k": [[1], {}]}, {"l": {"m": {"n": 0.5}}}],
    }
    assert yaml_text(document) == (
        'a: 1\nb: [1, 2]\nc: {d: null, e f: "g: h"}\ni:\n- j: []\n  k:\n  - [1]\n  - {}\n- l:\n    m: {"n": 0.5}\n'
    )
