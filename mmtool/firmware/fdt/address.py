"""Translation of bus addresses to CPU addresses, and how far each bus reaches: drivers/of/address.c."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mmtool.errors import InputError
from mmtool.firmware.devicetree import DmaBus, Problem, Range
from mmtool.firmware.fdt.blob import MAX_DEPTH, Node
from mmtool.firmware.fdt.memory import number, walk
from mmtool.late import dataclass
from mmtool.units import U64_MAX

_BAD_ADDR = U64_MAX
"""OF_BAD_ADDR: an address that has no translation."""
_MAX_ADDR_CELLS = 4
_MOST_STEPS, _LEVEL_STEPS = 400_000, 10
"""Entries of ranges that all translations together may look at; a level of buses counts as ten."""
_PCI_TYPES = ("pci", "pciex", "vci", "ht")

Cells = tuple[int, int]


def address_cells(node: Node | None) -> int:
    """The cells of an address on the bus that `node` is. Models of_bus_n_addr_cells()."""
    return _cells(node, "#address-cells")


def size_cells(node: Node | None) -> int:
    """The cells of a size on the bus that `node` is. Models of_bus_n_size_cells()."""
    return _cells(node, "#size-cells")


def _cells(node: Node | None, name: str) -> int:
    while node is not None:
        if (count := node.u32(name)) is not None:
            return count
        node = node.parent
    return 1


@dataclass(frozen=True, slots=True)
class Bus:
    """How a kind of bus writes addresses: cells of its children (None: as its node says), the cells of flags before
    the address, and what of the first flag cell must agree for an entry of ranges to hold."""

    name: str
    cells: Cells | None
    flag_cells: int
    kind: Callable[[int], int]

    def count_cells(self, bus: Node) -> Cells:
        return self.cells or (address_cells(bus), size_cells(bus))


def _pci_kind(flags: int) -> int:
    """I/O (1) or memory (2), which 32 and 64 bits are alike. Models of_bus_pci_get_flags()."""
    return (0, 1, 2, 2)[flags >> 24 & 3]


_PCI = Bus("pci", (3, 2), 1, _pci_kind)
_ISA = Bus("isa", (2, 1), 1, lambda flags: flags & 1)
_DEFAULT_FLAGS = Bus("default-flags", None, 1, lambda flags: flags)
_DEFAULT = Bus("default", None, 0, lambda flags: 0)


def match_bus(node: Node) -> Bus | None:
    """Which kind of bus a node is; None for a node without #address-cells.

    Models of_match_bus() of 7.3. Up to 6.12 every node without another kind is a default bus.
    """
    if node.string("device_type") in _PCI_TYPES or node.is_named("pcie"):
        return _PCI
    if node.is_named("isa"):
        return _ISA
    if "#address-cells" not in node.properties:
        return None
    return _DEFAULT_FLAGS if address_cells(node) == 3 else _DEFAULT


def _good(cells: Cells) -> bool:
    return 0 < cells[0] <= _MAX_ADDR_CELLS and cells[1] > 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of ranges: [start, end) on the bus, with its flags, is at the cells `parent` of the bus above."""

    kind: int
    start: int
    end: int
    parent: tuple[int, ...]


class Translator:
    """Follows addresses up the tree; keeps what it read of each bus."""

    def __init__(self, root: Node, source: str) -> None:
        self._source = source
        self._root = root
        self._entries: dict[tuple[int, str, int, int, int], list[_Entry]] = {}
        self._buses: dict[int, Bus | None] = {}
        self._steps = 0
        self._phandles: dict[int, Node] | None = None
        self._dma_parents: dict[int, Node | None] = {}

    def resources(self, node: Node) -> Iterator[Range]:
        """The ranges of reg as CPU addresses, up to the first without. Models of_address_to_resource()."""
        parent = node.parent
        bus = self._match_bus(parent) if parent is not None else None
        words = node.words("reg") or ()
        if parent is None or bus is None:
            return
        na, ns = bus.count_cells(parent)
        if not 0 < na <= _MAX_ADDR_CELLS:
            return
        for i in range(0, len(words) - na - ns + 1, na + ns):
            size = number(words[i + na : i + na + ns])
            start = self.translate(node, words[i : i + na], "ranges")
            if start == _BAD_ADDR or start + size > U64_MAX + 1:
                return
            yield start, start + size

    def translate(self, node: Node, address: tuple[int, ...], name: str) -> int:
        """The CPU address of `address`, which `node` has on the bus above it; _BAD_ADDR if it has none.

        `name` is "ranges" or "dma-ranges". Models __of_translate_address().
        """
        parent = self._parent(node, name)
        bus = self._match_bus(parent) if parent is not None else None
        if parent is None or bus is None:
            return _BAD_ADDR
        # cells are counted from the node above, even where the way to memory leads through another
        cells = bus.count_cells(node.parent or node)
        if not _good(cells):
            return _BAD_ADDR
        address = (*address, *[0] * cells[0])[: cells[0]]
        for _ in range(MAX_DEPTH + 1):
            here, parent = parent, self._parent(parent, name)
            if parent is None:
                return number(address)
            self._count(here, name, _LEVEL_STEPS)
            above = self._match_bus(parent)
            if above is None:
                return _BAD_ADDR
            above_cells = above.count_cells(here.parent or here)
            if not _good(above_cells):
                return _BAD_ADDR
            translated = self._one_level(here, bus, above, address, cells, above_cells[0], name)
            if translated is None:
                return _BAD_ADDR
            address, bus, cells = translated, above, above_cells
        raise InputError(self._source, node.path, f"{name}: the buses above it go round in a circle")

    def _one_level(
        self, node: Node, bus: Bus, above: Bus, address: tuple[int, ...], cells: Cells, pna: int, name: str
    ) -> tuple[int, ...] | None:
        """An address one bus further up, None if the bus does not hand it on. Models of_translate_one()."""
        value = node.properties.get(name)
        if value is None and name != "dma-ranges":
            return None
        if not value:
            flags = address[: above.flag_cells]
            return _add((*flags, *[0] * (pna - len(flags))), number(address), above, pna)
        kind = bus.kind(address[0]) if bus.flag_cells else 0
        at = number(address[bus.flag_cells :])
        for entry in self._ranges(node, bus, cells, pna, name):
            self._count(node, name, 1)
            if entry.kind == kind and entry.start <= at < entry.end:
                return _add(entry.parent, at - entry.start, above, pna)
        return None

    def _ranges(self, node: Node, bus: Bus, cells: Cells, pna: int, name: str) -> list[_Entry]:
        na, ns = cells
        key = (id(node), name, na, ns, pna)
        if key not in self._entries:
            words, step = node.words(name) or (), na + pna + ns
            self._entries[key] = [
                _Entry(
                    bus.kind(words[i]) if bus.flag_cells else 0,
                    start := number(words[i + bus.flag_cells : i + na]),
                    start + number(words[i + na + pna : i + step]) & U64_MAX,
                    words[i + na : i + na + pna],
                )
                for i in range(0, len(words) - step + 1, step)
            ]
        return self._entries[key]

    def _match_bus(self, node: Node) -> Bus | None:
        if id(node) not in self._buses:
            self._buses[id(node)] = match_bus(node)
        return self._buses[id(node)]

    def _count(self, node: Node, name: str, steps: int) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise InputError(self._source, node.path, f"{name}: has too many entries to follow")

    def _parent(self, node: Node, name: str) -> Node | None:
        return self.dma_parent(node) if name == "dma-ranges" else node.parent

    def dma_parent(self, node: Node) -> Node | None:
        """The bus by which a node reaches memory: its "dma-mem" interconnect, else the node above it.

        Models __of_get_dma_parent().
        """
        if "interconnect-names" not in node.properties:
            return node.parent
        if id(node) not in self._dma_parents:
            self._dma_parents[id(node)] = self._interconnect(node) or node.parent
        return self._dma_parents[id(node)]

    def _interconnect(self, node: Node) -> Node | None:
        """The node that the entry "dma-mem" of interconnects points to. Models of_parse_phandle_with_args()."""
        names, words = node.strings("interconnect-names"), node.words("interconnects") or ()
        index, i = names.index("dma-mem") if "dma-mem" in names else -1, 0
        while index >= 0 and i < len(words):
            target = self._by_phandle(words[i])
            cells = target.u32("#interconnect-cells") if target is not None else None
            if words[i] and cells is None:
                return None
            i += 1 + (cells or 0)
            if index == 0:
                return target if i <= len(words) else None
            index -= 1
        return None

    def _by_phandle(self, phandle: int) -> Node | None:
        if self._phandles is None:
            self._phandles = {}
            for node in walk(self._root):
                handle = node.u32("phandle") or node.u32("linux,phandle")
                if handle:
                    self._phandles.setdefault(handle, node)
        return self._phandles.get(phandle) if phandle else None


def _add(address: tuple[int, ...], offset: int, bus: Bus, pna: int) -> tuple[int, ...]:
    """An address moved by an offset; flags stay. Models of_bus_default_translate() and its kin."""
    flags = address[: bus.flag_cells]
    count = pna - len(flags)
    total = number(address[len(flags) :]) + offset & U64_MAX
    low = (total >> 32, total & 0xFFFFFFFF)[2 - min(count, 2) :]
    return (*flags, *[0] * (count - len(low)), *low)


def dma_buses(root: Node, translator: Translator, problems: list[Problem]) -> tuple[DmaBus, ...]:
    """How far each bus with dma-ranges reaches, of the nodes that are available with all above them.

    Models of_dma_get_max_cpu_address(), which takes the least of them.
    """
    buses: list[DmaBus] = []
    stack = [root]
    while stack:
        node = stack.pop()
        stack.extend(child for child in reversed(node.children) if child.available)
        if node.properties.get("dma-ranges"):
            buses.extend(_reach(node, translator, problems))
    return tuple(buses)


def _reach(node: Node, translator: Translator, problems: list[Problem]) -> Iterator[DmaBus]:
    pna = address_cells(node.parent or node)
    na, ns = address_cells(node), size_cells(node)
    if match_bus(node) is None or not _good((na, ns)) or not 0 < pna <= _MAX_ADDR_CELLS:
        problems.append(Problem(node.path, "dma-ranges", "its cells are not given or cannot be; it is passed over"))
        return
    words, step, last, lost = node.words("dma-ranges") or (), na + pna + ns, 0, 0
    if len(node.properties["dma-ranges"]) % (4 * step):
        length = len(node.properties["dma-ranges"])
        problems.append(Problem(node.path, "dma-ranges", f"{length} bytes is not a multiple of {4 * step}"))
    for i in range(0, len(words) - step + 1, step):
        start = translator.translate(node, words[i + na : i + na + _MAX_ADDR_CELLS], "dma-ranges")
        lost += start == _BAD_ADDR
        end = start + number(words[i + na + pna : i + step]) & U64_MAX
        if end > last:
            last = end - 1
    if lost:
        problems.append(Problem(node.path, "dma-ranges", f"entries without a translation to a CPU address: {lost}"))
    yield DmaBus(node.path, last + 1 if last < U64_MAX else None)
