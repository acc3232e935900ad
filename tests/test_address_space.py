"""The layout of the kernel's address space: what /proc/kcore and old logs of real kernels say, and where areas lie.

MMTOOL_CAPTURES names a folder of captures; those made with no_hash_pointers tell where their vmap areas are.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.boots import said
from support.vmalloc import booted, booted_kernel, capture_boot

from mmtool.build.fact import parse_version
from mmtool.build.release import release_facts
from mmtool.cli.boot import boot as boot_command
from mmtool.linux.arch.x86.mm.init_32 import print_layout

FIXTURES = Path(__file__).parent.parent / "fixtures"
MORE = os.environ.get("MMTOOL_CAPTURES", "")
UNHASHED = sorted(
    path.parent.parent
    for folder in (FIXTURES / "vmalloc", *([Path(MORE)] if MORE else []))
    for path in folder.glob("*/proc/vmallocinfo")
    if not re.search(r"^0x00000000", path.read_text(), re.M) and "nokaslr" in path.parent.parent.name
)


KCORE = [
    # profile, what the processor can, {area: (start, end)} as the program headers of /proc/kcore say
    ("debian-6.12-cloud-amd64", {}, {
        "vmalloc": (0xFFA0000000000000, 0xFFD2000000000000), "modules": (0xFFFFFFFFC0000000, 0xFFFFFFFFFF000000)}),
    ("debian-6.1-cloud-amd64", {"levels": 4}, {"vmalloc": (0xFFFFC90000000000, 0xFFFFE90000000000)}),
    ("debian-5.10-cloud-arm64", {}, {
        "vmalloc": (0xFFFF800010000000, 0xFFFFFDFFBFFF0000), "modules": (0xFFFF800008000000, 0xFFFF800010000000)}),
    ("debian-6.1-cloud-arm64", {}, {
        "vmalloc": (0xFFFF800008000000, 0xFFFFFBFFF0000000), "modules": (0xFFFF800000000000, 0xFFFF800008000000)}),
    ("debian-7.3-cloud-arm64", {}, {
        "vmalloc": (0xFFFF800080000000, 0xFFFFFDFFBF800000), "modules": (0xFFFF800000000000, 0xFFFF800080000000)}),
    ("debian-6.12-cloud-arm64", {"lva": True}, {"vmalloc": (0xFFFF800080000000, 0xFFFFC1FFBF800000)}),
    ("debian-6.1-686", {"max_low_pfn": 0x36BFE}, {
        "vmalloc": (0xF73FE000, 0xFEBFE000), "direct map": (0xC0000000, 0xF6BFE000)}),
    ("debian-6.1-686-pae", {"max_low_pfn": 0x36FFE}, {
        "vmalloc": (0xF77FE000, 0xFEFFE000), "direct map": (0xC0000000, 0xF6FFE000)}),
]  # fmt: skip
"""Debian's kernels under QEMU with nokaslr: an x86 processor with five levels, a Cortex-A72, 1 GiB on i386."""

FIRST_BYTES = {
    # where /proc/kcore shows the first page of memory and its struct page
    ("debian-6.12-cloud-amd64", False): (0xFF11000000000000, 0xFFD4000000000000),
    ("debian-5.10-cloud-arm64", False): (0xFFFF000000000000, 0xFFFFFDFFFFE00000),
    ("debian-6.1-cloud-arm64", False): (0xFFFF000000000000, 0xFFFFFC0000000000),
    ("debian-7.3-cloud-arm64", False): (0xFFFF000000000000, 0xFFFFFDFFC0000000),
}


@pytest.mark.parametrize(("profile", "machine", "areas"), KCORE, ids=[row[0] for row in KCORE])
def test_areas_are_those_of_kcore(profile: str, machine: dict[str, int], areas: dict[str, tuple[int, int]]) -> None:
    space = booted(profile, **machine).address_space
    assert {name: (space.area(name).start, space.area(name).end) for name in areas} == areas


@pytest.mark.parametrize("profile", [name for name, _ in FIRST_BYTES])
def test_direct_map_and_vmemmap_begin_where_kcore_has_them(profile: str) -> None:
    space = booted(profile).address_space
    direct = space.areas[0]
    assert (direct.start, space.area("vmemmap").start) == FIRST_BYTES[profile, False]
    assert direct.name in ("direct map", "linear map")


@pytest.mark.parametrize(("profile", "slot"), [
    ("debian-7.3-cloud-amd64", 0xFFFFFFFFFF200000), ("debian-6.1-686", 0xFFA00000), ("debian-6.1-686-pae", 0xFFA00000),
])  # fmt: skip
def test_early_mappings_begin_where_early_ioremap_debug_says(profile: str, slot: int) -> None:
    """Below them are pages of the fixmap for tboot and, on i386, for the test of write protection."""
    boot = booted(profile, max_low_pfn=0x30000)
    below = 1 + boot.kernel.enabled("INTEL_TXT") + (boot.kernel.arch == "i386")
    assert boot.address_space.area("early ioremap").start + (below << 12) == slot


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("profile", ["debian-5.10-cloud-amd64", "debian-7.3-cloud-amd64"])
def test_kaslr_hides_the_bases_and_only_those(profile: str, levels: int) -> None:
    sure = booted(profile, levels=levels).address_space
    moved = booted(profile, "", levels=levels).address_space
    assert {a.name for a in moved.areas if not a.base_known} == {"direct map", "vmalloc", "vmemmap"}
    assert all(a.base_known for a in sure.areas)
    assert moved.vmalloc.size == sure.vmalloc.size == (12800 << 40 if levels == 5 else 32 << 40)


@pytest.mark.parametrize("profile", ["debian-5.10-cloud-arm64", "debian-6.12-cloud-arm64", "debian-6.18-arm64-16k"])
@pytest.mark.parametrize("lva", [False, True])
def test_arm64_is_in_order_whatever_the_processor(profile: str, lva: bool) -> None:
    areas = booted(profile, "", lva=lva).address_space.areas
    assert all(a.start < a.end and a.base_known for a in areas)
    assert all(a.end <= b.start for a, b in pairwise(areas))


@pytest.mark.parametrize(("bits", "page", "levels"), [(39, 12, 3), (42, 16, 2), (47, 14, 3), (48, 12, 4), (52, 16, 3)])
@pytest.mark.parametrize("release", ["5.10", "6.1", "6.6", "6.12", "7.3"])
def test_arm64_of_every_width_is_in_order(bits: int, page: int, levels: int, release: str) -> None:
    boot = booted("debian-6.12-cloud-arm64")
    size = {12: "ARM64_4K_PAGES", 14: "ARM64_16K_PAGES", 16: "ARM64_64K_PAGES"}[page]
    config = {k: v for k, v in boot.kernel.profile.config.items() if not k.endswith("K_PAGES")}
    config |= {size: True, "ARM64_VA_BITS": bits, "PGTABLE_LEVELS": levels}
    version = parse_version(release)
    assert version is not None
    built = replace(boot.kernel, release=release_facts(version), profile=replace(boot.kernel.profile, config=config))
    areas = booted_kernel(built, "nokaslr").address_space.areas
    assert all(a.end <= b.start for a, b in pairwise(areas))
    assert areas[0].start == (1 << 64) - (1 << min(bits, 48))


def test_old_i386_prints_its_layout() -> None:
    """As a 5.1 with PAE printed it: one line an area, and none of the image without its place."""
    boot = booted("generic-i386", max_low_pfn=0x36DFE)
    facts = release_facts((5, 1, 0))
    config = {**boot.kernel.profile.config, "X86_PAE": True, "NR_CPUS": 32}
    old = replace(boot.kernel, release=facts, profile=replace(boot.kernel.profile, config=config))
    boot = booted_kernel(old, "nokaslr", max_low_pfn=0x36DFE)
    print_layout(boot)
    lines = said(boot)
    assert lines[0] == "virtual kernel memory layout:"
    assert "    lowmem  : 0xc0000000 - 0xf6dfe000   ( 877 MB)" in lines
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["fixmap", "cpu_entry", "pkmap", "vmalloc", "lowmem"]


@pytest.mark.skipif(not UNHASHED, reason="no capture with unhashed addresses")
@pytest.mark.parametrize("folder", UNHASHED, ids=lambda path: path.name)
def test_every_area_lies_in_vmalloc_or_modules(folder: Path) -> None:
    space = capture_boot(folder).address_space
    inside = [space.vmalloc, space.area("modules")] if space.vmalloc.base_known else []
    for line in (folder / "proc/vmallocinfo").read_text().splitlines():
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        assert any(area.start <= start < end <= area.end for area in inside), line


MODULE_LINES = re.compile(r"(?:\d+ pages in range for|2G module region).*")


@pytest.mark.parametrize("board", sorted(
    path.parent for folder in (FIXTURES / "arm64", *([Path(MORE)] if MORE else []))
    for path in folder.glob("arm64-*/dmesg.txt") if "efi" not in path.parent.name
), ids=lambda path: f"{path.parent.name}/{path.name}")  # fmt: skip
def test_arm64_says_how_far_modules_reach(board: Path) -> None:
    result = CliRunner().invoke(
        boot_command, ["--capture", str(board), "-o", "dmesg"], catch_exceptions=False, standalone_mode=False
    )
    theirs = MODULE_LINES.findall((board / "dmesg.txt").read_text(errors="replace"))
    assert MODULE_LINES.findall(result.stdout) == theirs
