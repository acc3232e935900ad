"""What EFI leaves to the kernel: drivers/firmware/efi/memattr.c, efi.c. Bytes."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.firmware.machine import EfiRegion, LogNote
from mmtool.linux.mm.early import Early

MEMATTR_HEAD, MEMATTR_ENTRY = 16, 48
MEMRESERVE_HEAD = 16


def efi_memattr_init(early: Early, tables: Sequence[LogNote], entries: int) -> None:
    """efi_memattr_init(): the memory attributes table stays reserved, and its page is not given back.

    `tables` are the log's "efi_table" notes. With efi=debug it has a line for each of the table's `entries` too;
    without, the head alone stands for the table.
    """
    for note in tables:
        if note.text == "MEMATTR":
            size = MEMATTR_HEAD + entries * MEMATTR_ENTRY
            early.memblock.reserve(note.values[0], size, owner="EFI memory attributes")


def efi_memreserve(early: Early, tables: Sequence[LogNote]) -> None:
    """efi_config_parse_tables(): the list of reservations that outlive kexec, empty at a first boot, on arm64."""
    for note in tables:
        if note.text == "MEMRESERVE":
            early.memblock.reserve(note.values[0], MEMRESERVE_HEAD, owner="EFI's list of reservations")


def efi_find_mirror(early: Early, memory_map: Sequence[EfiRegion]) -> None:
    """efi_find_mirror(): memory that the firmware keeps twice is marked, and allocations look there first."""
    mirrored = [region for region in memory_map if "MR" in region.attributes]
    for region in mirrored:
        early.memblock.mark_mirror(region.start, region.end - region.start)
    if mirrored:
        sizes = (sum(r.end - r.start for r in regions) >> 20 for regions in (mirrored, memory_map))
        early.log.info("efi: Memory: {}M/{}M mirrored memory".format(*sizes))
