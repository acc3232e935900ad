"""From a boot to a `System`: the state that /sbin/init finds, as far as the model goes."""

from __future__ import annotations

from dataclasses import replace

from mmtool.errors import InputError
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.late import online
from mmtool.linux.mm.mmzone import WATERMARK_BOOST_FACTOR, PagesetLimits, Zone
from mmtool.linux.mm.page_alloc.pageset_limits import pcp_high_at_init
from mmtool.linux.mm.vmalloc.state import VmallocState, state_of_layout
from mmtool.linux.mm.vmstat import calculate_normal_threshold
from mmtool.system.state import CpuState, NodeState, SystemState, state_of_zone

MOST_LISTS = 150_000
"""CPUs' lists of zones that a state holds: those of 2048 CPUs on 64 nodes."""
MOST_ZONEREFS = 150_000
"""Entries of all zonelists together that a document holds: those of 380 nodes, which no machine has."""


def check_zonelists(boot: Boot) -> None:
    """InputError where zonelists have more entries than MOST_ZONEREFS, as those of a thousand faked nodes have."""
    entries = sum(map(len, boot.zonelists.fallback.values()))
    if entries > MOST_ZONEREFS:
        many = f"the zonelists of {len(boot.nodes)} nodes have {entries} entries, more than a document holds"
        give = f"({MOST_ZONEREFS}); -o dmesg and tables show them, or fake fewer"
        raise InputError(boot.machine.origin, None, f"{many} {give}")


def state_of_boot(boot: Boot) -> SystemState:
    """The page allocator's state after a boot: empty per-CPU lists, and nothing allocated since the hand-over.

    InputError for more than MOST_LISTS of CPUs, as thousands of them have on hundreds of faked nodes, or MOST_ZONEREFS.
    """
    check_zonelists(boot)
    cpu_nodes = dict(enumerate(boot.cpu_nodes()))
    zones_there = sum(len(node.populated_zones()) for node in online(boot))
    if zones_there * len(cpu_nodes) > MOST_LISTS:
        many = f"{len(cpu_nodes)} CPUs' lists of {zones_there} zones are more than a state holds ({MOST_LISTS})"
        raise InputError(boot.machine.origin, None, f"{many}; give --cpus N, or fewer nodes")
    lists = boot.zonelists
    nodes, pageblocks = [], None
    for node in online(boot):
        zones = []
        for zone in node.zones:
            state = state_of_zone(zone)
            if zone.populated:
                pageblocks = pageblocks or zone.pageblocks
                state = replace(state, cpus=dict.fromkeys(cpu_nodes, _lists(boot, zone, len(cpu_nodes))))
            zones.append(state)
        fallback = tuple(lists.fallback.get(node.nid, ()))
        thisnode = tuple(lists.thisnode.get(node.nid, ()))
        nodes.append(
            NodeState(node.nid, node.node_start_pfn, node.node_spanned_pages, tuple(zones), fallback, thisnode)
        )
    return SystemState(
        boot.kernel.name, boot.machine.version_line or "", tuple(nodes), cpu_nodes,
        tuple(pageblocks.runs()) if pageblocks else (), lists.mobility_grouping,
        vmalloc=vmalloc_of_boot(boot), watermark_boost_factor=_boost_factor(boot),
    )  # fmt: skip


def _boost_factor(boot: Boot) -> int:
    """vm.watermark_boost_factor, as far as it has an effect: a kernel that saves a crashed one's memory has no boosts.

    is_kdump_kernel(): it was told where the crashed kernel's header is.
    """
    saves = boot.cmdline.has("elfcorehdr")
    return 0 if saves and boot.kernel.release.boost_not_in_kdump else WATERMARK_BOOST_FACTOR


def vmalloc_of_boot(boot: Boot) -> VmallocState:
    """Virtual memory right after vmalloc_init(): the image of arm64 is there, and no area that was allocated since."""
    huge = not boot.cmdline.has("nohugevmalloc")
    return state_of_layout(boot.address_space, cpus=boot.cpus, allow_huge=huge, early=boot.early_vm_areas())


def _lists(boot: Boot, zone: Zone, cpus: int) -> CpuState:
    limits = zone.pageset or PagesetLimits(1, 0, 0)
    threshold = calculate_normal_threshold(zone.managed_pages, boot.kernel.page_shift, cpus)
    return CpuState(limits, pcp_high_at_init(zone), stat_threshold=threshold)
