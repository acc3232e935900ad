"""The poster of a boot, as SVG: where the memory went, a bar to true scale for each node, its zones. Units are pixels.

Text is set in a monospaced font with room for the widest one, so that no two texts can meet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import field
from operator import attrgetter

from mmtool.answers.assumed import assumptions
from mmtool.answers.ledger import MemoryLedger, memory_ledger
from mmtool.late import dataclass
from mmtool.linux.init.boot import Boot
from mmtool.report.picture.axis import Range
from mmtool.report.picture.lanes import Lane, lanes, largest_takers, taker_look
from mmtool.report.picture.rows import Piece
from mmtool.report.picture.text import MONOSPACED, fitting, text_width, xml
from mmtool.report.words import heading
from mmtool.units import human

WIDTH, EDGE = 1000, 24.0
INNER = WIDTH - 2 * EDGE
FONT, HEAD, TITLE = 14.0, 16.0, 20.0
LINE = 22.0
LEAST = 0.75
"""The least width of a piece: what is narrower to scale is drawn so wide that it is seen."""

COLOURS = {
    "free": "#3fa66b", "kept": "#8a8f98", "t0": "#e0823d", "t1": "#d0605f", "t2": "#9a6bc4", "t3": "#c9a227",
    "t4": "#4f86d6", "t5": "#2f9c8f", "t": "#8a8f98", "z0": "#9a6bc4", "z1": "#4f86d6", "z2": "#2f9c8f",
    "z3": "#a59a2c", "z4": "#c9608a", "z5": "#8a8f98",
}  # fmt: skip
STYLE = """
.poster{max-width:100%;height:auto}
.poster:root{color-scheme:light dark;color:#1c2026;background:#fff}
.poster text{font-family:FONTS;fill:currentColor}
.poster .head{font-weight:bold}
.poster .faint{fill-opacity:.68}
.poster .frame{fill:none;stroke:currentColor;stroke-opacity:.35}
@media screen and (prefers-color-scheme:dark){.poster:root{color:#e4e8ed;background:#14171b}}
""".replace("FONTS", MONOSPACED)


def poster(boot: Boot) -> str:
    """The picture of a boot; an SVG document in ASCII."""
    sums = memory_ledger(boot)
    takers = largest_takers(sums)
    drawing = _Drawing()
    _head(drawing, boot, sums)
    _ledger(drawing, sums, takers)
    shown = {lane.name: lane for lane in lanes(boot, takers)}
    _nodes(drawing, boot, shown)
    _zones(drawing, boot)
    return drawing.document(heading(boot), _description(boot, sums))


@dataclass
class _Drawing:
    """What is drawn so far, and how far down the next thing goes."""

    y: float = EDGE
    parts: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, text: str, *, size: float = FONT, anchor: str = "start", style: str = ""
    ) -> None:
        """Text whose baseline is `y`, as much of it as there is room for."""
        room = {"start": WIDTH - EDGE - x, "end": x - EDGE, "middle": 2 * min(x, WIDTH - x)}[anchor]
        how = f' class="{style}"' if style else ""
        how += f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}"{how}>{xml(fitting(text, room, size))}</text>'
        )

    def rect(self, x: float, y: float, width: float, height: float, look: str, title: str = "") -> None:
        inner = f"><title>{xml(title)}</title></rect>" if title else "/>"
        self.parts.append(
            f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width, LEAST):.2f}" height="{height:g}"'
            f' fill="{COLOURS[look]}" fill-opacity=".7"{inner}'
        )

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        self.parts.append(f'<rect class="frame" x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{height:g}"/>')

    def heading(self, text: str) -> None:
        self.y += 38
        self.text(EDGE, self.y, text, size=HEAD, style="head")
        self.y += 12

    def document(self, title: str, description: str) -> str:
        body = "\n".join(self.parts)
        height = f"{self.y + EDGE:.0f}"
        text = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="poster" role="img" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" aria-labelledby="poster-title poster-desc">\n'
            f'<title id="poster-title">{xml(title)}</title>\n<desc id="poster-desc">{xml(description)}</desc>\n'
            f"<style>{STYLE}</style>\n{body}\n</svg>\n"
        )
        return text.encode("ascii", "xmlcharrefreplace").decode()


def _head(drawing: _Drawing, boot: Boot, sums: MemoryLedger) -> None:
    drawing.y += 18
    drawing.text(EDGE, drawing.y, f"Linux {boot.kernel.name} on {boot.kernel.arch}", size=TITLE, style="head")
    nodes = sum(1 for node in boot.nodes.values() if node.populated_zones())
    counts = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in ((nodes, "node"), (boot.cpus, "CPU")))
    profile = boot.kernel.profile
    lines = [
        f"{human(sums.installed)} in the firmware's map, {human(sums.memtotal)} MemTotal; {counts}",
        f"profile {profile.name}{'' if profile.exact else ', not of this build'}",
    ]
    if kinds := ", ".join(a.kind for a in assumptions(boot)):
        lines.append(f"not known, assumed: {kinds}")
    for line in lines:
        drawing.y += LINE
        drawing.text(EDGE, drawing.y, line, style="faint")


def _ledger(drawing: _Drawing, sums: MemoryLedger, takers: Sequence[str]) -> None:
    """A bar of all, one of what was taken, and the takers that have a colour."""
    drawing.heading("Where the memory went")
    taken = sorted((line for line in sums.lines if line.amount > 0), key=lambda line: -line.amount)
    lost = sum(line.amount for line in taken)
    parts = [(line.taker, line.amount, taker_look(line.taker, takers)) for line in taken]
    _stack(drawing, [("MemTotal", max(sums.memtotal, 0), "free"), *parts])
    if not lost:
        return
    drawing.y += 18
    drawing.text(EDGE, drawing.y, f"the {human(lost)} that was taken, enlarged", style="faint")
    drawing.y += 8
    _stack(drawing, parts)
    named = [(taker, sum(n for name, n, _ in parts if name == taker), taker_look(taker, takers)) for taker in takers]
    rest = lost - sum(amount for _, amount, _ in named)
    if rest:
        named.append((f"{len({name for name, _, _ in parts} - set(takers))} others", rest, "t"))
    column = INNER / 2
    for i, (name, amount, look) in enumerate(named):
        x, y = EDGE + i % 2 * column, drawing.y + (i // 2 + 1) * LINE
        drawing.rect(x, y - 11, 12, 12, look)
        size = human(amount)
        right = x + column - (24 if i % 2 == 0 else 0)
        drawing.text(x + 20, y, fitting(name, right - x - 32 - text_width(size, FONT), FONT))
        drawing.text(right, y, size, anchor="end")
    drawing.y += -(-len(named) // 2) * LINE + 4


def _stack(drawing: _Drawing, parts: Sequence[tuple[str, int, str]]) -> None:
    whole = sum(amount for _, amount, _ in parts) or 1
    at = 0
    for name, amount, look in parts:
        x, width = EDGE + INNER * at / whole, INNER * amount / whole
        drawing.rect(x, drawing.y, width, 30, look, f"{name}: {human(amount)}")
        label = f"{name} {human(amount)}"
        if text_width(label, FONT) + 8 < width:
            drawing.text(x + width / 2, drawing.y + 20, label, anchor="middle")
        at += amount
    drawing.frame(EDGE, drawing.y, INNER, 30)
    drawing.y += 30


def _nodes(drawing: _Drawing, boot: Boot, shown: dict[str, Lane]) -> None:
    """A bar a node: zones above it, in it what is free and who keeps what; all nodes on one scale."""
    spans = {name: own for name in _node_names(shown["nodes"]) if (own := _span(shown["nodes"], name)) is not None}
    if not spans:
        return
    scale = INNER / max(end - start for start, end in spans.values())
    drawing.heading("Physical memory, to scale")
    scale_says = f"a pixel is {human(max(round(1 / scale), 1))}; green is free"
    drawing.text(WIDTH - EDGE, drawing.y - 12, scale_says, anchor="end", style="faint")
    free = _free(shown["free"])
    for name, span in spans.items():
        memory = [p for p in shown["nodes"].pieces if p.says == name]
        drawing.y += LINE
        drawing.text(EDGE, drawing.y, f"{name}, {human(sum(p.end - p.start for p in memory))}", style="head")
        drawing.y += 8
        for lane, height in (("zones", 22), ("reserved", 40)):
            rows = [shown[lane].pieces] if lane == "zones" else [free, shown["reserved"].pieces]
            for piece in (p for row in rows for p in _within(row, memory)):
                _piece(drawing, piece, span, scale, height)
            for piece in memory:
                x, width = EDGE + (piece.start - span[0]) * scale, (piece.end - piece.start) * scale
                drawing.frame(x, drawing.y, width, height)
            drawing.y += height
        _ruler(drawing, span, scale)


def _node_names(lane: Lane) -> list[str]:
    return list(dict.fromkeys(p.says for p in lane.pieces))


def _span(lane: Lane, name: str) -> Range | None:
    own = [p for p in lane.pieces if p.says == name]
    return (own[0].start, own[-1].end) if own else None


def _free(lane: Lane) -> list[Piece]:
    """What is free, whatever its order and type."""
    out: list[Piece] = []
    for p in lane.pieces:
        start = out.pop().start if out and out[-1].end == p.start else p.start
        out.append(Piece(start, p.end, "free", "free"))
    return out


def _within(pieces: Sequence[Piece], memory: Sequence[Piece]) -> Iterator[Piece]:
    """What of `pieces` lies in `memory`; both ascend without overlaps."""
    at = bisect_right(pieces, memory[0].start, key=attrgetter("end")) if memory else 0
    for inside in memory:
        while at < len(pieces) and pieces[at].end <= inside.start:
            at += 1
        i = at
        while i < len(pieces) and pieces[i].start < inside.end:
            p = pieces[i]
            yield Piece(max(p.start, inside.start), min(p.end, inside.end), p.look, p.says)
            i += 1


def _piece(drawing: _Drawing, piece: Piece, span: Range, scale: float, height: float) -> None:
    x, size = EDGE + (piece.start - span[0]) * scale, piece.end - piece.start
    title = f"{piece.says}: {piece.start:#x}\u2013{piece.end - 1:#x}, {human(size)}"
    drawing.rect(min(x, WIDTH - EDGE - LEAST), drawing.y, size * scale, height, piece.look, title)
    if piece.look != "free" and text_width(piece.says, FONT) + 8 < size * scale:
        drawing.text(x + size * scale / 2, drawing.y + height / 2 + 5, piece.says, anchor="middle")


def _ruler(drawing: _Drawing, span: Range, scale: float) -> None:
    """Where the bar begins and ends, and round addresses between, as far as there is room."""
    drawing.y += 18
    first, last = f"{span[0]:#x}", f"{span[1] - 1:#x}"
    end = EDGE + (span[1] - span[0]) * scale
    left = EDGE + text_width(first, FONT) + 16
    drawing.text(EDGE, drawing.y, first, style="faint")
    right = end - text_width(last, FONT) - 16
    if right < left:
        if end + text_width(last, FONT) < WIDTH - EDGE:
            drawing.text(max(left, end), drawing.y, last, style="faint")
    else:
        drawing.text(end, drawing.y, last, anchor="end", style="faint")
    step = 1 << max(int(180 / scale).bit_length(), 12)
    for address in range(-(-span[0] // step) * step, span[1], step):
        x, text = EDGE + (address - span[0]) * scale, human(address)
        half = text_width(text, FONT) / 2
        if left <= x - half and x + half <= right:
            drawing.text(x, drawing.y, text, anchor="middle", style="faint")
            left = x + half + 16
    drawing.y += 10


def _zones(drawing: _Drawing, boot: Boot) -> None:
    """Managed size, free memory and watermarks of every zone."""
    shift = boot.kernel.page_shift
    rows = [["zone", "managed", "free", "min", "low", "high"]]
    for nid, node in sorted(boot.nodes.items()):
        for z in node.populated_zones():
            marks = (z.managed_pages, z.nr_free_pages, z.watermark.min, z.watermark.low, z.watermark.high)
            rows.append([f"{nid}/{z.name}", *(human(n << shift) for n in marks)])
    drawing.heading("Zones when init starts")
    for i, (name, *cells) in enumerate(rows):
        drawing.y += LINE
        style = "faint" if i == 0 else ""
        drawing.text(EDGE, drawing.y, name, style=style)
        for k, cell in enumerate(reversed(cells)):
            drawing.text(WIDTH - EDGE - k * 150, drawing.y, cell, anchor="end", style=style)


def _description(boot: Boot, sums: MemoryLedger) -> str:
    """The picture in words."""
    taken = sorted((line for line in sums.lines if line.amount > 0), key=lambda line: -line.amount)
    took = "; ".join(f"{line.taker}: {human(line.amount)}" for line in taken)
    zones = "; ".join(
        f"{nid}/{z.name}: {human(z.managed_pages << boot.kernel.page_shift)} managed"
        for nid, node in sorted(boot.nodes.items())
        for z in node.populated_zones()
    )
    return (
        f"Of {human(sums.installed)} in the firmware's map {human(sums.memtotal)} is left as MemTotal. Taken: {took}."
        f" Zones: {zones}. Each node is a bar of its memory to scale, with its zones above it."
    )
