"""The free areas of virtual memory: the tree of mm/vmalloc.c, in which every node knows its largest area below.

Which free area a request gets depends on the tree's shape, not on addresses alone: where alignment counts, a subtree
is entered only if its largest area surely fits, but a node that is passed may fit by luck. So this is a red-black
tree that turns as the kernel's does (lib/rbtree.c), with the same searches on it. Addresses and sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

LARGE = 1 << 44
"""Areas of 16 TiB and more count as equally large when subtrees are compared, which spares most of the counting: the
one that most areas are cut from is larger, and no request is."""


class FreeArea:
    """A free area [start, end): a node of the tree, and of the list by address."""

    __slots__ = ("end", "left", "max_size", "next", "parent", "prev", "red", "right", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.max_size = min(end - start, LARGE)
        self.left: FreeArea | None = None
        self.right: FreeArea | None = None
        self.parent: FreeArea | None = None
        self.prev: FreeArea | None = None
        self.next: FreeArea | None = None
        self.red = True


class FreeTree:
    """The free areas, by address. They never touch each other: neighbours are merged."""

    __slots__ = ("_hint", "_hint_size", "_hint_vstart", "first", "root")

    def __init__(self) -> None:
        self.root: FreeArea | None = None
        self.first: FreeArea | None = None
        self._hint: FreeArea | None = None
        """Where the last search without alignment ended; nothing below it, from where that began, has as much room.

        That stays so until an area is added or one goes. Such searches find the lowest place whatever the tree.
        """
        self._hint_size = self._hint_vstart = 0

    def __iter__(self) -> Iterator[FreeArea]:
        area = self.first
        while area is not None:
            yield area
            area = area.next

    @classmethod
    def of_preorder(cls, nodes: Iterable[tuple[int, int, bool]]) -> FreeTree:
        """The very tree that `preorder` told: where its nodes lie follows from their order."""
        tree = cls()
        areas = []
        for start, end, red in nodes:
            new = FreeArea(start, end)
            new.red = red
            areas.append(new)
            node, parent = tree.root, None
            while node is not None:
                parent = node
                node = node.left if start < node.start else node.right
            new.parent = parent
            if parent is None:
                tree.root = new
            elif start < parent.start:
                parent.left = new
            else:
                parent.right = new
        areas.sort(key=lambda area: area.start)
        for before, after in pairwise(areas):
            before.next, after.prev = after, before
        tree.first = areas[0] if areas else None
        for area in areas:
            tree._recount(area)
        return tree

    def preorder(self) -> Iterator[tuple[int, int, bool]]:
        """Each area before those below it, with its colour: start, end, red."""
        stack = [self.root]
        while stack:
            node = stack.pop()
            if node is not None:
                yield node.start, node.end, node.red
                stack += [node.right, node.left]

    # Searches

    def lowest_match(self, size: int, align: int, vstart: int, length: int) -> FreeArea | None:
        """find_vmap_lowest_match(): the area to take `size` bytes from, searched as one of `length` bytes.

        An area that is passed on the way will do if the aligned request fits in it (is_within_this_va()).
        """
        if length != size:
            return self._search(size, align, vstart, length)
        node = self._hint
        if node is not None and size >= self._hint_size and vstart == self._hint_vstart:
            start = node.start if node.start > vstart else vstart
            if (start + align - 1 & -align) + size <= node.end:
                return node
        node = self._hint = self._search(size, align, vstart, length)
        self._hint_size, self._hint_vstart = size, vstart
        return node

    def _search(self, size: int, align: int, vstart: int, length: int) -> FreeArea | None:
        length = min(length, LARGE)
        node = self.root
        while node is not None:
            left = node.left
            if left is not None and left.max_size >= length and vstart < node.start:
                node = left
                continue
            start = node.start if node.start > vstart else vstart
            if (start + align - 1 & -align) + size <= node.end:
                return node
            right = node.right
            if right is not None and right.max_size >= length:
                node = right
                continue
            # Back up to the first right subtree that can hold it; only `vstart` or alignment leads here.
            node = node.parent
            while node is not None:
                start = node.start if node.start > vstart else vstart
                if (start + align - 1 & -align) + size <= node.end:
                    return node
                right = node.right
                if right is not None and right.max_size >= length and vstart <= node.start:
                    vstart = node.start + 1
                    node = right
                    break
                node = node.parent
        return None

    def enclosing(self, address: int) -> FreeArea | None:
        """pvm_find_va_enclose_addr(): the area that holds `address`, else the last that begins before it."""
        node, found = self.root, None
        while node is not None:
            if node.start <= address:
                found = node
                if node.end >= address:
                    break
                node = node.right
            else:
                node = node.left
        return found

    # Changes

    def clip(self, area: FreeArea, start: int, size: int) -> None:
        """va_clip(): [start, start + size) is taken out of `area`, from an edge or the middle, or all of it."""
        end = start + size
        if area.start == start:
            if area.end == end:
                self.erase(area)
                return
            area.start = end
        elif area.end == end:
            area.end = start
        else:
            below = FreeArea(area.start, start)
            area.start = end
            self._propagate(area)
            self._insert_before(below, area)
            return
        self._propagate(area)

    def add(self, start: int, end: int) -> tuple[int, int]:
        """merge_or_add_vmap_area(): [start, end) becomes free; the area that it is part of then, from and to.

        AssertionError when some of it is free already.
        """
        self._hint = None
        node, parent, left = self.root, None, False
        while node is not None:
            parent = node
            left = end <= node.start
            if not left and start < node.end:
                raise AssertionError(f"{start:#x}-{end:#x} is free already")
            node = node.left if left else node.right
        if parent is None:
            self._link(FreeArea(start, end), None, False)
            return start, end
        after = parent if left else parent.next
        before = after.prev if after is not None else parent
        merged = None
        if after is not None and after.start == end:
            after.start = start
            merged = after
        if before is not None and before.end == start:
            if merged is not None:
                end = merged.end
                self.erase(merged)
            before.end = end
            merged = before
        if merged is None:
            self._link(FreeArea(start, end), parent, left)
            return start, end
        self._propagate(merged)
        return merged.start, merged.end

    def _insert_before(self, new: FreeArea, area: FreeArea) -> None:
        """Hang `new` in as the neighbour below `area`, as a search from there does."""
        node, parent, left = area.left, area, True
        while node is not None:
            parent, left = node, False
            node = node.right
        self._link(new, parent, left)

    def _link(self, new: FreeArea, parent: FreeArea | None, left: bool) -> None:
        """link_va(): a new leaf below `parent`, in the list beside it, and the tree balanced again."""
        self._hint = None
        new.parent = parent
        if parent is None:
            self.root = self.first = new
            new.red = False
            return
        if left:
            parent.left = new
            new.next, new.prev = parent, parent.prev
        else:
            parent.right = new
            new.prev, new.next = parent, parent.next
        if new.prev is not None:
            new.prev.next = new
        else:
            self.first = new
        if new.next is not None:
            new.next.prev = new
        self._propagate(parent)
        self._balance_insert(new)

    # The tree itself

    @staticmethod
    def _propagate(node: FreeArea | None) -> None:
        """augment_tree_propagate_from(): the largest sizes upwards, until one is right already."""
        while node is not None:
            size = node.end - node.start
            left, right = node.left, node.right
            if left is not None and left.max_size > size:
                size = left.max_size
            if right is not None and right.max_size > size:
                size = right.max_size
            if size > LARGE:
                size = LARGE
            if size == node.max_size:
                return
            node.max_size = size
            node = node.parent

    def _replace(self, old: FreeArea, new: FreeArea | None) -> None:
        """`new` takes the place of `old` below its parent."""
        parent = old.parent
        if parent is None:
            self.root = new
        elif parent.left is old:
            parent.left = new
        else:
            parent.right = new
        if new is not None:
            new.parent = parent

    def _rotate(self, node: FreeArea, left: bool) -> None:
        """`node` goes down to the left (or right), its child of the other side takes its place."""
        child = node.right if left else node.left
        assert child is not None
        inner = child.left if left else child.right
        if left:
            node.right = inner
        else:
            node.left = inner
        if inner is not None:
            inner.parent = node
        self._replace(node, child)
        if left:
            child.left = node
        else:
            child.right = node
        node.parent = child
        child.max_size = node.max_size
        size = node.end - node.start
        for below in (node.left, node.right):
            if below is not None and below.max_size > size:
                size = below.max_size
        node.max_size = min(size, LARGE)

    def _balance_insert(self, node: FreeArea) -> None:
        """No red node below a red one: colours change upwards, two turns at most end it."""
        while (parent := node.parent) is not None and parent.red:
            grand = parent.parent
            assert grand is not None
            on_left = grand.left is parent
            uncle = grand.right if on_left else grand.left
            if uncle is not None and uncle.red:
                parent.red = uncle.red = False
                grand.red = True
                node = grand
                continue
            if (parent.right if on_left else parent.left) is node:
                self._rotate(parent, on_left)
                parent = node
            parent.red, grand.red = False, True
            self._rotate(grand, not on_left)
            break
        assert self.root is not None
        self.root.red = False

    def erase(self, node: FreeArea) -> None:
        """unlink_va(): take a node out of tree and list. With two children its successor takes its place."""
        self._hint = None
        if node.prev is not None:
            node.prev.next = node.next
        else:
            self.first = node.next
        if node.next is not None:
            node.next.prev = node.prev
        black = not node.red
        parent: FreeArea | None
        if node.left is None or node.right is None:
            child = node.right if node.left is None else node.left
            parent = node.parent
            self._replace(node, child)
        else:
            successor = node.right
            while successor.left is not None:
                successor = successor.left
            black = not successor.red
            child = successor.right
            if successor.parent is node:
                parent = successor
            else:
                parent = successor.parent
                self._replace(successor, child)
                successor.right = node.right
                successor.right.parent = successor
            self._replace(node, successor)
            successor.left = node.left
            successor.left.parent = successor
            successor.red = node.red
        self._recount(parent)
        if child is not None and black and child.red:
            child.red = False
        elif black:
            self._balance_erase(child, parent)

    @staticmethod
    def _recount(node: FreeArea | None) -> None:
        """The largest sizes from `node` all the way up: above a place that changed hands none is sure."""
        while node is not None:
            size = node.end - node.start
            if node.left is not None and node.left.max_size > size:
                size = node.left.max_size
            if node.right is not None and node.right.max_size > size:
                size = node.right.max_size
            node.max_size = min(size, LARGE)
            node = node.parent

    def _balance_erase(self, node: FreeArea | None, parent: FreeArea | None) -> None:
        """A black node is missing on the way through `node`: turn and colour until every way has as many."""
        while parent is not None and (node is None or not node.red):
            on_left = parent.left is node
            sibling = parent.right if on_left else parent.left
            assert sibling is not None
            if sibling.red:
                sibling.red, parent.red = False, True
                self._rotate(parent, on_left)
                sibling = parent.right if on_left else parent.left
                assert sibling is not None
            near, far = (sibling.left, sibling.right) if on_left else (sibling.right, sibling.left)
            if far is None or not far.red:
                if near is None or not near.red:
                    sibling.red = True
                    node, parent = parent, parent.parent
                    continue
                self._rotate(sibling, not on_left)
                far, sibling = sibling, near
            sibling.red, parent.red = parent.red, False
            far.red = False
            self._rotate(parent, on_left)
            return
        if node is not None:
            node.red = False
