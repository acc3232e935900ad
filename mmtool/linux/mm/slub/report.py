"""slab_out_of_memory() of mm/slub.c: what the kernel logs when no slab can be had."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.build.facts.slab import SlabFacts
from mmtool.linux.mm.slub.layout import SlubCache, get_order
from mmtool.linux.mm.slub.slab import Node


def slab_out_of_memory(
    cache: SlubCache,
    nodes: Sequence[Node],
    *,
    node: int | None,
    cpu: int,
    cpu_node: int,
    gfp: tuple[int, str],
    facts: SlabFacts,
    page_size: int,
) -> list[str]:
    """The lines of "SLUB: Unable to allocate memory on node", without time stamps.

    `node` is the one asked for (None: any), `gfp` the mask and its flags as the kernel prints them. Nothing is said
    where the mask has __GFP_NOWARN; the kernel also leaves it out when there was much of it lately.
    """
    on = f"on CPU {cpu} (of node {cpu_node}) " if facts.oom_names_cpu else ""
    asked = -1 if node is None else node
    lines = [
        f"SLUB: Unable to allocate memory {on}on node {asked}, gfp={gfp[0]:#x}({gfp[1]})",
        f"  cache: {cache.name}, object size: {cache.object_size}, buffer size: {cache.size}, "
        f"default order: {cache.oo_order}, min order: {cache.min_order}",
    ]
    if cache.min_order > get_order(cache.object_size, page_size):
        option = "slab_debug" if facts.slab_options else "slub_debug"
        lines.append(f"  {cache.name} debugging increased min order, use {option}=O to disable.")
    for there in nodes:
        free = sum(slab.objects - slab.inuse for slab in there.partial)
        lines.append(f"  node {there.nid}: slabs: {there.nr_slabs}, objs: {there.total_objects}, free: {free}")
    return lines
