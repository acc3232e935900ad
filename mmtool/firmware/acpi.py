"""What ACPI tables have in common: a header of 36 bytes with signature, length, revision and checksum."""

from __future__ import annotations

import struct

from mmtool.errors import InputError

HEADER_SIZE = 36
_HEADER = struct.Struct("<4sIBB")


def check_table(data: bytes, signature: str, source: str) -> int:
    """The revision of the ACPI table in `data`, once its signature, length and checksum hold. Raises InputError."""
    if len(data) < HEADER_SIZE:
        what = "empty" if not data else f"{len(data)} bytes, shorter than the header of 36"
        raise table_error(source, 0, f"not an ACPI table: {what}; give a copy of /sys/firmware/acpi/tables/{signature}")
    found, length, revision, _ = _HEADER.unpack_from(data)
    if found != signature.encode():
        words = found.decode("ascii", "replace") if found.isalnum() else found.hex()
        raise table_error(source, 0, f"the signature is {words!r}, not {signature!r}")
    if length != len(data):
        raise table_error(source, 4, f"the table claims {length} bytes, the file has {len(data)}; copy it whole")
    if total := sum(data) & 0xFF:
        raise table_error(source, 9, f"wrong checksum: the bytes sum up to {total:#04x}, not to 0; copy it again")
    return int(revision)


def table_error(source: str, offset: int, message: str) -> InputError:
    """What is wrong at a byte of a table: "SRAT.aml:0x30: ..."."""
    return InputError(source, f"{offset:#x}", message)
