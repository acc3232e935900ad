"""Logs as records: JSON (whole, or an object a line), the journal's export, YAML, key="value" lines, CSV.

No tool's names of fields are needed to find the log in JSON, YAML and CSV: it is the field with the kernel's words.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmtool.firmware.wrapped.kernel_words import kernel_words
from mmtool.firmware.wrapped.refused import WrapperError
from mmtool.regex import regex

Path = tuple[str, ...]

_IN_FRONT = regex(r"[^{}\[\]\"]{0,120}(?=\{)")
"""What may stand before the object of a line: "- " of YAML, "data: " of server-sent events, a container's clock."""
_DECODER = json.JSONDecoder(strict=False)
_LOOKED_AT = 40
"""Lines from which the kind of a file is told."""


def undo_json(text: str) -> str | None:
    """One JSON document, several after one another, or an object on most lines; cut ones as far as they go."""
    start = text.lstrip("\x1e \t\r\n")[:1]
    if start in ("{", "["):
        values = list(_documents(text))
        if values and (found := _log_of(values)) is not None:
            return found
    lines = text.split("\n")
    head = _head(lines)
    if sum(_object(line) is not None for line in head) * 2 > len(head):
        return _log_of([value for line in lines if (value := _object(line)) is not None])
    if sum('"' in line and _FIELD.match(line) is not None for line in head) * 8 >= len(head) > 0:
        # cut out of a document that stands over many lines
        strings = (json.loads(m[1]) for line in lines if (m := _FIELD.match(line)))
        found = _joined(list(strings))
        return found if kernel_words(found) else None
    return None


_FIELD = regex(
    r'\s*"(?:msg|MESSAGE|message|log|line|text)"\s*:\s*("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
)


def _head(lines: list[str]) -> list[str]:
    """The first lines that are not empty."""
    return list(islice((line for line in lines if line and line.strip()), _LOOKED_AT))


def _documents(text: str) -> Iterator[Any]:
    at = 0
    while True:
        while at < len(text) and text[at] in "\x1e \t\r\n,":
            at += 1
        if at >= len(text):
            return
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        if not isinstance(value, dict | list):
            return
        yield value


def _object(line: str) -> Any:
    end = line.rfind("}") + 1
    if not end or (m := _IN_FRONT.match(line)) is None:
        return None
    try:
        value, read = _DECODER.raw_decode(line[:end], m.end())
    except (ValueError, RecursionError):
        return None
    return value if read == end else None


def _log_of(values: list[Any]) -> str | None:
    """The strings of the field that holds most of the kernel's words, one after the other."""
    fields: dict[Path, list[str]] = defaultdict(list)
    for value in values:
        for path, string in _strings(value, ()):
            fields[path].append(string)
    best, most = None, 0
    for strings in fields.values():
        count = kernel_words("\n".join(strings))
        if count > most:
            best, most = strings, count
    return _joined(best) if best is not None else None


def _joined(strings: list[str]) -> str:
    """Strings that end their lines themselves are pieces of one text, such as containers' long lines are cut into."""
    return ("" if any(s.endswith("\n") for s in strings) else "\n").join(strings)


_DEEPEST = 40
"""Records in records in which a log is still looked for."""


def _strings(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every string in a value and where it stands; the elements of a list stand in one place, of a short row apart."""
    stack: list[tuple[Any, Path]] = [(value, path)]
    while stack:
        value, path = stack.pop()
        if isinstance(value, str):
            yield path, value
        elif len(path) > _DEEPEST:
            continue
        elif isinstance(value, dict):
            if value.get("_TRANSPORT", "kernel") == "kernel":  # the journal's: other programs' messages are no log
                stack.extend((element, (*path, str(key))) for key, element in reversed(value.items()))
        elif isinstance(value, list):
            if len(value) > 8 and all(isinstance(element, int) for element in value):
                yield path, bytes(element & 0xFF for element in value).decode("utf-8", "replace")
            else:
                row = len(value) <= 4 and all(not isinstance(element, dict | list) for element in value)
                names = (str(i) if row else "*" for i in range(len(value)))
                stack.extend(reversed([(element, (*path, name)) for element, name in zip(value, names, strict=True)]))


# ---- the journal's export, and its verbose form ----------------------------------------------------

_MESSAGE = regex(r"\s*MESSAGE=(.*)")
_JOURNAL = regex(r"^\s*(?:__CURSOR|_TRANSPORT|__REALTIME_TIMESTAMP|_BOOT_ID)=", re.MULTILINE)
_SIZE = 8
"""Bytes of a field's length in front of what is no plain text."""


def undo_journal(text: str) -> str | None:
    """`journalctl -o export` and `-o verbose`: fields, a line each."""
    if "MESSAGE" not in text or not _JOURNAL.search(text):
        return None
    out: list[str] = []
    record: list[str] = []
    kernel = True
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if m := _MESSAGE.match(line):
            record.append(m[1])
        elif line == "MESSAGE" and i + 1 < len(lines):
            record.append(lines[i + 1][_SIZE:])
        elif line.lstrip().startswith("_TRANSPORT="):
            kernel = line.strip() == "_TRANSPORT=kernel"
        elif line.lstrip().startswith("__CURSOR=") or not line or " [s=" in line:
            out += record if kernel else []
            record, kernel = [], True
    out += record if kernel else []
    return "\n".join(out) + "\n" if kernel_words("\n".join(out)) else None


# ---- YAML, key="value", CSV ------------------------------------------------------------------------

_YAML = regex(r"\s*- (?:\{ ?)?[\"']?\w+[\"']?: |\s+[\"']?\w+[\"']?: |---|#|\s*- -? ?\S")


_MOST_SIGNS = 60_000
"""Signs that could begin a value of YAML: its reader takes ten microseconds for each."""


def undo_yaml(text: str) -> str | None:
    """A list of records, as LAVA writes its logs. WrapperError where there is more than is read in passing."""
    head = _head(text.split("\n"))
    if not head or not head[0].startswith(("- ", "---")) or not kernel_words(text):
        return None
    if sum(_YAML.match(line) is not None for line in head) * 3 < len(head):
        return None
    if sum(map(text.count, "-?:,[{")) > _MOST_SIGNS:
        raise WrapperError("so large a log is not read as YAML; give the log out of it")
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = yaml.load(text, Loader=loader)
    except yaml.YAMLError:
        return None
    return _log_of([value]) if isinstance(value, list) else None


_PAIR = regex(r'(?:^|[\s,{])(?:msg|message|line|log|MESSAGE|text)="((?:[^"\\]|\\.)*)"')


def undo_logfmt(text: str) -> str | None:
    """Lines of key=value, of which one is the message in quotes."""
    head = _head(text.split("\n"))
    if sum('="' in line and _PAIR.search(line) is not None for line in head) * 2 <= len(head):
        return None
    found = "\n".join(_unescaped(m[1]) if (m := _PAIR.search(line)) else line for line in text.split("\n"))
    return found if kernel_words(found) else None


_ESCAPE = regex(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "", "0": ""}


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[1]), text)


_ROWS = 3
"""Lines from which on a text can be a table."""


def undo_csv(text: str) -> str | None:
    """A table with the message in one column."""
    head = _head(text.split("\n"))
    quoted = sum('"' in line and ("," in line or ";" in line or "\t" in line) for line in head)
    if quoted * 2 <= len(head) or len(head) < _ROWS:
        return None
    import csv
    import io

    for delimiter in ",;\t":
        try:
            rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
        except csv.Error:
            continue
        width = max(map(len, rows), default=0)
        if width < 2 or sum(len(row) == width for row in rows if row) * 10 < 9 * sum(map(bool, rows)):
            continue
        columns = ["\n".join(row[i] for row in rows if len(row) == width) for i in range(width)]
        best = max(columns, key=kernel_words)
        if kernel_words(best):
            return best
    return None
