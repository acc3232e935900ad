"""The multi-generational LRU: aging, tiers with a controller that protects them, and eviction (mm/vmscan.c)."""

from __future__ import annotations

from mmtool.late import dataclass
from mmtool.linux.mm.folio import (
    ANON,
    LRU_GEN_MASK,
    LRU_GEN_SHIFT,
    LRU_REFS_MASK,
    PG_ACTIVE,
    PG_DIRTY,
    PG_LRU,
    PG_MLOCKED,
    PG_RECLAIM,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_UNEVICTABLE,
    PG_WORKINGSET,
    PG_WRITEBACK,
    PTE_PRESENT,
    folio_is_file_lru,
)
from mmtool.linux.mm.memory_state import (
    MAX_NR_GENS,
    MAX_NR_TIERS,
    MIN_NR_GENS,
    LruGen,
    Memory,
    MmWalk,
)
from mmtool.linux.mm.mm_inline import (
    folio_lru_gen,
    folio_lru_refs,
    gen_head,
    list_add,
    list_add_tail,
    list_del,
    lru_gen_del_folio,
    lru_gen_folio_seq,
    lru_gen_update_size,
    lru_tier_from_refs,
    lruvec_add_folio,
    lruvec_add_folio_tail,
)
from mmtool.linux.mm.page_writeback import wakeup_flusher_threads
from mmtool.linux.mm.swap import lru_add_drain
from mmtool.linux.mm.swap_state import complete_writeback
from mmtool.linux.mm.vmscan.classic import KINDS, move_folios_to_lru
from mmtool.linux.mm.vmscan.lru_gen_walk import MIN_LRU_BATCH, reset_batch_size, walk_mm
from mmtool.linux.mm.vmscan.scan_control import (
    DEF_PRIORITY,
    MAX_SWAPPINESS,
    SWAPPINESS_ANON_ONLY,
    ReclaimStat,
    ScanControl,
)
from mmtool.linux.mm.vmscan.shrink_folio_list import shrink_folio_list

MAX_LRU_BATCH = MIN_LRU_BATCH * 64
PROTECTING = PG_WORKINGSET | LRU_REFS_MASK
"""A page without any of these is of the first tier, which is always evicted."""
BIT_REFS = 4
"""BIT(LRU_REFS_WIDTH): one more use than the bits of a page can count."""


@dataclass(slots=True)
class CtrlPos:
    """struct ctrl_pos: refaults of how many evicted or protected pages, and their weight."""

    refaulted: int
    total: int
    gain: int


def read_ctrl_pos(m: Memory, g: LruGen, file: int, tier: int, gain: int) -> CtrlPos:
    """read_ctrl_pos(): where a tier stands; from 6.14 on tier 4 means all of them."""
    if tier < MAX_NR_TIERS:
        refaulted = g.avg_refaulted[file][tier] + g.refaulted[file][tier]
        total = g.avg_total[file][tier] + g.evicted[file][tier] + g.protected[file][tier]
        return CtrlPos(refaulted, total, gain)
    tiers = range(MAX_NR_TIERS)
    return CtrlPos(
        sum(g.avg_refaulted[file][t] + g.refaulted[file][t] for t in tiers),
        sum(g.avg_total[file][t] + g.evicted[file][t] + g.protected[file][t] for t in tiers),
        gain,
    )


def reset_ctrl_pos(g: LruGen, file: int) -> None:
    """reset_ctrl_pos(): a generation is over: half of what was counted is carried over."""
    for tier in range(MAX_NR_TIERS):
        g.avg_refaulted[file][tier] = (g.avg_refaulted[file][tier] + g.refaulted[file][tier]) // 2
        total = g.avg_total[file][tier] + g.evicted[file][tier] + g.protected[file][tier]
        g.avg_total[file][tier] = total // 2
        g.refaulted[file][tier] = g.evicted[file][tier] = g.protected[file][tier] = 0


def positive_ctrl_err(sp: CtrlPos, pv: CtrlPos) -> bool:
    """positive_ctrl_err(): do pages of `pv` come back no more often than those of `sp`, so that they may be evicted?"""
    return (
        pv.refaulted < MIN_LRU_BATCH
        or pv.refaulted * (sp.total + MIN_LRU_BATCH) * sp.gain <= (sp.refaulted + 1) * pv.total * pv.gain
    )


def get_tier_idx(m: Memory, g: LruGen, file: int) -> int:
    """get_tier_idx(): the highest tier that is evicted."""
    base = 2 if m.facts.lru_gen_refs_start_with_referenced else 1
    sp = read_ctrl_pos(m, g, file, 0, base)
    for tier in range(1, MAX_NR_TIERS):
        if not positive_ctrl_err(sp, read_ctrl_pos(m, g, file, tier, base + 1)):
            return tier - 1
    return MAX_NR_TIERS - 1


def get_type_to_scan(m: Memory, g: LruGen, swappiness: int) -> tuple[int, int | None]:
    """get_type_to_scan(): files or anonymous pages, by which come back less; until 6.13 with the tier to evict."""
    gain = (swappiness, MAX_SWAPPINESS - swappiness)
    if m.facts.lru_gen_refs_start_with_referenced:
        if swappiness <= 1:
            return 1, None
        if swappiness >= MAX_SWAPPINESS:
            return 0, None
        return int(
            positive_ctrl_err(
                read_ctrl_pos(m, g, 0, MAX_NR_TIERS, gain[0]), read_ctrl_pos(m, g, 1, MAX_NR_TIERS, gain[1])
            )
        ), None
    if not swappiness:
        return 1, None
    if g.min_seq[0] < g.min_seq[1]:
        return 0, None
    if swappiness in (1, MAX_SWAPPINESS):
        return int(swappiness == 1), None
    file = int(positive_ctrl_err(read_ctrl_pos(m, g, 0, 0, gain[0]), read_ctrl_pos(m, g, 1, 0, gain[1])))
    sp = read_ctrl_pos(m, g, 1 - file, 0, gain[1 - file])
    for tier in range(1, MAX_NR_TIERS):
        if not positive_ctrl_err(sp, read_ctrl_pos(m, g, file, tier, gain[file])):
            return file, tier - 1
    return file, MAX_NR_TIERS - 1


def nr_gens(g: LruGen, file: int) -> int:
    """get_nr_gens(): the generations of a type."""
    return g.max_seq - g.min_seq[file] + 1


def evictable_types(swappiness: int) -> range:
    """for_each_evictable_type(): anonymous pages if there is any swappiness, files unless it is for them alone."""
    return range(0 if swappiness else 1, 1 if swappiness == SWAPPINESS_ANON_ONLY else 2)


def folio_inc_gen(m: Memory, g: LruGen, slot: int, *, reclaiming: bool = False) -> int:
    """folio_inc_gen(): a page of the oldest generation goes to the next; one that was promoted stays where it is."""
    flags = m.flags[slot]
    file = folio_is_file_lru(flags)
    old = g.min_seq[file] % MAX_NR_GENS
    gen = folio_lru_gen(flags)
    if gen >= 0 and gen != old:
        return gen
    new = (old + 1) % MAX_NR_GENS
    clear = LRU_GEN_MASK | LRU_REFS_MASK | PG_REFERENCED
    if not m.facts.lru_gen_refs_start_with_referenced:
        clear |= PG_WORKINGSET
    m.flags[slot] = flags & ~clear | (new + 1) << LRU_GEN_SHIFT | (PG_RECLAIM if reclaiming else 0)
    lru_gen_update_size(m, g, file, old, new)
    return new


def _move_to(m: Memory, slot: int, gen: int, *, tail: bool) -> None:
    list_del(m, slot)
    add = list_add_tail if tail else list_add
    add(m, slot, gen_head(m, gen, folio_is_file_lru(m.flags[slot])))


def sort_folio(m: Memory, g: LruGen, slot: int, tier_idx: int, sc: ScanControl) -> bool:
    """sort_folio(): is a page of the oldest generation put elsewhere instead of being isolated?

    Promoted ones go where they belong, those of tiers above `tier_idx` to the next generation.
    """
    flags = m.flags[slot]
    file = 0 if flags & PG_SWAPBACKED else 1
    if flags & PG_MLOCKED:
        if not m.facts.lru_gen_sorts_dirty:
            return False
        lru_gen_del_folio(m, g, slot, reclaiming=True)
        m.flags[slot] |= PG_UNEVICTABLE
        lruvec_add_folio(m, slot)
        return True
    if m.facts.lru_gen_sorts_dirty_lazyfree and file and flags & ANON and flags & PG_DIRTY:
        lru_gen_del_folio(m, g, slot, reclaiming=True)
        m.flags[slot] |= PG_SWAPBACKED
        lruvec_add_folio_tail(m, slot)
        return True
    gen = ((flags & LRU_GEN_MASK) >> LRU_GEN_SHIFT) - 1
    if gen != g.min_seq[file] % MAX_NR_GENS:
        _move_to(m, slot, gen, tail=False)
        return True
    if flags & PROTECTING and _protect(m, g, slot, tier_idx):
        return True
    if m.facts.lru_gen_sorts_dirty and (flags & PG_WRITEBACK or (file and flags & PG_DIRTY)):
        if file and flags & PG_DIRTY:
            sc.nr_file_taken += 1
            sc.nr_unqueued_dirty += not flags & PG_WRITEBACK
        _move_to(m, slot, folio_inc_gen(m, g, slot, reclaiming=True), tail=False)
        return True
    return False


def _protect(m: Memory, g: LruGen, slot: int, tier_idx: int) -> bool:
    flags = m.flags[slot]
    file = folio_is_file_lru(flags)
    refs, workingset = folio_lru_refs(m, flags), bool(flags & PG_WORKINGSET)
    tier = lru_tier_from_refs(m, refs, workingset)
    if m.facts.lru_gen_refs_start_with_referenced:
        promoted = refs + workingset == BIT_REFS + 1
        if tier <= tier_idx and not promoted:
            return False
        _move_to(m, slot, folio_inc_gen(m, g, slot), tail=False)
        if not promoted:
            g.protected[file][tier] += 1
        return True
    if tier <= tier_idx and refs != BIT_REFS:
        return False
    _move_to(m, slot, folio_inc_gen(m, g, slot), tail=True)
    g.protected[file][tier] += 1
    if not m.facts.lru_gen_counts_all_refaults:
        m.vmstat[f"workingset_activate_{KINDS[file]}"] += 1
    return True


def isolate_folio(m: Memory, g: LruGen, slot: int) -> None:
    """isolate_folio(): take a page out of its generation to be shrunk."""
    flags = m.flags[slot]
    if not flags & PG_REFERENCED:
        flags &= ~LRU_REFS_MASK
        if not m.facts.lru_gen_refs_start_with_referenced:
            flags &= ~PG_WORKINGSET
    if m.facts.lru_gen_sorts_dirty:
        flags &= ~PG_RECLAIM
    if not m.facts.lru_gen_refs_start_with_referenced:
        flags &= ~PG_REFERENCED
    m.flags[slot] = flags & ~PG_LRU
    lru_gen_del_folio(m, g, slot, reclaiming=True)


def scan_folios(
    m: Memory, g: LruGen, file: int, tier: int, remaining: int, sc: ScanControl
) -> tuple[int, list[int]]:  # fmt: skip
    """scan_folios(): go through the oldest generation of a type from its end; pages scanned, and those isolated."""
    isolated: list[int] = []
    if nr_gens(g, file) == MIN_NR_GENS:
        return 0, isolated
    head = gen_head(m, g.min_seq[file] % MAX_NR_GENS, file)
    scanned = sorted_out = 0
    while m.prev[head] != head:
        slot = m.prev[head]
        scanned += 1
        if sort_folio(m, g, slot, tier, sc):
            sorted_out += 1
        else:
            isolate_folio(m, g, slot)
            isolated.append(slot)
        remaining -= 1
        if not remaining or len(isolated) >= MIN_LRU_BATCH:
            break
    m.vmstat[f"pgscan_{KINDS[file]}"] += len(isolated)
    if m.facts.memcg_counts_scan_by_kind:
        m.vmstat["pgrefill"] += sorted_out
    if file:
        sc.nr_file_taken += len(isolated)
    if m.facts.lru_gen_reclaims_in_batches or isolated or not remaining:
        return scanned, isolated
    return 0, isolated


def isolate_folios(
    m: Memory, g: LruGen, swappiness: int, nr_to_scan: int, sc: ScanControl
) -> tuple[int, int, list[int]]:  # fmt: skip
    """isolate_folios(): pages of one type, else of the other; what was scanned, the type, and the pages."""
    file, tier = get_type_to_scan(m, g, swappiness)
    total = 0
    isolated: list[int] = []
    taken_from = file
    for _ in evictable_types(swappiness):
        taken_from = file
        scanned, isolated = scan_folios(m, g, file, get_tier_idx(m, g, file) if tier is None else tier, nr_to_scan, sc)
        total += scanned
        if isolated or (scanned and not m.facts.lru_gen_reclaims_in_batches):
            break
        if not scanned:
            file = 1 - file
            tier = None
    return total, taken_from, isolated


def try_to_inc_min_seq(m: Memory, g: LruGen, swappiness: int) -> bool:
    """try_to_inc_min_seq(): leave empty oldest generations behind."""
    seqs = g.min_seq.copy()
    for file in evictable_types(swappiness):
        while seqs[file] + MIN_NR_GENS <= g.max_seq:
            head = gen_head(m, seqs[file] % MAX_NR_GENS, file)
            if m.prev[head] != head:
                break
            seqs[file] += 1
    if m.facts.lru_gen_refs_start_with_referenced:
        if seqs == g.min_seq:
            return False
        if swappiness and swappiness <= MAX_SWAPPINESS:
            seq = g.max_seq - MIN_NR_GENS
            if seqs[0] > seq > seqs[1]:
                seqs[0] = seq
            elif seqs[1] > seq > seqs[0]:
                seqs[1] = seq
    elif swappiness:
        seqs[0] = min(seqs)
        seqs[1] = max(seqs[0], g.min_seq[1])
    moved = False
    for file in evictable_types(swappiness):
        if seqs[file] > g.min_seq[file]:
            reset_ctrl_pos(g, file)
            g.min_seq[file] = seqs[file]
            moved = True
    return moved


def inc_min_seq(m: Memory, g: LruGen, file: int, swappiness: int) -> None:
    """inc_min_seq(): make room for a new generation: what is left of the oldest joins the next, ahead of its end."""
    if file in evictable_types(swappiness):
        head = gen_head(m, g.min_seq[file] % MAX_NR_GENS, file)
        while m.prev[head] != head:
            slot = m.prev[head]
            flags = m.flags[slot]
            refs, workingset = folio_lru_refs(m, flags), bool(flags & PG_WORKINGSET)
            _move_to(m, slot, folio_inc_gen(m, g, slot), tail=True)
            if m.facts.lru_gen_refs_start_with_referenced and refs + workingset != BIT_REFS + 1:
                g.protected[file][lru_tier_from_refs(m, refs, workingset)] += 1
    reset_ctrl_pos(g, file)
    g.min_seq[file] += 1


def inc_max_seq(m: Memory, g: LruGen, swappiness: int) -> None:
    """inc_max_seq(): a new generation; the last but one is no longer active."""
    for file in (1, 0):
        if nr_gens(g, file) == MAX_NR_GENS:
            inc_min_seq(m, g, file, swappiness)
    before, after = (g.max_seq - 1) % MAX_NR_GENS, (g.max_seq + 1) % MAX_NR_GENS
    for file in (0, 1):
        delta = g.nr_pages[before][file] - g.nr_pages[after][file]
        m.lruvec.size[file * 2] += delta
        m.lruvec.size[file * 2 + 1] -= delta
    g.max_seq += 1


def try_to_inc_max_seq(m: Memory, g: LruGen, swappiness: int) -> bool:
    """try_to_inc_max_seq(): age: walk the process's page tables if it has run since, then begin a generation."""
    if g.max_seq <= g.mm_seq:
        return False
    if g.walk is None:
        g.walk = MmWalk(swappiness)
    walk = g.walk
    walk.swappiness = swappiness
    walk.force_scan = not g.mm_scanned_before
    g.mm_scanned_before = True
    if walk.force_scan or g.mm_in_use:
        g.mm_in_use = False
        g.filters[(g.max_seq + 1) % 2] = set()
        walk_mm(m, g, walk)
    g.mm_seq += 1
    inc_max_seq(m, g, swappiness)
    return True


def get_swappiness(m: Memory, sc: ScanControl) -> int:
    """get_swappiness(): 0 where hardly any swap is left."""
    if sc.swappiness == SWAPPINESS_ANON_ONLY:
        return sc.swappiness
    if not sc.may_swap or m.swap_left() < MIN_LRU_BATCH:
        return 0
    return sc.swappiness


def evict_folios(m: Memory, g: LruGen, sc: ScanControl, swappiness: int, nr_to_scan: int) -> int:
    """evict_folios(): isolate up to 64 of the oldest pages and shrink them; what was scanned."""
    in_batches = m.facts.lru_gen_reclaims_in_batches
    if in_batches:
        try_to_inc_min_seq(m, g, swappiness)
    scanned, file, isolated = isolate_folios(m, g, swappiness, nr_to_scan, sc)
    if not in_batches or scanned:
        moved = try_to_inc_min_seq(m, g, swappiness)
        if not in_batches:
            scanned += moved
            if oldest_seq(m, g, swappiness) + MIN_NR_GENS > g.max_seq:
                scanned = 0
    retried = False
    while isolated:
        stat = ReclaimStat()
        reclaimed, kept = shrink_folio_list(m, isolated, sc, stat)
        sc.nr_reclaimed += reclaimed
        isolated = [slot for slot in kept if not _rejected(m, g, slot, file, retried=retried)]
        retry = set(isolated)
        move_folios_to_lru(m, [slot for slot in kept if slot not in retry])
        if g.walk is not None and g.walk.batched:
            reset_batch_size(m, g, g.walk)
        m.vmstat[f"pgsteal_{KINDS[file]}"] += reclaimed
        sc.nr_unqueued_dirty += stat.nr_unqueued_dirty
        if in_batches and not retried and stat.nr_unqueued_dirty == len(kept) + reclaimed:
            wakeup_flusher_threads(m)
        retried = True
    return scanned


def _rejected(m: Memory, g: LruGen, slot: int, file: int, *, retried: bool) -> bool:
    """Does a page that was not freed go back at once? Clean ones are tried again, others kept off the oldest."""
    flags = m.flags[slot]
    if flags & PG_MLOCKED:
        return True
    busy = flags & (PG_ACTIVE | PTE_PRESENT | PG_DIRTY | PG_WRITEBACK)
    if m.facts.lru_gen_refs_start_with_referenced:
        if not retried and not busy:
            return False
        if lru_gen_folio_seq(m, g, flags, reclaiming=False) == g.min_seq[file]:
            m.flags[slot] = flags & ~(LRU_REFS_MASK | PG_REFERENCED) | PG_ACTIVE
        return True
    if flags & PG_RECLAIM and flags & (PG_DIRTY | PG_WRITEBACK):
        if flags & PG_WORKINGSET:
            m.flags[slot] = flags | PG_REFERENCED
        return True
    if retried or busy or flags & PG_REFERENCED:
        m.flags[slot] = flags & ~(LRU_REFS_MASK | PG_REFERENCED | PG_WORKINGSET) | PG_ACTIVE
        return True
    return False


def evictable_size(g: LruGen, swappiness: int) -> int:
    """lruvec_evictable_size(): the pages of all generations that may be evicted."""
    return sum(
        max(g.nr_pages[seq % MAX_NR_GENS][file], 0)
        for file in evictable_types(swappiness)
        for seq in range(g.min_seq[file], g.max_seq + 1)
    )


def oldest_seq(m: Memory, g: LruGen, swappiness: int) -> int:
    """evictable_min_seq(): the oldest generation that may be evicted; until 6.13 of one type."""
    if m.facts.lru_gen_refs_start_with_referenced:
        return min(g.min_seq[file] for file in evictable_types(swappiness))
    return g.min_seq[0 if swappiness else 1]


def should_run_aging(m: Memory, g: LruGen, swappiness: int) -> bool:
    """should_run_aging(): are there too few generations; until 6.13 also: too few old pages, or too many young ones?"""
    oldest = oldest_seq(m, g, swappiness)
    if m.facts.lru_gen_refs_start_with_referenced:
        return oldest + MIN_NR_GENS >= g.max_seq
    if oldest + MIN_NR_GENS > g.max_seq:
        return True
    if oldest + MIN_NR_GENS < g.max_seq:
        return False
    young = old = total = 0
    for kind in evictable_types(swappiness):
        for seq in range(g.min_seq[kind], g.max_seq + 1):
            size = max(g.nr_pages[seq % MAX_NR_GENS][kind], 0)
            total += size
            if seq == g.max_seq:
                young += size
            elif seq + MIN_NR_GENS == g.max_seq:
                old += size
    return young * MIN_NR_GENS > total or old * (MIN_NR_GENS + 2) < total


def lru_gen_shrink_lruvec(m: Memory, g: LruGen, sc: ScanControl) -> None:
    """lru_gen_shrink_lruvec(): evict as much as the priority asks for, aging where there is too little to evict."""
    lru_add_drain(m)
    sc.nr_unqueued_dirty = sc.nr_file_taken = 0
    g.walk = MmWalk(0) if sc.proactive and not m.facts.lru_gen_ages_before_evicting else None
    if m.facts.lru_gen_reclaims_in_batches:
        _shrink_by_batches(m, g, sc)
    elif m.facts.lru_gen_ages_before_evicting:
        _shrink_after_aging(m, g, sc)
    else:
        _shrink_or_age(m, g, sc)
        if m.facts.lru_gen_wakes_flusher and sc.nr_unqueued_dirty and sc.nr_unqueued_dirty == sc.nr_file_taken:
            wakeup_flusher_threads(m)
    g.walk = None
    complete_writeback(m)


def _shrink_or_age(m: Memory, g: LruGen, sc: ScanControl) -> None:
    """try_to_shrink_lruvec() of 6.3 to 7.1: where it ages, it evicts nothing more at this priority."""
    swappiness = get_swappiness(m, sc)
    scanned = 0
    while True:
        if should_run_aging(m, g, swappiness):
            if sc.priority != DEF_PRIORITY:
                try_to_inc_max_seq(m, g, swappiness)
                return
            if m.facts.lru_gen_refs_start_with_referenced and oldest_seq(m, g, swappiness) + MIN_NR_GENS > g.max_seq:
                return
        want = evictable_size(g, swappiness) >> sc.priority
        if want <= 0:
            return
        scan = min(want, MAX_LRU_BATCH) if m.facts.lru_gen_scans_no_more else MAX_LRU_BATCH
        delta = evict_folios(m, g, sc, swappiness, scan)
        scanned += delta
        if not delta or scanned >= want:
            return


def _shrink_after_aging(m: Memory, g: LruGen, sc: ScanControl) -> None:
    """lru_gen_shrink_lruvec() of 6.1: it ages at most once, and evicts all the same."""
    start = g.max_seq
    scanned = 0
    while True:
        swappiness = get_swappiness(m, sc)
        want = evictable_size(g, swappiness) >> sc.priority
        aging = should_run_aging(m, g, swappiness)
        if not want:
            return
        if aging:
            aged = sc.priority != DEF_PRIORITY and try_to_inc_max_seq(m, g, swappiness)
            if not aged and oldest_seq(m, g, swappiness) + MIN_NR_GENS > g.max_seq:
                return
        anon_before = m.vmstat["pgscan_anon"]
        delta = evict_folios(m, g, sc, swappiness, MAX_LRU_BATCH)
        scanned += delta
        if not delta or scanned >= want:
            return
        swapping = m.vmstat["pgscan_anon"] != anon_before
        if g.max_seq - start > 1 or (swapping and sc.nr_reclaimed >= sc.nr_to_reclaim):
            return


def _shrink_by_batches(m: Memory, g: LruGen, sc: ScanControl) -> None:
    """try_to_shrink_lruvec() of 7.2: at most 64 pages at a time, until there is enough."""
    swappiness = get_swappiness(m, sc)
    if swappiness == SWAPPINESS_ANON_ONLY and m.facts.anon_only_bails_out and m.swap_left() <= 0:
        return
    want = evictable_size(g, swappiness) >> sc.priority
    while want > 0:
        oldest = oldest_seq(m, g, swappiness) + MIN_NR_GENS
        if oldest > g.max_seq or (sc.priority != DEF_PRIORITY and oldest == g.max_seq):
            try_to_inc_max_seq(m, g, swappiness)
        delta = evict_folios(m, g, sc, swappiness, min(want, MIN_LRU_BATCH))
        if not delta or sc.nr_reclaimed >= sc.nr_to_reclaim:
            return
        want -= delta
