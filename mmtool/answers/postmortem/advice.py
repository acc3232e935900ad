"""What would have left more memory free, by the account of a report."""

from __future__ import annotations

from mmtool.answers.postmortem.account import HUGE, RESERVED, SHMEM, SLAB, SLAB_ALL, Account, machine_account
from mmtool.answers.postmortem.sums import Hidden
from mmtool.answers.postmortem.verdict import Advice, Cause, Remedy
from mmtool.observed.reports import MemInfo

BLOCKS_LACK = (
    Cause.FRAGMENTED, Cause.TOO_FEW_LARGE_BLOCKS, Cause.ONLY_CMA_BLOCKS, Cause.ONLY_HIGHATOMIC_BLOCKS,
)  # fmt: skip
PAGES_LACK = (
    Cause.OUT_OF_PAGES, Cause.CMA, Cause.HIGHATOMIC, Cause.LOWMEM_RESERVE, Cause.BOOST, Cause.TOO_FEW_TOGETHER,
    Cause.BELOW_MARKS,
)  # fmt: skip
MOST = 4
"""What has more than a fourth of the memory is named."""
LARGE_MARKS = 20
"""Min watermarks of more than a twentieth of the memory are themselves a cause."""
FULL_SWAP = 200
"""Of swap less than a two hundredth is free: it is full."""


def about_memory(info: MemInfo, left_out: Hidden | None) -> list[Advice]:
    """What stands out in the account of a report that lacks pages, the most useful first."""
    account = machine_account(info)
    advice = []
    if left_out is not None and left_out.why is not None and left_out.why.startswith("nodes") and left_out.free:
        advice.append(Advice(Remedy.ELSEWHERE, left_out.free))
    free_huge = sum(pool.free * pool.size_kb for pool in info.huge_pages) // info.page_kb
    if free_huge:
        advice.append(Advice(Remedy.HUGE_PAGES, free_huge))
    if account is not None:
        advice += _large(account)
        marks = sum(zone.kb.get("min", 0) for zone in info.zones) // info.page_kb
        if account.closes and marks * LARGE_MARKS > account.total - account.amount(RESERVED):
            advice.append(Advice(Remedy.MARKS_TOO_HIGH, marks))
    return advice


def _large(account: Account) -> list[Advice]:
    managed = account.total - account.amount(RESERVED) - account.amount(HUGE)
    uses = {
        Remedy.DRIVERS: 0 if account.missing or not account.closes else account.unaccounted,
        Remedy.KERNEL_OBJECTS: account.amount(SLAB) + account.amount(SLAB_ALL),
        Remedy.SHARED_MEMORY: account.amount(SHMEM),
    }
    return [Advice(remedy, pages) for remedy, pages in uses.items() if pages * MOST > managed]


def swap_is_full(info: MemInfo) -> bool:
    """Is there swap, and nothing of it to speak of is free?"""
    total, free = info.swap.get("total", 0), info.swap.get("free")
    return bool(total) and free is not None and free * FULL_SWAP <= total
