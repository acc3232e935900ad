"""The functions that the model's docstrings name are the kernel's, by the list of names that the sources have."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
sys.path.insert(0, str(TOP / "tools"))

from check_names import in_source, named, own, read_names, release  # noqa: E402

KEPT = TOP / "fixtures" / "kernel-names.txt"
SOURCES = [Path(path) for path in os.environ.get("MMTOOL_KERNEL_SOURCES", "").split(":") if path]


def test_every_function_that_is_named_is_the_kernels_or_ours() -> None:
    names = named()
    unknown = sorted(names.keys() - read_names(KEPT).keys() - own())
    assert unknown == [], [f"{names[name][0]}: {name}()" for name in unknown]


def test_the_list_holds_no_other_names() -> None:
    assert sorted(read_names(KEPT).keys() - named().keys()) == []


def test_a_name_that_no_kernel_has_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\n")
    (tmp_path / "page_alloc.c").write_text("static void __free_one_page(struct page *page)\n")
    assert release(tmp_path) == "6.1"
    assert in_source(tmp_path, ["__free_one_page", "free_one_page"]) == {"__free_one_page"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_list_says_what_the_sources_at_hand_say(source: Path) -> None:
    kept = {name for name, releases in read_names(KEPT).items() if release(source) in releases}
    assert in_source(source, read_names(KEPT)) == kept
