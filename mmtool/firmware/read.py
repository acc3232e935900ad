"""Reading a machine from a file, whatever of the known kinds the file is."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Literal

from mmtool.errors import InputError, UsageError
from mmtool.firmware.capture import LOG, MEMMAP, PROFILE, TREES, CaptureFiles, is_tar, open_folder, open_tar
from mmtool.firmware.devicetree import BOOTED_BY_TREE
from mmtool.firmware.e820 import UNKNOWN_TYPE, Located, is_bare_line, parse_table
from mmtool.firmware.iomem import is_iomem_line, memory_of_iomem, parse_iomem
from mmtool.firmware.lines import decode
from mmtool.firmware.log import describe_boots, read_log
from mmtool.firmware.machine import EfiRegion, LogNote, Machine, Slit, Srat
from mmtool.firmware.memmap import is_memmap_line, parse_memmap_text, read_memmap_tar, read_memmap_tree
from mmtool.firmware.packed import names_folder, read_bytes, read_raw, unpack
from mmtool.firmware.tree_files import FDT_MAGIC, holds_tree, is_folder_of_tree, is_source
from mmtool.regex import regex

Kind = Literal["log", "memmap", "iomem", "table"]

_LOG = regex(r"BIOS-(?:e820|e801|88): |Xen: \[mem |Linux version |physical RAM map|(?:user|modified): \[mem ")
NO_MEMORY = (
    "no memory node says where memory is; the boot loader fills it in: give it, as --memory 0x40000000-0xbfffffff, "
    "or take /sys/firmware/fdt of the running machine; where EFI boots, add a log made with efi=debug (--dmesg)"
)
NOT_EFIS_MAP = (
    "EFI booted this kernel, which then takes EFI's map and not the tree's memory nodes; the log does not show that "
    "map: add a log made with efi=debug (--dmesg), or say where memory is (--memory)"
)
Warnings = tuple[tuple[int, str], ...]
_IS_CAPTURE = "is a capture, not a copy of /sys/firmware/memmap; give it with --capture"
_FOREIGN = {
    FDT_MAGIC: "is a device-tree blob; give it with --dtb",
    b"SRAT": "is an ACPI table; give it with --srat, next to a map",
    b"SLIT": "is an ACPI table; give it with --slit, next to a map",
    b"\x7fELF": "is a program, not a log",
}


def read_machine(
    path: str | None,
    *,
    kind: Kind | None = None,
    srat: str | None = None,
    slit: str | None = None,
    need_map: bool = True,
    boot: int | None = None,
) -> Machine:
    """The Machine that the file at `path` describes; "-" is standard input, None this machine itself.

    A kernel log, /sys/firmware/memmap (the folder, a tar of it, or what grep prints of it), /proc/iomem or a bare
    table, each plain or compressed; which it is, is recognised, or said by `kind`. `srat` and `slit` name binary
    ACPI tables, which count before what the log says. Without `need_map` a log need not hold a map. Of several boots in
    a log `boot` says which (`firmware.log.chosen_boot`). Raises InputError, one line that says what to do.
    """
    return _with_tables(read_this_machine() if path is None else _read(path, kind, need_map, boot), srat, slit)


def read_boots(path: str) -> list[str]:
    """A line for each boot in a log, or in a capture's, as `firmware.log.describe_boots` has it."""
    is_folder = names_folder(path)
    data = b"" if is_folder else read_bytes(path)
    if is_folder or is_tar(data):
        files = open_folder(path) if is_folder else open_tar(data, path)
        path, data = files.place(LOG), files.read(LOG) or b""
    return describe_boots(decode(data, path), path)


def open_capture(path: str) -> CaptureFiles:
    """The files of a capture, a folder or a tar file of one, packed or not. Raises InputError."""
    return open_folder(path) if names_folder(path) else open_tar(read_bytes(path), path)


def _with_tables(machine: Machine, srat: str | None, slit: str | None) -> Machine:
    if srat is not None:
        machine = replace(machine, srat=read_srat(srat))
    if slit is not None:
        machine = replace(machine, slit=read_slit(slit))
    return machine


def read_capture(
    path: str,
    memory: tuple[tuple[int, int], ...] = (),
    *,
    srat: str | None = None,
    slit: str | None = None,
    need_memory: bool = True,
    boot: int | None = None,
) -> Machine:
    """The Machine in a capture, a folder or a tar file of one: what its log says, machine.dtb (or .gz), SRAT.aml and
    SLIT.aml; where the log has lost its beginning, memmap.txt, proc/version and proc/cmdline. Where the image lies
    comes from proc/iomem, what is known of the kernel's build from profile.yaml. `srat` and `slit` go before the
    capture's. `memory` and `need_memory` as for `read_board`, `boot` as for `read_machine`. Raises InputError, and
    UsageError for `memory` without a tree.
    """
    return _captured(open_capture(path), memory, srat, slit, need_memory, boot)


def read_collected(
    files: CaptureFiles, *, srat: str | None = None, slit: str | None = None, boot: int | None = None
) -> Machine:
    """The Machine of a capture's files that are at hand, as `read_capture` makes it. Raises InputError."""
    return _captured(files, (), srat, slit, True, boot)


def _captured(
    files: CaptureFiles,
    memory: tuple[tuple[int, int], ...],
    srat: str | None,
    slit: str | None,
    need_memory: bool,
    boot: int | None,
) -> Machine:
    if not files.is_capture:
        raise InputError(files.path, None, "is not a capture: it has no dmesg.txt; give a log or a map with --e820")
    tree = next((name for name in TREES if files.get(name) is not None), None)
    log = files.read(LOG)
    if tree is not None:
        told = _captured_log(files, log, boot) if log is not None else None
        blob = _tree_bytes(files.read(tree) or b"", files.place(tree))
        iomem = files.read("proc/iomem")
        resources = memory_of_iomem(decode(iomem, files.place("proc/iomem"))) if iomem is not None else ()
        machine = _board(blob, files.place(tree), told, memory, need_memory, resources)
    elif memory:
        raise UsageError(f"--memory goes with a device tree, which {files.path} does not hold")
    else:
        machine = _captured_map(files, log, boot)
        if aml := files.read("SRAT.aml"):
            machine = replace(machine, srat=_srat_of(aml, files.place("SRAT.aml")))
        if aml := files.read("SLIT.aml"):
            machine = replace(machine, slit=_slit_of(aml, files.place("SLIT.aml")))
        machine = _with_tables(machine, srat, slit)
    version, cmdline = (files.read(f"proc/{name}") for name in ("version", "cmdline"))
    if machine.version_line is None and version is not None:
        machine = _of_version(machine, decode(version).strip())
    if machine.cmdline is None and cmdline is not None:
        machine = replace(machine, cmdline=decode(cmdline).strip())
    possible = files.read("sys/devices/system/cpu/possible")
    if machine.cpus is None and possible is not None:
        machine = replace(machine, cpus=_count(decode(possible)) or None)
    build = files.read(PROFILE)
    if build is not None:
        machine = replace(machine, build=(decode(build), files.place(PROFILE)))
    iomem = files.read("proc/iomem")
    if machine.kernel_base is None and iomem is not None:
        place = files.place("proc/iomem")
        machine = replace(machine, kernel_base=parse_iomem(decode(iomem, place), place)[1])
    return machine


def _with_lost_map(machine: Machine, resources: tuple[EfiRegion, ...]) -> Machine:
    """The machine with the memory that its kernel's resources show, where the log lost EFI's map, or a part of it."""
    if not resources or (machine.efi and not any(note.kind == "map_cut" for note in machine.notes)):
        return machine
    cut = [note for note in machine.notes if note.kind == "map_cut"]
    notes = (*(note for note in machine.notes if note not in cut), LogNote("map_by_resources", (), 0))
    lines = {note.line for note in cut}
    warnings = tuple(warning for warning in machine.warnings if warning[0] not in lines)
    return replace(machine, efi=resources, notes=notes, warnings=warnings)


def _count(ranges: str) -> int:
    """How many CPUs a list such as "0-3,8" names."""
    return sum(int(m[2] or m[1]) - int(m[1]) + 1 for m in re.finditer(r"(\d{1,9})(?:-(\d{1,9}))?", ranges))


def _captured_map(files: CaptureFiles, log: bytes | None, boot: int | None) -> Machine:
    """The machine of a capture's log; of what /sys said of the map where the log does not say it."""
    memmap = files.read(MEMMAP)
    if log is None:
        machine = Machine("none", ())
    elif memmap is None:
        machine = _of_bytes(log, files.place(LOG), None, True, boot)
    else:
        machine = _captured_log(files, log, boot)
    if memmap is not None and not (machine.e820 or machine.efi):
        place = files.place(MEMMAP)
        plain = _plain_map("sysfs memmap", parse_memmap_text(decode(memmap, place), place), place)
        machine = replace(machine, source=plain.source, e820=plain.e820, e820_places=plain.e820_places, origin=place)
    return machine


def _captured_log(files: CaptureFiles, log: bytes, boot: int | None) -> Machine:
    place = files.place(LOG)
    return read_log(decode(log, place), place, need_map=False, wanted=boot)


def _of_version(machine: Machine, line: str) -> Machine:
    """With what /proc/version says of the kernel."""
    words = line.split()
    return replace(machine, release=words[2] if len(words) > 2 else None, version_line=line)


def read_input(
    path: str,
    dmesg: str | None = None,
    memory: tuple[tuple[int, int], ...] = (),
    *,
    srat: str | None = None,
    slit: str | None = None,
    need_memory: bool = True,
    boot: int | None = None,
) -> Machine:
    """The Machine that `path` describes, whatever it is: a capture's folder, a device-tree blob or what
    `read_machine` knows. `dmesg`, `memory` and `need_memory` are for a blob, as `read_board` has them, `memory` also
    for the blob of a capture; `boot` as for `read_machine`.

    Raises InputError, and UsageError for what does not go with the input.
    """
    is_folder = names_folder(path)
    raw = b"" if is_folder else read_raw(path)
    data = unpack(raw, path) if not holds_tree(raw) else raw
    if holds_tree(data) or (is_folder and is_folder_of_tree(path)):
        if srat is not None or slit is not None:
            raise UsageError(f"{path} is a device tree, which says itself what --srat and --slit would")
        return _board(_tree_bytes(raw, path), path, _log_beside(dmesg, boot), memory, need_memory)
    if dmesg is not None:
        raise UsageError(f"--dmesg goes with a device tree, which {path} is not")
    files = open_folder(path) if is_folder else open_tar(data, path) if is_tar(data) else None
    if files is not None and files.is_capture:
        return _captured(files, memory, srat, slit, need_memory, boot)
    if memory:
        raise UsageError(f"--memory goes with a device tree, which {path} is not")
    return _with_tables(_read_folder(path) if is_folder else _of_bytes(data, path, None, True, boot), srat, slit)


def read_board(
    dtb: str,
    dmesg: str | None = None,
    memory: tuple[tuple[int, int], ...] = (),
    *,
    need_memory: bool = True,
    boot: int | None = None,
) -> Machine:
    """The Machine of a device-tree blob; a log adds the release and what else firmware said. Raises InputError.

    What the boot loader wrote into /chosen goes before what the log says. `memory`, ranges [start, end) in bytes,
    stands in for the tree's memory nodes and EFI's map: boards' trees often leave them to the boot loader. A tree
    that says nothing of memory is refused unless `need_memory` is off. `boot` is one of the log's.
    """
    blob = _tree_bytes(b"" if names_folder(dtb) else read_raw(dtb), dtb)
    return _board(blob, dtb, _log_beside(dmesg, boot), memory, need_memory)


def _tree_bytes(raw: bytes, path: str) -> tuple[bytes, Warnings]:
    """The blob in a file's bytes, or of the folder at `path`, and what is to be said of it. Raises InputError."""
    from pathlib import Path

    from mmtool.firmware.fdt.container import tree_in
    from mmtool.firmware.fdt.folder import flatten

    if not raw and names_folder(path):
        return flatten(Path(path), path), ((0, "of a tree in a folder the order of nodes and /memreserve/ are lost"),)
    return tree_in(raw, path)


def _log_beside(dmesg: str | None, boot: int | None) -> Machine | None:
    return read_machine(dmesg, need_map=False, boot=boot) if dmesg is not None else None


def _board(
    blob: tuple[bytes, Warnings],
    dtb: str,
    log: Machine | None,
    memory: tuple[tuple[int, int], ...],
    need_memory: bool,
    resources: tuple[EfiRegion, ...] = (),
) -> Machine:
    from mmtool.firmware.fdt import parse_fdt, with_memory

    data, warnings = blob
    tree = parse_fdt(data, dtb)
    machine = log or Machine("none", ())
    efi_booted = tree.chosen.uefi_mmap is not None or any(note.kind == "efi_version" for note in machine.notes)
    if efi_booted and not memory:
        machine = _with_lost_map(machine, resources)
    # what is said of the log names it, as the machine's origin is the tree from here on
    of_log = tuple((0, f"line {line} of {machine.origin}: {said}") for line, said in machine.warnings)
    arch, shown_by = tree.architecture or ("arm64", "/")
    if machine.arch not in (None, arch, "x86_64", "i386"):
        # a kernel of 32 bits may run on processors of 64
        arch, shown_by = machine.arch or arch, "/"
    if need_memory and arch not in BOOTED_BY_TREE:
        raise InputError(dtb, shown_by, foreign(arch))
    if memory:
        tree, machine = with_memory(tree, memory), replace(machine, efi=())
    elif need_memory and not tree.memory and not machine.efi:
        raise InputError(dtb, "/", NO_MEMORY)
    elif efi_booted and tree.memory and not machine.efi:
        warnings = (*warnings, (0, NOT_EFIS_MAP))
    return replace(
        machine,
        source="device tree",
        origin=dtb,
        arch=arch,
        fdt=tree,
        cmdline=tree.chosen.bootargs if tree.chosen.bootargs is not None else machine.cmdline,
        initrd=tree.chosen.initrd or machine.initrd,
        cpus=sum(cpu.enabled for cpu in tree.cpus) or machine.cpus,
        warnings=(*of_log, *warnings),
    )


def foreign(arch: str) -> str:
    """What to say of the tree or of the log of a machine that mmtool has no kernel for."""
    whose = f"this is a {architecture_name(arch)} machine's"
    return f"{whose}; mmtool boots kernels of x86 and arm64 alone (lint checks what holds for all)"


def architecture_name(arch: str) -> str:
    """An architecture's name as people write it."""
    return {"arm": "32-bit ARM", "riscv": "RISC-V"}.get(arch, arch)


def read_this_machine(root: str = "/") -> Machine:
    """This machine, as its kernel shows it: the map, the version, the command line, and as root SRAT and SLIT.

    `root` holds sys and proc. Raises InputError, which says what to give instead, where there is no map.
    """
    memmap, srat, slit, version, cmdline = (os.path.join(root, name) for name in _OF_THIS_MACHINE)
    if not os.path.isdir(memmap):
        instead = "give its boot log: dmesg | mmtool boot --e820 -"
        raise InputError(memmap, None, f"is not there, so that this machine cannot be read; {instead}")
    machine = _map_in_folder(memmap)
    version_line = _text_of(version)
    return replace(
        machine if version_line is None else _of_version(machine, version_line),
        cmdline=_text_of(cmdline),
        srat=read_srat(srat) if os.access(srat, os.R_OK) else None,
        slit=read_slit(slit) if os.access(slit, os.R_OK) else None,
    )


_OF_THIS_MACHINE = (
    "sys/firmware/memmap", "sys/firmware/acpi/tables/SRAT", "sys/firmware/acpi/tables/SLIT", "proc/version",
    "proc/cmdline",
)  # fmt: skip


def _text_of(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return None


def read_srat(path: str) -> Srat:
    """The SRAT in a copy of /sys/firmware/acpi/tables/SRAT. Raises InputError."""
    return _srat_of(read_bytes(path), path)


def read_slit(path: str) -> Slit:
    """The SLIT in a copy of /sys/firmware/acpi/tables/SLIT. Raises InputError."""
    return _slit_of(read_bytes(path), path)


def _srat_of(data: bytes, place: str) -> Srat:
    from mmtool.firmware.srat import parse_srat

    return parse_srat(data, place)


def _slit_of(data: bytes, place: str) -> Slit:
    from mmtool.firmware.slit import parse_slit

    return parse_slit(data, place)


def _read(path: str, kind: Kind | None, need_map: bool, boot: int | None) -> Machine:
    if names_folder(path):
        return _read_folder(path)
    return _of_bytes(read_bytes(path), path, kind, need_map, boot)


def _read_folder(path: str) -> Machine:
    if os.path.exists(os.path.join(path, "dmesg.txt")):
        raise InputError(path, None, _IS_CAPTURE)
    return _map_in_folder(path)


def _map_in_folder(path: str) -> Machine:
    from pathlib import Path

    return _plain_map("sysfs memmap", read_memmap_tree(Path(path), path), path)


def _of_bytes(data: bytes, path: str, kind: Kind | None, need_map: bool, boot: int | None) -> Machine:
    """What `read_machine` knows, by what the bytes hold."""
    if not data.strip():
        raise InputError(path, None, "empty file; give a kernel log (dmesg) or `grep -r . /sys/firmware/memmap`")
    if hint := _FOREIGN.get(data[:4]):
        raise InputError(path, None, hint)
    if is_source(data):
        raise InputError(path, None, "is a device tree's source; give it with --dtb")
    if _is_own(data):
        raise InputError(path, None, "is what mmtool printed of a boot, not what a machine said; --state takes it")
    if is_tar(data):
        if open_tar(data, path).is_capture:
            raise InputError(path, None, _IS_CAPTURE)
        return _plain_map("sysfs memmap", read_memmap_tar(data, path), path)
    text = decode(data, path)
    kind = kind or recognise(text)
    if kind == "memmap":
        return _plain_map("sysfs memmap", parse_memmap_text(text, path), path)
    if kind == "iomem":
        entries, kernel_base = parse_iomem(text, path)
        return replace(_plain_map("iomem", entries, path), kernel_base=kernel_base)
    if kind == "table":
        return _plain_map("table", parse_table(text, path), path)
    return read_log(text, path, need_map=need_map, wanted=boot)


def _is_own(data: bytes) -> bool:
    """Is it JSON, YAML or a page of mmtool's own? Its log lines would else be taken for a kernel's."""
    head = b"".join(data[:200].split())
    page = head.startswith(b"<!doctypehtml>") and b'<script type="application/gzip" id="document">' in data
    return page or head.startswith((b'{"schema":"mmtool.', b"schema:mmtool."))


def _plain_map(source: str, located: tuple[Located, ...], path: str) -> Machine:
    """A machine of which nothing but the map is known."""
    entries = tuple(entry for _, entry in located)
    nameless = [e for e in entries if e.type == UNKNOWN_TYPE]
    warnings = tuple((0, f"the type of [{e.start:#x}-{e.end - 1:#x}] has no number here") for e in nameless)
    places = tuple(place for place, _ in located)
    return Machine(source, entries, origin=path, e820_places=places, warnings=warnings)


def recognise(text: str) -> Kind:
    """What kind of file a text is: a log when nothing speaks for another."""
    if _LOG.search(text):
        return "log"
    for line in text.split("\n"):
        if not line:
            continue
        if is_memmap_line(line):
            return "memmap"
        if is_iomem_line(line):
            return "iomem"
        if is_bare_line(line):
            return "table"
    return "log"
