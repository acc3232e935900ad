"""A capture for the eyes of others: without what mmtool does not read, then without names and what is confided."""

from __future__ import annotations

from mmtool.capture.collect import Collected, Missing
from mmtool.capture.identity import Identity
from mmtool.capture.needed import needed_files
from mmtool.capture.redact import Redactor
from mmtool.capture.reduce import reduce_log
from mmtool.errors import InputError
from mmtool.firmware.capture import LOG
from mmtool.late import dataclass


@dataclass(frozen=True)
class Change:
    """What a file lost: lines that mmtool does not read are left out, in `replaced` others x or a name stands in."""

    name: str
    lines: int
    """Before, empty ones not counted; 0 of a file that is no text."""
    left_out: int
    replaced: int
    """Lines; of a file that is no text, bytes."""


def make_private(found: Collected, identity: Identity, *, whole: bool, keep_names: bool) -> list[Change]:
    """Take out of a capture what nobody needs to see, and say what that is. `whole` keeps lines, `keep_names` names."""
    before = dict(found.files)
    if not whole:
        _reduce(found)
    if not keep_names:
        _redact(found, identity)
    changes = (_change(name, before[name], data) for name, data in found.files.items())
    return [change for change in changes if change.left_out or change.replaced]


def _reduce(found: Collected) -> None:
    if LOG in found.files:
        log = reduce_log(found.files[LOG])
        found.files[LOG] = log.text.encode("utf-8", "replace")
        if log.whole:
            why = "fewer lines would be read as another log"
            found.missing.append(Missing(f"{LOG} of fewer lines", why, "all are in it, also those that nobody reads"))
    needed = needed_files(found.files)
    for name in found.files.keys() - needed.keys():
        found.missing.append(Missing(name, "it cannot be read by mmtool", "it is left out; --whole keeps it"))
    found.files = needed


def _redact(found: Collected, identity: Identity) -> None:
    try:
        found.files = Redactor(identity).files(found.files)
    except InputError as e:
        if "machine.dtb" not in found.files:
            raise
        # a tree that mmtool cannot read is of no use to it, and nobody knows what is in it
        del found.files["machine.dtb"]
        found.missing.append(Missing("machine.dtb", e.message, "the tree is left out; --keep-names keeps it"))
        found.files = Redactor(identity).files(found.files)


_BINARY = (".dtb", ".aml")


def _change(name: str, before: bytes, after: bytes) -> Change:
    if name.endswith(_BINARY):
        return Change(name, 0, 0, sum(a != b for a, b in zip(before, after, strict=True)))
    was, now = _lines(before), _lines(after)
    known = set(was)
    return Change(name, len(was), max(0, len(was) - len(now)), sum(line not in known for line in now))


def _lines(text: bytes) -> list[bytes]:
    return [line for line in text.split(b"\n") if line.strip()]
