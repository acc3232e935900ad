"""Every allocation of a memblock=debug log done again in the model, next to the kernel's answers.

The state is rebuilt from what the log shows: dumps, and every range that was added, removed, reserved or freed
without a request. The line that answers a request is only compared with; when the two differ, the replay goes on
from the kernel's address, and without an answer from the model's.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.linux.mm.memblock import (
    MEMBLOCK_MIRROR,
    MEMBLOCK_NOMAP,
    Memblock,
    MemblockBug,
    MemblockPanic,
    MemblockRegion,
    MemblockType,
)
from mmtool.observed.memblock_log import Change, Dump, DumpedRegion, Event, Mark, MemblockLog, Request

ISA_END_ADDRESS = 1 << 20
SMP_CACHE_BYTES = 64
"""What an allocation is aligned to that asks for nothing; each that a log shows asks."""
MAPPED_AT_FIRST = {"x86_64": ISA_END_ADDRESS, "i386": ISA_END_ADDRESS}
"""How far memblock allocates on an architecture that has not mapped all memory when it begins."""
DYNAMIC_RESERVATION = "early_init_dt_alloc_reserved_memory_arch+"
"""Who asks for the device tree's reservations that have a size and no address."""

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Allocation:
    """A request, the model's address (None: no room) and the kernel's.

    `answered` says that the log shows what the kernel did: `kernel` is its address, or None for a failure.
    """

    request: Request
    address: int | None
    kernel: int | None = None
    answered: bool = False

    @property
    def agrees(self) -> bool:
        """Do both say the same? True where the log has no answer."""
        return not self.answered or self.address == self.kernel


@dataclass(frozen=True)
class Replay:
    """All allocations of a log. `dumps_apart` are lines of dumps that reserve other bytes than the model's state."""

    allocations: tuple[Allocation, ...]
    dumps_apart: tuple[int, ...]

    @property
    def answered(self) -> int:
        """How many requests have an answer in the log."""
        return sum(a.answered for a in self.allocations)

    @property
    def misses(self) -> list[Allocation]:
        """Those where the model differs; the replay went on from the kernel's address after each."""
        return [a for a in self.allocations if not a.agrees]


class Answers:
    """The reservations that answer the requests of a log, by the request's line.

    `complete`: most requests have one, so that a request without one failed; otherwise answers are missing.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.by_request: dict[int, Change] = {}
        requests = 0
        pending: Request | None = None
        last: Request | None = None
        for event in events:
            if isinstance(event, Mark):
                continue
            if isinstance(event, Change):
                # an array that grew is reserved between a request and its answer
                if event.caller.startswith("memblock_double_array"):
                    continue
                if pending and event.allocates and event.size == pending.size:
                    self.by_request[pending.line] = event
            pending = event if isinstance(event, Request) else None
            last = pending or last
            requests += pending is not None
        self.lines = {c.line for c in self.by_request.values()}
        self.complete = 2 * len(self.by_request) > requests
        self.cut_off = pending.line if pending else None
        """The line of a request with which the log ends."""

    def of(self, request: Request) -> tuple[bool, Change | None]:
        """Is it known what the kernel did, and its reservation: None for a failure."""
        answer = self.by_request.get(request.line)
        return answer is not None or (self.complete and request.line != self.cut_off), answer


def replay(log: MemblockLog) -> Replay:
    """Do the log's allocations again. Raises InputError where memblock itself would stop the kernel."""
    answers = Answers(log.events)
    run = _Run(log, answers)
    begin = 0
    try:
        for end, dump in enumerate(log.events):
            if isinstance(dump, Dump):
                run.stretch(log.events[begin:end], dump)
                run.take_over(dump)
                begin = end + 1
        run.stretch(log.events[begin:], None)
    except (MemblockBug, MemblockPanic) as e:
        raise InputError(log.source, None, f"the log's operations end in: {e}") from None
    return Replay(tuple(run.allocations), tuple(run.dumps_apart))


class _Run:
    """One walk over the events: the memblock, and the allocations done so far."""

    def __init__(self, log: MemblockLog, answers: Answers) -> None:
        self.log, self.answers, self.mb = log, answers, _memblock(log)
        self.allocations: list[Allocation] = []
        self.dumps_apart: list[int] = []
        self.state_known = False

    def stretch(self, events: tuple[Event, ...], dump: Dump | None) -> None:
        """Events up to the next dump, or to the end.

        Marks on memory (no-map, nodes) are in no other line than the dump's; so its memory holds from the
        beginning, but for its nodes.
        """
        if not self.state_known and not any(isinstance(e, Request) for e in events):
            return
        if dump is not None:
            memory = _before_nomap(dump.memory, events)
            if not self.state_known:
                for start, end in _reserved_before(self.log, events, dump, self.answers):
                    self.mb.reserve(start, end - start)
            _load(self.mb, self.mb.memory, _without_nodes(memory))
        self.state_known = True
        for event in events:
            if isinstance(event, Request):
                self.allocate(event, dump)
            elif isinstance(event, Change):
                if event.line not in self.answers.lines:
                    self.change(event, memory=dump is None)
            elif isinstance(event, Mark):
                self.mark(event, dump)

    def allocate(self, request: Request, dump: Dump | None) -> None:
        mb = self.mb
        address = _ask(mb, request)
        known, answer = self.answers.of(request)
        kernel = answer.base if answer is not None else None
        self.allocations.append(Allocation(request, address, kernel, known))
        if known and address != kernel:
            if address is not None:
                mb.phys_free(address, request.size)
            if answer is not None:
                mb.reserve_node(answer.base, answer.size, answer.nid, answer.flags)
            address = kernel
        if dump is not None and address is not None and request.caller.startswith(DYNAMIC_RESERVATION):
            left = (r for r in dump.memory if r.flags & MEMBLOCK_NOMAP)
            if any(r.base <= address < r.base + r.size for r in left):
                mb.mark_nomap(address, request.size)

    def change(self, event: Change, *, memory: bool) -> None:
        mb = self.mb
        if event.kind == "reserve":
            mb.reserve_node(event.base, event.size, event.nid, event.flags)
        elif event.kind == "free":
            mb.phys_free(event.base, event.size)
        elif memory:
            (mb.add if event.kind == "add" else mb.remove)(event.base, event.size)

    def mark(self, event: Mark, dump: Dump | None) -> None:
        mb = self.mb
        if event.kind == "mapped":
            if self.log.arch in MAPPED_AT_FIRST:
                # x86-64 maps all memory
                low = self.log.low_limit
                mb.current_limit = low if low is not None else mb.phys_addr_max
            return
        mb.bottom_up = False
        if dump is not None:
            _load(mb, mb.memory, dump.memory)
        elif not any(mb.valid_node(r.nid) for r in mb.memory.regions):
            for nid, start, end in self.log.node_ranges:
                mb.set_node(start, end - start, mb.memory, nid)

    def take_over(self, dump: Dump) -> None:
        """Take over a dump's flags and nodes, which no other line shows, and its bytes where the state differs."""
        mb = self.mb
        if self.state_known and _covered(mb.reserved) != _join((r.base, r.base + r.size) for r in dump.reserved):
            self.dumps_apart.append(dump.line)
        self.state_known = True
        _load(mb, mb.memory, dump.memory)
        _load(mb, mb.reserved, dump.reserved)


def _memblock(log: MemblockLog) -> Memblock:
    """memblock as the architecture sets it up before the first line of the log."""
    mb = Memblock(
        log.facts, numa=log.numa, max_numnodes=1024, page_size=log.page_size, phys_addr_bits=log.phys_addr_bits,
        smp_cache_bytes=SMP_CACHE_BYTES,
    )
    mb.allow_resize()
    mb.movable_node = log.cmdline.has("movable_node")
    if log.arch in MAPPED_AT_FIRST:
        mb.current_limit = MAPPED_AT_FIRST[log.arch]
        mb.bottom_up = mb.movable_node
    return mb


def _load(mb: Memblock, type_: MemblockType, regions: tuple[DumpedRegion, ...]) -> None:
    """Make a list what a dump shows."""
    no_node = mb.no_node if mb.release.memblock_reservations_keep_their_request else mb.max_numnodes
    type_.regions[:] = [
        MemblockRegion(r.base, r.size, r.flags, 0 if not mb.numa else no_node if r.nid is None else r.nid)
        for r in regions
    ]
    if not regions and mb.release.memblock_empty_list_has_a_region:
        type_.regions.append(MemblockRegion(0, 0, 0, 0))
    type_.total_size = sum(r.size for r in regions)
    type_.changed, type_.removed = type_.changed + 1, type_.removed + 1
    while len(regions) > type_.max:
        type_.max *= 2
    if type_ is mb.memory:
        mb.has_mirror = any(r.flags & MEMBLOCK_MIRROR for r in regions)


def _ask(mb: Memblock, r: Request) -> int | None:
    """The request, in the model."""
    if r.function == "memblock_alloc_hugetlb":
        return mb.alloc_hugetlb(r.size, r.nid, r.exact_nid)
    if r.function.startswith("memblock_phys_alloc"):
        return mb.phys_alloc_range(r.size, r.align, r.start, r.end) or None
    alloc = mb.alloc_exact_nid_raw if r.exact_nid else mb.alloc_try_nid
    return alloc(r.size, r.align, r.start, r.end, r.nid)


# What a log that begins late, or an early parameter, leaves out: the reservations before its first line.


def _reserved_before(log: MemblockLog, events: tuple[Event, ...], dump: Dump, answers: Answers) -> list[Range]:
    """What was reserved before `events`, which lead to `dump`: the dump with all of them undone, last event first.

    A request without an answer is taken for served at the end of the hole that the same request would get now.
    """
    memory = _before_nomap(dump.memory, events)
    mb = _memblock(log)
    mb.current_limit = mb.phys_addr_max
    _load(mb, mb.memory, memory)
    _load(mb, mb.reserved, dump.reserved)
    for event in reversed(events):
        if isinstance(event, Mark) and event.kind == "numa":
            _load(mb, mb.memory, _without_nodes(memory))
        elif isinstance(event, Request):
            known, answer = answers.of(event)
            if answer is not None:
                mb.phys_free(answer.base, answer.size)
            elif not known:
                _undo(mb, event)
        elif isinstance(event, Change) and event.line not in answers.lines:
            if event.kind == "reserve":
                mb.phys_free(event.base, event.size)
            elif event.kind == "free":
                mb.reserve(event.base, event.size)
    return _covered(mb.reserved)


def _undo(mb: Memblock, request: Request) -> None:
    """Free what the request was given: a place, at the end of a hole, that it would get again.

    One that ends where something free begins is likelier than one that is cut out of a larger reservation.
    """
    size = request.size
    again = _ask(mb, request)
    if again is not None:
        mb.phys_free(again, size)
    holes = [(start, end) for start, end, _ in mb.for_each_free_mem_range() if start < end]
    ends = [end for _, end in holes if (again is None or end > again) and end % max(request.align, 1) == 0]
    starts = {start for start, _ in holes}
    reserved = _covered(mb.reserved)
    for place in sorted(ends, key=lambda end: (end + size not in starts, end)):
        if not any(start <= place and place + size <= end for start, end in reserved):
            continue
        mb.phys_free(place, size)
        found = _ask(mb, request)
        if found is not None:
            mb.phys_free(found, size)
        if found == place:
            return
        mb.reserve(place, size)


def _before_nomap(regions: tuple[DumpedRegion, ...], events: tuple[Event, ...]) -> tuple[DumpedRegion, ...]:
    """Memory before those reservations of the device tree that have no address left the direct map."""
    sizes = {e.size for e in events if isinstance(e, Request) and e.caller.startswith(DYNAMIC_RESERVATION)}
    return tuple(
        DumpedRegion(r.base, r.size, r.flags & ~MEMBLOCK_NOMAP, r.nid) if r.size in sizes else r for r in regions
    )


def _without_nodes(regions: tuple[DumpedRegion, ...]) -> tuple[DumpedRegion, ...]:
    """Memory as it was before it got its nodes: what touches is one."""
    merged: list[DumpedRegion] = []
    for r in regions:
        last = merged[-1] if merged else None
        if last is not None and last.base + last.size == r.base and last.flags == r.flags:
            merged[-1] = DumpedRegion(last.base, last.size + r.size, r.flags, None)
        else:
            merged.append(DumpedRegion(r.base, r.size, r.flags, None))
    return tuple(merged)


def _covered(type_: MemblockType) -> list[Range]:
    return _join((r.base, r.end) for r in type_.regions if r.size)


def _join(ranges: Iterable[Range]) -> list[Range]:
    joined: list[Range] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined
