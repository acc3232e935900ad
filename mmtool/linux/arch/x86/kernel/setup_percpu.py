"""The first chunk of per-CPU memory on x86: arch/x86/kernel/setup_percpu.c. Bytes."""

from __future__ import annotations

from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.arch.x86.page import MAX_DMA_ADDRESS
from mmtool.linux.mm.percpu import FirstChunk, module_reserve, pcpu_embed_first_chunk
from mmtool.units import div_round_up


def setup_per_cpu_areas(boot: X86Boot) -> None:
    """setup_per_cpu_areas(): units in large pages on x86-64, and room for modules' data that only it needs apart."""
    wide = boot.kernel.is_64bit
    how = FirstChunk(
        reserved_size=module_reserve(boot.kernel) if wide else 0,
        atom_size=2 << 20 if wide else boot.kernel.page_size,
        max_dma_address=MAX_DMA_ADDRESS,
    )
    pcpu_embed_first_chunk(boot, how, boot.cpus_by_node())
    _cpumasks(boot)


def _cpumasks(boot: X86Boot) -> None:
    """setup_node_to_cpumask_map() and setup_cpu_local_masks(): masks of CPUs, where they do not lie in their owners."""
    kernel, mb = boot.kernel, boot.memblock
    if not kernel.cpumask_offstack:
        return
    nodes = max(boot.numa.possible, default=0) + 1 if kernel.enabled("NUMA") else 0
    own = 4 if kernel.release.cpu_local_masks_are_four else 1
    for _ in range(nodes + own):
        mb.alloc(div_round_up(boot.cpus, 64) * 8, mb.smp_cache_bytes, owner="CPU masks")
