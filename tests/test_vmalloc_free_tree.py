"""The tree of free areas: balanced, right about its largest areas, and its searches against plain ones."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.release import release_facts
from mmtool.linux.mm.vmalloc.free_tree import FreeArea, FreeTree
from mmtool.linux.mm.vmalloc.vmap import VmapSpace

TREES = Path(__file__).parent.parent / "fixtures" / "vmalloc" / "red-black-trees.txt.gz"
TOP = 1 << 20
STEPS = st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.integers(0, 9)), max_size=120)


def check(node: FreeArea | None) -> tuple[int, int]:
    """The number of black nodes on every way down, and the largest area; each subtree must know its own."""
    if node is None:
        return 1, 0
    for child in (node.left, node.right):
        assert child is None or (child.parent is node and not (node.red and child.red))
    (black, left), (other, right) = check(node.left), check(node.right)
    assert black == other
    assert node.max_size == max(left, right, node.end - node.start)
    return black + (not node.red), node.max_size


def in_order(node: FreeArea | None) -> list[FreeArea]:
    return [*in_order(node.left), node, *in_order(node.right)] if node is not None else []


@given(STEPS)
def test_the_tree_stays_a_tree(steps: list[tuple[bool, int, int]]) -> None:
    tree, busy = FreeTree(), []
    tree.add(1, TOP)
    for take, size, order in steps:
        align, size = 1 << order, size * 64
        if take or not busy:
            area = tree.lowest_match(size, align, 64, size + align - 1)
            if area is None:
                continue
            start = max(area.start, 64) + align - 1 & -align
            tree.clip(area, start, size)
            busy.append((start, start + size))
        else:
            tree.add(*busy.pop(size % len(busy)))
        check(tree.root)
        assert [id(a) for a in in_order(tree.root)] == [id(a) for a in tree]
        parts = sorted([*busy, *((a.start, a.end) for a in tree)])
        assert parts[0][0] == 1 and parts[-1][1] == TOP
        assert all(a[1] == b[0] for a, b in pairwise(parts))


@pytest.mark.parametrize("line", gzip.decompress(TREES.read_bytes()).decode().splitlines())
def test_it_turns_as_the_kernels_tree_does(line: str) -> None:
    """Areas of up to seven bytes at every tenth, so that none touch."""
    steps, _, shape = line.partition(" :")
    tree = FreeTree()
    for step in map(int, steps.split()):
        if step > 0:
            tree.add(10 * step, 10 * step + 1 + step % 7)
        else:
            area = tree.enclosing(-10 * step)
            assert area is not None
            tree.erase(area)
        check(tree.root)
    told = " ".join(f"{start // 10}{'r' * red}" for start, _, red in tree.preorder())
    assert told == shape.strip()


@given(STEPS, st.integers(1, 60), st.integers(0, TOP))
def test_page_aligned_requests_get_the_lowest_place(steps: list[tuple[bool, int, int]], size: int, vstart: int) -> None:
    tree = FreeTree()
    tree.add(1, TOP)
    for _, length, _ in steps:
        area = tree.lowest_match(length * 128, 64, 64, length * 128)
        if area is not None:
            tree.clip(area, max(area.start, 64) + length * 64 + 63 & -64, length * 64)
    size, vstart = size * 64, vstart & -64
    places = [max(a.start, vstart) + 63 & -64 for a in tree if (max(a.start, vstart) + 63 & -64) + size <= a.end]
    found = tree.lowest_match(size, 64, vstart, size)
    assert (max(found.start, vstart) + 63 & -64 if found else None) == min(places, default=None)


@settings(deadline=None)
@given(STEPS, st.lists(st.tuples(st.integers(1, 300), st.integers(0, 9), st.sampled_from([0, 64, 640])), max_size=30))
def test_an_answer_does_not_depend_on_earlier_questions(
    steps: list[tuple[bool, int, int]], questions: list[tuple[int, int, int]]
) -> None:
    """With pages of 64 bytes: only what is aligned to more than a page is searched as something longer."""
    tree = FreeTree()
    tree.add(1, TOP)
    for take, length, order in steps:
        start, end = length * 512 + order * 64, length * 512 + (order + 1 + take) * 64
        area = tree.enclosing(start)
        if area is not None and area.start <= start and end <= area.end:
            tree.clip(area, start, end - start)
    for size, order, vstart in questions:
        size *= 64
        for align, length in ((64, size), (64 << order, size + (64 << order) - 1)):
            found = tree.lowest_match(size, align, vstart, length)
            fresh = FreeTree.of_preorder(tree.preorder()).lowest_match(size, align, vstart, length)
            assert (found and (found.start, found.end)) == (fresh and (fresh.start, fresh.end))
            if found is not None:
                assert (max(found.start, vstart) + align - 1 & -align) + size <= found.end


def first_in_order(node: FreeArea, size: int, align: int, vstart: int, length: int) -> FreeArea | None:
    """find_vmap_lowest_match(): the first in order where it fits, without subtrees whose largest area is too small."""
    left, right = node.left, node.right
    if left is not None and left.max_size >= length and vstart < node.start:
        found = first_in_order(left, size, align, vstart, length)
        if found is not None:
            return found
    if -(-max(node.start, vstart) // align) * align + size <= node.end:
        return node
    if right is not None and right.max_size >= length:
        return first_in_order(right, size, align, vstart, length)
    return None


NEAR = st.integers(-1, 1)


@settings(deadline=None)
@given(
    st.sets(st.integers(1, 300), min_size=2, max_size=40),
    st.lists(st.tuples(st.integers(0, 19), NEAR, st.integers(0, 19), NEAR, st.integers(0, 4)), max_size=30),
)
def test_a_search_finds_the_first_in_order(edges: set[int], questions: list[tuple[int, int, int, int, int]]) -> None:
    """Sizes and starts of areas, give or take one, so that all borders are met; one after the other on one tree."""
    tree, at = FreeTree(), sorted(edges)
    areas = list(zip(at[::2], at[1::2], strict=False))
    for start, end in sorted(areas, key=lambda area: area[0] % 7):
        tree.add(start, end)
    assert tree.root is not None
    for of, more, behind, later, order in questions:
        start, end = areas[of % len(areas)]
        size, align, vstart = max(end - start + more, 1), 1 << order, max(areas[behind % len(areas)][0] + later, 0)
        for length in (size, size + align - 1):
            found = tree.lowest_match(size, align if length > size else 1, vstart, length)
            assert found is first_in_order(tree.root, size, align if length > size else 1, vstart, length)


def test_where_an_aligned_search_ended_says_nothing_of_the_next() -> None:
    tree = FreeTree()
    tree.add(64, 576)
    tree.add(1024, TOP)
    for align, start in ((512, 1024), (128, 64), (512, 1024)):
        area = tree.lowest_match(256, align, 0, 256 + align - 1)
        assert area is not None and area.start == start


def test_where_a_search_from_higher_up_ended_says_nothing_of_the_next() -> None:
    tree = FreeTree()
    tree.add(64, 192)
    tree.add(1024, TOP)
    for vstart, start in ((640, 1024), (0, 64), (640, 1024)):
        area = tree.lowest_match(64, 64, vstart, 64)
        assert area is not None and area.start == start


@pytest.mark.parametrize("align", [1, 64])
def test_on_the_way_back_up_an_area_that_just_fits_is_taken(align: int) -> None:
    """Below it lies a larger one, of which too little is left above where the search begins."""
    tree = FreeTree()
    tree.add(256, 320)
    tree.add(0, 200)
    tree.add(400, 400 + 65 + align - 1)
    area = tree.lowest_match(64, align, 140, 64 + align - 1)
    assert area is not None and area.start == 256
    above = tree.lowest_match(65, align, 140, 65 + align - 1)
    assert above is not None and above.start == 400


def test_the_area_around_an_address() -> None:
    tree = FreeTree()
    for start in range(100, 1100, 100):
        tree.add(start, start + 50)
    for start in range(100, 1100, 100):
        for address in (start, start + 1, start + 50, start + 99):
            area = tree.enclosing(address)
            assert area is not None and area.start == start
    assert tree.enclosing(99) is None
    assert FreeTree().enclosing(1) is None


def test_a_request_without_alignment_wants_its_start_rounded_up() -> None:
    tree = FreeTree()
    tree.add(1, 128)
    tree.add(200, 448)
    for size, start in ((64, 1), (65, 200), (128, 200), (192, 200), (193, None)):
        for _ in range(2):
            area = tree.lowest_match(size, 64, 0, size)
            assert (area and area.start) == start


def test_what_is_free_cannot_be_freed() -> None:
    tree = FreeTree()
    tree.add(1, 100)
    with pytest.raises(AssertionError, match="free already"):
        tree.add(50, 150)


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 12)), max_size=12),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.lists(st.integers(0, 20), min_size=3, max_size=3),
    st.sampled_from([1, 2, 4]),
)
def test_percpu_areas_lie_as_high_as_they_can(
    taken: list[tuple[int, int]], lengths: list[int], gaps: list[int], unit: int
) -> None:
    """Against trying every base from the top."""
    page = 4096
    space = VmapSpace(release_facts((6, 1, 0)), page * 256, page * 512, page_size=page)
    for at, pages in taken:
        start = (256 + at) * page
        space.alloc_vmap_area(pages * page, 1, start, start + pages * page)
    free = {n for a in space.free for n in range(max(-(-a.start // page), 256), min(a.end // page, 512))}
    offsets, sizes, at = [], [], 0
    for i, length in enumerate(lengths):
        offsets.append(at * page)
        sizes.append(length * unit * page)
        at += (length + (gaps[i] if i < len(gaps) else 0)) * unit
    align = unit * page
    last = max(o + s for o, s in zip(offsets, sizes, strict=True))
    expected = next(
        (
            base
            for base in range((512 * page & -align) - last, 256 * page - 1, -align)
            if all(free.issuperset(range((base + o) // page, (base + o + s) // page))
                   for o, s in zip(offsets, sizes, strict=True))
        ),
        None,
    )  # fmt: skip
    areas = space.pcpu_get_vm_areas(offsets, sizes, align)
    assert (areas[0].start if areas else None) == expected
