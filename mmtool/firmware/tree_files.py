"""By what first bytes a file is a device tree, or one of the files in which a device tree comes."""

from __future__ import annotations

FDT_MAGIC = b"\xd0\x0d\xfe\xed"
GZIP = b"\x1f\x8b"
ANDROID_BOOT, ANDROID_VENDOR_BOOT = b"ANDROID!", b"VNDRBOOT"
ARM64_IMAGE = b"ARM\x64"
_ARM64_IMAGE_AT = 56
NAMED = {
    b"\xd7\xb7\xab\x1e": "is an Android image of trees or overlays; mkdtboimg dump FILE -b tree takes it apart",
    b"QCDT": "is Qualcomm's table of device trees (dt.img); dtbtool takes it apart",
    b"\x27\x05\x19\x56": "is a U-Boot image; dumpimage -p 0 -o out FILE takes it apart",
}
"""Files that hold trees and are not read, with what takes them apart."""
_HEADER = 40
_PADDING = 4096


def holds_tree(data: bytes) -> bool:
    """Do the bytes look like a device tree, or like a file that one comes in?"""
    return (
        data.startswith((FDT_MAGIC, ANDROID_BOOT, ANDROID_VENDOR_BOOT, *NAMED))
        or data[_ARM64_IMAGE_AT : _ARM64_IMAGE_AT + 4] == ARM64_IMAGE
        or is_source(data)
        or (data[:2] == GZIP and appended(data) is not None)
    )


def is_folder_of_tree(path: str) -> bool:
    """Is the folder a device tree's root, as /proc/device-tree is?"""
    from pathlib import Path

    folder = Path(path)
    return (folder / "#address-cells").is_file() and any((folder / name).is_file() for name in ("compatible", "model"))


def is_source(data: bytes) -> bool:
    """Is it a device tree's source text?"""
    head = data[:4096].lstrip()
    return head.startswith((b"/dts-v1/", b"/plugin/")) or b"\n/dts-v1/" in head


def appended(data: bytes) -> bytes | None:
    """A blob that ends where the data ends, but for some padding."""
    at = data.rfind(FDT_MAGIC)
    while at > 0:
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        rest = len(data) - at - size
        if size > _HEADER and 0 <= rest <= _PADDING and not data[at + size :].strip(b"\0"):
            return data[at : at + size]
        at = data.rfind(FDT_MAGIC, 0, at)
    return None
