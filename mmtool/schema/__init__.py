"""JSON Schemas (2020-12) of the documents that mmtool prints and reads, a file each beside this one.

A schema names others by `urn:mmtool:NAME:1`. It says what is there and leaves open what may be added: see
mmtool-formats(5) for what a number behind a name promises.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

FOLDER = os.path.dirname(__file__)
PARTS = ("common", "system")
"""Files that others refer to and that describe no document."""


def names() -> list[str]:
    """Documents that there is a schema of."""
    names = (name.removesuffix(".json") for name in os.listdir(FOLDER) if name.endswith(".json"))
    return sorted(name for name in names if name not in PARTS)


@cache
def load(name: str) -> dict[str, Any]:
    """The schema in NAME.json, as it is there."""
    import json  # which a boot that prints tables does not need

    with open(os.path.join(FOLDER, f"{name}.json")) as file:
        found: dict[str, Any] = json.load(file)
    return found


def bundle(name: str) -> dict[str, Any]:
    """The schema of a document with those that it refers to among its `$defs`, so that it stands alone."""
    schema = load(name)
    others: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for urn in _others(waiting.pop()):
            if urn not in others and urn != schema["$id"]:
                others[urn] = load(urn.split(":")[2])
                waiting.append(others[urn])
    return schema | {"$defs": schema.get("$defs", {}) | others} if others else schema


def _others(part: Any) -> Iterator[str]:
    """The other schemas that a part of one refers to, by their names without fragments."""
    if isinstance(part, dict):
        target = part.get("$ref", "")
        if isinstance(target, str) and target.startswith("urn:"):
            yield target.partition("#")[0]
        for value in part.values():
            yield from _others(value)
    elif isinstance(part, list):
        for value in part:
            yield from _others(value)
