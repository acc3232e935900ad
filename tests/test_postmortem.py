"""The judgement on made-up reports: each cause and each remedy, where one number decides."""

from __future__ import annotations

import pytest

from mmtool.answers.postmortem.judge import Cause, Judgement, Remedy, Verdict, judge
from mmtool.answers.postmortem.zones import Exclusion
from mmtool.observed.reports import parse_reports
from mmtool.report.postmortem import text

F, P, U = Verdict.FAILS, Verdict.PASSES, Verdict.UNKNOWN


def zone(
    name: str, free: int, blocks: str, *, nid: int = 0, low: int = 1000, reserve: str = "0 0 0 0", **fields: int
) -> str:
    """A zone's lines as 6.12 prints them. `free` and `low` (the min watermark) in pages, other fields too."""
    said = {"boost": 0, "min": low, "low": 2 * low, "high": 3 * low, "reserved_highatomic": 0, "active_file": 0}
    said |= {"present": 500000, "managed": 500000, "mlocked": 0, "bounce": 0, "free_pcp": 0, "free_cma": 0} | fields
    words = " ".join(f"{field}:{4 * pages}kB" for field, pages in said.items())
    counts = blocks.split()
    listed = " ".join(f"{c.split('(')[0]}*{4 << o}kB" + (f" ({c.split('(')[1]}" if "(" in c else "")
                      for o, c in enumerate(counts))  # fmt: skip
    total = sum(int(c.split("(")[0]) << o for o, c in enumerate(counts)) * 4
    head = f"Node {nid} {name}"
    return f"{head} free:{4 * free}kB {words}\nlowmem_reserve[]: {reserve}\n{head}: {listed} = {total}kB\n"


def explained(
    request: str, *zones: str, head: str = "x: page allocation failure: ", release: str = "6.12.0"
) -> Judgement:
    words = f"{head}{request}\nCPU: 0 PID: 1 Comm: x Not tainted {release} #1\nMem-Info:\n{''.join(zones)}"
    (report,) = parse_reports(words)
    j = judge(report)
    assert text(j)
    return j


KERNEL = "mode:0xcc0(GFP_KERNEL), nodemask=(null)"
ATOMIC = "mode:0x820(GFP_ATOMIC), nodemask=(null)"
MOVABLE = "mode:0x100cca(GFP_HIGHUSER_MOVABLE), nodemask=(null)"


@pytest.mark.parametrize(
    ("request_", "zones", "verdict", "cause", "advice"),
    [
        (f"order:0, {KERNEL}", [zone("Normal", 1000, "1000(U) 0")], F, Cause.OUT_OF_PAGES, {Remedy.MORE_MEMORY: 1}),
        (f"order:0, {KERNEL}", [zone("Normal", 1001, "1001(U) 0")], P, Cause.PASSES, {Remedy.RETRY: 0}),
        (f"order:0, {ATOMIC}", [zone("Normal", 375, "375(U) 0")], F, Cause.OUT_OF_PAGES, {Remedy.MIN_FREE_KBYTES: 1}),
        (f"order:0, {ATOMIC}", [zone("Normal", 375, "375(U) 0", active_file=9)], F, Cause.OUT_OF_PAGES,
         {Remedy.RECLAIM: 9, Remedy.MIN_FREE_KBYTES: 1}),
        (f"order:0, {ATOMIC}", [zone("Normal", 376, "376(U) 0")], P, Cause.PASSES, {Remedy.RETRY: 0}),
        (f"order:2, {KERNEL}", [zone("Normal", 5000, "4996(U) 2(U) 0 0")], F, Cause.FRAGMENTED,
         {Remedy.LOWER_ORDER: 1, Remedy.COMPACTION: 3997}),
        (f"order:2, {KERNEL}", [zone("Normal", 5000, "4996(U) 0 1(M) 0")], P, Cause.PASSES, {Remedy.RETRY: 0}),
        (f"order:2, {KERNEL}", [zone("Normal", 5000, "4996(U) 0 1(H) 0", reserved_highatomic=512)], F,
         Cause.ONLY_HIGHATOMIC_BLOCKS, {Remedy.LOWER_ORDER: 0, Remedy.COMPACTION: 3993}),
        (f"order:2, {KERNEL}", [zone("Normal", 5000, "4996(U) 0 1(C) 0", free_cma=4)], F, Cause.ONLY_CMA_BLOCKS,
         {Remedy.LOWER_ORDER: 0, Remedy.COMPACTION: 3993, Remedy.MOVABLE: 0}),
        (f"order:2, {MOVABLE}", [zone("Normal", 5000, "4996(U) 0 1(C) 0", free_cma=4)], P, Cause.PASSES,
         {Remedy.RETRY: 0}),
        (f"order:0, {KERNEL}", [zone("Normal", 5000, "5000(C) 0", free_cma=4000)], F, Cause.CMA,
         {Remedy.MOVABLE: 0, Remedy.MORE_MEMORY: 1}),
        (f"order:0, {KERNEL}", [zone("Normal", 1100, "1100(H) 0", reserved_highatomic=512)], F, Cause.HIGHATOMIC,
         {Remedy.MORE_MEMORY: 413}),
        (f"order:0, {KERNEL}", [zone("Normal", 1100, "1100(UH) 0", reserved_highatomic=512)], U, Cause.NUMBERS_MISSING,
         None),
        (f"order:0, {KERNEL}", [zone("Normal", 1500, "1500(U) 0", low=2000, boost=1000)], F, Cause.BOOST,
         {Remedy.BOOST_FACTOR: 0, Remedy.MORE_MEMORY: 501}),
        (f"order:0, {KERNEL}", [zone("DMA32", 1500, "1500(U) 0", reserve="0 0 900 900"),
                                zone("Normal", 10, "10(U) 0", managed=9)], F, Cause.LOWMEM_RESERVE,
         {Remedy.LOWMEM_RESERVE_RATIO: 0, Remedy.MORE_MEMORY: 401}),
        (f"order:11, {KERNEL}", [zone("Normal", 9000, "9000(U) 0 0")], F, Cause.ORDER_TOO_LARGE,
         {Remedy.LOWER_ORDER: 0, Remedy.KVMALLOC: 0}),
        ("order:0, mode:0x1(GFP_DMA), nodemask=(null)", [zone("Normal", 9000, "9000(U) 0", reserve="0 0 0")], P,
         Cause.PASSES, None),
        ("order:0, mode:0x1(GFP_DMA), nodemask=(null)",
         [zone("DMA", 0, "0 0", managed=0), zone("Normal", 9000, "9000(U)")], F, Cause.NO_ZONE,
         {Remedy.HIGHER_ZONE: 0}),
        ("order:0, mode:0xcc0(GFP_KERNEL), nodemask=1",
         [zone("Normal", 9000, "9000(U) 0"), zone("Normal", 9, "9(U) 0", nid=1)], F, Cause.OUT_OF_PAGES,
         {Remedy.OTHER_NODE: 0, Remedy.MORE_MEMORY: 992}),
        ("order:0, mode:0xcc0(GFP_KERNEL), nodemask=(null),cpuset=a,mems_allowed=1",
         [zone("Normal", 9000, "9000(U) 0"), zone("Normal", 9, "9(U) 0", nid=1)], F, Cause.OUT_OF_PAGES,
         {Remedy.OTHER_NODE: 0, Remedy.MORE_MEMORY: 992}),
        ("order:0, mode:0x820(GFP_ATOMIC), nodemask=(null),cpuset=a,mems_allowed=1",
         [zone("Normal", 9000, "9000(U) 0"), zone("Normal", 9, "9(U) 0", nid=1)], P, Cause.PASSES, None),
        ("order:0, mode:0x20c40(GFP_NOFS|__GFP_MEMALLOC), nodemask=(null)", [zone("Normal", 0, "0 0")], F,
         Cause.OUT_OF_PAGES, {Remedy.MORE_MEMORY: 0}),
        ("order:0, mode:0x20c40(GFP_NOFS|__GFP_MEMALLOC), nodemask=(null)", [zone("Normal", 1, "1(U) 0")], P,
         Cause.PASSES, None),
    ],
)  # fmt: skip
def test_the_term_that_decides(
    request_: str, zones: list[str], verdict: Verdict, cause: Cause, advice: dict[Remedy, int] | None
) -> None:
    j = explained(request_, *zones)
    assert (j.verdict, j.cause) == (verdict, cause)
    if advice is not None:
        assert {a.remedy: a.value for a in j.advice} == advice


def test_zones_that_are_not_asked_say_why() -> None:
    j = explained(
        "order:0, mode:0xcc4(GFP_KERNEL|GFP_DMA32), nodemask=0",
        zone("DMA32", 9, "9(U) 0"), zone("Normal", 9000, "9000(U) 0"), zone("DMA32", 9000, "9000(U) 0", nid=1),
    )  # fmt: skip
    assert [z.exclusion for z in j.zones] == [None, Exclusion.ABOVE, Exclusion.NODE]
    assert j.verdict is F


@pytest.mark.parametrize(
    ("size", "verdict", "cause"), [(400 << 12, P, Cause.PASSES), (401 << 12, F, Cause.TOO_FEW_TOGETHER)]
)
def test_vmalloc_needs_all_pages_of_its_area(size: int, verdict: Verdict, cause: Cause) -> None:
    j = explained(
        f"size {size}, failed to allocate pages, {KERNEL}", zone("Normal", 1400, "1400(U) 0"), head="x: vmalloc error: "
    )
    assert (j.verdict, j.cause, j.needed_pages) == (verdict, cause, size >> 12)


def test_vmalloc_without_page_tables() -> None:
    j = explained(f"size 4096, failed to map pages, {KERNEL}", zone("Normal", 1, "1(U)"), head="x: vmalloc error: ")
    assert (j.verdict, j.cause) == (F, Cause.NO_MAPPING)


@pytest.mark.parametrize(
    ("free", "verdict"), [(1000 + 1, F), (1000 + 512, F), (1000 + 513, U), (1000 + 1024 + 5000 + 1, P), (3000, U)]
)
def test_a_reserve_that_is_not_printed_is_between_a_pageblock_and_a_hundredth(free: int, verdict: Verdict) -> None:
    words = zone("Normal", free, "5(UH) 0 0 0 0 0 0 0 0 0 0", reserve="0 0 0").replace("reserved_highatomic:0kB ", "")
    words = words.replace("boost:0kB ", "")
    j = explained("order:0, mode:0x6000c0(GFP_KERNEL), nodemask=(null)", words, release="4.19.1")
    assert j.verdict is verdict
    assert ("open: the reserve for atomic requests is not printed" in text(j)) is (verdict is U)
