"""struct folio (include/linux/mm_types.h), as far as mappings of processes go: what maps it, and how often."""

from __future__ import annotations


class Folio:
    """A folio: `order` (pages as a power of two), what it holds, and how often each of its pages is mapped.

    `kind`: "a" anonymous, "f" of a file or shared memory, "z" the zero page, "Z" the huge zero page, "h" hugetlb.
    `mapcount` counts mappings by single entries, `entire` those as a whole; of a large folio `mapcounts` has the
    former page by page and `mms` how many are in which address space. `exclusive` are the pages that belong to one
    process alone (PG_anon_exclusive). `index`: where it lies in its file, in pages.
    """

    __slots__ = (
        "dirty",
        "entire",
        "exclusive",
        "index",
        "kind",
        "ksm",
        "lazyfree",
        "mapcount",
        "mapcounts",
        "mms",
        "order",
    )

    def __init__(self, kind: str, order: int = 0, index: int = 0) -> None:
        self.kind, self.order, self.index = kind, order, index
        self.mapcount = self.entire = 0
        self.mapcounts: dict[int, int] = {}
        self.mms: dict[int, int] = {}
        self.exclusive: set[int] = set()
        self.lazyfree = self.ksm = self.dirty = False

    def page_mapcount(self, sub: int) -> int:
        """How often page `sub` of the folio is mapped, by itself or with the whole folio."""
        if not self.order:
            return self.mapcount
        return self.entire + self.mapcounts.get(sub, 0)

    def add_rmap(self, sub: int, mm: object) -> None:
        """One page is mapped once more (folio_add_file_rmap_pte() and its like)."""
        self.mapcount += 1
        if self.order:
            self.mapcounts[sub] = self.mapcounts.get(sub, 0) + 1
            self.mms[id(mm)] = self.mms.get(id(mm), 0) + 1

    def remove_rmap(self, sub: int, mm: object) -> None:
        """One page is mapped once less (folio_remove_rmap_pte())."""
        self.mapcount -= 1
        if self.order:
            _less(self.mapcounts, sub)
            _less(self.mms, id(mm))

    def add_rmap_pmd(self, mm: object) -> None:
        """The folio is mapped as a whole once more (folio_add_file_rmap_pmd() and its like)."""
        self.entire += 1
        self.mms[id(mm)] = self.mms.get(id(mm), 0) + 1

    def remove_rmap_pmd(self, mm: object) -> None:
        """The folio is mapped as a whole once less (folio_remove_rmap_pmd())."""
        self.entire -= 1
        _less(self.mms, id(mm))


def _less(counts: dict[int, int], key: int) -> None:
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1


ZERO_PAGE = Folio("z")
VVAR_PAGE = Folio("v")
HUGE_ZERO = Folio("Z", 9)
