"""slub_debug= of mm/slub.c: which debug flags the command line gives to which caches."""

from __future__ import annotations

from mmtool.build.facts.slab import SlabFacts
from mmtool.firmware.cmdline import Cmdline
from mmtool.late import dataclass
from mmtool.linux.mm.slab_flags import DEBUG_DEFAULT_FLAGS, Flags

_LETTERS = {
    "f": "CONSISTENCY_CHECKS",
    "z": "RED_ZONE",
    "p": "POISON",
    "u": "STORE_USER",
    "t": "TRACE",
    "a": "FAILSLAB",
}


@dataclass(frozen=True)
class Block:
    """A block of slub_debug=, between semicolons: flags, and the caches (patterns) that they are for."""

    flags: Flags
    caches: tuple[str, ...] | None
    """None: for every cache."""


@dataclass(frozen=True)
class SlubDebug:
    """slub_debug and slub_debug_string: what the command line asks to debug."""

    everywhere: Flags = frozenset()
    blocks: tuple[Block, ...] = ()
    keeps_order: bool = False
    """disable_higher_order_debug (the letter O): no debugging that would take larger slabs."""

    @property
    def enabled(self) -> bool:
        """slub_debug_enabled, as far as the command line goes."""
        return bool(self.everywhere or self.blocks)

    def kmem_cache_flags(self, flags: Flags, name: str, facts: SlabFacts) -> Flags:
        """kmem_cache_flags(): a cache's flags with those asked for it; the first block that names it counts."""
        if facts.ignores_user_flags and "NO_USER_FLAGS" in flags:
            return flags
        for block in self.blocks:
            if any(_matches(pattern, name) for pattern in block.caches or ()):
                return flags | block.flags
        everywhere = self.everywhere
        if facts.leaktrace_not_tracked and "NOLEAKTRACE" in flags:
            everywhere -= {"STORE_USER"}
        return flags | everywhere


def _matches(pattern: str, name: str) -> bool:
    """A pattern is a name, or its beginning with a star; the first star ends it."""
    start, star, _ = pattern.partition("*")
    return name.startswith(start) if star else name == pattern


def slub_debug(cmdline: Cmdline, facts: SlabFacts, *, on: bool) -> SlubDebug:
    """setup_slub_debug() for every slub_debug= (slab_debug= in later releases); `on`: CONFIG_SLUB_DEBUG_ON."""
    debug = SlubDebug(DEBUG_DEFAULT_FLAGS if on else frozenset())
    names = {"slub_debug", "slab_debug"} if facts.slab_options else {"slub_debug"}
    for name, value in cmdline.options:
        if name.replace("-", "_") in names:
            debug = _setup(debug, value)
    return debug


def _setup(before: SlubDebug, value: str | None) -> SlubDebug:
    if not value:
        return SlubDebug(DEBUG_DEFAULT_FLAGS, before.blocks, before.keeps_order)
    blocks, keeps_order = [], before.keeps_order
    for text in filter(None, value.split(";")):
        letters, comma, names = text.partition(",")
        flags: Flags = frozenset()
        for letter in letters.lower():
            flags = frozenset() if letter == "-" else flags | {_LETTERS[letter]} if letter in _LETTERS else flags
            keeps_order |= letter == "o"
        if comma and not letters:
            flags = DEBUG_DEFAULT_FLAGS
        blocks.append(Block(flags, tuple(names.split(",")) if comma else None))
    everywhere = [block.flags for block in blocks if block.caches is None]
    named = tuple(block for block in blocks if block.caches is not None)
    return SlubDebug(everywhere[-1] if everywhere else before.everywhere, named or before.blocks, keeps_order)
