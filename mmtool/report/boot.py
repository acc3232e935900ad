"""What `mmtool boot` prints: the kernel's own log, a document for scripts, tables for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from mmtool.answers.assumed import assumptions
from mmtool.build.release import Release
from mmtool.linux.arch.x86.kernel.e820 import type_name
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.address_space import KernelArea
from mmtool.linux.mm.memblock import MemblockRegion
from mmtool.linux.mm.mmzone import PagesetLimits, Zone
from mmtool.linux.mm.page_alloc.pageset_limits import pcp_high_at_init
from mmtool.report.assumed import entries, say, section
from mmtool.report.buddy import free_lists
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.report.words import flag_names, heading
from mmtool.system.codec.state import state_document
from mmtool.system.of_boot import check_zonelists, state_of_boot
from mmtool.units import human


def render(boot: Boot, output: str, sections: tuple[str, ...]) -> None:
    """Print a boot to standard output; `sections` are those asked for, in their order."""
    if output in ("json", "yaml"):
        print_document(document(boot, sections), output)
    elif output == "csv":
        sys.stdout.write(csv_table(TABLES[sections[0]](boot)))
    else:
        shown = [TABLES[s](boot) for s in sections if s in TABLES]
        tables = text_tables(_folded(t, FOLDED[t.name]) if prose("shown") and t.name in FOLDED else t for t in shown)
        sys.stdout.write(prose(heading(boot) + "\n\n") + tables + prose(section(assumptions(boot))))
    if output == "csv" or not prose("shown"):
        say(boot)


def _hex_range(start: int, end: int) -> dict[str, str]:
    return {"start": f"{start:#x}", "end": f"{end - 1:#x}"}


def document(boot: Boot, sections: tuple[str, ...]) -> dict[str, Any]:
    """The mmtool.boot/1 document: addresses as hex strings, counts as numbers."""
    kernel = boot.kernel
    doc: dict[str, Any] = {
        "schema": "mmtool.boot/1",
        "arch": kernel.arch,
        "cmdline": boot.cmdline.text,
        "kernel": {
            "release": kernel.name,
            "profile": kernel.profile.name,
            "exact_profile": kernel.profile.exact,
            "page_size": 1 << kernel.page_shift,
        },
    }
    if assumed := entries(assumptions(boot)):
        doc["assumed"] = assumed
    builders = {
        "firmware": _firmware, "memblock": _memblock, "steps": _steps, "nodes": _nodes, "vmalloc": _vmalloc,
    }  # fmt: skip
    wanted = set(sections)
    if wanted & {"nodes", "zones", "zonelists", "buddy", "watermarks"}:
        wanted.add("nodes")
    for name, build in builders.items():
        if name in wanted:
            doc[name] = build(boot)
    lists = boot.zonelists
    doc["totals"] = {
        "min_free_kbytes": boot.min_free_kbytes, "totalpages": lists.total_pages,
        "mobility_grouping": lists.mobility_grouping,
        "managed": sum(z.managed_pages for node in boot.nodes.values() for z in node.zones),
    }  # fmt: skip
    if wanted >= set(builders):
        doc["state"] = state_document(state_of_boot(boot), kernel)
    return doc


def _firmware(boot: Boot) -> dict[str, Any]:
    release = boot.kernel.release
    return {
        "source": boot.machine.source,
        "map": [{**_hex_range(e.start, e.end), "type": type_name(e.type, release)} for e in boot.firmware_map],
        "edited": [
            {**_hex_range(e.start, e.end), "type": type_name(e.type, release)}
            for e in boot.edited_map()
            if e.end > e.start
        ],
    }


def _region(boot: Boot, r: MemblockRegion) -> dict[str, Any]:
    nid = r.nid if boot.memblock.valid_node(r.nid) else None
    return {"base": f"{r.base:#x}", "size": f"{r.size:#x}", "nid": nid, "flags": flag_names(r.flags)}


def _memblock(boot: Boot) -> dict[str, Any]:
    mb = boot.memblock
    return {
        "memory": [_region(boot, r) for r in mb.memory.regions if r.size],
        "reserved": [{**_region(boot, r), "owners": mb.owners(r.base, r.size)} for r in mb.reserved.regions if r.size],
    }


def _steps(boot: Boot) -> list[dict[str, Any]]:
    return [
        {
            "step": s.name,
            "does": [{"list": which, "does": what, **_hex_range(a, b)} for which, what, a, b in s.memblock],
            "log": [line.text for line in boot.log.lines[s.log_start : s.log_end]],
        }
        for s in boot.steps
    ]


def _zone(zone: Zone) -> dict[str, Any]:
    limits = zone.pageset or PagesetLimits(0, 0, 0)
    return {
        "name": zone.name, "start_pfn": zone.zone_start_pfn, "spanned": zone.spanned_pages,
        "present": zone.present_pages, "managed": zone.managed_pages,
        "min": zone.watermark.min, "low": zone.watermark.low, "high": zone.watermark.high,
        "protection": list(zone.lowmem_reserve),
        "pcp": {"high": pcp_high_at_init(zone), "high_min": limits.high_min, "high_max": limits.high_max,
                "batch": limits.batch},
        "free": free_lists(zone),
    }  # fmt: skip


def _nodes(boot: Boot) -> list[dict[str, Any]]:
    check_zonelists(boot)
    lists = boot.zonelists
    out = []
    for nid, node in sorted(boot.nodes.items()):
        out.append(
            {
                "nid": nid,
                "online": nid in boot.numa.online,
                "distance": [boot.numa.node_distance(nid, other) for other in sorted(boot.nodes)],
                "zones": [_zone(z) for z in node.populated_zones()],
                "fallback": [list(entry) for entry in lists.fallback[nid]],
                "thisnode": [list(entry) for entry in lists.thisnode[nid]],
            }
        )
    return out


def _watermarks_table(boot: Boot) -> Table:
    t = Table(
        "watermarks", f"Watermarks (min_free_kbytes {boot.min_free_kbytes}) and per-CPU lists",
        columns(
            "node", "zone", ("min", Kind.PAGES), ("low", Kind.PAGES), ("high", Kind.PAGES), "protection",
            ("pcp high", Kind.COUNT), ("pcp batch", Kind.COUNT),
        ),
    )  # fmt: skip
    t.page_shift = boot.kernel.page_shift
    for nid, node in sorted(boot.nodes.items()):
        for z in node.populated_zones():
            batch = z.pageset.batch if z.pageset else 0
            protection = " ".join(str(n) for n in z.lowmem_reserve)
            marks = (z.watermark.min, z.watermark.low, z.watermark.high)
            t.rows.append((str(nid), z.name, *marks, protection, pcp_high_at_init(z), batch))
    return t


def _vmalloc(boot: Boot) -> dict[str, Any]:
    def place(area: KernelArea) -> dict[str, Any]:
        return {**_hex_range(area.start, area.end), "size": f"{area.size:#x}", "base_known": area.base_known}

    space = boot.address_space
    macros = {"VMALLOC_START": f"{space.vmalloc.start:#x}", "VMALLOC_END": f"{space.vmalloc_end:#x}"}
    return place(space.vmalloc) | macros | {"areas": [{"name": area.name} | place(area) for area in space.areas]}


def _firmware_table(boot: Boot) -> Table:
    release: Release = boot.kernel.release
    title = f"Firmware map ({boot.machine.source}, {len(boot.machine.e820 or boot.firmware_map)} entries)"
    t = Table("firmware", title, columns(("start", Kind.ADDRESS), ("last", Kind.ADDRESS), ("size", Kind.SIZE), "type"))
    t.rows = [(e.start, e.end - 1, e.end - e.start, type_name(e.type, release)) for e in boot.firmware_map]
    return t


def _memblock_table(boot: Boot) -> Table:
    mb = boot.memblock
    t = Table(
        "memblock", "memblock: memory, and what is reserved of it when the page allocator takes over",
        columns("list", ("start", Kind.ADDRESS), ("last", Kind.ADDRESS), ("size", Kind.SIZE), "node", "flags", "for"),
    )  # fmt: skip
    for name, regions in (("memory", mb.memory.regions), ("reserved", mb.reserved.regions)):
        for r in regions:
            if r.size:
                nid = str(r.nid) if mb.valid_node(r.nid) else None
                owners = "; ".join(mb.owners(r.base, r.size)) if name == "reserved" else ""
                t.rows.append((name, r.base, r.end - 1, r.size, nid, " ".join(flag_names(r.flags)), owners))
    return t


FOLDED = {"memblock": "for", "steps": "does"}
"""The tables in which equal neighbours share a line, and the column that counts them."""
LEAST_FOLDED = 3


def _runs(rows: Iterable[tuple[Any, ...]], key: Callable[[tuple[Any, ...]], Any]) -> Iterator[list[tuple[Any, ...]]]:
    """Neighbours with the same key; whoever names a step begins anew."""
    run: list[tuple[Any, ...]] = []
    for row in rows:
        if run and (key(row) != key(run[0]) or (row[0] and row[0] != run[0][0])):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def _folded(t: Table, counted: str) -> Table:
    """The table with one line for neighbours that differ in their addresses alone: from the first start to the last
    end, with the size of all, and in the column `counted` how many of what size."""
    titles = [c.title for c in t.columns]
    size, text, start, last = (titles.index(title) for title in ("size", counted, "start", "last"))
    alike = [i for i, c in enumerate(t.columns) if c.kind is not Kind.ADDRESS and titles[i] != "step"]

    def key(row: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(row[i] for i in alike)

    rows: list[tuple[Any, ...]] = []
    for run in _runs(t.rows, key):
        if len(run) < LEAST_FOLDED or run[0][size] is None:
            rows += run
            continue
        merged = list(run[0])
        merged[start], merged[last] = min(r[start] for r in run), max(r[last] for r in run)
        merged[size] = sum(r[size] for r in run)
        merged[text] = f"{run[0][text]} {len(run)} x {human(run[0][size])}".strip()
        rows.append(tuple(merged))
    return replace(t, rows=rows)


def _nodes_table(boot: Boot) -> Table:
    t = Table(
        "nodes", "Nodes",
        columns("node", "state", ("start", Kind.ADDRESS), ("last", Kind.ADDRESS), ("present", Kind.PAGES), "distances"),
    )  # fmt: skip
    t.page_shift = shift = boot.kernel.page_shift
    for nid, node in sorted(boot.nodes.items()):
        present = sum(z.present_pages for z in node.zones)
        start, end = node.node_start_pfn << shift, node.node_end_pfn << shift
        distances = " ".join(str(boot.numa.node_distance(nid, n)) for n in sorted(boot.nodes))
        state = "online" if nid in boot.numa.online else "possible"
        span = (start, end - 1) if present else (None, None)
        t.rows.append((str(nid), state, *span, present, distances))
    return t


def _zones_table(boot: Boot) -> Table:
    t = Table(
        "zones", "Zones",
        columns(
            "node", "zone", ("start", Kind.ADDRESS), ("last", Kind.ADDRESS),
            ("spanned", Kind.PAGES), ("present", Kind.PAGES), ("managed", Kind.PAGES),
        ),
    )  # fmt: skip
    t.page_shift = shift = boot.kernel.page_shift
    for nid, node in sorted(boot.nodes.items()):
        for z in node.populated_zones():
            start, end = z.zone_start_pfn << shift, z.zone_end_pfn << shift
            t.rows.append((str(nid), z.name, start, end - 1, z.spanned_pages, z.present_pages, z.managed_pages))
    return t


def _zonelists_table(boot: Boot) -> Table:
    t = Table("zonelists", "Zonelists: where an allocation of each node looks, in this order", columns("node", "zones"))
    for nid, zones in sorted(boot.zonelists.fallback.items()):
        t.rows.append((str(nid), " > ".join(f"{n}/{z}" for n, z in zones)))
    return t


def _buddy_table(boot: Boot) -> Table:
    orders = boot.kernel.max_page_order + 1
    t = Table(
        "buddy", "Free blocks by order, after memory was handed over",
        columns("node", "zone", "type", *((str(o), Kind.COUNT) for o in range(orders))),
    )  # fmt: skip
    for nid, node in sorted(boot.nodes.items()):
        for z in node.populated_zones():
            by_type: dict[str, list[int]] = {}
            for order, migratetype, runs in z.free_lists():
                row = by_type.setdefault(migratetype.label, [0] * orders)
                row[order] += sum(count for _, count in runs)
            t.rows += [(str(nid), z.name, label, *row) for label, row in by_type.items()]
    return t


def _vmalloc_table(boot: Boot) -> Table:
    areas = boot.address_space.areas
    moved = ", ".join(area.name for area in areas if not area.base_known)
    t = Table(
        "vmalloc", f"Kernel address space{f' (KASLR moves {moved}: shown without its shifts)' if moved else ''}",
        columns("area", ("start", Kind.ADDRESS), ("last", Kind.ADDRESS), ("size", Kind.SIZE)),
    )  # fmt: skip
    t.rows = [(area.name, area.start, area.end - 1, area.size) for area in areas]
    return t


def _steps_table(boot: Boot) -> Table:
    t = Table(
        "steps", "Steps of the boot, and what each did to memblock",
        columns("step", "does", ("start", Kind.ADDRESS), ("last", Kind.ADDRESS), ("size", Kind.SIZE)),
    )  # fmt: skip
    words = {
        "add": {"memory": "adds memory", "reserved": "reserves"},
        "remove": {"memory": "removes memory", "reserved": "frees"},
    }
    for s in boot.steps:
        if not s.memblock:
            t.rows.append((s.name, "", None, None, None))
        for i, (which, what, a, b) in enumerate(s.memblock):
            t.rows.append((s.name if i == 0 else "", words[what][which], a, b - 1, b - a))
    return t


TABLES = {
    "firmware": _firmware_table, "memblock": _memblock_table, "nodes": _nodes_table, "zones": _zones_table,
    "zonelists": _zonelists_table, "buddy": _buddy_table, "watermarks": _watermarks_table,
    "vmalloc": _vmalloc_table, "steps": _steps_table,
}  # fmt: skip
