"""kmalloc(): which cache serves a size, what ksize() says of it, and where the page allocator takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mmtool.build.gfp import GfpFlags, gfp_flags
from mmtool.late import dataclass
from mmtool.linux.mm.slab_common import KmemCache, SlabBuild

PAGES, FAILS = "pages", "fails"


@dataclass(frozen=True)
class KmallocRun:
    """Sizes (bytes, both ends included) that get the same answer: ksize() and who serves them."""

    first: int
    last: int
    ksize: int
    served: str
    """A cache's name, "slob", "pages" (the page allocator's own) or "fails"."""
    cache: KmemCache | None = None


KmallocOf = Callable[[int, frozenset[str]], KmallocRun]
"""One size and the flags that choose the kind of cache -> the answer, `last` the last size that gets it too."""


def slab_gfp(build: SlabBuild) -> GfpFlags:
    """The gfp flags of the build."""
    options = {name for name in ("LOCKDEP", "KASAN_HW_TAGS") if build.kernel.enabled(name)}
    return gfp_flags(build.kernel.release, frozenset({"SLAB_OBJ_EXT"} | options))


def kinds(mask: int, gfp: GfpFlags) -> frozenset[str]:
    """The flags of a mask that choose between the kinds of kmalloc caches."""
    return frozenset(name for name in ("DMA", "RECLAIMABLE", "ACCOUNT") if gfp.has(mask, f"__GFP_{name}"))


def kmalloc_large(size: int, build: SlabBuild) -> KmallocRun:
    """kmalloc_large(): whole pages, a power of two of them, up to the largest block."""
    ksize = max(1 << (size - 1).bit_length(), build.page_size)
    if ksize > build.kmalloc_max_size:
        return KmallocRun(size, 1 << 62, 0, FAILS)
    return KmallocRun(size, ksize, ksize, PAGES)


def kmalloc_range(first: int, last: int, kind: frozenset[str], answer: KmallocOf) -> list[KmallocRun]:
    """The answers for every size of a range, those of neighbours that are the same in one."""
    runs: list[KmallocRun] = []
    size = first
    while size <= last:
        run = answer(size, kind)
        end = min(run.last, last)
        before = runs[-1] if runs else None
        if before is not None and (before.ksize, before.served) == (run.ksize, run.served):
            runs[-1] = KmallocRun(before.first, end, run.ksize, run.served, run.cache)
        else:
            runs.append(KmallocRun(size, end, run.ksize, run.served, run.cache))
        size = end + 1
    return runs


def kmalloc_sizes(sizes: Iterable[int], kind: frozenset[str], answer: KmallocOf) -> list[KmallocRun]:
    """The answers for single sizes, one each."""
    runs = (answer(size, kind) for size in sizes)
    return [KmallocRun(run.first, run.first, run.ksize, run.served, run.cache) for run in runs]


def parse_sizes(text: str) -> tuple[int, int] | Sequence[int]:
    """N or N,N,... as sizes, FROM-TO as a pair of ends. ValueError says what is wrong."""
    low, dash, high = text.partition("-")
    words = [low, high] if dash else text.split(",")
    for word in words:
        if not word.strip().isdecimal() or not 0 < int(word) < 1 << 48:
            raise ValueError(f"{word[:40]!r} is no size in bytes, from 1 on")
    numbers = [int(word) for word in words]
    if not dash:
        return numbers
    if numbers[1] < numbers[0]:
        raise ValueError(f"{text!r} ends before it begins")
    return numbers[0], numbers[1]
