"""The LRU lists of a cgroup, page by page (linux/mm_inline.h)."""

from __future__ import annotations

from mmtool.linux.mm.folio import LRU_UNEVICTABLE, folio_lru_list
from mmtool.linux.mm.memory_state import Memory


def list_add(m: Memory, slot: int, head: int) -> None:
    """list_add(): put a page behind the head of a list."""
    nxt, prev = m.next, m.prev
    first = nxt[head]
    nxt[slot] = first
    prev[slot] = head
    prev[first] = slot
    nxt[head] = slot


def list_add_tail(m: Memory, slot: int, head: int) -> None:
    """list_add_tail(): put a page at the end of a list, from where pages are taken."""
    nxt, prev = m.next, m.prev
    last = prev[head]
    prev[slot] = last
    nxt[slot] = head
    nxt[last] = slot
    prev[head] = slot


def list_del(m: Memory, slot: int) -> None:
    """list_del(): take a page off its list."""
    before, after = m.prev[slot], m.next[slot]
    m.next[before] = after
    m.prev[after] = before


def list_head(m: Memory, lru: int) -> int:
    """The head of an LRU list."""
    return len(m.flags) + lru


def lruvec_add_folio(m: Memory, slot: int) -> None:
    """lruvec_add_folio(): put a page at the head of the list that its flags say."""
    lru = folio_lru_list(m.flags[slot])
    m.lruvec.size[lru] += 1
    m.stats.mod(lru, 1)
    if lru != LRU_UNEVICTABLE:
        list_add(m, slot, len(m.flags) + lru)


def lruvec_add_folio_tail(m: Memory, slot: int) -> None:
    """lruvec_add_folio_tail(): put a page where it is taken next."""
    lru = folio_lru_list(m.flags[slot])
    m.lruvec.size[lru] += 1
    m.stats.mod(lru, 1)
    list_add_tail(m, slot, len(m.flags) + lru)


def lruvec_del_folio(m: Memory, slot: int) -> None:
    """lruvec_del_folio(): take a page off the list that its flags say."""
    lru = folio_lru_list(m.flags[slot])
    m.lruvec.size[lru] -= 1
    m.stats.mod(lru, -1)
    if lru != LRU_UNEVICTABLE:
        list_del(m, slot)
