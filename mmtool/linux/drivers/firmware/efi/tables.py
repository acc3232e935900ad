"""EFI tables that stay where the firmware put them: drivers/firmware/efi/memattr.c, efi.c. Bytes."""

from __future__ import annotations

from mmtool.linux.init.boot import Boot

MEMATTR_HEAD, MEMATTR_ENTRY = 16, 48
MEMRESERVE_HEAD = 16


def efi_memattr_init(boot: Boot) -> None:
    """efi_memattr_init(): the memory attributes table stays reserved, and its page is not given back.

    With efi=debug the log has a line for every entry; without, the head alone stands for the table.
    """
    entries = len(boot.notes("memattr"))
    for note in boot.notes("efi_table"):
        if note.text == "MEMATTR":
            size = MEMATTR_HEAD + entries * MEMATTR_ENTRY
            boot.memblock.reserve(note.values[0], size, owner="EFI memory attributes")


def efi_memreserve(boot: Boot) -> None:
    """efi_config_parse_tables(): the list of reservations that outlive kexec, empty at a first boot, on arm64."""
    for note in boot.notes("efi_table"):
        if note.text == "MEMRESERVE":
            boot.memblock.reserve(note.values[0], MEMRESERVE_HEAD, owner="EFI's list of reservations")
