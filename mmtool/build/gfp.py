"""gfp masks: which bit is which flag, release by release, and how the kernel prints them.

Models include/linux/gfp_types.h (before 6.0 gfp.h) and the names of include/trace/events/mmflags.h. A mask means
something only together with a release: 0x800 is GFP_NOWAIT on 6.1, __GFP_KSWAPD_RECLAIM on 6.12 and __GFP_NOFAIL on
4.18. Names are the kernel's own; those of a release that had no name for printing a mask (before 4.6) are its macros'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache, reduce
from operator import or_
from typing import TypeVar

from mmtool.build.release import Release
from mmtool.late import dataclass
from mmtool.suggest import among

_Since = tuple[int, ...]
_ALWAYS: _Since = (0,)
_T = TypeVar("_T")


def _bit(first: int, *moves: tuple[_Since, int | None]) -> tuple[tuple[_Since, int | None], ...]:
    """A flag that has had bit `first` from the beginning, and another (or none) from each release in `moves` on."""
    return ((_ALWAYS, first), *moves)


_BITS: dict[str, tuple[tuple[_Since, int | None], ...]] = {
    "DMA": _bit(0),
    "HIGHMEM": _bit(1),
    "DMA32": _bit(2),
    "MOVABLE": _bit(3),
    "RECLAIMABLE": _bit(19, ((4, 4), 4)),
    "WAIT": _bit(4, ((4, 4), None)),
    "HIGH": _bit(5),
    "IO": _bit(6),
    "FS": _bit(7),
    "ZERO": _bit(15, ((5, 1), 8)),
    "ATOMIC": (((4, 4), 19), ((5, 1), 9), ((6, 3), None)),
    "DIRECT_RECLAIM": (((4, 4), 22), ((4, 18), 21), ((5, 1), 10)),
    "KSWAPD_RECLAIM": (((4, 4), 25), ((4, 10), 24), ((4, 18), 22), ((5, 1), 11)),
    "NO_KSWAPD": (((2, 6, 38), 22), ((4, 4), None)),
    "WRITE": (((3, 3), 24), ((4, 10), 23), ((4, 18), 8), ((5, 1), 12)),
    "COLD": _bit(8, ((4, 15), None)),
    "NOWARN": _bit(9, ((5, 1), 13)),
    "REPEAT": _bit(10, ((4, 13), None)),
    "RETRY_MAYFAIL": (((4, 13), 10), ((5, 1), 14)),
    "NOFAIL": _bit(11, ((5, 1), 15)),
    "NORETRY": _bit(12, ((5, 1), 16)),
    "MEMALLOC": (((3, 6), 13), ((5, 1), 17)),
    "COMP": _bit(14, ((5, 1), 18)),
    "NOMEMALLOC": _bit(16, ((5, 1), 19)),
    "HARDWALL": _bit(17, ((5, 1), 20)),
    "THISNODE": _bit(18, ((5, 1), 21)),
    "KMEMCG": (((3, 8), 20), ((3, 16), None)),
    "NOACCOUNT": (((4, 1), 20), ((4, 5), None)),
    "ACCOUNT": (((4, 5), 20), ((5, 1), 22)),
    "NOTRACK": _bit(21, ((4, 15), None)),
    "OTHER_NODE": (((3, 0), 23), ((4, 10), None)),
    "ZEROTAGS": (((5, 14), 23),),
    "SKIP_ZERO": (((5, 18), 24),),
    "SKIP_KASAN_POISON": (((5, 14), 24), ((5, 18), 26), ((6, 4), None)),
    "SKIP_KASAN_UNPOISON": (((5, 18), 25), ((6, 4), None)),
    "SKIP_KASAN": (((6, 4), 25),),
    "NOLOCKDEP": (((4, 12), 25), ((4, 18), 23), ((5, 14), 25), ((5, 18), 27), ((6, 4), 26)),
    "NO_OBJ_EXT": (((6, 10), 27), ((7, 0), None)),
}
"""Each flag's bit from a release on; None where it is gone. 4.4 told sleeping from waking kswapd (d0164adc89f6), 4.10
and 4.18 closed gaps, 5.1 put GFP_KERNEL and __GFP_ZERO together, 6.3 dropped __GFP_ATOMIC (2973d8229b78)."""

_NEEDS: dict[str, tuple[_Since, str]] = {
    "SKIP_ZERO": (_ALWAYS, "KASAN_HW_TAGS"),
    "SKIP_KASAN_POISON": ((5, 18), "KASAN_HW_TAGS"),
    "SKIP_KASAN_UNPOISON": (_ALWAYS, "KASAN_HW_TAGS"),
    "SKIP_KASAN": (_ALWAYS, "KASAN_HW_TAGS"),
    "NOLOCKDEP": (_ALWAYS, "LOCKDEP"),
    "NO_OBJ_EXT": (_ALWAYS, "SLAB_OBJ_EXT"),
}
"""Flags that only some builds have: from which release on they need which option."""

_RECLAIM = "DIRECT_RECLAIM KSWAPD_RECLAIM"
_THP = "IO FS HARDWALL HIGHMEM MOVABLE SKIP_KASAN_POISON SKIP_KASAN_UNPOISON SKIP_KASAN COMP NOMEMALLOC NOWARN"

_COMBINATIONS: dict[str, tuple[tuple[_Since, str | None], ...]] = {
    "__GFP_RECLAIM": (((4, 4), _RECLAIM),),
    "GFP_ATOMIC": ((_ALWAYS, "HIGH"), ((4, 4), "HIGH ATOMIC KSWAPD_RECLAIM")),
    "GFP_NOWAIT": ((_ALWAYS, ""), ((4, 4), "KSWAPD_RECLAIM"), ((6, 8), "KSWAPD_RECLAIM NOWARN")),
    "GFP_NOIO": ((_ALWAYS, "WAIT"), ((4, 4), _RECLAIM)),
    "GFP_NOFS": ((_ALWAYS, "WAIT IO"), ((4, 4), f"{_RECLAIM} IO")),
    "GFP_KERNEL": ((_ALWAYS, "WAIT IO FS"), ((4, 4), f"{_RECLAIM} IO FS")),
    "GFP_KERNEL_ACCOUNT": (((4, 5), f"{_RECLAIM} IO FS ACCOUNT"),),
    "GFP_TEMPORARY": (
        (_ALWAYS, "WAIT IO FS RECLAIMABLE"),
        ((4, 4), f"{_RECLAIM} IO FS RECLAIMABLE"),
        ((4, 14), None),
    ),
    "GFP_USER": ((_ALWAYS, "WAIT IO FS HARDWALL"), ((4, 4), f"{_RECLAIM} IO FS HARDWALL")),
    "GFP_HIGHUSER": ((_ALWAYS, "WAIT IO FS HARDWALL HIGHMEM"), ((4, 4), f"{_RECLAIM} IO FS HARDWALL HIGHMEM")),
    "GFP_HIGHUSER_MOVABLE": (
        (_ALWAYS, "WAIT IO FS HARDWALL HIGHMEM MOVABLE"),
        ((4, 4), f"{_RECLAIM} IO FS HARDWALL HIGHMEM MOVABLE"),
        ((5, 14), f"{_RECLAIM} IO FS HARDWALL HIGHMEM MOVABLE SKIP_KASAN_POISON"),
        ((6, 0), f"{_RECLAIM} IO FS HARDWALL HIGHMEM MOVABLE SKIP_KASAN_POISON SKIP_KASAN_UNPOISON SKIP_KASAN"),
    ),
    "GFP_TRANSHUGE_LIGHT": (((4, 8), _THP),),
    "GFP_TRANSHUGE": (
        ((2, 6, 38), f"WAIT NO_KSWAPD NORETRY {_THP}"),
        ((4, 4), f"DIRECT_RECLAIM NORETRY {_THP}"),
        ((4, 6), f"NORETRY {_THP}"),
        ((4, 8), f"DIRECT_RECLAIM {_THP}"),
    ),
    "GFP_DMA": ((_ALWAYS, "DMA"),),
    "GFP_DMA32": ((_ALWAYS, "DMA32"),),
}
"""The combinations that have names, as flags; a flag that the release or the build lacks counts nothing."""

_PRINTED_COMBINATIONS = (
    "GFP_TRANSHUGE", "GFP_TRANSHUGE_LIGHT", "GFP_HIGHUSER_MOVABLE", "GFP_HIGHUSER", "GFP_USER", "GFP_TEMPORARY",
    "GFP_KERNEL_ACCOUNT", "GFP_KERNEL", "GFP_NOFS", "GFP_ATOMIC", "GFP_NOIO", "GFP_NOWAIT",
)  # fmt: skip
_PRINTED = (
    *_PRINTED_COMBINATIONS, "GFP_DMA", "__GFP_HIGHMEM", "GFP_DMA32", "__GFP_HIGH", "__GFP_ATOMIC", "__GFP_WAIT",
    "__GFP_IO", "__GFP_FS", "__GFP_COLD", "__GFP_NOWARN", "__GFP_REPEAT", "__GFP_RETRY_MAYFAIL", "__GFP_NOFAIL",
    "__GFP_NORETRY", "__GFP_COMP", "__GFP_ZERO", "__GFP_NOMEMALLOC", "__GFP_MEMALLOC", "__GFP_HARDWALL",
    "__GFP_THISNODE", "__GFP_RECLAIMABLE", "__GFP_MOVABLE", "__GFP_KMEMCG", "__GFP_NOACCOUNT", "__GFP_ACCOUNT",
    "__GFP_NOTRACK", "__GFP_WRITE", "__GFP_NO_KSWAPD", "__GFP_RECLAIM", "__GFP_DIRECT_RECLAIM",
    "__GFP_KSWAPD_RECLAIM", "__GFP_OTHER_NODE", "__GFP_ZEROTAGS", "__GFP_SKIP_ZERO", "__GFP_SKIP_KASAN_POISON",
    "__GFP_SKIP_KASAN_UNPOISON", "__GFP_SKIP_KASAN",
)  # fmt: skip
"""The order in which names are looked for, until flags are printed in the order of their bits."""
_PRINTED_BEFORE_BITS = (*_PRINTED_COMBINATIONS, "GFP_DMA", "GFP_DMA32", "__GFP_RECLAIM")


class GfpError(ValueError):
    """A mask or a name that the release does not know."""


@dataclass(frozen=True)
class GfpFlags:
    """The gfp flags of one release and build."""

    release: str
    masks: Mapping[str, int]
    """Every name, "__GFP_IO" and "GFP_KERNEL", and its bits."""
    printed: tuple[tuple[str, int], ...]
    """What %pGg goes through, in its order."""

    @cached_property
    def known(self) -> int:
        """Every bit that is a flag."""
        return _union(self.masks.values())

    def mask(self, name: str) -> int:
        """The bits of `name`; 0 for one that this release does not have."""
        return self.masks.get(name, 0)

    def parse(self, text: str) -> int:
        """A mask from "0xcc0", "3264" or "GFP_KERNEL|__GFP_NORETRY" (also mixed, in any case, with commas).

        GfpError says what is unknown.
        """
        mask = 0
        for part in text.replace(",", "|").split("|"):
            word = part.strip()
            if word[:1].isdigit():
                mask |= self._number(word)
            elif word.upper() in self.masks:
                mask |= self.masks[word.upper()]
            else:
                raise GfpError(f"{word!r} is no gfp flag of Linux {self.release}{among(word, self.masks)}")
        return mask

    def _number(self, word: str) -> int:
        try:
            mask = int(word, 16 if word[:2].lower() == "0x" else 10)
        except ValueError:
            raise GfpError(f"{word!r} is neither a gfp mask (0xcc0) nor a flag's name") from None
        if unknown := mask & ~self.known:
            raise GfpError(f"{word}: {unknown:#x} is no gfp flag of Linux {self.release}")
        return mask

    def names(self, mask: int) -> list[str]:
        """The names as the kernel finds them, each taking its bits away; what is left over comes last, in hex."""
        names = []
        for name, bits in self.printed:
            if mask & bits == bits:
                names.append(name)
                mask &= ~bits
        return [*names, f"{mask:#x}"] if mask else names

    def format(self, mask: int) -> str:
        """The names as %pGg prints them; "" for an empty mask (format_flags() of lib/vsprintf.c)."""
        return "|".join(self.names(mask))

    def has(self, mask: int, name: str) -> bool:
        """Does `mask` hold all bits of `name`? Not if the release has no such flag."""
        bits = self.mask(name)
        return bool(bits) and mask & bits == bits

    def can_direct_reclaim(self, mask: int) -> bool:
        """May the allocation sleep and reclaim by itself? __GFP_DIRECT_RECLAIM, before 4.4 __GFP_WAIT."""
        return bool(mask & (self.mask("__GFP_DIRECT_RECLAIM") | self.mask("__GFP_WAIT")))

    def wakes_kswapd(self, mask: int) -> bool:
        """Does it wake kswapd? __GFP_KSWAPD_RECLAIM; before 4.4 all do but those with __GFP_NO_KSWAPD."""
        bits = self.mask("__GFP_KSWAPD_RECLAIM")
        return bool(mask & bits) if bits else not mask & self.mask("__GFP_NO_KSWAPD")


@lru_cache(maxsize=64)
def gfp_flags(release: Release, options: frozenset[str] = frozenset({"SLAB_OBJ_EXT"})) -> GfpFlags:
    """The flags of a release; `options` are those of the build that bring flags: LOCKDEP, KASAN_HW_TAGS, SLAB_OBJ_EXT.

    From 6.9 on the flags of options take the next free bits, so that their bits depend on the build
    (mm: enumerate all gfp flags).
    """
    bits: dict[str, int] = {}
    for name, history in _BITS.items():
        since, option = _NEEDS.get(name, (_ALWAYS, ""))
        bit = _latest(history, release.version)
        if bit is not None and (not option or release.version < since or option in options):
            bits[name] = bit
    if release.gfp_optional_bits_packed:
        optional = sorted((name for name in bits if name in _NEEDS), key=lambda name: bits[name])
        bits.update({name: bits["ZEROTAGS"] + 1 + i for i, name in enumerate(optional)})
    masks = {f"__GFP_{name}": 1 << bit for name, bit in bits.items()}
    for name, combinations in _COMBINATIONS.items():
        flags = _latest(combinations, release.version)
        if flags is not None:
            masks[name] = _union(masks.get(f"__GFP_{flag}", 0) for flag in flags.split())
    names = list(_PRINTED)
    if release.gfp_prints_in_bit_order:
        in_order = sorted(bits, key=lambda name: bits[name])
        names = [*_PRINTED_BEFORE_BITS, *(f"__GFP_{name}" for name in in_order)]
    printed = tuple((name, masks[name]) for name in names if masks.get(name))
    version = ".".join(str(n) for n in release.version[: 3 if release.version[0] == 2 else 2])
    return GfpFlags(version, masks, printed)


def _latest(history: Iterable[tuple[_Since, _T | None]], version: _Since) -> _T | None:
    """The value of the last row of `history` that is not later than `version`; None before the first."""
    value = None
    for since, then in history:
        if since <= version:
            value = then
    return value


def _union(masks: Iterable[int]) -> int:
    return reduce(or_, masks, 0)
