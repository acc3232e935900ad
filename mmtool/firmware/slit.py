"""The ACPI SLIT (System Locality Information Table): how far the proximity domains are from each other."""

from __future__ import annotations

import struct

from mmtool.firmware.acpi import HEADER_SIZE, check_table, table_error
from mmtool.firmware.machine import Slit

_MATRIX = HEADER_SIZE + 8


def parse_slit(data: bytes, source: str) -> Slit:
    """The matrix of distances of a SLIT, one byte each (10: the same domain). Whether a kernel finds it sound is
    not judged here. Raises InputError, which names file and byte."""
    check_table(data, "SLIT", source)
    if len(data) < _MATRIX:
        raise table_error(source, HEADER_SIZE, "the table ends before its number of localities")
    (count,) = struct.unpack_from("<Q", data, HEADER_SIZE)
    if count * count != len(data) - _MATRIX:
        wrong = f"{count} localities need {count * count} distances, the table has {len(data) - _MATRIX}"
        raise table_error(source, HEADER_SIZE, wrong)
    rows = (data[_MATRIX + i * count : _MATRIX + (i + 1) * count] for i in range(count))
    return Slit(tuple(tuple(row) for row in rows))
