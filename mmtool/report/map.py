"""What `mmtool map` prints: the firmware's map as a table, and in the words of others.

Each format reads back as the same map: memmap= options by the kernel, a device tree by dtc, an iomem tree by
`mmtool boot --e820`. QEMU lays memory out itself and takes its amount only. Bytes, ranges half-open.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator
from typing import Any

from mmtool.answers.ledger import MEMORY_TYPES
from mmtool.firmware.machine import E820Entry, E820Type
from mmtool.linux.init.boot import Boot
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, text_tables

MIB = 1 << 20
IOMEM_NAMES: dict[int, str] = {
    E820Type.RAM: "System RAM",
    E820Type.RESERVED: "Reserved",
    E820Type.ACPI: "ACPI Tables",
    E820Type.NVS: "ACPI Non-volatile Storage",
    E820Type.UNUSABLE: "Unusable memory",
    E820Type.PMEM: "Persistent Memory",
    E820Type.PRAM: "Persistent Memory (legacy)",
    E820Type.SOFT_RESERVED: "Soft Reserved",
}
"""As e820_type_to_string() names them; any other type has no name of its own."""
MARKS: dict[int, str] = {E820Type.RAM: "@", E820Type.RESERVED: "$", E820Type.ACPI: "#", E820Type.PRAM: "!"}
"""What memmap= puts between size and start; other types go by number."""


def render(boot: Boot, to: str | None, output: str) -> None:
    """Print the firmware's map to standard output, as `output` has it or converted `to` another format."""
    if to is not None:
        sys.stdout.write(CONVERSIONS[to](boot))
    elif output in ("json", "yaml"):
        print_document(document(boot), output)
    elif output == "csv":
        sys.stdout.write(csv_table(table(boot)))
    else:
        sys.stdout.write(text_tables([table(boot)]))


def document(boot: Boot) -> dict[str, Any]:
    """The mmtool.map/1 document."""
    return {
        "schema": "mmtool.map/1",
        "source": boot.machine.source,
        "map": [
            {"start": f"{e.start:#x}", "end": f"{e.end - 1:#x}", "type": int(e.type), "name": iomem_name(e)}
            for e in boot.firmware_map
        ],
    }


def table(boot: Boot) -> Table:
    t = Table(
        "map", f"Firmware map ({boot.machine.source})",
        columns(("start", Kind.ADDRESS), ("last", Kind.ADDRESS), ("size", Kind.SIZE), ("type", Kind.COUNT), "name"),
    )  # fmt: skip
    t.rows = [(e.start, e.end - 1, e.end - e.start, int(e.type), iomem_name(e)) for e in boot.firmware_map]
    return t


def iomem_name(entry: E820Entry) -> str:
    return IOMEM_NAMES.get(entry.type, "Unknown E820 type")


def memmap_options(boot: Boot) -> str:
    """The option that gives a PC's kernel this map in place of the firmware's."""
    return "memmap=exactmap," + ",".join(_option(entry) for entry in boot.firmware_map) + "\n"


def _option(entry: E820Entry) -> str:
    size, start, kind = _memparse(entry.end - entry.start), _memparse(entry.start), entry.type
    return f"{size}{MARKS[kind]}{start}" if kind in MARKS else f"{size}%{start}+{int(kind)}"


def _memparse(value: int) -> str:
    """A number as the kernel reads it, short: with a suffix where nothing is lost."""
    for shift, suffix in ((30, "G"), (20, "M"), (10, "K")):
        if value and not value & ((1 << shift) - 1):
            return f"{value >> shift}{suffix}"
    return f"{value:#x}"


def device_tree(boot: Boot) -> str:
    """The source of a device tree with a memory node a range of RAM; what is no RAM does not stand in it."""
    lines = ["/dts-v1/;", "", "/ {", "\t#address-cells = <2>;", "\t#size-cells = <2>;"]
    for start, end, nid in _by_node(boot, (E820Type.RAM,)):
        words = [word for value in (start, end - start) for word in (value >> 32, value & 0xFFFFFFFF)]
        lines += ["", f"\tmemory@{start:x} {{", '\t\tdevice_type = "memory";']
        lines += [f"\t\treg = <{' '.join(f'{word:#x}' for word in words)}>;"]
        lines += [f"\t\tnuma-node-id = <{nid}>;"] if nid is not None else []
        lines += ["\t};"]
    return "\n".join([*lines, "};", ""])


def iomem(boot: Boot) -> str:
    """The map in the form of /proc/iomem."""
    return "".join(f"{e.start:08x}-{e.end - 1:08x} : {iomem_name(e)}\n" for e in boot.firmware_map)


def qemu_arguments(boot: Boot) -> str:
    """Arguments that give a virtual machine as much memory, and as many CPUs, in the firmware's nodes.

    Each amount is rounded up to MiB. Memory of no node goes to the first.
    """
    sizes: dict[int, int] = dict.fromkeys((nid for nid, _ in _cpus(boot)), 0)
    for start, end, nid in _by_node(boot, MEMORY_TYPES):
        nid = min(sizes, default=0) if nid is None else nid
        sizes[nid] = sizes.get(nid, 0) + end - start
    mib = {nid: -(-size // MIB) for nid, size in sorted(sizes.items())}
    arguments = [f"-m {sum(mib.values())}M -smp {boot.cpus}"]
    for nid in mib if len(mib) > 1 else ():
        if mib[nid]:
            arguments.append(f"-object memory-backend-ram,id=m{nid},size={mib[nid]}M")
        memory = f",memdev=m{nid}" if mib[nid] else ""
        cpus = "".join(f",cpus={run}" for run in _runs([cpu for node, cpu in _cpus(boot) if node == nid]))
        arguments.append(f"-numa node,nodeid={nid}{memory}{cpus}")
    distances = _distances(boot)
    arguments += [f"-numa dist,src={a},dst={b},val={distances[a, b]}" for a in mib for b in mib if (a, b) in distances]
    return " \\\n  ".join(arguments) + "\n"


def _by_node(boot: Boot, kinds: Container[int]) -> Iterator[tuple[int, int, int | None]]:
    """Ranges of these types, cut where memory of the firmware's nodes begins and ends, with the node's number there."""
    machine = boot.machine
    nodes: list[tuple[int, int, int]] = []
    if machine.fdt is not None:
        nodes = [(block.start, block.end, block.nid) for block in machine.fdt.numa_memory]
    elif machine.srat is not None:
        nodes = [(m.start, m.end, m.pxm) for m in machine.srat.memory if m.enabled]
    for entry in boot.firmware_map:
        if entry.type not in kinds:
            continue
        start = entry.start
        for low, high, nid in sorted(nodes):
            first, last = max(start, low), min(entry.end, high)
            if first < last:
                if start < first:
                    yield start, first, None
                yield first, last, nid
                start = last
        if start < entry.end:
            yield start, entry.end, None


def _cpus(boot: Boot) -> list[tuple[int, int]]:
    """(node, CPU) by the firmware's numbers of nodes, CPUs counted in the order of its entries."""
    machine = boot.machine
    nodes: list[int | None] = []
    if machine.fdt is not None:
        nodes = [cpu.nid for cpu in machine.fdt.cpus if cpu.enabled]
    elif machine.srat is not None:
        nodes = [cpu.pxm for cpu in machine.srat.cpus if cpu.enabled]
    return [(nid, number) for number, nid in enumerate(nodes[: boot.cpus]) if nid is not None]


def _runs(numbers: list[int]) -> list[str]:
    """Ascending numbers as runs: "0-3", "5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ["-".join(str(end) for end in run) for run in runs]


def _distances(boot: Boot) -> dict[tuple[int, int], int]:
    """What firmware says of its nodes' distances."""
    machine = boot.machine
    if machine.fdt is not None:
        return machine.fdt.distance_map
    rows = machine.slit.distances if machine.slit is not None else ()
    return {(a, b): value for a, row in enumerate(rows) for b, value in enumerate(row)}


CONVERSIONS: dict[str, Callable[[Boot], str]] = {
    "memmap": memmap_options,
    "dts": device_tree,
    "iomem": iomem,
    "qemu": qemu_arguments,
}
