"""A `Boot` in the middle of a boot, made of what a step needs: memory, reservations, a release, a command line."""

from __future__ import annotations

from collections.abc import Iterable

from mmtool.build.fact import parse_version
from mmtool.build.kernel import Kernel
from mmtool.build.profile import Option, Profile
from mmtool.build.release import release_facts
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.firmware.machine import Machine
from mmtool.linux.arch.x86.kernel.e820 import E820Table
from mmtool.linux.init.boot import Boot
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import Memblock


def boot_at(
    release: str,
    cmdline: str,
    memory: Iterable[tuple[int, int, int]],
    reserved: Iterable[tuple[int, int]] = (),
    *,
    arch: str = "x86_64",
    config: dict[str, Option] | None = None,
) -> Boot:
    """`memory` is (start, end, node), `reserved` (start, end), in bytes."""
    version = parse_version(release)
    assert version is not None
    facts = release_facts(version)
    options: dict[str, Option] = {"NUMA": True, "NODES_SHIFT": 10, "HUGETLB_PAGE": True} | (config or {})
    kernel = Kernel(release, facts, Profile("test", arch, release, options, {"struct_page": 64}))
    mb = Memblock.of(kernel)
    for start, end, nid in memory:
        mb.add_node(start, end - start, nid)
    for start, end in reserved:
        mb.reserve(start, end - start)
    log = KernelLog()
    machine = Machine("none", (), origin="test")
    boot = Boot(kernel, mb, parse_cmdline(cmdline), log, machine, E820Table(facts, log, 128))
    boot.online_nodes = boot.possible_nodes = {nid for _, _, nid in memory}
    return boot


def said(boot: Boot) -> list[str]:
    """The lines that the kernel printed."""
    return [line.text for line in boot.log.lines]
