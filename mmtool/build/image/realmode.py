"""The size of the x86 real-mode code in a kernel image (arch/x86/realmode), where no symbol tells it."""

from __future__ import annotations

import struct

from mmtool.build.image.elf import Elf

PAGE = 4096
# The code ends with this number, so that a wake-up can tell whether it is still there.
_SIGNATURE = struct.pack("<I", 0x65A22C82)
_LARGEST = 16 * PAGE


def blob_size(elf: Elf) -> int | None:
    """Bytes that reserve_real_mode() takes for it (whole pages); None when the image has none that is recognised.

    It lies in .init.data, begins at a page with a header whose first two words are where its code starts (a page)
    and its read-only part ends, and ends with the signature.
    """
    section = elf.section(".init.data")
    if section is None or elf.arch not in ("x86_64", "i386"):
        return None
    data = elf.content(section)
    end = data.rfind(_SIGNATURE)
    if end < 0:
        return None
    page = -section.address % PAGE
    nearest = end - (end - page) % PAGE - PAGE  # The header has a page of its own: code begins at the next.
    for start in range(nearest, max(end - _LARGEST, page - 1), -PAGE):
        text, read_only = struct.unpack_from("<II", data, start)
        if 0 < text < read_only <= end - start and text % PAGE == 0:
            return -(-(end + len(_SIGNATURE) - start) // PAGE) * PAGE
    return None
