"""`mmtool plot`: the picture shows every region, no two texts meet, and the axis keeps the order of addresses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.captures import Capture, booted, captures
from support.commands import mmtool

from mmtool.cli.boot import SECTIONS, boot
from mmtool.cli.plot import plot
from mmtool.errors import InputError, UsageError
from mmtool.report.boot import document as boot_document
from mmtool.report.picture.axis import Scale, make_axis
from mmtool.report.picture.poster import poster
from mmtool.report.picture.rows import SECTIONS as ROWS
from mmtool.report.picture.svg import svg
from mmtool.units import U64_MAX, human

FIXTURES = Path(__file__).parent.parent / "fixtures"
LOGS = os.environ.get("MMTOOL_LOGS", "")
RING = FIXTURES / "captures" / "x86-6.1-numa4-ring"
CAPTURES = [c for c in captures() if c.says_where_memory_is]
PICTURES = [*(c.path for c in CAPTURES), *sorted((FIXTURES / "logs").glob("*.txt"))]
PICTURES += sorted(Path(LOGS).glob("x86_64-*.txt")) + sorted(Path(LOGS).glob("i386-*.txt")) if LOGS else []
SVG = "{http://www.w3.org/2000/svg}"
ENTRY = "BIOS-e820: [mem {:#018x}-{:#018x}] {}\n"

WIDEST = 0.62
"""Width of a monospaced font's character by its size; the widest of the usual ones have that."""
ABOVE, BELOW = 0.95, 0.3
"""What of a line's height lies above and below the baseline, by the size."""

Box = tuple[float, float, float, float, str]


def run(*arguments: str | Path, command: Any = plot, stdin: str | None = None) -> str:
    """What a command prints; of plot's pictures the detailed one, unless another is asked for."""
    if command is plot and not {"--bar", "--poster"} & set(arguments):
        arguments = (*arguments, "--detail")
    arguments = tuple(a for a in arguments if a != "--poster")
    done = CliRunner().invoke(
        command, [*map(str, arguments)], input=stdin, catch_exceptions=False, standalone_mode=False
    )
    return done.stdout


@dataclass(frozen=True)
class Picture:
    """An SVG document as it is drawn."""

    root: ElementTree.Element

    @property
    def boxes(self) -> list[Box]:
        """Every text with the room it takes: left, top, right, bottom."""
        out = []
        for t in self.root.iter(f"{SVG}text"):
            x, y, size, text = float(t.attrib["x"]), float(t.attrib["y"]), float(t.attrib["font-size"]), t.text or ""
            width = sum(2 if east_asian_width(c) in "WF" else 1 for c in text) * WIDEST * size
            left = {"start": x, "middle": x - width / 2, "end": x - width}[t.get("text-anchor", "start")]
            out.append((left, y - ABOVE * size, left + width, y + BELOW * size, text))
        return out

    @property
    def size(self) -> tuple[float, float]:
        _, _, width, height = map(float, self.root.attrib["viewBox"].split())
        return width, height

    @property
    def words(self) -> str:
        """All its text in one, with the legend's entries whole."""
        return " ".join(t.text or "" for t in self.root.iter(f"{SVG}text"))

    @property
    def pieces(self) -> list[tuple[str, float]]:
        """What is drawn of memory: (what it says of itself, its width)."""
        return [
            (title.text or "", float(rect.attrib["width"]))
            for rect in self.root.iter(f"{SVG}rect")
            if (title := rect.find(f"{SVG}title")) is not None
        ]


def boot_options(path: Path) -> tuple[str | Path, ...]:
    """What `mmtool boot` is given to boot what `mmtool plot PATH` boots."""
    if not path.is_dir():
        return "--e820", path
    capture = Capture(path)
    if not capture.tree.exists():
        return "--capture", path
    return "--dtb", capture.tree, "--dmesg", path / "dmesg.txt", *capture.arguments


def picture(text: str) -> Picture:
    return Picture(ElementTree.fromstring(text))


LISTED = re.compile(
    r"([FMZR])(\d+)(?:\u2013[FMZR](\d+))? (0x\w+)\u2013(0x\w+), (?:(\d+) of )?([^:,]+)(?:, one every (0x\w+))?: "
)


def listed(words: str) -> dict[str, list[tuple[int, int]]]:
    """The regions of the legend by letter, in the order of their numbers, entries of several taken apart."""
    regions: dict[str, list[tuple[int, int]]] = {}
    for letter, first, last, start, end, count, size, step in LISTED.findall(words):
        own = regions.setdefault(letter, [])
        assert (int(first), int(last or first)) == (len(own) + 1, len(own) + int(count or 1))
        starts = [int(start, 16) + i * int(step or "0", 16) for i in range(int(count or 1))]
        length = int(end, 16) + 1 - starts[-1]
        assert human(length) == size
        own += [(at, at + length) for at in starts]
    return regions


def meetings(boxes: list[Box]) -> list[tuple[str, str]]:
    """Pairs of texts that share room."""
    found = []
    boxes = sorted(boxes, key=lambda box: box[1])
    for i, (left, _, right, bottom, text) in enumerate(boxes):
        for other_left, other_top, other_right, _, other in boxes[i + 1 :]:
            if other_top >= bottom:
                break
            if left < other_right and other_left < right:
                found.append((text, other))
    return found


def check(drawn: Picture) -> None:
    boxes, (width, height) = drawn.boxes, drawn.size
    assert boxes and meetings(boxes) == []
    assert [b for b in boxes if b[0] < 0 or b[1] < 0 or b[2] > width or b[3] > height] == []


def inclusive(start: int, end: int) -> str:
    return f"{start:#x}\u2013{end - 1:#x}"


def test_the_check_finds_texts_that_meet() -> None:
    text = '<svg xmlns="http://www.w3.org/2000/svg">{}</svg>'
    one = '<text x="{}" y="{}" font-size="10"{}>abcdef</text>'
    apart = one.format(0, 10, "") + one.format(40, 10, "") + one.format(0, 23, "")
    assert meetings(picture(text.format(apart)).boxes) == []
    for other in (one.format(36, 10, ""), one.format(0, 20, ""), one.format(40, 10, ' text-anchor="middle"')):
        assert len(meetings(picture(text.format(one.format(0, 10, "") + other)).boxes)) == 1


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_it_shows_every_region_and_no_two_texts_meet(path: Path) -> None:
    drawn = picture(svg(booted(path), ROWS))
    check(drawn)
    document = boot_document(booted(path), SECTIONS)
    words, titles = re.sub(r"\s+", " ", drawn.words), {title.split(" (drawn")[0] for title, _ in drawn.pieces}
    legend = listed(words)
    firmware = [(int(e["start"], 16), int(e["end"], 16) + 1) for e in document["firmware"]["map"]]
    assert legend["F"] == firmware
    for (start, end), entry in zip(firmware, document["firmware"]["map"], strict=True):
        place = f"{inclusive(start, end)}, {human(end - start)}"
        assert f"{entry['type']}: {place}" in titles
    for letter, regions in (("M", document["memblock"]["memory"]), ("R", document["memblock"]["reserved"])):
        assert legend[letter] == [(int(r["base"], 16), int(r["base"], 16) + int(r["size"], 16)) for r in regions]
        for r in regions:
            base, size = int(r["base"], 16), int(r["size"], 16)
            assert all(owner in words for owner in r.get("owners", ()))
            name = "memblock.reserved" if letter == "R" else "no node" if r["nid"] is None else f"node {r['nid']}"
            assert f"{name}: {inclusive(base, base + size)}, {human(size)}" in titles
    owned = {title.partition(": 0x")[0] for title in titles}
    owners = {owner for r in document["memblock"]["reserved"] for owner in r["owners"]}
    assert {re.sub(r"\(\d+\)$", "", owner) for owner in owners - owned} <= owned
    zones = [(node["nid"], z) for node in document["nodes"] for z in node["zones"]]
    page = document["kernel"]["page_size"]
    for nid, z in zones:
        start, end = z["start_pfn"] * page, (z["start_pfn"] + z["spanned"]) * page
        assert f"{nid}/{z['name']}: {inclusive(start, end)}, {human(end - start)}" in titles
    for order in range(max(f["order"] for _, z in zones for f in z["free"]) + 1):
        count = sum(f["count"] for _, z in zones for f in z["free"] if f["order"] == order)
        assert f"order {order}, {human(page << order)}" in words
        assert count == 0 or f"{count} = {human((page << order) * count)}" in words


def test_boot_draws_the_same_picture() -> None:
    assert run(*boot_options(RING), "-o", "svg", "--all", command=boot) == run(RING) == svg(booted(RING), ROWS)
    assert run(*boot_options(RING), "-o", "svg", command=boot) == run(RING, "--poster") == poster(booted(RING))


def test_only_the_sections_that_are_asked_for_are_drawn() -> None:
    drawn = picture(run(*boot_options(RING), "-o", "svg", "--only", "zones,firmware", command=boot))
    check(drawn)
    heads = [t.text for t in drawn.root.iter(f"{SVG}text") if t.get("class") == "head"][1:]
    assert heads == ["Firmware map (BIOS-e820)", "Zones, as far as they span"] * 2
    with pytest.raises(UsageError, match="--only: nothing of it can be drawn; what can is firmware, nodes, zones, "):
        run(*boot_options(RING), "-o", "svg", "--only", "zonelists", command=boot)
    with pytest.raises(UsageError, match="neither with --only nor with -o svg"):
        run(*boot_options(RING), "-o", "svg", "--explain", "4096", command=boot)


def test_it_says_what_it_is_without_being_seen() -> None:
    root = picture(run(RING)).root
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and desc is not None and desc.text is not None
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"].split() == [title.attrib["id"], desc.attrib["id"]]
    assert title.text == "Linux 6.1.0-50-cloud-amd64 on x86_64 (profile debian-6.1-cloud-amd64)"
    assert desc.text.startswith(
        "Physical memory from 0x0 to 0xffffffffff, from left to right; each row shows one kind."
    )
    assert "0x140000000\u20130xfcffffffff (1007 GiB)" in desc.text
    assert re.search(
        r"\d+ of \d+ stretches of addresses would be too narrow to see and are drawn [\d.]+ units wide", desc.text
    )
    assert (
        "memblock.memory, by node: node 0: 1023.62 MiB; node 1: 1 GiB; node 2: 1023.88 MiB; node 3: 1 GiB." in desc.text
    )
    assert "ACPI FACS: 64 B" in desc.text


def test_it_is_read_on_dark_pages_and_without_colour() -> None:
    """No colour is said of a text but the page's, and each fill has a hatching or a row to tell it by."""
    root = picture(run(RING)).root
    style = root.find(f"{SVG}style")
    assert style is not None and style.text is not None
    assert "prefers-color-scheme:dark" in style.text and "fill:currentColor" in style.text
    assert not [t for t in root.iter(f"{SVG}text") if "fill" in t.attrib]
    hatched = {p.attrib["id"]: p.find(f"{SVG}path") is not None for p in root.iter(f"{SVG}pattern")}
    filled = {
        piece.attrib["fill"].removeprefix("url(#").removesuffix(")")
        for piece in root.iter(f"{SVG}rect")
        if "x" in piece.attrib
    }
    assert filled <= set(hatched)
    assert {name: hatched[f"mmtool-{name}"] for name in ("memory", "kept", "Movable", "Unmovable")} == {
        "memory": False, "kept": True, "Movable": False, "Unmovable": True
    }  # fmt: skip
    heights = {p.attrib["id"]: next(p.iter(f"{SVG}rect")).attrib["height"] for p in root.iter(f"{SVG}pattern")}
    assert (heights["mmtool-thin-Movable"], heights["mmtool-thin-Unmovable"]) == ("4", "2.5")


def test_what_is_too_small_to_see_says_that_it_is_drawn_wider() -> None:
    drawn = dict(picture(run(RING)).pieces)
    small = "ACPI FACS: 0xbffe0000\u20130xbffe003f, 64 B (drawn wider than to scale)"
    assert 1 < drawn[small] <= 3
    assert 250 < drawn["node 1: 0x40000000\u20130x7fffffff, 1 GiB"] < 275


# Odd machines


def log(*entries: tuple[int, int, str]) -> str:
    return "".join(ENTRY.format(start, end - 1, kind) for start, end, kind in entries)


ODD = {
    "a page apart": log((0x100000, 0x8000000, "usable"), (0x80000000, 0x80001000, "usable")),
    "64 TiB": log((0x1000, 0xA0000, "usable"), (0x100000, 1 << 46, "usable")),
    "the end of the address space": log((0x100000, 0x10000000, "usable"), (U64_MAX - 0xFFF, U64_MAX + 1, "reserved")),
    "far apart": log(*((i << 40, (i << 40) + (1 << 26), "usable") for i in range(60))),
    "many small": log(
        *((i << 20, (i << 20) + 0x3000, ("usable", "reserved", "ACPI data")[i % 3]) for i in range(1, 120))
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_machines_have_their_picture(name: str) -> None:
    drawn = picture(run("-", stdin=ODD[name]))
    check(drawn)
    entries = len(ODD[name].splitlines())
    assert re.search(rf"\bF{entries} 0x", drawn.words)
    lines = run("-", "--bar", stdin=ODD[name]).splitlines()
    assert lines[1].startswith("node 0 ")
    assert all(line.startswith(" " * 8) for line in lines[2:-1]), "a node that is too long for a line has one a zone"


@pytest.mark.parametrize("kind", ["usable", "reserved"])
def test_a_machine_that_cannot_boot_has_no_picture(kind: str) -> None:
    with pytest.raises(InputError, match="this machine cannot boot"):
        run("-", stdin=log((0x100000, 0x101000, kind)))


def test_names_that_are_no_xml_do_not_break_it() -> None:
    machine = FIXTURES / "captures" / "x86-7.3-reserve-mem"
    drawn = picture(run(machine, "--cmdline", "reserve_mem=4M:4K:<&\x01\ud800>"))
    check(drawn)
    assert "reserve_mem <&\ufffd\ufffd>: " in " ".join(title for title, _ in drawn.pieces)
    assert "reserve_mem <&\ufffd\ufffd> 4 MiB" in drawn.words


# The poster


def bars(drawn: Picture) -> dict[str, list[tuple[str, float, float]]]:
    """The bars by their place from above: what each piece says, where it begins, how wide it is."""
    rows: dict[str, list[tuple[str, float, float]]] = {}
    for rect in drawn.root.iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None:
            piece = title.text or "", float(rect.attrib["x"]), float(rect.attrib["width"])
            rows.setdefault(rect.attrib["y"], []).append(piece)
    return rows


@pytest.mark.parametrize("path", [p for p in PICTURES if p.is_relative_to(FIXTURES)], ids=lambda path: path.name)
def test_the_poster_has_a_bar_a_node_to_true_scale(path: Path) -> None:
    drawn = picture(poster(booted(path)))
    check(drawn)
    assert drawn.size[0] == 1000
    assert min(float(t.attrib["font-size"]) for t in drawn.root.iter(f"{SVG}text")) == 14
    _, _, *nodes = bars(drawn).values()
    document = boot_document(booted(path), SECTIONS)
    memory = document["memblock"]["memory"]
    assert len(nodes) == 2 * len({r["nid"] for r in memory})
    scales = []
    for pieces in nodes:
        places = [(int(start, 16), int(end, 16) + 1, x, width) for said, x, width in pieces
                  for start, end in re.findall(r": (0x\w+)\u2013(0x\w+), ", said)]  # fmt: skip
        assert len(places) == len(pieces)
        assert sum(end - start for start, end, _, _ in places) > 0
        scales += [width / (end - start) for start, end, _, width in places if width > 20]
        ordered = sorted(places)
        for (start, _, x, _), (other, _, other_x, _) in pairwise(ordered):
            assert other_x - x == pytest.approx((other - start) * scales[-1], abs=1) if scales else other_x >= x
    assert scales and max(scales) == pytest.approx(min(scales), rel=0.01)


@pytest.mark.parametrize("name", ODD)
def test_odd_machines_have_their_poster(name: str) -> None:
    check(picture(run("-", "--poster", stdin=ODD[name])))


# The bar


def bar_lines(*arguments: str | Path, columns: int = 100) -> list[str]:
    done = mmtool("plot", *arguments, "--bar", environment={"COLUMNS": str(columns)})
    assert done.returncode == 0
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_a_bar_is_a_line_a_node(columns: int) -> None:
    head, *nodes, key = bar_lines(RING, columns=columns)
    assert head.startswith("Linux 6.1.0-50-cloud-amd64")
    assert key.endswith(" or less:  . free  : partly  # taken  / hole")
    assert [line[:6] for line in nodes] == [f"node {nid}" for nid in range(4)]
    assert all(len(line) <= columns for line in nodes) and max(map(len, nodes)) > columns - 8
    assert [re.findall(r" (\w+) \[([.:#/]+)\]", line)[0][0] for line in nodes] == ["DMA", "DMA32", "DMA32", "Normal"]
    # What lies at the end of node 2 is what the kernel and the firmware took there.
    assert re.fullmatch(r"node 2  DMA32 \[\.+:?#+\] 1023\.88 MiB, 943\.46 MiB free", nodes[2])
    assert not [line for line in (head, *nodes, key) if "\x1b" in line]


def coloured(environment: dict[str, str]) -> str:
    """What a terminal gets."""
    code = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))"
    command = [sys.executable, "-c", code, sys.executable, "-m", "mmtool", "plot", str(RING), "--bar"]
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    done = subprocess.run(command, env=plain | environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.stdout


def test_colour_only_on_a_terminal_and_never_with_no_color() -> None:
    assert "\x1b[32m." in coloured({})
    plain = coloured({"NO_COLOR": "1"})
    assert "node 3  Normal [" in plain and "\x1b" not in plain


# The axis

ranges = st.tuples(st.integers(0, U64_MAX), st.integers(0, U64_MAX)).filter(lambda r: r[0] != r[1]).map(sorted)
small_ranges = st.tuples(st.integers(0, 1 << 20), st.integers(1, 1 << 12)).map(lambda r: (r[0], r[0] + r[1]))


@given(st.lists(ranges | small_ranges, max_size=12), st.lists(st.integers(0, U64_MAX), max_size=40))
def test_the_axis_keeps_order_and_scale(memory: list[tuple[int, int]], borders: list[int]) -> None:
    edges = sorted({*borders, *(edge for r in memory for edge in r)})
    if len(edges) < 2:
        with pytest.raises(ValueError, match="two borders"):
            make_axis(memory, borders)
        return
    axis = make_axis(memory, borders)
    # No gap, no overlap, in addresses and in places.
    assert (axis.stretches[0].start, axis.stretches[0].x) == (edges[0], 0)
    for before, after in pairwise(axis.stretches):
        assert (after.start, after.x) == (before.end, pytest.approx(before.x + before.width))
    assert axis.stretches[-1].end == edges[-1]
    # Every border apart from the next, in order; what is in between lies in between.
    places = [axis.x(edge) for edge in edges]
    assert all(b - a >= axis.least * 0.999 for a, b in pairwise(places))
    assert (places[0], places[-1]) == (0, pytest.approx(axis.width))
    assert all(axis.x(a) <= axis.x((a + b) // 2) <= axis.x(b) for a, b in pairwise(edges))
    assert axis.x(edges[0] - 1) == 0 and axis.x(edges[-1] + 1) == pytest.approx(axis.width)
    # True stretches are to scale; the others are where they must be; the whole is what its parts are.
    for s in axis.stretches:
        true = (s.end - s.start) / axis.bytes_per_unit
        inside = any(start <= s.start and s.end <= end for start, end in memory)
        if s.scale is Scale.TRUE:
            assert s.width == pytest.approx(true)
        elif s.scale is Scale.WIDENED:
            assert true < s.width == axis.least
        else:
            assert true > s.width and (not inside or not memory)
    assert axis.width == pytest.approx(sum(s.width for s in axis.stretches))
    assert sum(s.width for s in axis.drawn(Scale.WIDENED)) <= 500.001
    joined = sum(s.end - s.start for s in axis.stretches if any(a <= s.start and s.end <= b for a, b in memory))
    assert not memory or joined / axis.bytes_per_unit == pytest.approx(1000)
