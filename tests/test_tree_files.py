"""The forms that device trees come in, and trees that are no arm64 machine's."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmtool.cli.lint import lint
from mmtool.errors import InputError
from mmtool.firmware.fdt import parse_fdt, read_fdt
from mmtool.firmware.fdt.architecture import architecture
from mmtool.firmware.fdt.blob import Node, parse_blob
from mmtool.firmware.fdt.container import tree_in
from mmtool.firmware.fdt.folder import flatten
from mmtool.firmware.read import read_board, read_input
from mmtool.firmware.tree_files import holds_tree

BOARD = Path(__file__).parent.parent / "fixtures" / "arm64" / "arm64-6.1-numa2" / "machine.dtb.gz"
BLOB = gzip.decompress(BOARD.read_bytes())
KERNEL = b"\0" * 56 + b"ARM\x64" + b"\1" * 4000


def cells(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def write(folder: Path, node: Node) -> Path:
    """A node as /proc/device-tree has it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in {**node.properties, "name": b"x\0"}.items():
        (folder / name).write_bytes(value)
    for child in node.children:
        write(folder / child.name, child)
    return folder


def node(name: str, properties: dict[str, bytes], *children: Node) -> Node:
    return Node(name, None, properties, list(children))


def blob(tmp_path: Path, root: Node) -> bytes:
    return flatten(write(tmp_path / "tree", root), "tree")


def fit(tmp_path: Path, **data: bytes) -> bytes:
    tree = node("fdt-2", {"type": b"flat_dt\0", **{k.replace("_", "-"): v for k, v in data.items()}})
    other = node("fdt-1", {"type": b"flat_dt\0", "data": b"no tree"})
    kernel = node("kernel-1", {"type": b"kernel\0", "data": b"\1\2"})
    chosen = node("conf-7", {"fdt": b"fdt-2\0"})
    configurations = node("configurations", {"default": b"conf-7\0"}, node("conf-1", {"fdt": b"fdt-1\0"}), chosen)
    root = node("", {"description": b"d\0"}, node("images", {}, kernel, other, tree), configurations)
    return blob(tmp_path, root)


def test_a_folder_is_the_blob_again(tmp_path: Path) -> None:
    tree = parse_blob(BLOB, "blob").root
    again = parse_blob(flatten(write(tmp_path / "t", tree), "t"), "t").root
    assert {n.path: n.properties for n in again.walk()} == {n.path: n.properties for n in tree.walk()}
    machine = read_input(str(tmp_path / "t"))
    assert machine.fdt is not None and set(machine.fdt.memory) == set(parse_fdt(BLOB, "blob").memory)
    assert [said for _, said in machine.warnings] == [
        "of a tree in a folder the order of nodes and /memreserve/ are lost"
    ]
    assert read_board(str(tmp_path / "t")).fdt == machine.fdt


def test_trees_within_other_files(tmp_path: Path) -> None:
    page, ramdisk = 4096, b"\2" * 5000
    header = bytearray(b"ANDROID!".ljust(page, b"\0"))
    struct.pack_into("<10I", header, 8, len(KERNEL), 0, len(ramdisk), 0, 0, 0, 0, page, 2, 0)
    struct.pack_into("<I", header, 1648, len(BLOB))
    parts = [bytes(header), KERNEL.ljust(page, b"\0"), ramdisk.ljust(2 * page, b"\0"), BLOB]
    vendor = bytearray(b"VNDRBOOT".ljust(page, b"\0"))
    struct.pack_into("<3I", vendor, 8, 3, page, 0)
    struct.pack_into("<I", vendor, 24, len(ramdisk))
    struct.pack_into("<2I", vendor, 2096, 2112, len(BLOB))
    old = bytearray(b"ANDROID!".ljust(page, b"\0"))
    struct.pack_into("<10I", old, 8, len(KERNEL + BLOB), 0, 0, 0, 0, 0, 0, page, 0, 0)
    for data in (
        BLOB,
        gzip.compress(BLOB),
        gzip.compress(KERNEL) + BLOB,
        KERNEL + BLOB + bytes(100),
        fit(tmp_path / "a", data=BLOB),
        fit(tmp_path / "b", data=gzip.compress(BLOB), compression=b"gzip\0"),
        b"".join(parts),
        bytes(vendor) + ramdisk.ljust(2 * page, b"\0") + BLOB,
        bytes(old) + (KERNEL + BLOB).ljust(page * 16, b"\0"),
    ):
        found, _ = tree_in(data, "f")
        assert found[: len(BLOB)] == BLOB
        assert holds_tree(data) or data[:2] == b"\x1f\x8b"
    outside = fit(tmp_path / "c", data_size=cells(len(BLOB)), data_offset=cells(8))
    packed = outside + bytes(-len(outside) % 4) + bytes(8) + BLOB
    assert tree_in(packed, "f")[0] == BLOB


def test_what_is_said_of_them(tmp_path: Path) -> None:
    said = tree_in(BLOB + BLOB, "f")[1]
    assert said == (
        (0, f"a second device tree follows at {len(BLOB):#x}; the first is read, the boot loader may take another"),
    )
    overlay = blob(tmp_path / "o", node("", {}, node("fragment@0", {"target": cells(1)}, node("__overlay__", {}))))
    refused = {
        overlay: "fdtoverlay",
        fit(tmp_path / "f", data=b"\1\2\3\4", compression=b"lzma\0"): "compression lzma",
        b"\xd7\xb7\xab\x1e" + bytes(60): "mkdtboimg",
        b"ANDROID!" + bytes(20): "cut off",
        b"ANDROID!" + bytes(4000): "without a device tree",
        KERNEL: "not a device-tree blob",
    }
    for data, words in refused.items():
        with pytest.raises(InputError, match=words):
            parse_fdt(tree_in(data, "f")[0], "f")


def test_a_source_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    source = tmp_path / "a.dts"
    source.write_text("// a board\n/dts-v1/;\n/ { };\n")
    for read in (read_fdt, read_board, read_input):
        with pytest.raises(InputError, match=r"dtc -O dtb -o machine\.dtb"):
            read(str(source))


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("arm,cortex-a8", "arm"), ("arm,cortex-a7", "arm"), ("arm,arm1176jzf-s", "arm"), ("arm,cortex-a75", "arm64"),
        ("arm,cortex-a53", "arm64"), ("arm,armv8", "arm64"), ("arm,neoverse-n1", "arm64"), ("qcom,kryo", "arm64"),
        ("qcom,krait", "arm"), ("marvell,pj4b", "arm"), ("riscv", "riscv"), ("sifive,u74-mc", "riscv"),
        ("mti,mips24KEc", "mips"), ("apple,icestorm", "arm64"), ("nvidia,tegra194-carmel", "arm64"),
        ("arm,cortex-a17", "arm"), ("arm,cortex-a710", "arm64"), ("cavium,thunder", "arm64"),
    ],
)  # fmt: skip
def test_whose_cpus_they_are(name: str, arch: str) -> None:
    cpu = node("cpu@0", {"compatible": name.encode() + b"\0", "device_type": b"cpu\0"})
    assert (architecture(node("", {}, node("cpus", {}, cpu))) or ("",))[0] == arch


def test_another_architectures_tree_is_not_booted(tmp_path: Path) -> None:
    cpu = node("cpu@0", {"compatible": b"sifive,u74-mc\0riscv\0", "device_type": b"cpu\0", "reg": cells(0)})
    memory = node("memory@80000000", {"device_type": b"memory\0", "reg": cells(0x80000000, 0x40000000)})
    one = {"#address-cells": cells(1), "#size-cells": cells(1), "compatible": b"a,b\0"}
    root = node("", one, node("cpus", {"#address-cells": cells(1), "#size-cells": cells(0)}, cpu), memory)
    file = tmp_path / "riscv.dtb"
    file.write_bytes(blob(tmp_path, root))
    with pytest.raises(InputError, match="RISC-V") as refused:
        read_board(str(file))
    assert refused.value.where == "/cpus/cpu@0"
    assert read_board(str(file), need_memory=False).arch == "riscv"
    said = CliRunner().invoke(lint, [str(file)])
    assert said.stdout.startswith("A RISC-V machine, judged by what holds for every device tree\n")
