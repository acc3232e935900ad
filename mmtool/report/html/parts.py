"""The sections of the page, each from what the boot says; all of them are to be read without a script."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.answers.assumed import assumptions
from mmtool.answers.ledger import LedgerLine, MemoryLedger
from mmtool.answers.why import Why, why
from mmtool.linux.init.boot import Boot, StepRecord
from mmtool.linux.mm.mmzone import Zone
from mmtool.report.boot import TABLES
from mmtool.report.html.drawing import gauge, stack
from mmtool.report.html.markup import Markup, fragment, join, tag, text
from mmtool.report.html.steps import PURPOSE
from mmtool.report.html.tables import fold, grid, of_table
from mmtool.report.picture.lanes import taker_look
from mmtool.units import human

MOST_DOES = 12
"""What a step did to memblock, of which so many are listed; the map shows all."""
INDENT = "\u2003"
SCALE = "watermark_scale_factor"
MOST_NODES = 16
"""Nodes up to which the table of distances is open."""
SHARES = (0.5, 0.25, 0.1, 0.02)
"""Of a zone's free memory in an order: which colour its cell has."""


def section(name: str, title: object, *content: object) -> Markup:
    """A section with its heading."""
    return tag("section", tag("h2", title, id=f"h-{name}"), join(content), id=f"s-{name}", aria_labelledby=f"h-{name}")


def title(boot: Boot) -> str:
    return f"Linux {boot.kernel.name} on {boot.kernel.arch}"


def head(boot: Boot, sums: MemoryLedger) -> Markup:
    """Title, chips, the command line."""
    nodes = sum(1 for node in boot.nodes.values() if node.populated_zones())
    entries = len(boot.firmware_map)
    profile = boot.kernel.profile
    chips = [
        (human(sums.installed), "installed"),
        (human(sums.memtotal), "MemTotal"),
        (nodes, f"node{'s' * (nodes != 1)}"),
        (boot.cpus, f"CPU{'s' * (boot.cpus != 1)}"),
        (entries, f"firmware range{'s' * (entries != 1)}"),
        (profile.name, "profile" if profile.exact else "profile, not of this build"),
    ]
    listed = tag("ul", *(tag("li", tag("b", value), " ", name) for value, name in chips), class_="chips")
    cmdline = boot.cmdline.text.strip()
    given = tag("p", tag("span", "command line ", class_="mut"), tag("code", cmdline), class_="cmd") if cmdline else ""
    return tag("header", tag("h1", title(boot)), listed, given)


def unknown(boot: Boot) -> Markup:
    """What nothing shows; nothing where all is known."""
    assumed = assumptions(boot)
    if not assumed:
        return Markup("")
    rows = [
        tag(
            "li", tag("b", _sentence(a.what)), f": {a.why}. {_sentence(a.effect)}. ",
            tag("span", "Give ", tag("code", a.give), class_="give"),
        )
        for a in assumed
    ]  # fmt: skip
    return section("unknown", "Not known", tag("ul", *rows, class_="unknown"))


def _sentence(words: str) -> str:
    """Words as a sentence begins; a name stays as it is."""
    first = words.split(" ", 1)[0]
    return words if "_" in first else words[:1].upper() + words[1:]


def ledger(boot: Boot, sums: MemoryLedger, takers: Sequence[str]) -> Markup:
    """Where the memory went: a bar of all, a bar of what was taken, a table with step and option."""
    taken = sorted((line for line in sums.lines if line.amount > 0), key=lambda line: -line.amount)
    returned = [line for line in sums.lines if line.amount < 0]
    lost = sum(line.amount for line in taken)
    parts = [(line.taker, line.amount, taker_look(line.taker, takers)) for line in taken]
    whole = sums.installed or 1
    left = f"MemTotal, {100 * sums.memtotal / whole:.1f} %"
    bars = [stack([("MemTotal", max(sums.memtotal, 0), "free"), *parts], f"All {human(sums.installed)}: {left}")]
    if lost:
        bars.append(tag("p", f"The {human(lost)} that was taken, enlarged:", class_="note"))
        bars.append(stack(parts, f"What was taken, {human(lost)}"))
    shown, rest = (taken, []) if len(taken) <= 12 else (taken[:8], taken[8:])
    rows = [_taker_row(line, whole, takers) for line in shown]
    smaller = _fold_of_takers(f"{len(rest)} smaller takers", rest, whole, takers)
    back = _fold_of_takers(f"{len(returned)} given back later", returned, whole, takers)
    total = tag(
        "p", f"{human(sums.installed)} in the firmware's map \u2212 {human(sums.installed - sums.memtotal)} = ",
        tag("b", f"{human(sums.memtotal)} MemTotal"), f" ({sums.memtotal >> 10} kB)", class_="sum",
    )  # fmt: skip
    table = _ledger_table(rows, "Takers, largest first")
    return section("ledger", "Where the memory went", join(bars), table, smaller, back, total)


def _fold_of_takers(says: str, lines: Sequence[LedgerLine], whole: int, takers: Sequence[str]) -> Markup:
    """Lines of the ledger that are shown when they are asked for; nothing where there are none."""
    if not lines:
        return Markup("")
    rows = [_taker_row(line, whole, takers) for line in lines]
    return fold(f"{says}, {human(abs(sum(line.amount for line in lines)))}", _ledger_table(rows, says))


def _ledger_table(rows: list[list[object]], caption: str) -> Markup:
    return grid(
        ["taken by", "size", "share", "in step", "changed by"], rows,
        texts=[True, False, False, True, True], caption=caption, class_="ledger", hidden=True,
    )  # fmt: skip


def _taker_row(line: LedgerLine, whole: int, takers: Sequence[str]) -> list[object]:
    name = join([swatch(taker_look(line.taker, takers) if line.amount > 0 else "free"), asks(line.taker)])
    steps = " \u00b7 ".join(filter(None, (line.step, line.option)))
    name = join([name, tag("small", steps, class_="narrow", aria_hidden="true")]) if steps else name
    return [
        name, _signed(line.amount), f"{100 * line.amount / whole:.2f} %".replace("-", "\u2212"),
        tag("td", tag("code", line.step) if line.step else "", class_="wide"),
        tag("td", tag("code", line.option) if line.option else "", class_="wide"),
    ]  # fmt: skip


def swatch(look: str) -> Markup:
    return tag("span", class_=f"sw {look}")


def asks(name: str) -> Markup:
    """A name as a link that the map answers."""
    return tag("a", name, href=fragment(name))


def _signed(size: int) -> str:
    return ("\u2212" if size < 0 else "") + human(abs(size))


def steps(boot: Boot) -> Markup:
    """The boot's steps: what each is for, what it did to memblock, what it logged."""
    count = len(boot.steps)
    listed = tag("ol", *(_step(boot, s) for s in boot.steps), class_="steps", id="steps")
    return section("steps", "The boot, step by step", fold(f"All {count} steps with what they did and logged", listed))


def _step(boot: Boot, s: StepRecord) -> Markup:
    words = {("memory", "add"): "adds", ("memory", "remove"): "removes", ("reserved", "add"): "reserves"}
    does = [
        tag("li", f"{words.get((which, what), 'frees')} ", tag("code", _range(a, b)), f" {human(b - a)}",
            " of memory" if which == "memory" else "")
        for which, what, a, b in s.memblock[:MOST_DOES]
    ]  # fmt: skip
    if len(s.memblock) > MOST_DOES:
        does.append(tag("li", f"and {len(s.memblock) - MOST_DOES} more"))
    log = "\n".join(line.text for line in boot.log.lines[s.log_start : s.log_end])
    return tag(
        "li", tag("h3", tag("code", s.name)), tag("p", PURPOSE.get(s.name, "")),
        tag("ul", *does) if does else "", tag("pre", log, tabindex=0) if log else "",
        class_=None if does or log else "idle",
    )  # fmt: skip


def _range(start: int, end: int) -> str:
    return f"{start:#x}\u2013{end - 1:#x}"


def zones(boot: Boot) -> Markup:
    """Zones with their watermarks, and how those come about."""
    shift = boot.kernel.page_shift
    rows = []
    for nid, zone in _zones(boot):
        start, end = zone.zone_start_pfn << shift, zone.zone_end_pfn << shift
        marks = zone.watermark.min, zone.watermark.low, zone.watermark.high
        largest = max((order for order, count in enumerate(zone.nr_free) if count), default=None)
        free = zone.nr_free_pages
        says = f"{human(free << shift)} free, high watermark {human(marks[2] << shift)}"
        rows.append(
            [
                asks(f"{nid}/{zone.name}"), tag("td", tag("code", _range(start, end)), class_="wide"),
                human(zone.managed_pages << shift),
                human(free << shift), *(human(mark << shift) for mark in marks),
                tag("td", gauge(marks, free, says)), human(1 << largest + shift) if largest is not None else "none",
            ]
        )  # fmt: skip
    table = grid(
        ["zone", "spans", "managed", "free", "min", "low", "high", "free against the marks", "largest block"], rows,
        texts=[True, True, False, False, False, False, False, True, False], caption="Zones and watermarks", hidden=True,
        class_="zones",
    )  # fmt: skip
    return section(
        "zones",
        "Zones and watermarks",
        table,
        _formula(boot),
        _reasons(boot, "min_free", "watermarks", "zones", "managed"),
    )


def _zones(boot: Boot) -> list[tuple[int, Zone]]:
    return [(nid, zone) for nid, node in sorted(boot.nodes.items()) for zone in node.populated_zones()]


def _formula(boot: Boot) -> Markup:
    pages = boot.min_free_kbytes >> boot.kernel.page_shift - 10
    terms = [
        tag("dt", "min"), tag("dd", f"the zone's share of min_free_kbytes, {boot.min_free_kbytes} kB = {pages} pages,"
                              " by what it manages of all low memory when the marks are set"),
        tag("dt", "low"), tag("dd", "min + step; below it kswapd wakes"),
        tag("dt", "high"), tag("dd", "min + 2 \u00d7 step; up to it kswapd works"),
        tag("dt", "step"), tag("dd", f"the larger of min \u00f7 4 and managed \u00d7 {SCALE} \u00f7 10000"),
    ]  # fmt: skip
    where = tag("p", "An allocation that finds free pages below min has to reclaim itself. ",
                tag("code", "setup_per_zone_wmarks()"), " works the marks out", class_="note")  # fmt: skip
    return join([tag("dl", *terms, class_="formula"), where])


def _reasons(boot: Boot, *topics: str) -> Markup:
    """Formulas with this machine's numbers, as `mmtool boot --why` has them, each topic to be unfolded."""
    told = (why(boot, topic) for topic in topics)
    return join(fold(t.says, _reasons_table(t)) for t in told)


def _reasons_table(topic: Why) -> Markup:
    rows = [[r.what.replace("  ", INDENT), r.formula, r.result, tag("code", r.function)] for r in topic.reasons]
    return grid(["what", "formula", "is", "in"], rows, texts=[True] * 4, caption=topic.says, hidden=True)


def nodes(boot: Boot) -> Markup:
    """Where each node looks, and how far apart they are."""
    ids = sorted(boot.nodes)
    lists = tag(
        "ol",
        *(tag("li", tag("b", f"node {nid}"), " looks in ", _zonelist(boot, nid), id=f"node-{nid}") for nid in ids),
        class_="lists",
    )
    if len(ids) == 1:
        return section("nodes", "Where an allocation looks", lists, _reasons(boot, "zonelists"))
    rows = [
        [tag("a", f"node {nid}", href=fragment(f"node {nid}"), data_node=nid),
         *(tag("td", d, class_=f"d{_nearness(d)}") for d in (boot.numa.node_distance(nid, other) for other in ids))]
        for nid in ids
    ]  # fmt: skip
    table = grid(["from \\ to", *(str(nid) for nid in ids)], rows, texts=[True, *([False] * len(ids))],
                 caption="Distances between nodes", class_="distances")  # fmt: skip
    hint = "Point at a node to see where its allocations look."
    now = tag("p", hint, id="looks", class_="tip js", aria_live="polite")
    apart = table if len(ids) <= MOST_NODES else fold(f"Distances of {len(ids)} nodes", table)
    shown = lists if len(ids) <= MOST_NODES else fold(f"Zonelists of {len(ids)} nodes", lists)
    return section("nodes", "Nodes, and where an allocation looks", apart, now, shown, _reasons(boot, "zonelists"))


def _nearness(distance: int) -> int:
    return 0 if distance <= 10 else 1 if distance <= 20 else 2 if distance <= 30 else 3


def _zonelist(boot: Boot, nid: int) -> Markup:
    names = (tag("code", f"{n}/{zone}") for n, zone in boot.zonelists.fallback[nid])
    return join(names, " \u203a ") or text("nothing")


def free(boot: Boot) -> Markup:
    """Free lists as a heat map: how many blocks of each order, and what share of the zone's free memory they are."""
    orders = boot.kernel.max_page_order + 1
    rows: list[list[object]] = []
    for nid, zone in _zones(boot):
        by_type: dict[str, list[int]] = {}
        for order, kind, runs in zone.free_lists():
            by_type.setdefault(kind.label, [0] * orders)[order] += sum(count for _, count in runs)
        whole = max(zone.nr_free_pages, 1)
        rows += [
            [f"{nid}/{zone.name} {kind}", *(_heat(count, order, whole) for order, count in enumerate(counts))]
            for kind, counts in by_type.items()
        ]
    sizes = [join([str(order), tag("small", human(1 << order + boot.kernel.page_shift))]) for order in range(orders)]
    table = grid(["zone, type", *sizes], rows, texts=[True, *([False] * orders)], class_="heat",
                 caption="Free blocks by order", hidden=True)  # fmt: skip
    note = "Blocks of each order when init starts; the darker, the more of the zone's free memory is in them."
    return section("free", "Free lists", table, tag("p", note, class_="note"))


def _heat(count: int, order: int, whole: int) -> Markup:
    part = (count << order) / whole
    level = next((i for i, least in enumerate(SHARES) if part >= least), len(SHARES)) if count else 5
    return tag("td", count or "\u00b7", class_=f"h{level}", title=f"{100 * part:.1f} %" if count else None)


def appendix(boot: Boot) -> Markup:
    """Every region in words: for those who do not see the map, and for paper."""
    shown = {
        "firmware": "The firmware's map",
        "zones": "The zones",
        "memblock": "memblock's lists, with owners",
        "vmalloc": "The kernel's address space",
    }
    tables = (fold(says, of_table(TABLES[name](boot))) for name, says in shown.items())
    return section("tables", "All regions as tables", *tables)
