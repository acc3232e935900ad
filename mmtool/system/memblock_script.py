"""Scripts of memblock operations: the kernel's function names, with plain numbers, applied to a Memblock.

The format of vectors: an operation is `[name, argument...]`; what it returns is a number, a truth value,
a list of ranges, or None. This module knows names, arguments and results; reading files is not its task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmtool.build.fact import dotted
from mmtool.build.release import Release
from mmtool.late import dataclass
from mmtool.linux.mm.memblock.memblock import Memblock
from mmtool.linux.mm.memblock.regions import MemblockBug, MemblockPanic, MemblockType
from mmtool.units import U64_MAX

MAX_NUMNODES = 16
PAGE_SIZE, SMP_CACHE_BYTES = 4096, 64
"""Nodes of the machine that scripts run on, when it has NUMA."""


MAX_CHUNKS = 1 << 22
"""How many chunks the result of memblock_free_all may list: those of 16 TiB."""


class ScriptError(ValueError):
    """An operation that does not exist, or arguments that it does not take; the message says which."""


@dataclass
class Outcome:
    """What a script did: "ok", or "panic" or "bug" where operation number len(results) stopped the kernel."""

    outcome: str
    results: list[Any]
    state: dict[str, Any] | None
    states_after: list[dict[str, Any]]


class Machine:
    """A fresh memblock, and the one switch of a script that is not memblock's own."""

    def __init__(self, release: Release, numa: bool) -> None:
        self.memblock = Memblock(
            release, numa=numa, max_numnodes=MAX_NUMNODES, page_size=PAGE_SIZE, smp_cache_bytes=SMP_CACHE_BYTES
        )
        self.max_low_pfn = 0

    def free_all(self) -> list[list[int]]:
        """The chunks handed over, one by one; ScriptError when no reader could want so many."""
        freed = self.memblock.free_all(self.max_low_pfn)
        count = sum(n for _, _, n in freed.runs())
        if count > MAX_CHUNKS:
            raise ScriptError(f"memblock_free_all would list {count} chunks, more than {MAX_CHUNKS}")
        return [[pfn, order] for pfn, order in freed]


@dataclass(frozen=True)
class Operation:
    """How an operation is called: the kind of each argument, what it does, and the fact without which it is unknown."""

    arguments: tuple[str, ...]
    call: Callable[..., Any]
    fact: str | None = None


def _lists(ranges: Any) -> list[list[int]]:
    return [list(r) for r in ranges]


def _plain(kinds: str, method: str, fact: str | None = None) -> Operation:
    """An operation that is one method of Memblock."""
    return Operation(tuple(kinds.split()), lambda m, *a: getattr(m.memblock, method)(*a), fact)


def _walk(kinds: str, method: str) -> Operation:
    """An operation that is a walk over ranges."""
    return Operation(tuple(kinds.split()), lambda m, *a: _lists(getattr(m.memblock, method)(*a)))


def _switch(kinds: str, attribute: str, *, of_memblock: bool = True) -> Operation:
    """An operation that sets an attribute."""
    return Operation(tuple(kinds.split()), lambda m, value: setattr(m.memblock if of_memblock else m, attribute, value))


def _constant(attribute: str, value: bool, fact: str) -> Operation:
    """An operation without arguments that sets an attribute."""
    return Operation((), lambda m: setattr(m.memblock, attribute, value), fact)


def _search_pfn_nid(m: Machine, pfn: int) -> list[int | None]:
    found = m.memblock.search_pfn_nid(pfn)
    return [-1, None, None] if found is None else list(found)


_KEEP = "memblock_reservations_keep_their_request"
_KHO = "memblock_has_kho_scratch"

OPERATIONS: dict[str, Operation] = {
    "memblock_add": _plain("base size", "add"),
    "memblock_add_node": _plain("base size nid flags", "add_node"),
    "memblock_remove": _plain("base size", "remove"),
    "memblock_reserve": _plain("base size", "reserve"),
    "memblock_reserve_kern": _plain("base size", "reserve_kern", _KEEP),
    "__memblock_reserve": _plain("base size nid flags", "reserve_node", _KEEP),
    "memblock_phys_free": _plain("base size", "phys_free"),
    "memblock_set_node": _plain("base size list nid", "set_node"),
    "memblock_mark_hotplug": _plain("base size", "mark_hotplug"),
    "memblock_clear_hotplug": _plain("base size", "clear_hotplug"),
    "memblock_mark_nomap": _plain("base size", "mark_nomap"),
    "memblock_clear_nomap": _plain("base size", "clear_nomap"),
    "memblock_mark_mirror": _plain("base size", "mark_mirror"),
    "memblock_mark_kho_scratch": _plain("base size", "mark_kho_scratch", _KHO),
    "memblock_clear_kho_scratch": _plain("base size", "clear_kho_scratch", _KHO),
    "memblock_reserved_mark_noinit": _plain("base size", "reserved_mark_noinit", "memblock_has_rsrv_noinit"),
    "memblock_reserved_mark_kern": _plain("base size", "reserved_mark_kern", "memblock_has_reserved_mark_kern"),
    "memblock_set_bottom_up": _switch("bool", "bottom_up"),
    "memblock_set_current_limit": _switch("limit", "current_limit"),
    "memblock_get_current_limit": Operation((), lambda m: m.memblock.current_limit),
    "memblock_set_kho_scratch_only": _constant("kho_scratch_only", True, _KHO),
    "memblock_clear_kho_scratch_only": _constant("kho_scratch_only", False, _KHO),
    "memblock_allow_resize": _plain("", "allow_resize"),
    "memblock_trim_memory": _plain("align", "trim_memory"),
    "memblock_enforce_memory_limit": _plain("limit", "enforce_memory_limit"),
    "memblock_cap_memory_range": _plain("base size", "cap_memory_range"),
    "memblock_mem_limit_remove_map": _plain("limit", "mem_limit_remove_map"),
    "memblock_phys_alloc": _plain("size align", "phys_alloc"),
    "memblock_phys_alloc_range": _plain("size align start end", "phys_alloc_range"),
    "memblock_phys_alloc_try_nid": _plain("size align nid", "phys_alloc_try_nid"),
    "memblock_alloc_range_nid": _plain("size align start end nid bool", "alloc_range_nid"),
    "memblock_alloc": _plain("size align", "alloc"),
    "memblock_alloc_from": _plain("size align min", "alloc_from"),
    "memblock_alloc_low": _plain("size align", "alloc_low"),
    "memblock_alloc_node": _plain("size align nid", "alloc_node"),
    "memblock_alloc_try_nid": _plain("size align min max nid", "alloc_try_nid"),
    "memblock_alloc_try_nid_raw": _plain("size align min max nid", "alloc_try_nid_raw"),
    "memblock_alloc_exact_nid_raw": _plain("size align min max nid", "alloc_exact_nid_raw"),
    "memblock_alloc_hugetlb": _plain("size nid bool", "alloc_hugetlb", "memblock_has_alloc_hugetlb"),
    "memblock_find_in_range": _plain("start end size align", "find_in_range"),
    "memblock_find_in_range_node": _plain("size align start end nid flags", "find_in_range_node"),
    "memblock_is_memory": _plain("addr", "is_memory"),
    "memblock_is_map_memory": _plain("addr", "is_map_memory"),
    "memblock_is_reserved": _plain("addr", "is_reserved"),
    "memblock_is_region_memory": _plain("base size", "is_region_memory"),
    "memblock_is_region_reserved": _plain("base size", "is_region_reserved"),
    "memblock_overlaps_region": _plain("list base size", "overlaps_region"),
    "memblock_addrs_overlap": _plain("base size base size", "addrs_overlap"),
    "memblock_search_pfn_nid": Operation(("pfn",), _search_pfn_nid),
    "memblock_start_of_DRAM": _plain("", "start_of_DRAM"),
    "memblock_end_of_DRAM": _plain("", "end_of_DRAM"),
    "memblock_phys_mem_size": _plain("", "phys_mem_size"),
    "memblock_reserved_size": _plain("", "reserved_size"),
    "memblock_reserved_kern_size": _plain("limit nid", "reserved_kern_size", _KEEP),
    "memblock_reserved_hugetlb_size": _plain("limit nid", "reserved_hugetlb_size", "memblock_has_alloc_hugetlb"),
    "memblock_estimated_nr_free_pages": _plain("", "estimated_nr_free_pages", "memblock_has_estimated_free"),
    "memblock_validate_numa_coverage": _plain("threshold", "validate_numa_coverage", "memblock_has_numa_coverage"),
    "for_each_free_mem_range": _walk("nid flags", "for_each_free_mem_range"),
    "for_each_free_mem_range_reverse": _walk("nid flags", "for_each_free_mem_range_reverse"),
    "for_each_mem_range": _walk("", "for_each_mem_range"),
    "for_each_mem_range_rev": _walk("", "for_each_mem_range_rev"),
    "for_each_reserved_mem_range": _walk("", "for_each_reserved_mem_range"),
    "for_each_mem_pfn_range": _walk("nid", "for_each_mem_pfn_range"),
    "memblock_free_all": Operation((), Machine.free_all),
    "set_mirrored_kernelcore": _switch("bool", "mirrored_kernelcore"),
    "set_movable_node": _switch("bool", "movable_node"),
    "set_max_low_pfn": _switch("pfn", "max_low_pfn", of_memblock=False),
}


def _argument(kind: str, value: object, memblock: Memblock) -> object:
    """`value` as an operation takes it; ValueError says what is expected."""
    if kind == "list":
        lists: dict[object, MemblockType] = {"memory": memblock.memory, "reserved": memblock.reserved}
        if not isinstance(value, str) or value not in lists:
            raise ValueError('is not "memory" or "reserved"')
        return lists[value]
    if kind == "bool":
        if value not in (0, 1) or isinstance(value, float):
            raise ValueError("is not 0 or 1")
        return bool(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("is not a number")
    low, high = (-(2**31), 2**31 - 1) if kind == "nid" else (0, 2**32 - 1 if kind == "flags" else U64_MAX)
    if not low <= value <= high:
        raise ValueError(f"is not between {low} and {high}")
    return value


def prepare(operation: object, machine: Machine) -> Callable[[], Any]:
    """The call that `operation` ([name, argument...]) stands for, not yet made. ScriptError when it is unusable."""
    if not isinstance(operation, list) or not operation or not isinstance(operation[0], str):
        raise ScriptError("an operation is a list that begins with a name")
    name, *values = operation
    known = OPERATIONS.get(name)
    if known is None:
        raise ScriptError(f"unknown operation {name!r}")
    memblock = machine.memblock
    if known.fact is not None and not getattr(memblock.release, known.fact):
        raise ScriptError(f"{name} does not exist in Linux {dotted(memblock.release.version)}")
    if len(values) != len(known.arguments):
        wanted = " ".join(known.arguments) or "none"
        raise ScriptError(f"{name} takes {len(known.arguments)} arguments ({wanted}), not {len(values)}")
    arguments = []
    for kind, value in zip(known.arguments, values, strict=True):
        try:
            arguments.append(_argument(kind, value, memblock))
        except ValueError as error:
            raise ScriptError(f"{name}: {kind} {value!r} {error}") from None
    return lambda: known.call(machine, *arguments)


def run_script(release: Release, numa: bool, script: Sequence[object], *, states: bool = False) -> Outcome:
    """Apply `script` to a fresh memblock. `states` keeps the state after every operation.

    ScriptError names the first operation that is unusable, by its index.
    """
    machine = Machine(release, numa)
    done = Outcome("ok", [], None, [])
    for index, operation in enumerate(script):
        try:
            call = prepare(operation, machine)
        except ScriptError as error:
            raise ScriptError(f"operation {index}: {error}") from None
        try:
            done.results.append(call())
        except ScriptError as error:
            raise ScriptError(f"operation {index}: {error}") from None
        except MemblockPanic:
            done.outcome = "panic"
            return done
        except MemblockBug:
            done.outcome = "bug"
            return done
        if states:
            done.states_after.append(state(machine.memblock))
    done.state = state(machine.memblock)
    return done


def state(memblock: Memblock) -> dict[str, Any]:
    """Everything that a script's record tells of a memblock."""
    return {
        "memory": _list_state(memblock.memory),
        "reserved": _list_state(memblock.reserved),
        "bottom_up": memblock.bottom_up,
        "current_limit": memblock.current_limit,
        "mirror_warnings": memblock.mirror_warnings,
        "warns": memblock.warns,
    }


def _list_state(type_: MemblockType) -> dict[str, Any]:
    return {
        "cnt": type_.cnt,
        "max": type_.max,
        "total_size": type_.total_size,
        "regions": [[r.base, r.size, r.flags, r.nid if type_.numa else None] for r in type_.regions],
    }
