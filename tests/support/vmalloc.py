"""Recorded boots of fixtures/vmalloc: the kernel's requests for virtual memory one by one, and where each was put."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from mmtool.build.choose import kernel_for
from mmtool.build.fact import parse_version
from mmtool.build.kernel import Kernel
from mmtool.build.profile import load_profile
from mmtool.build.release import release_facts
from mmtool.firmware.machine import LogNote
from mmtool.firmware.read import read_capture
from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.linux.mm.vmalloc.area import VM_MAP, VmStruct
from mmtool.linux.mm.vmalloc.vmap import VmapSpace
from support.boots import boot_of

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "vmalloc"
_EVENT = re.compile(
    r"\[(\d+)\].*?: (alloc_vmap_area|free_vmap_area_noflush|purge_vmap_area_lazy|pcpu_get_vm_areas):(.*)"
)
_INFO = re.compile(r"0x([0-9a-f]+)-0x([0-9a-f]+) +(\d+) (\S.*)")


def kernel_of(profile: str) -> Kernel:
    """The kernel of a profile that comes with mmtool."""
    found = load_profile(profile)
    version = parse_version(found.release)
    assert version is not None
    return Kernel(found.release, release_facts(version), found)


def booted(profile: str, cmdline: str = "nokaslr", *, max_low_pfn: int = 0, levels: int = 5, lva: bool = False) -> Boot:
    """As much of a boot as the layout of addresses follows from."""
    return booted_kernel(kernel_of(profile), cmdline, max_low_pfn=max_low_pfn, levels=levels, lva=lva)


def booted_kernel(kernel: Kernel, cmdline: str, *, max_low_pfn: int = 0, levels: int = 5, lva: bool = False) -> Boot:
    """The same of a kernel at hand."""
    boot: Boot = boot_of(kernel, cmdline, (LogNote("va52", (), 1, ""),) if lva else ())
    boot.memblock.max_pfn, boot.memblock.max_low_pfn = 0, max_low_pfn
    if isinstance(boot, X86Boot):
        boot.levels = levels
    return boot


def capture_boot(folder: Path) -> Boot:
    """The boot of a capture's folder."""
    machine = read_capture(str(folder))
    return start_kernel(machine, kernel_for(machine))


@dataclass(frozen=True)
class Event:
    """One line of the trace; numbers by their names in it, and lists of them."""

    name: str
    cpu: int
    fields: dict[str, int]
    lists: dict[str, list[int]]


@dataclass(frozen=True)
class Area:
    """One line of /proc/vmallocinfo: addresses in bytes, the rest as text."""

    start: int
    end: int
    size: int
    text: str


def read_areas(text: str) -> list[Area]:
    """The areas of /proc/vmallocinfo, in its order."""
    found = (_INFO.fullmatch(line) for line in text.splitlines())
    return [Area(int(m[1], 16), int(m[2], 16), int(m[3]), m[4]) for m in found if m]


@dataclass(frozen=True)
class TracedBoot:
    """One folder."""

    path: Path

    @cached_property
    def case(self) -> dict[str, object]:
        return dict(yaml.safe_load((self.path / "case.yaml").read_text()))

    @cached_property
    def events(self) -> list[Event]:
        text = gzip.decompress((self.path / "trace.txt.gz").read_bytes()).decode()
        events = []
        for m in _EVENT.finditer(text):
            words = m[3].replace("va_start: ", "va_start=").split()
            lists = {k: [int(n, 0) for n in v.split(",")] for k, v in (word.split("=") for word in words)}
            events.append(Event(m[2], int(m[1]), {k: v[0] for k, v in lists.items()}, lists))
        return events

    @cached_property
    def areas(self) -> list[Area]:
        return read_areas((self.path / "vmallocinfo").read_text())

    @cached_property
    def boot(self) -> Boot:
        return booted(str(self.case["profile"]), lva=bool(self.case["va_52_bits"]))

    def space(self) -> VmapSpace:
        """Virtual memory when vmalloc_init() is done: arm64's image is mapped, as areas of their own."""
        early = [VmStruct(a.start, a.end - a.start, VM_MAP) for a in self.areas if a.text.startswith("paging_init")]
        boot, layout = self.boot, self.boot.address_space
        return VmapSpace(
            boot.kernel.release, layout.vmalloc.start, layout.vmalloc_end, page_size=1 << boot.kernel.page_shift,
            cpus=int(str(self.case["cpus"])), early=early,
        )  # fmt: skip


def traced_boots() -> list[TracedBoot]:
    """The folders of fixtures/vmalloc."""
    return [TracedBoot(path.parent) for path in sorted(FIXTURES.glob("*/trace.txt.gz"))]
