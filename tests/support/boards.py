"""Boards as device trees: made from ranges of memory, or from what a board's log shows of its tree."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from mmtool.firmware.fdt.blob import Node
from mmtool.firmware.fdt.folder import flatten

TWO = struct.pack(">I", 2)
CELLS = {"#address-cells": TWO, "#size-cells": TWO}


def cells(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def pairs(*ranges: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">2Q", start, size) for start, size in ranges)


def write_board(
    folder: Path, memory: Sequence[tuple[int, int]], reserved: Sequence[Node] = (), *more: Node, **chosen: bytes
) -> str:
    """The blob of a board with these ranges (start, size) of memory, in a file of `folder`."""
    cpu = Node("cpu@0", None, {"compatible": b"arm,cortex-a53\0", "device_type": b"cpu\0", "reg": cells(0)})
    cpus = Node("cpus", None, {"#address-cells": cells(1), "#size-cells": cells(0)}, [cpu])
    nodes = [cpus, Node("memory@0", None, {"device_type": b"memory\0", "reg": pairs(*memory)}), *more]
    if reserved:
        nodes.append(Node("reserved-memory", None, {**CELLS, "ranges": b""}, list(reserved)))
    if chosen:
        nodes.append(Node("chosen", None, {name.replace("_", ","): value for name, value in chosen.items()}))

    def write(place: Path, node: Node) -> None:
        place.mkdir()
        for name, value in node.properties.items():
            (place / name).write_bytes(value)
        for child in node.children:
            write(place / child.name, child)

    write(folder / "tree", Node("", None, {**CELLS, "compatible": b"a,b\0"}, nodes))
    file = folder / "board.dtb"
    file.write_bytes(flatten(folder / "tree", "tree"))
    return str(file)


def board_of_log(folder: Path, told: Sequence[str]) -> str:
    """The blob of the board that `told` tells of, words of which each is one fact of its tree (numbers in hex).

    memory:START-END; nomap:START-END and map:START-END of /reserved-memory; cma:SIZE@START-END, a default area that is
    placed in a range; dma:START-END, what the SoC's bus reaches.
    """
    memory: list[tuple[int, int]] = []
    reserved: list[Node] = []
    more: list[Node] = []
    for word in told:
        kind, _, value = word.partition(":")
        size, _, within = value.rpartition("@")
        start, end = (int(n, 16) for n in within.split("-"))
        if kind == "memory":
            memory.append((start, end - start))
        elif kind == "dma":
            bus = {"compatible": b"simple-bus\0", "#address-cells": cells(1), "#size-cells": cells(1), "ranges": b""}
            reach = cells(0xC0000000, *divmod(start, 1 << 32), end - start)
            more.append(Node("soc", None, bus | {"dma-ranges": reach}))
        elif kind == "cma":
            pool = {"compatible": b"shared-dma-pool\0", "reusable": b"", "linux,cma-default": b""}
            sizes = {"size": struct.pack(">Q", int(size, 16)), "alloc-ranges": pairs((start, end - start))}
            reserved.append(Node("linux,cma", None, pool | sizes))
        else:
            flags = {"no-map": b""} if kind == "nomap" else {}
            reserved.append(Node(f"{kind}@{start:x}", None, {"reg": pairs((start, end - start)), **flags}))
    return write_board(folder, memory, reserved, *more)
