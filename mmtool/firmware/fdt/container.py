"""Files in which device trees come: a FIT image, several blobs in a row, a kernel with a tree behind it, a source.

What can be taken out is; the rest is named for what it is, with the program that takes it apart.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from resource import RLIMIT_CPU, RLIMIT_FSIZE, setrlimit

from mmtool.errors import InputError
from mmtool.firmware.fdt.blob import Node, same_blob
from mmtool.firmware.packed import unpack
from mmtool.firmware.tree_files import (
    ANDROID_BOOT,
    ANDROID_VENDOR_BOOT,
    FDT_MAGIC,
    GZIP,
    NAMED,
    appended,
    is_source,
)

Warnings = tuple[tuple[int, str], ...]


def tree_in(data: bytes, source: str) -> tuple[bytes, Warnings]:
    """The blob in the bytes of a file, and what a reader has to know of how it was found. Raises InputError."""
    if is_source(data):
        return _compiled(data, source), ()
    for magic, what in NAMED.items():
        if data.startswith(magic):
            raise InputError(source, None, what)
    if data.startswith((ANDROID_BOOT, ANDROID_VENDOR_BOOT)):
        return _of_android(data, source)
    if data[:2] == GZIP or not data.startswith(FDT_MAGIC):
        found = appended(data)
        if found is not None:
            return found, ((0, "the device tree behind the kernel's image is read"),)
        if data[:2] != GZIP:
            return data, ()
        data = unpack(data, source)
        if not data.startswith(FDT_MAGIC):
            return tree_in(data, source)
    return _of_blob(data, source)


def _of_blob(data: bytes, source: str) -> tuple[bytes, Warnings]:
    size = int.from_bytes(data[4:8], "big")
    root = same_blob(data, source).root
    inner = _tree_of_fit(root, data, size, source)
    if inner is not None:
        name, blob = inner
        return blob, ((0, f"a FIT image: its tree {name} is read; dumpimage -l lists what else it holds"),)
    if _is_overlay(root):
        advice = "apply it to its machine's tree: fdtoverlay -i base.dtb -o machine.dtb OVERLAY"
        raise InputError(source, "/", f"is an overlay, which only changes a tree; {advice}")
    behind = data.find(FDT_MAGIC, size)
    if behind >= 0:
        said = f"a second device tree follows at {behind:#x}; the first is read, the boot loader may take another"
        return data, ((0, said),)
    return data, ()


def _is_overlay(root: Node) -> bool:
    fragments = [node for node in root.children if any(child.name == "__overlay__" for child in node.children)]
    return bool(fragments) and not any(node.is_named("memory") or node.is_named("cpus") for node in root.children)


def _tree_of_fit(root: Node, data: bytes, size: int, source: str) -> tuple[str, bytes] | None:
    """The device tree that a FIT image's default configuration names, else its first; None if it is no FIT image."""
    images = _child(root, "images")
    if images is None or ("description" not in root.properties and "timestamp" not in root.properties):
        return None
    configurations = _child(root, "configurations")
    wanted = None
    if configurations is not None and configurations.children:
        default = configurations.string("default")
        chosen = next((c for c in configurations.children if c.name == default), configurations.children[0])
        wanted = chosen.string("fdt")
    trees = [node for node in images.children if node.string("type") == "flat_dt"]
    node = next((tree for tree in trees if tree.name == wanted), trees[0] if trees else None)
    if node is None:
        raise InputError(source, images.path, "is a FIT image without a device tree in it; give the board's own")
    blob = node.properties.get("data")
    if blob is None and (length := node.u32("data-size")) is not None:
        base = node.u32("data-position")
        offset = node.u32("data-offset")
        start = base if base is not None else -(-size // 4) * 4 + (offset or 0)
        blob = data[start : start + length]
    blob = unpack(blob or b"", source)
    if not blob.startswith(FDT_MAGIC):
        packed = node.string("compression") or "none"
        out = "dumpimage -T flat_dt -o machine.dtb FILE takes it out"
        raise InputError(source, node.path, f"the FIT image's tree cannot be read (compression {packed}); {out}")
    return node.name, blob


def _child(node: Node, name: str) -> Node | None:
    return next((child for child in node.children if child.name == name), None)


def _of_android(data: bytes, source: str) -> tuple[bytes, Warnings]:
    """The tree in an Android boot image: of header version 2 and vendor_boot its own part, else behind the kernel."""
    advice = "take it apart: unpack_bootimg --boot_img FILE"
    if len(data) < 2112:
        raise InputError(source, None, "an Android boot image that is cut off; copy it again")
    if data.startswith(ANDROID_VENDOR_BOOT):
        page, ramdisk = struct.unpack_from("<I", data, 12)[0], struct.unpack_from("<I", data, 24)[0]
        header, length = struct.unpack_from("<2I", data, 2096)
        parts = [header, ramdisk]
    else:
        kernel, ramdisk, second, page = (struct.unpack_from("<I", data, at)[0] for at in (8, 16, 24, 36))
        version = struct.unpack_from("<I", data, 40)[0]
        recovery, length = struct.unpack_from("<I", data, 1632)[0], struct.unpack_from("<I", data, 1648)[0]
        parts = [page, kernel, ramdisk, second, recovery]
        if version != 2:
            blob = appended(data[page : page + kernel])
            if blob is None:
                raise InputError(source, None, f"an Android boot image without a device tree in it; {advice}")
            return blob, ((0, "an Android boot image: the tree behind its kernel is read"),)
    if not page:
        raise InputError(source, None, f"an Android boot image with a page size of 0; {advice}")
    start = sum(-(-part // page) * page for part in parts)
    blob = data[start : start + length]
    if not blob.startswith(FDT_MAGIC):
        raise InputError(source, f"{start:#x}", f"an Android boot image without a device tree there; {advice}")
    blob, more = _of_blob(blob, source)
    return blob, ((0, "an Android boot image: the device tree in it is read"), *more)


def _compiled(data: bytes, source: str) -> bytes:
    """What dtc makes of a source. Raises InputError, which says what dtc said.

    A source that names another file is refused: it would put any file of this machine into its tree.
    """
    for word in (b"/include/", b"/incbin/"):
        at = data.find(word)
        if at >= 0:
            advice = "compile it where that file is: dtc -O dtb -o machine.dtb FILE"
            raise InputError(source, data.count(b"\n", 0, at) + 1, f"{word.decode()} asks for another file; {advice}")
    if shutil.which("dtc") is None:
        advice = "compile it first: dtc -O dtb -o machine.dtb FILE (the package device-tree-compiler)"
        raise InputError(source, None, f"is a device tree's source, and dtc is not installed here; {advice}")
    command = ["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", "-", "-"]
    # Files, for dtc may end before it has read all, and a pipe's SIGPIPE would end mmtool; and it may say very much.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as made, tempfile.TemporaryFile() as said:
        given.write(data)
        given.seek(0)
        status = subprocess.call(command, stdin=given, stdout=made, stderr=said, preexec_fn=_limit_dtc)
        made.seek(0)
        blob = made.read()
        said.seek(0)
        words = said.read(4096).decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
    if status < 0:
        raise InputError(source, None, "is a device tree's source, on which dtc does not end")
    if status or not blob.startswith(FDT_MAGIC):
        raise InputError(source, None, f"dtc cannot compile it: {words[0].removeprefix('Error: ')}")
    return blob


MOST_OF_DTC = 1, 64 << 20
"""Seconds of CPU time that dtc may take, and bytes that it may write: it complains of each pair of equal properties."""


def _limit_dtc() -> None:
    """What dtc's process does first. No thread of mmtool holds a lock that it could wait for."""
    seconds, size = MOST_OF_DTC
    setrlimit(RLIMIT_CPU, (seconds, seconds))
    setrlimit(RLIMIT_FSIZE, (size, size))
