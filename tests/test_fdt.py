"""Device trees: what the kernel reads in them, what dtc reads in them, and what damaged ones do."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.blobs import Tree, assemble, blob, cells, text
from support.dts import Node, compile_dts, decompile
from support.effort import SECOND, is_within

from mmtool.answers.lint import lint
from mmtool.build.choose import kernel_for
from mmtool.errors import InputError
from mmtool.firmware.fdt import Chosen, Cpu, DeviceTree, DmaBus, NumaMemory, Problem, parse_fdt, read_fdt
from mmtool.firmware.machine import Machine

FIXTURES = Path(__file__).parent.parent / "fixtures" / "fdt"
CAPTURES = os.environ.get("MMTOOL_CAPTURES", "")
DTBS = os.environ.get("MMTOOL_DTBS", "")
"""A folder with device trees of boards, such as a kernel package has them."""
BLOBS = [
    *sorted(FIXTURES.glob("*.dtb.gz")),
    *(sorted(Path(CAPTURES).glob("*/machine.dtb*")) if CAPTURES else ()),
    *(sorted(Path(DTBS).rglob("*.dtb")) if DTBS else ()),
]
needs_dtc = pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is not installed")

ROOT = {"#address-cells": cells(2), "#size-cells": cells(2)}
MEMORY: Tree = {"device_type": text("memory"), "reg": cells(0, 0x40000000, 0, 0x40000000)}
GIB = 1 << 30


def parse(tree: Tree) -> DeviceTree:
    return parse_fdt(blob(tree), "F")


def refusal(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        parse_fdt(data, "F")
    return str(caught.value)


def told(tree: DeviceTree) -> list[tuple[str, str]]:
    return [(problem.path, problem.property) for problem in tree.problems]


# --- against dtc

BOARD = """/dts-v1/;
/memreserve/ 0x40000000 0x1000;
/memreserve/ 0x123456789000 0x2000;
/ {
    #address-cells = <2>; #size-cells = <1>;
    model = "A \\"board\\"; with = signs"; compatible = "a,b", "c";
    memory@2 { device_type = "memory"; reg = <2 0 0x80000000>, <1 0 0>, <3 0x1000 0x7000>; hotpluggable; };
    memory@1 { device_type = "memory"; reg = <1 0 0x1000>; linux,usable-memory = <1 0x100 0xf00>; };
    off { device_type = "memory"; reg = <9 0 0x1000>; status = "disabled"; };
    reserved-memory {
        #address-cells = <2>; #size-cells = <1>; ranges;
        b@5 { reg = <0 0x50000000 0x1000>, <0 0x60000000 0x2000>; no-map; };
        a { size = <0x4000000>; alignment = <0 0x200000>; alloc-ranges = <0 0 0x80000000>, <1 0 0x1000>;
            compatible = "shared-dma-pool"; reusable; linux,cma-default; };
        off@7 { reg = <0 0x70000000 0x1000>; status = "disabled"; };
    };
};
"""


def expected_ranges(node: Node, name: str, root: Node) -> list[tuple[int, int]]:
    """The ranges that dtc's cells make, by the root's numbers of cells."""
    address, size = root.cells("#address-cells")[0], root.cells("#size-cells")[0]
    words = iter(node.cells(name))

    def number(count: int) -> int:
        return int("0" + "".join(f"{next(words):08x}" for _ in range(count)), 16)

    out = []
    for _ in range(len(node.cells(name)) // (address + size)):
        start = number(address)
        out.append((start, start + number(size)))
    return out


def expected_placement(node: Node, root: Node) -> tuple[int | None, int | None]:
    """size and alignment by dtc's cells; neither where one of them has not the root's number of cells."""
    values: list[int | None] = []
    for name, cells_name in (("size", "#size-cells"), ("alignment", "#address-cells")):
        words = node.cells(name) if name in node.properties else []
        if name in node.properties and len(words) != root.cells(cells_name)[0]:
            return None, None
        values.append(int("".join(f"{word:08x}" for word in words), 16) if words else None)
    return values[0], values[1]


def compare_with_dtc(data: bytes) -> None:
    tree, wanted = parse_fdt(data, "F"), decompile(data)
    root = wanted.root
    assert list(tree.memreserve) == wanted.memreserve
    memory: list[tuple[str, int, int]] = []
    for node in root.children:
        enabled = node.properties.get("status", '"okay"') in ('"okay"', '"ok"')
        if node.properties.get("device_type") == '"memory"' and enabled:
            name = "linux,usable-memory" if "linux,usable-memory" in node.properties else "reg"
            memory += [(node.path, *found) for found in expected_ranges(node, name, root) if found[0] < found[1]]
    assert [(node.path, node.start, node.end) for node in tree.memory] == memory
    reserved = root.child("reserved-memory")
    nodes = reserved.children if reserved is not None else []
    assert [node.path for node in tree.reserved] == [node.path for node in nodes]
    for found, node in zip(tree.reserved, nodes, strict=True):
        assert list(found.ranges) == (expected_ranges(node, "reg", root) if "reg" in node.properties else [])
        alloc_ranges = expected_ranges(node, "alloc-ranges", root) if "alloc-ranges" in node.properties else None
        assert (None if found.alloc_ranges is None else list(found.alloc_ranges)) == alloc_ranges
        assert (found.size, found.alignment) == expected_placement(node, root)
        flags = ("no-map", "reusable", "linux,cma-default", "linux,dma-default")
        assert (found.no_map, found.reusable, found.cma_default, found.dma_default) == tuple(
            flag in node.properties for flag in flags
        )
    cpus = root.child("cpus")
    working = [node for node in (cpus.children if cpus else ()) if node.properties.get("status") != '"fail"']
    assert len(tree.cpus) == sum(node.path.startswith("/cpus/cpu@") for node in working)


@needs_dtc
@pytest.mark.parametrize(
    "path", BLOBS, ids=lambda path: path.parent.name if path.name.startswith("machine.dtb") else path.name
)
def test_dtc_reads_the_same_in_real_trees(path: Path) -> None:
    compare_with_dtc(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())


@needs_dtc
def test_dtc_reads_the_same_in_a_written_tree() -> None:
    data = compile_dts(BOARD)
    compare_with_dtc(data)
    tree = parse_fdt(data, "F")
    assert (tree.size, tree.model, tree.compatible) == (len(data), 'A "board"; with = signs', ("a,b", "c"))
    assert [node.hotpluggable for node in tree.memory] == [True, True, False]
    assert [node.status_ok for node in tree.reserved] == [True, True, False]
    assert tree.reserved[1].compatible == ("shared-dma-pool",)
    assert told(tree) == [("/off", "status")]


@needs_dtc
@pytest.mark.parametrize(("address", "size"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_dtc_reads_the_same_whatever_the_cells(address: int, size: int) -> None:
    reg = " ".join(str(i + 1) for i in range(2 * (address + size)))
    root = f"#address-cells = <{address}>; #size-cells = <{size}>;"
    compare_with_dtc(compile_dts(f'/dts-v1/; / {{ {root} m {{ device_type = "memory"; reg = <{reg}>; }}; }};'))


# --- the fixtures


def test_numa_of_a_real_tree() -> None:
    tree = read_fdt(str(FIXTURES / "numa4-ring.dtb.gz"))
    assert tree.size == 1 << 20
    assert [(node.start // GIB, node.nid) for node in tree.memory] == [(4, 3), (3, 2), (2, 1), (1, 0)]
    assert [(node.start // GIB, node.nid) for node in tree.numa_memory] == [(4, 3), (3, 2), (2, 1), (1, 0)]
    assert [(cpu.reg, cpu.nid, cpu.enabled) for cpu in tree.cpus] == [(i, i, True) for i in range(4)]
    ring = [[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]]
    assert tree.distance_map == {(a, b): ring[a][b] for a in range(4) for b in range(4)}
    assert (tree.numa_error, tree.dma_limit, tree.problems) == (None, None, ())


def test_reservations_of_a_real_tree() -> None:
    tree = read_fdt(str(FIXTURES / "reserved-memory.dtb.gz"))
    by_name = {node.name: node for node in tree.reserved}
    assert by_name["fw@50000000"].ranges == ((0x50000000, 0x50200000),)
    assert by_name["fw@50000000"].no_map
    cma = by_name["linux,cma"]
    assert (cma.ranges, cma.size, cma.alignment) == ((), 64 << 20, 2 << 20)
    assert cma.cma_default and cma.reusable and cma.compatible == ("shared-dma-pool",)


# --- as the kernel reads it


def test_of_many_cells_64_bits_are_kept() -> None:
    node: Tree = {"device_type": text("memory"), "reg": cells(7, 1, 2, 9, 0, 3)}
    tree = parse({"#address-cells": cells(3), "#size-cells": cells(3), "memory": node})
    assert [(node.start, node.end - node.start) for node in tree.memory] == [(0x1_0000_0002, 3)]


def test_cells_that_the_root_does_not_give_are_1() -> None:
    tree = parse({"memory": {"device_type": text("memory"), "reg": cells(0x1000, 0x2000)}})
    assert [(node.start, node.end) for node in tree.memory] == [(0x1000, 0x3000)]
    assert told(tree) == [("/", "#address-cells"), ("/", "#size-cells")]


def test_a_rest_of_reg_is_left_over_and_told() -> None:
    tree = parse({**ROOT, "memory@0": {**MEMORY, "reg": cells(0, 0x1000, 0, 0x1000, 7)}})
    assert [(node.start, node.end) for node in tree.memory] == [(0x1000, 0x2000)]
    assert tree.problems == (
        Problem(
            "/memory@0",
            "reg",
            "20 bytes is not a multiple of 16; the rest is left over; 7.3 passes over the property",
        ),
    )


def test_memory_that_is_none() -> None:
    """Without device_type, without reg, disabled, and of no size; deeper in the tree only 5.10 takes it."""
    tree = parse(
        {
            **ROOT,
            "memory@0": {"reg": cells(0, 0, 0, 1)},
            "memory@1": {"device_type": text("memory")},
            "memory@2": {**MEMORY, "status": text("disabled")},
            "memory@3": {**MEMORY, "reg": cells(0, 0, 0, 0)},
            "memory@4": {**MEMORY, "device_type": b"memory"},
            "soc": {"memory@5": MEMORY},
        }
    )
    assert tree.memory == ()
    assert [node.path for node in tree.nested_memory] == ["/soc/memory@5"]
    assert told(tree) == [
        ("/memory@0", "device_type"),
        ("/memory@1", "reg"),
        ("/memory@2", "status"),
        ("/memory@4", "device_type"),
        ("/soc/memory@5", "device_type"),
    ]


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"#size-cells": cells(1)}, "#size-cells"),
        ({"#address-cells": b""}, "#address-cells"),
        ({"ranges": None}, "ranges"),
    ],
)
def test_reserved_memory_in_an_unsupported_format_is_ignored(change: dict[str, bytes | None], missing: str) -> None:
    top = {**ROOT, "ranges": b"", **change}
    node: Tree = {**{k: v for k, v in top.items() if v is not None}, "a": {"reg": cells(0, 0, 0, 1)}}
    tree = parse({**ROOT, "reserved-memory": node})
    assert tree.reserved == ()
    assert told(tree) == [("/reserved-memory", missing)]


def test_reservations_that_cannot_be_read() -> None:
    bad: Tree = {
        **ROOT,
        "ranges": b"",
        "a": {"reg": cells(1, 2, 3), "size": cells(0, 0x1000)},
        "b": {"size": cells(1)},
        "c": {"size": cells(0, 0x1000), "alignment": cells(1)},
        "d": {"size": cells(0, 0x1000), "alloc-ranges": cells(1)},
        "e": {"size": cells(0, 0x1000), "alloc-ranges": b""},
        "f": {},
    }
    tree = parse({**ROOT, "reserved-memory": bad})
    assert [(n.name, n.ranges, n.size, n.alloc_ranges, n.malformed) for n in tree.reserved] == [
        ("a", (), 0x1000, None, ("reg",)),
        ("b", (), None, None, ()),
        ("c", (), None, None, ()),
        ("d", (), 0x1000, None, ("alloc-ranges",)),
        ("e", (), 0x1000, (), ()),
        ("f", (), None, None, ()),
    ]
    names = [("a", "reg"), ("b", "size"), ("c", "alignment"), ("d", "alloc-ranges"), ("f", "reg")]
    assert told(tree) == [(f"/reserved-memory/{node}", name) for node, name in names]


def test_chosen() -> None:
    chosen: Tree = {
        "bootargs": text("console=ttyS0 quiet", "more"),
        "linux,initrd-start": cells(0x48000000),
        "linux,initrd-end": cells(0, 0x48001000),
        "linux,usable-memory-range": cells(0, 0x1000, 0, 0x1000, 1, 0, 0, 0x2000),
        "linux,elfcorehdr": cells(0, 0x5000, 0, 0x100),
    }
    assert parse({**ROOT, "chosen@0": chosen}).chosen == Chosen(
        "console=ttyS0 quiet",
        (0x48000000, 0x48001000),
        ((0x1000, 0x2000), (1 << 32, (1 << 32) + 0x2000)),
        (0x5000, 0x5100),
    )
    assert parse({**ROOT}).chosen == Chosen()
    tree = parse(
        {**ROOT, "chosen": {"bootargs": b"quiet", "linux,initrd-start": cells(1), "linux,elfcorehdr": b"1234"}}
    )
    assert tree.chosen == Chosen("quie")
    assert told(tree) == [(("/chosen"), name) for name in ("bootargs", "linux,elfcorehdr", "linux,initrd-end")]
    tree = parse({**ROOT, "chosen": {"linux,initrd-start": cells(2), "linux,initrd-end": cells(1)}})
    assert (tree.chosen.initrd, told(tree)) == (None, [("/chosen", "linux,initrd-end")])


def test_cpus() -> None:
    cpus: Tree = {
        "#address-cells": cells(1),
        "cpu@0": {"reg": cells(0x100), "numa-node-id": cells(1)},
        "core": {"device_type": text("cpu"), "reg": cells(1), "status": text("disabled")},
        "cpu@2": {"reg": cells(2), "status": text("fail-sss")},
        "cpu@3": {},
        "cpu-map": {},
    }
    tree = parse({**ROOT, "cpus": {"numa-node-id": cells(7), **cpus}})
    assert tree.cpus == (Cpu("/cpus/cpu@0", 0x100, 1, True), Cpu("/cpus/core", 1, 7, False))
    assert told(tree) == [("/cpus/cpu@3", "reg")]


def test_numa_takes_reg_of_disabled_and_nested_nodes_too() -> None:
    node = {**MEMORY, "numa-node-id": cells(1)}
    bus: Tree = {**ROOT, "ranges": cells(0, 0x40000000, 1, 0x40000000, 0, 0x80000000), "memory@2": node}
    tree = parse({**ROOT, "memory@1": {**node, "status": text("disabled")}, "soc": bus})
    assert tree.numa_memory == (
        NumaMemory("/memory@1", GIB, 2 * GIB, 1),
        NumaMemory("/soc/memory@2", 5 * GIB, 6 * GIB, 1),
    )
    assert tree.numa_error is None


def test_numa_hangs_on_the_last_memory_node() -> None:
    node = {**MEMORY, "numa-node-id": cells(0)}
    assert parse({**ROOT, "memory@1": MEMORY, "memory@2": node}).numa_complete
    tree = parse({**ROOT, "memory@1": node, "memory@2": MEMORY})
    assert not tree.numa_complete
    assert told(tree) == [("/memory@2", "numa-node-id")]
    assert not parse({**ROOT, "memory@1": MEMORY}).numa_complete


@pytest.mark.parametrize("broken", [{"numa-node-id": b"12"}, {"numa-node-id": cells(1), "reg": b""}])
def test_a_bad_memory_node_ends_numa(broken: dict[str, bytes]) -> None:
    tree = parse({**ROOT, "memory@1": {**MEMORY, **broken}})
    assert tree.numa_error is not None and tree.numa_error.path == "/memory@1"
    assert tree.numa_error in tree.problems


@pytest.mark.parametrize(
    ("matrix", "error"),
    [
        (cells(0, 0, 10, 0, 1, 5), "Invalid distance[node0 -> node1] = 5; NUMA is given up"),
        (cells(0, 0, 11), "Invalid distance[node0 -> node0] = 11; NUMA is given up"),
        (b"", "Invalid distance-matrix; NUMA is given up"),
        (b"12345", "Invalid distance-matrix; NUMA is given up"),
    ],
)
def test_distances_that_cannot_be(matrix: bytes, error: str) -> None:
    tree = parse({**ROOT, "map": {"compatible": text("numa-distance-map-v1"), "distance-matrix": matrix}})
    assert tree.numa_error == Problem("/map", "distance-matrix", error)


def test_distances_hold_both_ways_unless_told_otherwise() -> None:
    matrix = cells(0, 1, 20, 1, 0, 21, 2, 0, 30, 1, 2)
    tree = parse({**ROOT, "map": {"compatible": text("numa-distance-map-v1"), "distance-matrix": matrix}})
    assert tree.distance_map == {(0, 1): 20, (1, 0): 21, (2, 0): 30}


def bus(ranges: bytes, **more: Tree | bytes) -> Tree:
    return {"#address-cells": cells(1), "#size-cells": cells(1), "dma-ranges": ranges, **more}


def test_dma_limit_is_that_of_the_narrowest_bus() -> None:
    """The Raspberry Pi 4's: one bus of 1 GiB at 0, beside one of 4 GiB."""
    tree = parse(
        {
            **ROOT,
            "soc": bus(cells(0xC0000000, 0, 0, 0x40000000)),
            "scb": {**ROOT, "dma-ranges": cells(0, 0, 0, 0, 1, 0)},
            "off": bus(cells(0, 0, 0, 0x1000), status=text("disabled")),
            "flat": {**ROOT, "dma-ranges": b""},
        }
    )
    assert tree.dma_buses == (DmaBus("/soc", GIB), DmaBus("/scb", 4 * GIB))
    assert (tree.dma_limit, tree.problems) == (GIB, ())


def test_dma_ranges_are_translated_by_the_buses_above() -> None:
    inner = {"#address-cells": cells(1), "#size-cells": cells(1), "dma-ranges": cells(0, 0x1000, 0x1000)}
    tree = parse({**ROOT, "outer": bus(cells(0, 2, 0, 0x10000), inner=inner)})
    assert tree.dma_buses == (DmaBus("/outer", 0x200010000), DmaBus("/outer/inner", 0x200002000))


def test_dma_ranges_of_pci_have_flags() -> None:
    pcie = {
        "#address-cells": cells(3),
        "#size-cells": cells(2),
        "device_type": text("pci"),
        "dma-ranges": cells(0x02000000, 0, 0, 0, 0, 0, 0xC0000000),
    }
    assert parse({**ROOT, "pcie@1": pcie}).dma_limit == 3 * GIB


def test_dma_ranges_without_translation_count_as_the_kernel_counts() -> None:
    """OF_BAD_ADDR and a size wrap around to a small number."""
    inner = {"#address-cells": cells(1), "#size-cells": cells(1), "dma-ranges": cells(0, 0x20000, 0x1000)}
    tree = parse({**ROOT, "outer": bus(cells(0, 2, 0, 0x10000), inner=inner)})
    assert tree.dma_limit == 0xFFF
    assert tree.problems == (
        Problem("/outer/inner", "dma-ranges", "entries without a translation to a CPU address: 1"),
    )


def test_dma_ranges_follow_the_interconnect() -> None:
    """A device whose way to memory leads through another bus than the one it sits on."""
    memory_bus = bus(cells(0, 3, 0, 0x10000), phandle=cells(9)) | {"#interconnect-cells": cells(1)}
    device = bus(cells(0, 0, 0, 0x1000)) | {
        "interconnects": cells(9, 5),
        "interconnect-names": text("dma-mem"),
        "dma-ranges": cells(0, 0x100, 0x200),
    }
    outer = {"#address-cells": cells(1), "#size-cells": cells(1), "device": device}
    tree = parse({**ROOT, "mbus": memory_bus, "soc": outer})
    assert tree.dma_buses == (DmaBus("/mbus", 0x300010000), DmaBus("/soc/device", 0x300000300))


# --- refusals


def test_what_is_no_blob() -> None:
    assert refusal(b"") == "F:0x0: empty file; give a device-tree blob, such as a copy of /sys/firmware/fdt"
    assert refusal(b"/dts-v1/;\n/ {};").startswith("F:0x0: is a device tree's source; compile it first: dtc ")
    assert refusal(bytes.fromhex("edfe0dd0")).startswith("F:0x0: the magic number's bytes are swapped")
    assert refusal(b"\x7fELF").startswith("F:0x0: not a device-tree blob: begins with 7f454c46")


def test_headers_that_cannot_be() -> None:
    good = blob({**ROOT, "memory@0": MEMORY})
    assert refusal(good[:30]) == "F:0x1e: the header of 40 bytes is cut off; copy the file again"
    assert refusal(good[:-1]) == f"F:0x4: the blob has {len(good)} bytes, the file only {len(good) - 1}; copy it whole"
    assert refusal(blob(ROOT, version=3, oldest=2)).startswith("F:0x14: version 3 (back to 2) cannot be read")
    for place in (8, 12, 16):
        broken = good[:place] + cells(1 << 31) + good[place + 4 :]
        assert refusal(broken).startswith(f"F:{place:#x}: the ") and "lies outside the blob" in refusal(broken)
    assert "is not aligned to 8 bytes" in refusal(good[:16] + cells(44) + good[20:])


def test_other_versions_are_read() -> None:
    tree: Tree = {**ROOT, "memory@0": MEMORY}
    for version, oldest in ((16, 16), (17, 17), (18, 16), (99, 17)):
        assert len(parse_fdt(blob(tree, version=version, oldest=oldest), "F").memory) == 1
    assert parse_fdt(blob(tree) + b"padding", "F").size == len(blob(tree))


BEGIN, PROP = cells(1, 0), cells(3, 4, 0)


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (cells(9), "F:0x38: there is no root node"),
        (cells(2, 9), "F:0x38: tag 0x2 stands outside the root node"),
        (BEGIN + cells(2), "F:0x44: the structure block ends without an end tag"),
        (BEGIN + cells(2) + BEGIN + cells(2, 9), "F:0x44: tag 0x1 stands outside the root node"),
        (BEGIN + cells(7), "F:/: 0x7 is no tag (byte 0x40)"),
        (BEGIN + cells(1) + b"soc\0" + cells(1) + b"abcd", "F:/soc: a node's name does not end (byte 0x48)"),
        (BEGIN + cells(1) + b"s\xffc\0", "F:/: the name b's\\xffc' holds what is no printable ASCII (byte 0x40)"),
        (BEGIN + cells(3, 4), "F:/: a property is cut off (byte 0x40)"),
        (BEGIN + cells(3, 400, 0), "F:/: a property of 400 bytes reaches beyond the structure block (byte 0x40)"),
        (BEGIN + cells(3, 0, 50), "F:/: a property's name at 0x32 lies outside the strings block (byte 0x40)"),
        (
            BEGIN + cells(3, 0, 4),
            "F:/: a property's name at 0x4 of the strings does not end within 128 bytes (byte 0x40)",
        ),
    ],
)
def test_structures_that_cannot_be(structure: bytes, message: str) -> None:
    assert refusal(assemble(structure, b"reg\0abc")) == message


@pytest.mark.parametrize("count", [0, 0x1000])
def test_cells_that_no_kernel_reads(count: int) -> None:
    root = {"#address-cells": cells(count), "#size-cells": cells(0)}
    assert refusal(blob({**root, "memory": MEMORY})).startswith("F:/: #address-cells: ")
    assert refusal(blob({**ROOT, "#address-cells": b"12"})) == "F:/: #address-cells: is no cell; 1 or 2 is usual"


def test_reservations_end_with_a_size_of_0() -> None:
    data = blob(ROOT, [(0x1000, 0x1000), (5, 0), (0x9000, 1), (0, 0)])
    assert parse_fdt(data, "F").memreserve == ((0x1000, 0x2000),)


def test_what_the_kernel_never_sees_is_told() -> None:
    tree: Tree = MEMORY
    for _ in range(70):
        tree = {"n": tree}
    deep = parse({**ROOT, **tree})
    assert deep.nested_memory == ()
    assert [problem.message for problem in deep.problems] == ["nodes below depth 62 are left out"]
    late = BEGIN + cells(1) + b"soc\0" + cells(2) + cells(3, 4, 0, 2) + cells(2, 9)
    tree = parse_fdt(assemble(late, b"#address-cells\0"), "F")
    assert tree.problems[0] == Problem(
        "/", "#address-cells", "stands behind a child node, where no kernel looks for it"
    )


# --- damage


def seeds() -> Iterator[bytes]:
    for name in ("reserved-memory", "faults"):
        yield gzip.decompress((FIXTURES / f"{name}.dtb.gz").read_bytes())
    inner = bus(cells(0, 0x1000, 0x1000), d=MEMORY)
    distances: Tree = {"compatible": text("numa-distance-map-v1"), "distance-matrix": cells(0, 1, 20)}
    reserved: Tree = {**ROOT, "ranges": b"", "a": {"size": cells(0, 1)}, "b": {"reg": cells(0, 0, 0, 1)}}
    yield blob(
        {
            **ROOT,
            "memory@0": {**MEMORY, "numa-node-id": cells(0)},
            "reserved-memory": reserved,
            "distances": distances,
            "cpus": {"#address-cells": cells(1), "cpu@0": {"reg": cells(0)}},
            "chosen": {"bootargs": text("quiet"), "linux,initrd-start": cells(1), "linux,initrd-end": cells(2)},
            "soc": bus(cells(0, 0, 0, 0x10000), inner=inner),
        },
        [(1, 2), (0, 0)],
    )


SEEDS = tuple(seeds())
GENERIC = kernel_for(Machine("device tree", (), arch="arm64"))
FLIP = st.tuples(st.just("flip"), st.integers(0, 2**20), st.integers(1, 255))
CUT = st.tuples(st.just("cut"), st.integers(0, 2**20), st.just(0))
ZEROS = st.tuples(st.just("zeros"), st.integers(0, 2**20), st.integers(1, 8))
DAMAGE = st.lists(st.one_of(FLIP, FLIP, ZEROS, CUT), min_size=1, max_size=6)


def damaged(data: bytes, damage: list[tuple[str, int, int]]) -> bytes:
    out = bytearray(data)
    for kind, place, amount in damage:
        at = place % max(len(out), 1)
        if kind == "flip" and out:
            out[at] ^= amount
        elif kind == "zeros":
            out[at & ~3 : at & ~3] = bytes(4 * amount)
        else:
            del out[at:]
    return bytes(out)


def read_or_refused(data: bytes) -> None:
    """Read, judged and booted, or refused by a line that names a node or a byte."""
    try:
        tree = parse_fdt(data, "F")
        machine = Machine("device tree", (), origin="F", arch="arm64", fdt=tree, initrd=tree.chosen.initrd)
        lint(machine, GENERIC, tree.chosen.bootargs)
    except InputError as e:
        assert str(e).startswith(("F:/", "F:0x")) and "\n" not in str(e)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SEEDS), DAMAGE)
def test_damaged_blobs_are_read_or_refused(data: bytes, damage: list[tuple[str, int, int]]) -> None:
    read_or_refused(damaged(data, damage))


def nested(levels: int, content: dict[str, bytes], last: dict[str, bytes]) -> Tree:
    tree: Tree = last
    for _ in range(levels):
        tree = {**content, "n": tree}
    return tree


def worst_cases() -> Iterator[tuple[str, bytes]]:
    """Trees of some 100 KiB that are as much work as they can be."""
    names = {f"{'p' * 100}{i:04}": b"" for i in range(800)}
    yield "long names", blob({**ROOT, **names})
    yield "one name often", assemble(BEGIN + cells(3, 0, 0) * 8000 + cells(2, 9), b"x" * 127 + b"\0")
    yield "names without end", assemble(BEGIN + cells(3, 0, 0) * 8000 + cells(2, 9), b"x" * 60000)
    yield "one node, many properties", blob({**ROOT, **{f"p{i}": b"" for i in range(5000)}})
    yield "many nodes", blob({**ROOT, **{f"n{i}": {} for i in range(6000)}})
    yield "many NOPs", assemble(BEGIN + cells(4) * 25000 + cells(2, 9), b"")
    top = {**ROOT, "ranges": b""}
    region = {"reg": cells(0, 0x50000001, 0, 0x1001), "no-map": b""}
    board = {**ROOT, "memory@40000000": MEMORY}
    yield "many regions", blob({**board, "reserved-memory": {**top, **{f"r{i}@0": region for i in range(1400)}}})
    ranges = cells(*(word for i in range(5000) for word in (0, 0x40000000 + 0x2000 * i, 0, 0x1001)))
    yield "many ranges", blob({**board, "reserved-memory": {**top, "r": {**region, "reg": ranges}}}, [(1, 1)] * 1000)
    wanted: Tree = {"size": cells(0, 0x50000000), "alloc-ranges": cells(0, 0x40000000, 0, 0x40000000) * 20}
    yield "many without room", blob({**board, "reserved-memory": {**top, **{f"r{i}": wanted for i in range(250)}}})
    yield "many reservations", blob(ROOT, [(1, 1)] * 6400)
    many = bytes(12) * 4000
    yield "quadratic ranges", blob({**ROOT, "o": bus(bytes(16) * 3000, i=bus(many))})
    yield (
        "quadratic memory",
        blob(
            {
                **ROOT,
                "o": {
                    **ROOT,
                    "ranges": bytes(24) * 2000,
                    "m": {**MEMORY, "reg": bytes(16) * 3000, "numa-node-id": cells(0)},
                },
            }
        ),
    )
    deep = nested(60, {"#address-cells": cells(1), "#size-cells": cells(1)}, {**bus(many)})
    yield "deep translation", blob({**ROOT, "o": deep})
    yield "deep without cells", blob({**ROOT, "o": nested(61, {}, {"dma-ranges": bytes(90000)})})
    yield "much memory", blob({"memory": {"device_type": text("memory"), "reg": cells(1) * 24000}})
    yield "deep nesting", assemble(BEGIN + (cells(1) + b"abc\0") * 12000 + cells(9), b"")
    late = (cells(3, 0, 0) * 2 + cells(1) + b"ab\0\0" + cells(2) + cells(3, 0, 0)) * 1000
    long_path = (cells(1) + b"a" * 799 + b"\0") * 50
    yield "problems with long paths", assemble(BEGIN + long_path + late + cells(9), b"r\0")
    yield (
        "long deep names",
        assemble(BEGIN + (cells(1) + b"a" * 999 + b"\0" + cells(3, 0, 0) * 2) * 90 + cells(9), b"r\0"),
    )


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in worst_cases()])
def test_no_blob_takes_more_than_a_second(data: bytes) -> None:
    assert is_within(SECOND, lambda: read_or_refused(data))


def test_every_cut_of_a_small_blob() -> None:
    for end in range(len(SEEDS[-1])):
        read_or_refused(SEEDS[-1][:end])


def test_no_circle_of_interconnects() -> None:
    def device(name: str, own: int, other: int) -> dict[str, Tree]:
        wires = {"interconnects": cells(other), "interconnect-names": text("dma-mem"), "phandle": cells(own)}
        return {name: {**bus(cells(0, 0, 0x1000)), **wires, "#interconnect-cells": cells(0)}}

    outer = {"#address-cells": cells(1), "#size-cells": cells(1)}
    data = blob({**ROOT, "soc": {**outer, **device("a", 1, 2), **device("b", 2, 1)}})
    assert refusal(data) == "F:/soc/a: dma-ranges: the buses above it go round in a circle"
