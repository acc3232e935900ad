"""Page faults: what a load or a store through a mapping does (mm/memory.c, and filemap_fault() of mm/filemap.c)."""

from __future__ import annotations

from mmtool.linux.fs.ext4.inode import ext4_dirty_inode
from mmtool.linux.mm.filemap import filemap_add_folio
from mmtool.linux.mm.folio import (
    OF_PTE,
    PG_ACTIVE,
    PG_LRU,
    PG_MLOCKED,
    PG_PRESENT,
    PG_READAHEAD,
    PG_SWAPBACKED,
    PG_SWAPCACHE,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    PTE_YOUNG,
    PTE_ZERO,
    VM_LOCKED,
)
from mmtool.linux.mm.memcontrol.charge import mem_cgroup_handle_over_high, try_charge
from mmtool.linux.mm.memory_state import Mapped, Memory
from mmtool.linux.mm.mlock import mlock_folio, mlock_new_folio, munlock_folio
from mmtool.linux.mm.mm_inline import lruvec_del_folio
from mmtool.linux.mm.page_writeback import folio_mark_dirty
from mmtool.linux.mm.swap import folio_add_lru, folio_mark_accessed, lru_add_drain, release_folios
from mmtool.linux.mm.swap_state import (
    PTES_PER_PMD,
    cluster_window,
    complete_writeback,
    folio_free_swap,
    is_swapped,
    note_refault,
    owned_slots,
    swap_cache_alloc,
    swap_cache_hit,
    swap_readpage,
    vma_window,
)
from mmtool.linux.mm.swapfile.swap_info import swp_type

PTE_LOADED = PTE_PRESENT | PTE_YOUNG
PTE_STORED = PTE_LOADED | PTE_DIRTY | PTE_WRITE


def load(m: Memory, obj: Mapped, page: int) -> bool:
    """A byte is loaded through the mapping: the accessed bit, or a fault."""
    slot = obj.base + page
    flags = m.flags[slot]
    if flags & (PTE_PRESENT | PTE_ZERO):
        m.flags[slot] = flags | PTE_YOUNG
        if m.lru_gen is not None:
            m.lru_gen.pmd_young.add(slot - page % PTES_PER_PMD)
        return True
    return handle_mm_fault(m, obj, page, write=False)


def store(m: Memory, obj: Mapped, page: int) -> bool:
    """A word is stored through the mapping: accessed and dirty bits, or a fault."""
    slot = obj.base + page
    flags = m.flags[slot]
    if flags & PTE_WRITE:
        m.flags[slot] = flags | PTE_YOUNG | PTE_DIRTY
        if m.lru_gen is not None:
            m.lru_gen.pmd_young.add(slot - page % PTES_PER_PMD)
        return True
    return handle_mm_fault(m, obj, page, write=True)


def handle_mm_fault(m: Memory, obj: Mapped, page: int, *, write: bool) -> bool:
    """handle_mm_fault(): count the fault, and serve it as what it is."""
    slot = obj.base + page
    m.vmstat["pgfault"] += 1
    m.stats.count(1)
    m.in_lru_fault = obj.anon
    if m.lru_gen is not None and obj.anon:
        m.lru_gen.pmd_young.add(slot - page % PTES_PER_PMD)
    if not obj.anon:
        done = _file_fault(m, obj, page, write=write)
    elif is_swapped(m, slot):
        done = do_swap_page(m, obj, page, write=write)
    elif m.flags[slot] & PTE_PRESENT:
        done = do_wp_page(m, slot)
    elif write:
        done = do_anonymous_page(m, slot)
    else:
        m.flags[slot] |= PTE_ZERO | PTE_YOUNG
        done = True
    m.in_lru_fault = False
    if m.memcg.nr_pages_over_high:
        mem_cgroup_handle_over_high(m)
    return done


def do_anonymous_page(m: Memory, slot: int) -> bool:
    """do_anonymous_page(), and wp_page_copy() of the zero page: a new page, inactive at first."""
    if not try_charge(m):
        return False
    m.stats.count(2 if m.facts.memcg_counts_pgpgin else 1)
    m.flags[slot] = m.flags[slot] & ~OF_PTE | PG_PRESENT | PG_SWAPBACKED | PTE_STORED
    folio_add_lru_vma(m, slot)
    return True


def do_wp_page(m: Memory, slot: int) -> bool:
    """do_wp_page() of an anonymous page that is mapped read-only: it is the process's own, and becomes writable.

    Up to 5.17 it is copied where the swap cache or a batch holds it too.
    """
    flags = m.flags[slot]
    if m.facts.anon_reuse_needs_one_reference and (flags & PG_SWAPCACHE or not flags & PG_LRU):
        if not try_charge(m):
            return False
        if flags & PG_SWAPCACHE:
            folio_free_swap(m, slot)
        m.stats.count(3 if m.facts.memcg_counts_pgpgin else 2)
        release_folios(m, [slot])
        m.flags[slot] |= PG_PRESENT | PG_SWAPBACKED | PTE_STORED
        folio_add_lru_vma(m, slot)
        return True
    m.flags[slot] = flags | PTE_STORED
    return True


def do_swap_page(m: Memory, obj: Mapped, page: int, *, write: bool) -> bool:
    """do_swap_page(): bring a page back, from the swap cache or from its device, and map it."""
    slot = obj.base + page
    entry = m.swap_entry[slot]
    area = m.swap.areas[swp_type(entry)]
    if m.flags[slot] & PG_SWAPCACHE:
        swap_cache_hit(m, obj, slot, page)
    elif area.synchronous and not m.facts.swapin_through_cache:
        if not try_charge(m):
            return False
        m.stats.count(1 if m.facts.memcg_counts_pgpgin else 0)
        m.flags[slot] |= PG_PRESENT | PG_SWAPBACKED
        note_refault(m, slot, entry, forget=False)
        folio_add_lru(m, slot)
        swap_readpage(m)
        _count_major(m)
    else:
        if not area.synchronous:
            _swapin_readahead(m, obj, page, entry)
        if not m.flags[slot] & PG_SWAPCACHE:
            if not try_charge(m):
                return False
            swap_cache_alloc(m, slot, entry)
        _count_major(m)
    if write and m.flags[slot] & (PG_LRU | PG_SWAPCACHE) == PG_SWAPCACHE and m.facts.swapin_store_drains_lru:
        lru_add_drain(m)
    _map_swapped(m, slot, entry, write=write)
    return True


def _count_major(m: Memory) -> None:
    m.vmstat["pgmajfault"] += 1
    m.stats.count(1)


def _map_swapped(m: Memory, slot: int, entry: int, *, write: bool) -> None:
    """The end of do_swap_page(): the page table entry refers to the page in place of the slot of swap."""
    flags = m.flags[slot]
    freed = m.swap.put(entry, 1)
    m.stats.count(1)
    m.flags[slot] = flags | (PTE_STORED if write else PTE_LOADED)
    if freed:
        m.swap_entry[slot] = -1
    elif (
        (write and not m.facts.swapin_store_keeps_slot)
        or m.swap.vm_swap_full()
        or flags & VM_LOCKED
        or (m.facts.swapin_through_cache and m.swap.areas[swp_type(entry)].synchronous)
    ):
        folio_free_swap(m, slot)
    if m.facts.swapin_maps_writable:
        m.flags[slot] |= PTE_WRITE
    if flags & VM_LOCKED:
        mlock_folio(m, slot)


def _swapin_readahead(m: Memory, obj: Mapped, page: int, entry: int) -> None:
    """swapin_readahead(): pages whose slots lie around this one, or those around it in the mapping."""
    wanted = obj.base + page
    if m.swap.nr_rotate_swap:
        offsets = cluster_window(m, entry)
        if offsets is None:
            return
        around = owned_slots(m, m.swap, entry, offsets)
    else:
        pages = vma_window(m, obj, page)
        if pages is None:
            return
        around = [
            (slot, m.swap_entry[slot])
            for slot in range(obj.base + pages.start, obj.base + pages.stop)
            if is_swapped(m, slot)
        ]
    m.plugged = True
    for slot, at in around:
        read_swap_cache_async(m, slot, at, readahead=slot != wanted)
    m.plugged = False
    lru_add_drain(m)
    complete_writeback(m)


def read_swap_cache_async(m: Memory, slot: int, entry: int, *, readahead: bool) -> None:
    """read_swap_cache_async(): read a page into the swap cache, if it is in use and not there yet."""
    if m.swap_entry[slot] != entry or m.flags[slot] & (PG_SWAPCACHE | PTE_PRESENT) or not m.swap.swap_count(entry):
        return
    if not try_charge(m) or m.swap_entry[slot] != entry or m.flags[slot] & PG_SWAPCACHE:
        return
    swap_cache_alloc(m, slot, entry)
    if readahead:
        m.flags[slot] |= PG_READAHEAD
        m.vmstat["swap_ra"] += 1


def folio_add_lru_vma(m: Memory, slot: int) -> None:
    """folio_add_lru_vma(): queue a new page, for the unevictable list where the mapping is locked."""
    if m.flags[slot] & VM_LOCKED:
        mlock_new_folio(m, slot)
    else:
        folio_add_lru(m, slot)


def _file_fault(m: Memory, obj: Mapped, page: int, *, write: bool) -> bool:
    """do_read_fault(), do_shared_fault() and do_wp_page() of a file that is mapped shared."""
    slot = obj.base + page
    if not write and m.fault_around > 1:
        _do_fault_around(m, obj, page)
        if m.flags[slot] & PTE_PRESENT:
            return True
    if not m.flags[slot] & PG_PRESENT:
        _count_major(m)
        if not filemap_add_folio(m, slot):
            return False
        if m.facts.pgfault_counts_retries:
            m.vmstat["pgfault"] += 1
            m.stats.count(1)
        if not write and m.fault_around > 1:
            _do_fault_around(m, obj, page)
    if write:
        ext4_dirty_inode(m)
        folio_mark_dirty(m, slot)
    if not m.flags[slot] & PTE_PRESENT:
        _map_file_page(m, slot)
    m.flags[slot] |= PTE_STORED if write else PTE_LOADED
    return True


def _map_file_page(m: Memory, slot: int) -> None:
    m.stats.count(1)
    m.flags[slot] |= PTE_LOADED
    if m.flags[slot] & VM_LOCKED:
        mlock_folio(m, slot)


def _do_fault_around(m: Memory, obj: Mapped, page: int) -> None:
    """do_fault_around(): map what is in the page cache of the aligned stretch around the page."""
    start = page - page % m.fault_around
    for slot in range(obj.base + start, obj.base + min(start + m.fault_around, obj.pages)):
        if m.flags[slot] & (PG_PRESENT | PTE_PRESENT) == PG_PRESENT:
            _map_file_page(m, slot)


def do_mlock(m: Memory, obj: Mapped, start: int, end: int) -> None:
    """mlock(2): lock the mapping's pages, then bring in those that are missing (mlock_fixup(), __mm_populate())."""
    slots = range(obj.base + start, obj.base + end)
    obj.split = True
    if m.facts.mlock_in_batches:
        lru_add_drain(m)
    for slot in slots:
        m.flags[slot] |= VM_LOCKED
        if m.flags[slot] & PTE_PRESENT and m.facts.mlock_in_batches:
            mlock_folio(m, slot)
    if m.facts.mlock_in_batches:
        lru_add_drain(m)
    for page in range(start, end):
        slot = obj.base + page
        wanted = PTE_WRITE if obj.anon else PTE_PRESENT
        if not m.flags[slot] & wanted:
            handle_mm_fault(m, obj, page, write=obj.anon)
        folio_mark_accessed(m, slot)
        if not m.facts.mlock_in_batches:
            lru_add_drain(m)
            _mlock_vma_page(m, slot)
    if m.facts.mlock_in_batches:
        lru_add_drain(m)


def do_munlock(m: Memory, obj: Mapped, start: int, end: int) -> None:
    """munlock(2): the pages may be reclaimed again."""
    slots = range(obj.base + start, obj.base + end)
    lru_add_drain(m)
    for slot in slots:
        m.flags[slot] &= ~VM_LOCKED
        if m.flags[slot] & PTE_PRESENT:
            if m.facts.mlock_in_batches:
                munlock_folio(m, slot)
            else:
                _munlock_vma_page(m, slot)
    lru_add_drain(m)


def _mlock_vma_page(m: Memory, slot: int) -> None:
    """mlock_vma_page() up to 5.17: the page leaves its list and is queued for the unevictable one."""
    if m.flags[slot] & PG_MLOCKED:
        return
    m.flags[slot] |= PG_MLOCKED
    _isolate_and_put_back(m, slot)


def _munlock_vma_page(m: Memory, slot: int) -> None:
    if m.flags[slot] & PG_MLOCKED:
        m.flags[slot] &= ~PG_MLOCKED
        _isolate_and_put_back(m, slot)


def _isolate_and_put_back(m: Memory, slot: int) -> None:
    if m.flags[slot] & PG_LRU:
        lruvec_del_folio(m, slot)
        m.flags[slot] &= ~(PG_LRU | PG_ACTIVE)
        folio_add_lru(m, slot)
