"""calculate_sizes() and calculate_order() of mm/slub.c: what an object takes, and how many pages a slab has."""

from __future__ import annotations

from dataclasses import replace

from mmtool.build.facts.slab import SlabFacts
from mmtool.firmware.cmdline import Cmdline
from mmtool.late import dataclass
from mmtool.linux.mm.slab_common import CacheArgs, CacheError, KmemCache, Shape, SlabBuild, align_up
from mmtool.linux.mm.slab_flags import DEBUG_FLAGS, DEBUG_METADATA_FLAGS, Flags
from mmtool.units import memparse

MAX_OBJS_PER_PAGE = 32767
"""Objects that a slab can have: the counter has 15 bits."""
COSTLY_ORDER = 3
"""PAGE_ALLOC_COSTLY_ORDER."""
MIN_PARTIAL, MAX_PARTIAL = 5, 10
TRACK_ADDRS_COUNT = 16

_FIELDS = (
    "object_size", "size", "align", "inuse", "offset", "red_left_pad", "oo_order", "oo_objects", "min_order",
    "min_objects", "min_partial", "useroffset", "usersize",
)  # fmt: skip


@dataclass(eq=False)
class SlubCache(KmemCache):
    """struct kmem_cache of SLUB. Sizes and offsets in bytes, orders of pages, limits in objects or slabs."""

    inuse: int = 0
    """Where what follows the object begins."""
    offset: int = 0
    """The free pointer's."""
    red_left_pad: int = 0
    oo_order: int = 0
    oo_objects: int = 0
    min_order: int = 0
    min_objects: int = 0
    min_partial: int = 0
    cpu_partial: int = 0
    cpu_partial_slabs: int = 0
    sheaf_capacity: int = 0
    debugged: bool = False
    """kmem_cache_debug(): its objects are checked one by one."""

    def shape(self) -> Shape:
        return Shape(self.oo_order, self.oo_objects, self.min_order, self.sheaf_capacity or self.cpu_partial)

    def fields(self, facts: SlabFacts) -> dict[str, int]:
        found = {name: getattr(self, name) for name in _FIELDS}
        if facts.cpu_partial:
            found["cpu_partial"] = self.cpu_partial
            if facts.cpu_partial_counts_slabs:
                found["cpu_partial_slabs"] = self.cpu_partial_slabs
        if facts.sheaves:
            found["sheaf_capacity"] = self.sheaf_capacity
        return found


@dataclass(frozen=True)
class OrderLimits:
    """slub_min_order, slub_max_order and slub_min_objects."""

    min_order: int = 0
    max_order: int = COSTLY_ORDER
    min_objects: int = 0
    """0: by the number of CPUs."""


def order_limits(build: SlabBuild) -> OrderLimits:
    """slub_min_order=, slub_max_order= and slub_min_objects=, each by its later name too, in their order.

    debug_guardpage_minorder= leaves no order but 0 (kmem_cache_init()).
    """
    limits = OrderLimits(max_order=1 if build.kernel.enabled("SLUB_TINY") else COSTLY_ORDER)
    agree = build.facts.order_options_agree
    for name, value in build.cmdline.options:
        begin, _, option = name.replace("-", "_").partition("_")
        if begin not in ("slub", "slab") or value is None or (begin == "slab" and not build.facts.slab_options):
            continue
        number, end = memparse(value)
        if end == 0:
            continue
        if option == "min_order":
            largest = max(limits.max_order, number) if agree else limits.max_order
            limits = replace(limits, min_order=number, max_order=largest)
        elif option == "max_order":
            largest = min(number, build.max_order)
            least = min(limits.min_order, largest) if agree else limits.min_order
            limits = replace(limits, min_order=least, max_order=largest)
        elif option == "min_objects":
            limits = replace(limits, min_objects=number)
    return replace(limits, max_order=0) if _guard_pages(build.cmdline) else limits


def _guard_pages(cmdline: Cmdline) -> bool:
    return bool(memparse(cmdline.get("debug_guardpage_minorder") or "0")[0])


def get_order(size: int, page_size: int) -> int:
    """get_order(): the order of the smallest block that holds `size` bytes."""
    return max(0, (size - 1).bit_length() - page_size.bit_length() + 1)


class Orders:
    """calculate_order(): how large the slabs of objects of a size are."""

    def __init__(self, build: SlabBuild) -> None:
        self.build, self.limits = build, order_limits(build)
        self.page_size = build.page_size
        self.known: dict[int, int] = {}

    def objects(self, order: int, size: int) -> int:
        """order_objects(): how many objects of `size` bytes a slab has."""
        return (self.page_size << order) // size

    @property
    def cpus(self) -> int:
        """The CPUs that a slab's objects should do for: those present, unless the firmware seems not to tell."""
        build = self.build
        if build.facts.order_by_present_cpus and build.present_cpus > 1:
            return build.present_cpus
        return build.possible_cpus

    def calculate(self, size: int) -> int:
        """calculate_order(): the order of slabs; CacheError when not even the largest block holds an object."""
        order = self.known.get(size)
        if order is None:
            order = self.known[size] = self._calculate(size)
        return order

    def _calculate(self, size: int) -> int:
        least = self.limits.min_objects or 4 * (self.cpus.bit_length() + 1)
        most = self.objects(self.limits.max_order, size)
        order = self._by_waste(size, min(least, most)) if self._half() else self._by_objects(size, min(least, most))
        if order is None:
            order = get_order(size, self.page_size)
            if not self._half():
                order = max(order, self.limits.min_order)
        if order > self.build.max_order:
            raise CacheError(f"no block of pages holds an object of {size} bytes")
        return order

    def _half(self) -> bool:
        return self.build.facts.order_accepts_half_waste

    def _by_waste(self, size: int, least: int) -> int | None:
        """From 6.7: the least number of objects stays, and ever more waste is accepted, up to half."""
        low, high = self.limits.min_order, self.limits.max_order
        first = max(low, get_order(max(least, 1) * size, self.page_size))
        if self.objects(first, size) > MAX_OBJS_PER_PAGE:
            return get_order(size * MAX_OBJS_PER_PAGE, self.page_size) - 1
        for fraction in (16, 8, 4, 2):
            for order in range(first, high + 1):
                if (self.page_size << order) % size <= (self.page_size << order) // fraction:
                    return order
        return None

    def _by_objects(self, size: int, least: int) -> int | None:
        """Before 6.7: at most a quarter is wasted, else there is one object less; a single one may waste all."""
        low, high = self.limits.min_order, self.limits.max_order
        if self.objects(low, size) > MAX_OBJS_PER_PAGE:
            order = get_order(size * MAX_OBJS_PER_PAGE, self.page_size) - 1
            return order if order <= high else None
        while least > 1:
            first = max(low, get_order(least * size, self.page_size))
            for fraction in (16, 8, 4):
                for order in range(first, high + 1):
                    if (self.page_size << order) % size <= (self.page_size << order) // fraction:
                        return order
            least -= 1
        first = max(low, get_order(size, self.page_size))
        return first if first <= high else None


def track_size(build: SlabBuild) -> int:
    """sizeof(struct track) in bytes: who allocated or freed an object, where, when."""
    word = build.word
    if build.facts.track_keeps_addresses:
        return align_up(word * (1 + TRACK_ADDRS_COUNT) + 8, word) + word
    return align_up(word + 12, word) + word


def calculate_sizes(cache: SlubCache, args: CacheArgs, build: SlabBuild, orders: Orders, debugging: bool) -> int:
    """calculate_sizes(): lay out an object of `cache`, whose object_size, align and flags are set, and its slabs.

    `debugging`: slub_debug_enabled, without which red zones do not mind the size asked for. Returns the bytes that
    alignment leaves behind an object. Raises CacheError.
    """
    word, flags, facts = build.word, cache.flags, build.facts
    size = align_up(cache.object_size, word)
    slub_debug = build.kernel.enabled("SLUB_DEBUG")
    rcu, red, poison = "TYPESAFE_BY_RCU" in flags, "RED_ZONE" in flags, "POISON" in flags
    if slub_debug and poison and not rcu and not cache.ctor:
        cache.flags = flags | {"OBJECT_POISON"}
    if slub_debug and red and size == cache.object_size:
        size += word
    cache.inuse = size
    free_pointer = args.freeptr if facts.freeptr_offset else None
    inside = free_pointer is not None and (rcu or facts.freeptr_offset_with_ctor)
    orig_size = "STORE_USER" in flags and "KMALLOC" in flags and facts.keeps_orig_size
    wide_red = cache.object_size < word or (orig_size and debugging and facts.redzone_covers_kmalloc_waste)
    if ((rcu or cache.ctor) and not inside) or poison or (red and wide_red):
        cache.offset = size
        size += word
    elif (rcu or cache.ctor) and free_pointer is not None:
        cache.offset = free_pointer
    else:
        cache.offset = cache.object_size // 2 & -word
    if slub_debug and "STORE_USER" in flags:
        size += 2 * track_size(build) + (word if orig_size else 0)
    if slub_debug and red:
        cache.red_left_pad = align_up(word, cache.align)
        size += word + cache.red_left_pad
    cache.size = align_up(size, cache.align)
    cache.oo_order = orders.calculate(cache.size)
    cache.oo_objects = orders.objects(cache.oo_order, cache.size)
    cache.min_order = get_order(cache.size, build.page_size)
    cache.min_objects = orders.objects(cache.min_order, cache.size)
    if not cache.oo_objects:
        raise CacheError(f"a slab holds no object of {cache.size} bytes")
    return cache.size - size


def ext_fits(cache: SlubCache, left: int, build: SlabBuild) -> bool:
    """Does what memcg keeps of an object fit behind it, into the `left` bytes that alignment leaves over?"""
    accounted = "MAY_ACCOUNT" in cache.flags and build.kernel.enabled("MEMCG")
    needs = build.word if accounted or not build.facts.may_account_flag else 0
    return build.kernel.bits_per_long == 64 and left >= needs


def without_metadata(flags: Flags) -> Flags:
    """The flags without those that make objects larger, and without what calculate_sizes() made of them."""
    return flags - DEBUG_METADATA_FLAGS - {"OBJECT_POISON"}


def min_partial(size: int) -> int:
    """set_min_partial(): slabs with free objects that each node keeps even if they are empty."""
    return min(MAX_PARTIAL, max(MIN_PARTIAL, (size.bit_length() - 1) // 2))


def cpu_partial(size: int, page_size: int, *, slabs: bool) -> int:
    """set_cpu_partial(): free objects that a CPU's partial slabs should hold, before 5.16 and (`slabs`) since."""
    row = 0 if size >= page_size else 1 if size >= 1024 else 2 if size >= 256 else 3
    return ((2, 6, 13, 30), (6, 24, 52, 120))[slabs][row]


def is_debugged(flags: Flags, debugging: bool) -> bool:
    """kmem_cache_debug(): are debug flags set, and have they an effect?"""
    return debugging and not flags.isdisjoint(DEBUG_FLAGS)
