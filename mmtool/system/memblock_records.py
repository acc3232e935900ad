"""Recorded runs of memblock scripts, one JSON object a line: reading them, and comparing the model's run with one."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from mmtool.build.fact import Version, parse_version
from mmtool.errors import InputError
from mmtool.firmware.packed import standard_input
from mmtool.late import dataclass
from mmtool.system.memblock_script import Outcome
from mmtool.units import human

OLDEST: Version = (4, 20, 0)
"""The first release whose memblock is modelled."""


@dataclass(frozen=True)
class Record:
    """One script and, when it was recorded, what the kernel did. The fields are those of the format."""

    line: int
    id: str
    version: Version
    numa: bool
    script: list[Any]
    outcome: str | None
    results: list[Any] | None
    state: dict[str, Any] | None
    states_after: list[Any] | None
    irregular_from: int | None
    """From this operation on nothing is compared."""


@dataclass(frozen=True)
class Comparison:
    """What came of one record: `difference` says how the model differs, None when it does not."""

    id: str
    line: int
    recorded: bool
    difference: str | None


LONGEST = 16 << 20
"""Bytes of a record."""


def read_records(path: str) -> Iterator[Record]:
    """The records of a file, plain or gzip ("-": standard input). InputError names the line that is unusable."""
    number = 0
    try:
        with _unpacked(path) as stream:
            while line := stream.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:
                    raise InputError(path, number, f"a line of more than {human(LONGEST)}")
                if line.strip():
                    yield _record(path, number, line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(path, number + 1, f"damaged gzip data: {error}") from None
    except OSError as error:
        raise InputError(path, None, error.strerror or str(error)) from None


@contextmanager
def _unpacked(path: str) -> Iterator[BinaryIO]:
    with nullcontext(standard_input()) if path == "-" else Path(path).open("rb") as raw:
        stream = BufferedReader(cast(Any, raw))
        if stream.peek(2)[:2] == b"\x1f\x8b":
            yield cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
        else:
            yield stream


def _record(path: str, number: int, line: bytes) -> Record:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(path, number, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(path, number, "a record is a JSON object")

    def field(name: str, kind: type, *, wanted: bool = False) -> Any:
        found = value.get(name)
        if found is None and not wanted:
            return None
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            problem = f'"{name}" is missing' if name not in value else f'"{name}" is not {_KINDS[kind]}'
            raise InputError(path, number, problem)
        return found

    kernel = field("kernel", str, wanted=True)
    version = parse_version(kernel)
    if version is None or version < OLDEST:
        raise InputError(path, number, f'"kernel": {kernel!r} is not a Linux release from 4.20 on')
    return Record(
        number,
        field("id", str, wanted=True),
        version,
        field("numa", bool, wanted=True),
        field("script", list, wanted=True),
        field("outcome", str),
        field("results", list),
        field("state", dict),
        field("states_after", list),
        field("irregular_from", int),
    )


_KINDS = {str: "a string", bool: "true or false", list: "a list", dict: "an object", int: "a whole number"}


def compare(record: Record, run: Outcome) -> Comparison:
    """Does the model's run agree with what was recorded, exactly, up to where the record becomes irregular?"""
    difference = None if record.results is None else _difference(record, run, record.results)
    return Comparison(record.id, record.line, record.results is not None, difference)


def _difference(record: Record, run: Outcome, results: list[Any]) -> str | None:
    end = len(record.script) if record.irregular_from is None else record.irregular_from
    after = zip(run.states_after, record.states_after or [], strict=False)
    states = list(after) if len(run.states_after) == len(record.states_after or []) else []
    for i, (ours, theirs) in enumerate(zip(run.results[:end], results[:end], strict=False)):
        if not _same(ours, theirs):
            return f"operation {i}, {_name(record, i)}: {json.dumps(ours)}, recorded {json.dumps(theirs)}"
        if i < len(states) and not _same(*states[i]):
            return f"state after operation {i}, {_name(record, i)}: {_first_apart(*states[i])}"
    if record.irregular_from is not None:
        return None
    if run.outcome != (record.outcome or "ok"):
        at = min(len(run.results), len(results))
        return f"operation {at}, {_name(record, at)}: ends {run.outcome!r}, recorded {record.outcome!r}"
    if len(run.results) != len(results):
        return f"{len(run.results)} operations ran, recorded {len(results)}"
    if record.states_after is not None and len(record.states_after) != len(run.states_after):
        return f"{len(run.states_after)} states, recorded {len(record.states_after)}"
    if not _same(run.state, record.state):
        return f"state at the end: {_first_apart(run.state, record.state)}"
    return None


def _same(ours: object, theirs: object) -> bool:
    # json.dumps tells 0 from false, which == does not.
    return ours == theirs and json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)


def _name(record: Record, index: int) -> str:
    return str(record.script[index][0]) if index < len(record.script) else "the end"


def _first_apart(ours: Any, theirs: Any, where: str = "") -> str:
    """The first place at which two states differ, as a path and both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours:
            if not _same(ours[key], theirs.get(key)):
                return _first_apart(ours[key], theirs.get(key), f"{where}.{key}" if where else key)
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if not _same(a, b):
                return _first_apart(a, b, f"{where}[{i}]")
    return f"{where or 'state'} {json.dumps(ours)}, recorded {json.dumps(theirs)}"
