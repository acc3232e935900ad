"""The picture in detail, as SVG: to be read on paper and on a dark page, by colour or without, and by ear.

Units are those of the axis. Text is set in a monospaced font and given more room than any such font takes, so that
no two texts can overlap: what has no room where it belongs stands in the legend under its number.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import field

from mmtool.errors import UsageError
from mmtool.late import dataclass
from mmtool.linux.init.boot import Boot
from mmtool.report.picture.axis import Axis, Scale
from mmtool.report.picture.rows import SECTIONS, Piece, Region, Row, Section, axis_of, sections
from mmtool.report.picture.text import ADVANCE, MONOSPACED, fitting, text_width, xml
from mmtool.report.words import heading
from mmtool.units import human

LEFT, RIGHT, EDGE = 230.0, 150.0, 12.0
"""Columns for the rows' names and amounts on both sides of the axis, and the margin around all."""
ROW, BAR = 15.0, 11.0
"""From row to row, and the height of what is drawn in it."""
FONT, SMALL = 10.0, 9.0
LEAST_PIECE, THIN = 1.0, 2.0
"""The least width of a piece, and from which on it has an outline."""
NEARLY_TRUE = 1.1
"""A piece that is wider than to scale by this or more says so."""
LEGEND_TEXT = 400.0
"""The least width of a column of the legend without its numbers."""

LOOKS = {
    "memory": ("memory", "#3d8fd1", ""),
    "zone": ("zone", "#3fa66b", ""),
    "kept": ("reserved", "#d9822b", "M-2 8L8-2M-2 3L3-2M3 8L8 3"),
    "tables": ("firmware tables", "#a66bd0", "M-2 3L3 8M-2-2L8 8M3-2L8 3M-2 8L8-2"),
    "Movable": ("free, Movable", "#3fa66b", ""),
    "Unmovable": ("free, Unmovable", "#c9a400", "M-2 8L8-2"),
    "Reclaimable": ("free, Reclaimable", "#2aa5b5", "M-2-2L8 8"),
    "HighAtomic": ("free, HighAtomic", "#cf4a4a", "M3 0V6M0 3H6"),
    "CMA": ("free, CMA", "#8a63d2", "M0 3H6"),
    "Isolate": ("free, Isolate", "#7a7a7a", "M3 0V6"),
}
"""Fills: what they stand for, the colour, and the hatching (a path in a tile of 6 by 6) that does without it."""

STYLE = """
.mmtool{max-width:100%;height:auto}
.mmtool:root{color-scheme:light dark;color:#1a1a1a}
.mmtool text{font-family:FONTS;fill:currentColor}
.mmtool .head{font-weight:bold}
.mmtool .line{stroke:currentColor;fill:none;stroke-width:.8}
.mmtool .faint{stroke:currentColor;fill:none;stroke-width:.6;stroke-opacity:.45;stroke-dasharray:2 3}
.mmtool .hatch{stroke:currentColor;fill:none;stroke-width:.8;stroke-opacity:.55}
.mmtool .piece{stroke:currentColor;stroke-width:.5;stroke-opacity:.7}
@media screen and (prefers-color-scheme:dark){.mmtool:root{color:#ececec}}
""".replace("FONTS", MONOSPACED)
"""A picture by itself goes by what the reader prefers; one that stands in a page has the page's colour."""


def svg(boot: Boot, names: Iterable[str]) -> str:
    """The picture of a boot with the sections of these names that can be drawn; an SVG document in ASCII.

    UsageError where none can.
    """
    shown = sections(boot, names)
    if not shown:
        raise UsageError(f"--only: nothing of it can be drawn; what can is {', '.join(SECTIONS)}")
    axis = axis_of(boot, shown)
    drawing = _Drawing(axis)
    _head(drawing, heading(boot), shown)
    _ruler(drawing)
    for section in shown:
        _section(drawing, section)
    drawing.cut_marks(drawing.top, drawing.y)
    _legend(drawing, shown)
    return drawing.document(heading(boot), _description(boot, axis, shown))


def _range(start: int, end: int) -> str:
    return f"{start:#x}\u2013{end - 1:#x}"


@dataclass
class _Drawing:
    """What is drawn so far, and how far down the next thing goes."""

    axis: Axis
    y: float = EDGE
    top: float = 0
    """Where the ruler's line is."""
    parts: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Where the axis begins."""
        return EDGE + LEFT

    @property
    def width(self) -> float:
        return self.left + self.axis.width + RIGHT + EDGE

    def text(
        self, x: float, y: float, text: str, *, size: float = FONT, anchor: str = "start", style: str = ""
    ) -> None:
        """Text whose baseline is `y`."""
        how = f' class="{style}"' if style else ""
        how += f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.parts.append(f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size:g}"{how}>{xml(text)}</text>')

    def path(self, style: str, d: str) -> None:
        self.parts.append(f'<path class="{style}" d="{d}"/>')

    def rect(self, x: float, y: float, width: float, height: float, look: str, title: str = "") -> None:
        """A filled piece; of a thin one an outline would leave nothing to see."""
        style = f'class="piece" fill="url(#mmtool-{look})"' if width >= THIN else f'fill="url(#mmtool-thin-{look})"'
        inner = f"><title>{xml(title)}</title></rect>" if title else "/>"
        self.parts.append(f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:g}" {style}{inner}')

    def cut_marks(self, top: float, bottom: float) -> None:
        """Where the axis is cut: two strokes through the ruler, faint lines through all rows."""
        for s in self.axis.drawn(Scale.BROKEN):
            x = self.left + s.x
            self.path("faint", f"M{x:.2f} {top:.2f}V{bottom:.2f}M{x + s.width:.2f} {top:.2f}V{bottom:.2f}")
            middle = x + s.width / 2
            self.path("line", f"M{middle - 5:.2f} {top + 4:.2f}l4-8m2 8l4-8")

    def document(self, title: str, description: str) -> str:
        width, height = f"{self.width:.0f}", f"{self.y + EDGE:.0f}"
        body = "\n".join(self.parts)
        text = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="mmtool" role="img" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" aria-labelledby="mmtool-title mmtool-desc">\n'
            f'<title id="mmtool-title">{xml(title)}</title>\n<desc id="mmtool-desc">{xml(description)}</desc>\n'
            f"<style>{STYLE}</style>\n<defs>\n{''.join(_patterns())}</defs>\n{body}\n</svg>\n"
        )
        return text.encode("ascii", "xmlcharrefreplace").decode()


def _patterns() -> Iterator[str]:
    fills = {name: (color, hatch) for name, (_, color, hatch) in LOOKS.items()} | {"widened": ("none", "M0 3H6M3 0V6")}
    for name, (color, hatch) in fills.items():
        yield (
            f'<pattern id="mmtool-{name}" width="6" height="6" patternUnits="userSpaceOnUse">'
            f'<rect width="6" height="6" fill="{color}" fill-opacity=".55"/>'
            + (f'<path class="hatch" d="{hatch}"/>' if hatch else "")
            + "</pattern>\n"
        )
        # Where there is no width for a hatching, dashes stand for it.
        yield (
            f'<pattern id="mmtool-thin-{name}" width="6" height="4" patternUnits="userSpaceOnUse">'
            f'<rect width="6" height="{2.5 if hatch else 4}" fill="{color}"/></pattern>\n'
        )


def _head(drawing: _Drawing, title: str, shown: list[Section]) -> None:
    """The title, and the key to the fills that occur."""
    whole = drawing.width - 2 * EDGE
    drawing.y += 14
    drawing.text(EDGE, drawing.y, fitting(title, whole, 14), size=14, style="head")
    drawing.y += 8
    used = {p.look for s in shown for row in s.rows for p in row.pieces}
    key = [(name, says) for name, (says, _, _) in LOOKS.items() if name in used]
    if drawing.axis.drawn(Scale.WIDENED):
        key.append(("widened", "wider than to scale, to be seen"))
    x = EDGE
    for look, says in key:
        width = 18 + text_width(says, FONT) + 14
        if x + width > EDGE + whole:
            x, drawing.y = EDGE, drawing.y + ROW
        drawing.rect(x, drawing.y, 14, BAR, look)
        drawing.text(x + 18, drawing.y + 9, says)
        x += width
    drawing.y += ROW + 6


def _ruler(drawing: _Drawing) -> None:
    """Addresses, what is left out where the axis is cut, and a strip where it is wider than to scale."""
    axis, left = drawing.axis, drawing.left
    drawing.y += FONT
    line = drawing.top = drawing.y + 8
    drawing.path("line", f"M{left:.2f} {line:.2f}H{left + axis.width:.2f}")
    taken: list[tuple[float, float]] = []
    for address in _ticks(axis):
        x, text = left + axis.x(address), f"{address:#x}"
        half = text_width(text, FONT) / 2 + 3
        drawing.path("line", f"M{x:.2f} {line:.2f}v-4")
        if all(x + half <= a or b <= x - half for a, b in taken):
            taken.append((x - half, x + half))
            drawing.text(x, line - 7, text, anchor="middle")
    cuts = axis.drawn(Scale.BROKEN)
    if cuts:
        drawing.text(EDGE, line + 15, "cut out of the axis", size=SMALL)
    for s in cuts:
        size = human(s.end - s.start)
        if text_width(size, SMALL) <= s.width - 2:
            drawing.text(left + s.x + s.width / 2, line + 15, size, size=SMALL, anchor="middle")
    start = end = -1.0
    for s in axis.drawn(Scale.WIDENED):
        if s.x > end + 0.01:
            _strip(drawing, start, end)
            start = s.x
        end = s.x + s.width
    _strip(drawing, start, end)
    drawing.y = line + 22


def _strip(drawing: _Drawing, start: float, end: float) -> None:
    if end > start:
        drawing.rect(drawing.left + start, drawing.top, max(end - start, THIN), 4, "widened")


def _ticks(axis: Axis) -> Iterator[int]:
    """Addresses worth a tick, the most telling first: ends of the axis and of its cuts, then round ones."""
    yield axis.stretches[0].start
    yield axis.stretches[-1].end
    for s in axis.drawn(Scale.BROKEN):
        yield from (s.start, s.end)
    step = 1 << int(axis.bytes_per_unit * 120).bit_length()
    for s in axis.stretches:
        if s.scale is not Scale.BROKEN:
            yield from range(-(-s.start // step) * step, s.end, step)


def _section(drawing: _Drawing, section: Section) -> None:
    drawing.y += 12
    drawing.text(EDGE, drawing.y, fitting(section.title, drawing.width - 2 * EDGE, 11), size=11, style="head")
    drawing.y += 4
    if section.regions:
        _numbers(drawing, section)
    else:
        drawing.y += 4
    for row in section.rows:
        _row(drawing, row)
    drawing.y += 8


def _numbers_text(letter: str, first: int, last: int) -> str:
    """The numbers of the regions with these indices: "R2" or "R2\u2013R5"."""
    return f"{letter}{first + 1}" + (f"\u2013{letter}{last + 1}" if first != last else "")


def _numbers(drawing: _Drawing, section: Section) -> None:
    """The regions' numbers above the place where they lie; those that have no room beside each other share one text."""
    axis, base = drawing.axis, drawing.y + FONT
    groups: list[_Group] = []
    for i, region in enumerate(section.regions):
        group = _Group(section.letter, i, i, axis.x(region.start), axis.x(region.end))
        while groups and groups[-1].text_end(axis) > group.text_start(axis):
            group = groups.pop().joined(group)
        groups.append(group)
    for group in groups:
        x = drawing.left + (group.text_start(axis) + group.text_end(axis)) / 2
        drawing.text(x, base, group.text, size=SMALL, anchor="middle")
        drawing.path("line", f"M{drawing.left + group.x:.2f} {base + 5:.2f}v-2H{drawing.left + group.end:.2f}v2")
    drawing.y = base + 6


@dataclass(frozen=True, slots=True)
class _Group:
    """The regions `first` to `last`, which lie between `x` and `end` on the axis."""

    letter: str
    first: int
    last: int
    x: float
    end: float

    @property
    def text(self) -> str:
        return _numbers_text(self.letter, self.first, self.last)

    def text_start(self, axis: Axis) -> float:
        """Where its text and the room around it begin: as near to the middle as the axis allows."""
        width = text_width(self.text, SMALL) + 4
        return min(max((self.x + self.end - width) / 2, 0), max(axis.width - width, 0))

    def text_end(self, axis: Axis) -> float:
        return self.text_start(axis) + text_width(self.text, SMALL) + 4

    def joined(self, after: _Group) -> _Group:
        return _Group(self.letter, self.first, after.last, min(self.x, after.x), max(self.end, after.end))


def _row(drawing: _Drawing, row: Row) -> None:
    base = drawing.y + 9
    drawing.text(EDGE + 8, base, fitting(row.label, LEFT - 16, FONT))
    right = drawing.left + drawing.axis.width
    for piece in row.pieces:
        _piece(drawing, piece)
    drawing.text(right + 8, base, fitting(row.amount, RIGHT - 8, FONT))
    drawing.y += ROW


def _piece(drawing: _Drawing, piece: Piece) -> None:
    axis = drawing.axis
    x, end, size = axis.x(piece.start), axis.x(piece.end), piece.end - piece.start
    width = max(end - x, LEAST_PIECE)
    title = f"{piece.says}: {_range(piece.start, piece.end)}, {human(size)}"
    if size / axis.bytes_per_unit * NEARLY_TRUE < width:
        title += " (drawn wider than to scale)"
    drawing.rect(drawing.left + x, drawing.y, width, BAR, piece.look, title)
    hatched = LOOKS[piece.look][2]
    if not hatched and text_width(human(size), SMALL) + 4 <= width:
        drawing.text(drawing.left + (x + end) / 2, drawing.y + 9, human(size), size=SMALL, anchor="middle")


def _legend(drawing: _Drawing, shown: list[Section]) -> None:
    """Every numbered region, in as many columns as there is room for."""
    drawing.y += 8
    entries = {section.title: list(_entries(section)) for section in shown if section.regions}
    indent = max((text_width(number, FONT) for own in entries.values() for number, _ in own), default=0) + 10
    whole = drawing.width - 2 * EDGE
    columns = max(int(whole // (indent + LEGEND_TEXT)), 1)
    column = whole / columns
    room = column - indent - 16
    lines: list[tuple[float, str, str, str]] = []
    for title, own in entries.items():
        lines.append((0, "", fitting(title, column - 16, FONT), "head"))
        for number, text in own:
            wrapped = textwrap.wrap(text, int(room / (ADVANCE * FONT)))
            lines += [(indent, "" if i else number, fitting(line, room, FONT), "") for i, line in enumerate(wrapped)]
    height = -(-len(lines) // columns)
    for i, (start, number, text, style) in enumerate(lines):
        x, y = EDGE + i // height * column, drawing.y + (i % height + 1) * (ROW - 1)
        if number:
            drawing.text(x, y, number)
        drawing.text(x + start, y, text, style=style)
    drawing.y += height * (ROW - 1)


def _entries(section: Section) -> Iterator[tuple[str, str]]:
    """What the legend says of a section's regions: (number, text).

    Three and more that are alike and lie at equal distances, as each CPU's area does, share an entry.
    """
    regions = section.regions
    first = 0
    while first < len(regions):
        start = regions[first].start
        size, says, count = regions[first].end - start, regions[first].says, 1
        step = regions[first + 1].start - start if first + 1 < len(regions) else 0
        while first + count < len(regions) and regions[first + count] == Region(
            start + count * step, start + count * step + size, says
        ):
            count += 1
        if count < 3:
            count = 1
        end = regions[first + count - 1].end
        each = f"{count} of {human(size)}, one every {step:#x}" if count > 1 else human(size)
        yield _numbers_text(section.letter, first, first + count - 1), f"{_range(start, end)}, {each}: {says}"
        first += count


def _description(boot: Boot, axis: Axis, shown: list[Section]) -> str:
    """The picture in words."""
    first, last = axis.stretches[0].start, axis.stretches[-1].end
    cut, widened = axis.drawn(Scale.BROKEN), axis.drawn(Scale.WIDENED)
    says = [f"Physical memory from {first:#x} to {last - 1:#x}, from left to right; each row shows one kind."]
    if cut:
        holes = ", ".join(f"{_range(s.start, s.end)} ({human(s.end - s.start)})" for s in cut)
        says.append(f"The axis is cut at {holes}.")
    if widened:
        says.append(
            f"{len(widened)} of {len(axis.stretches)} stretches of addresses would be too narrow to see and are drawn"
            f" {axis.least:g} units wide; one unit is {human(round(axis.bytes_per_unit))} elsewhere."
        )
    for section in shown:
        rows = "; ".join(f"{row.label}: {row.amount}" for row in section.rows)
        says.append(f"{section.title}: {rows}.")
    return " ".join(says)
