"""Kernel images as they lie in /boot: what is packed how, down to the kernel itself."""

from __future__ import annotations

import struct

from mmtool.build.image.arm64 import Arm64Image, is_arm64, read_arm64
from mmtool.build.image.compress import decompress
from mmtool.build.image.elf import ELF_MAGIC, Elf, read_elf
from mmtool.errors import InputError


def unpack(data: bytes, source: str) -> Elf | Arm64Image:
    """The kernel in a vmlinuz, bzImage, Image, Image.gz, vmlinuz.efi or vmlinux.

    InputError when it is none of these, broken, or compressed in a way that cannot be read here.
    """
    for _ in range(4):  # An Image in a vmlinuz.efi, a bzImage that somebody compressed.
        if data.startswith(ELF_MAGIC):
            return read_elf(data, source)
        if is_arm64(data):
            return read_arm64(data, source)
        inner = _bzimage(data, source) or _zboot(data, source)
        opened = decompress(inner or data, source)
        if opened is None and inner is None:
            break
        data = opened if opened is not None else inner or b""
    raise InputError(source, None, "not a kernel image: expected a bzImage, an arm64 Image or an ELF file")


def _bzimage(data: bytes, source: str) -> bytes | None:
    """The payload of an x86 bzImage (Documentation/arch/x86/boot.rst); None for another kind of file."""
    if data[0x202:0x206] != b"HdrS":
        return None
    if len(data) < 0x250:
        raise InputError(source, None, "a bzImage that ends in its header")
    version = int.from_bytes(data[0x206:0x208], "little")
    if version < 0x208:
        raise InputError(source, None, f"boot protocol {version >> 8}.{version & 0xFF:02} does not tell the payload")
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = ((data[0x1F1] or 4) + 1) * 512 + offset
    if not length or start + length > len(data):
        raise InputError(source, None, "a bzImage that ends before its payload does")
    return data[start : start + length]


def _zboot(data: bytes, source: str) -> bytes | None:
    """The payload of a kernel that is an EFI program (vmlinuz.efi); None for another kind of file."""
    if data[:2] != b"MZ" or data[4:8] != b"zimg" or len(data) < 32:
        return None
    offset, length = struct.unpack_from("<II", data, 8)
    if not length or offset + length > len(data):
        raise InputError(source, None, "a vmlinuz.efi that ends before its payload does")
    return data[offset : offset + length]
