"""lib/sort.c: the kernel's heap sort, which decides in which order equals come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")


def sort(items: Iterable[Item], key: Callable[[Item], Any]) -> list[Item]:
    """sort(): a heap sort that goes down to a leaf and back up; `key` stands for the comparison."""
    heap = list(items)
    keys = [key(item) for item in heap]

    def swap(i: int, j: int) -> None:
        heap[i], heap[j] = heap[j], heap[i]
        keys[i], keys[j] = keys[j], keys[i]

    top, end = len(heap) // 2, len(heap)
    while end > 1 or top:
        if top:
            top -= 1
        else:
            end -= 1
            swap(0, end)
        leaf = top
        while 2 * leaf + 2 < end:
            left = 2 * leaf + 1
            leaf = left if keys[left] >= keys[left + 1] else left + 1
        if 2 * leaf + 2 == end:
            leaf = 2 * leaf + 1
        while leaf != top and keys[top] >= keys[leaf]:
            leaf = (leaf - 1) // 2
        place = leaf
        while leaf != top:
            leaf = (leaf - 1) // 2
            swap(leaf, place)
    return heap
