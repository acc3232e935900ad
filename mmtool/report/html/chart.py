"""The map of the page: one boot or two, lane by lane, with the tools that the script needs."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.late import dataclass
from mmtool.linux.init.boot import Boot
from mmtool.report.html.drawing import lane_bar, ruler
from mmtool.report.html.markup import Markup, join, tag
from mmtool.report.html.parts import section, swatch
from mmtool.report.picture.axis import Range
from mmtool.report.picture.lanes import Lane, extent, taker_look

KEYS = (
    "Wheel or pinch zooms, dragging moves, a click asks. Keys: arrows move and choose the lane, + and \u2212 zoom,"
    " 0 is the whole map, comma and period go from range to range."
)


@dataclass(frozen=True)
class Side:
    """A boot with its lanes; `title` says which of two it is."""

    title: str
    boot: Boot
    lanes: tuple[Lane, ...]


def common_extent(sides: Sequence[Side]) -> Range:
    """From where to where the maps reach at first, all of them on one scale."""
    ends = [extent(side.boot) for side in sides]
    return min(first for first, _ in ends), max(last for _, last in ends)


def chart(sides: Sequence[Side], takers: Sequence[str]) -> Markup:
    """The maps of one boot or of two, a lane each, one scale for all; `takers` are those with a colour of their own."""
    window = common_extent(sides)
    boot = sides[0].boot
    shown = [lane for side in sides for lane in side.lanes]
    maps = [_map(side, i, window) for i, side in enumerate(sides)]
    overview = tag("svg", class_="over js", id="over", role="img", aria_label="the part that is shown")
    said = join([tag("p", id="tip", class_="tip js"), tag("div", id="answer", class_="answer js", aria_live="polite")])
    slider = _slider(boot) if len(sides) == 1 else ""
    return section(
        "map", join(["Physical memory, to scale ", tag("span", id="window", class_="mut")]), _tools(),
        _hints(boot, window), overview, join(maps), slider, said, tag("p", KEYS, class_="note js", id="keys"),
        legend(shown, takers), _names(shown),
    )  # fmt: skip


def _map(side: Side, index: int, window: Range) -> Markup:
    """One boot's lanes over a ruler."""
    rows = [
        tag("div", tag("span", lane.name, class_="name"), lane_bar(lane, window), class_="lane") for lane in side.lanes
    ]
    rows.append(tag("div", tag("span", class_="name"), ruler(*window), class_="lane axis"))
    says = f"map of physical memory{', ' if side.title else ''}{side.title}"
    how = {"class_": "map", "role": "group", "aria_describedby": "keys", "aria_label": says}
    drawn = tag("div", *rows, data_side=index, **how)
    return join([tag("h3", side.title), drawn]) if side.title else drawn


def _names(shown: Sequence[Lane]) -> Markup:
    """What the search offers: zones and owners."""
    zones, owners = (
        dict.fromkeys(p.says for lane in shown if lane.name == name for p in lane.pieces)
        for name in ("zones", "reserved")
    )
    return tag("datalist", *(tag("option", value=name) for name in (*zones, *sorted(owners))), id="names")


def _tools() -> Markup:
    """The search, and what zooms."""
    return tag(
        "form",
        tag("label", "Find", for_="q", class_="away"),
        tag(
            "input", type="search", id="q", list="names", autocomplete="off", spellcheck="false",
            placeholder="address, pfn, owner or zone", aria_describedby="q-help",
        ),
        tag("button", "Find", type="submit"),
        tag(
            "span",
            tag("button", "\u2212", type="button", id="out", aria_label="zoom out"),
            tag("button", "+", type="button", id="in", aria_label="zoom in"),
            tag("button", "whole map", type="button", id="all"),
            class_="group",
        ),
        id="find", class_="tools js", role="search",
    )  # fmt: skip


def _slider(boot: Boot) -> Markup:
    """Which step of the boot the map shows, and what that step is for."""
    count = len(boot.steps)
    return join(
        [
            tag(
                "div",
                tag("label", "Boot step", for_="step"),
                tag("input", type="range", id="step", min=0, max=count, value=count, step=1),
                tag("output", "init starts", id="step-name", for_="step"),
                class_="tools js",
            ),
            tag("div", id="step-now", class_="answer js", aria_live="polite"),
        ]
    )


def _hints(boot: Boot, window: Range) -> Markup:
    """What can be asked, with this machine's numbers."""
    direct = boot.direct_map
    moved = "" if direct.base_known else " KASLR moves the kernel's; they are taken where they would lie without."
    return tag(
        "p", "Say ", tag("code", f"{window[1] // 2:#x}"), ", ",
        tag("code", f"pfn {window[1] // 2 >> boot.kernel.page_shift:#x}"), ", an address of the kernel's such as ",
        tag("code", f"{direct.start + max(window[1] // 2 - direct.phys, 0):#x}"), f", an owner or a zone.{moved}",
        class_="note js", id="q-help",
    )  # fmt: skip


LEGEND = {
    "memory": "usable", "tables": "ACPI's", "kept": "firmware's own",
    "z0": "DMA", "z1": "DMA32", "z2": "Normal", "z3": "HighMem", "z4": "Movable", "z5": "other zone",
    "f4": "free, largest blocks", "f2": "free, middle", "f0": "free, single pages",
}  # fmt: skip


def legend(shown: Sequence[Lane], takers: Sequence[str]) -> Markup:
    """The key to the looks that occur."""
    used = {p.look for lane in shown for p in lane.pieces}
    key = LEGEND | {taker_look(taker, takers): taker for taker in takers} | {"t": "others who keep memory"}
    return tag("ul", *(tag("li", swatch(look), says) for look, says in key.items() if look in used), class_="legend")
