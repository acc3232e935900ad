"""The inventory of what a kernel calls while it boots: whole, and of steps that there are."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from mmtool.build.kernel import Kernel
from mmtool.build.profile import available, load_profile
from mmtool.build.release import release_facts
from mmtool.linux.init.architecture import architecture

INVENTORY = Path(__file__).parent.parent / "mmtool" / "linux" / "init" / "inventory.txt"
SOURCES = os.environ.get("MMTOOL_KERNEL_SOURCES", "")
"""Folders of unpacked kernel sources, or folders that hold such, parted by colons."""


class Entry(NamedTuple):
    mark: str
    text: str


@cache
def inventory() -> dict[tuple[str, str], dict[str, Entry]]:
    """(file, function) -> call -> what becomes of it."""
    found: dict[tuple[str, str], dict[str, Entry]] = {}
    section: dict[str, Entry] = {}
    for line in INVENTORY.read_text().splitlines():
        if m := re.fullmatch(r"\[(\S+) (\w+)\]", line):
            section = found.setdefault((m[1], m[2]), {})
        elif line and not line.startswith("#"):
            m = re.fullmatch(r"((?:\w+ )+)([=?-]) (\S.*)", line)
            assert m, line
            for call in m[1].split():
                assert call not in section, f"{call} is listed twice"
                section[call] = Entry(m[2], m[3])
    return found


@cache
def steps() -> set[str]:
    """The names of all steps, of every profile that comes with mmtool."""
    names: set[str] = set()
    for name in available():
        profile = load_profile(name)
        major, minor = re.findall(r"\d+", profile.release)[:2]
        kernel = Kernel(name, release_facts((int(major), int(minor), 0)), profile)
        names |= {step for step, _ in architecture(kernel).steps(kernel)}
    return names


def sources() -> list[Path]:
    folders = [Path(text) for text in SOURCES.split(":") if text]
    return [f for folder in folders for f in (folder, *sorted(folder.iterdir())) if (f / "init" / "main.c").is_file()]


def calls_of(text: str, function: str) -> set[str]:
    """The names that the body of a function calls, in the C that the kernel is written in."""
    head = re.search(rf"^[a-z_][^;{{}}=]*\b{function}\([^)]*\)\s*{{", text, re.M)
    assert head, function
    end = text.index("\n}", head.end())
    no_calls = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\])*\"|^\s*#(?:\\\n|[^\n])*"
    body = re.sub(no_calls, " ", text[head.end() : end], flags=re.S | re.M)
    return set(re.findall(r"\b([a-zA-Z_]\w*)\s*\(", body))


def test_what_is_modelled_names_steps_that_there_are() -> None:
    named = {
        step for section in inventory().values() for entry in section.values() if entry.mark == "="
        for step in entry.text.split(", ")
    }  # fmt: skip
    assert named - steps() == set()


def test_every_step_is_some_calls() -> None:
    """No step that no kernel has, but for what lies inside of calls and for where the image lies."""
    named = {
        step for section in inventory().values() for entry in section.values() if entry.mark == "="
        for step in entry.text.split(", ")
    }  # fmt: skip
    inside = {
        "kernel image": "head.S", "alloc_offline_node_data": "free_area_init()",
        "alloc_node_mem_map": "free_area_init()",
        "calc_nr_kernel_pages": "free_area_init()", "dma_pernuma_cma_reserve": "bootmem_init()",
        "efi_free_boot_services": "an initcall", "gather_bootmem_prealloc": "hugetlb_init()",
        "module_init_limits": "an initcall", "kvm_init_platform": "init_hypervisor_platform()",
        "snp_fixup_e820_tables": "mem_encrypt_setup_arch()",
    }  # fmt: skip
    assert steps() - named == set(inside)


def test_a_body_is_read() -> None:
    text = 'void __init f(char *p)\n{\n\t/* g() */\n#ifdef X(1)\n\th("i()", j (2));\n#endif\n}\nint k(void) {\n}\n'
    assert calls_of(text, "f") == {"h", "j"}


@pytest.mark.skipif(not sources(), reason="MMTOOL_KERNEL_SOURCES names no unpacked kernel")
def test_every_call_is_in_the_inventory() -> None:
    for (file, function), listed in inventory().items():
        for tree in sources():
            assert calls_of((tree / file).read_text(), function) - set(listed) == set(), f"{tree.name}: {file}"


@pytest.mark.skipif(len(sources()) < 4, reason="MMTOOL_KERNEL_SOURCES names no kernels from 5.10 to the newest")
def test_every_entry_is_called_by_some_release() -> None:
    for (file, function), listed in inventory().items():
        called = {call for tree in sources() for call in calls_of((tree / file).read_text(), function)}
        assert set(listed) - called == set(), file
