"""The JSON Schemas say what the documents are: every output is of its schema, without a key that it does not name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from support.documents import printed

from mmtool import schema
from mmtool.build.profile import available, profile_text
from mmtool.build.shape import LARGEST_IMAGE, LARGEST_SIZE, NUMBERS
from mmtool.cli import cli
from mmtool.errors import UsageError
from mmtool.firmware.packed import read_bytes
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.shape import ShapeError, shape_of

jsonschema = pytest.importorskip("jsonschema")
FIXTURES = Path(__file__).parent.parent / "fixtures"
PACKAGE = Path(__file__).parent.parent / "mmtool"
NEVER_SEEN: dict[str, str] = {}
"""Keys that no command of tests/support/documents.py prints, and why. It may only shrink."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, Any]]]:
    """Commands with a document each."""
    folder = tmp_path_factory.mktemp("documents")
    return [(line, document) for line, documents in printed(folder) for document in documents]


def strict(part: Any) -> Any:
    """A schema that takes no key that it does not name."""
    if isinstance(part, list):
        return [strict(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {name: strict(value) for name, value in part.items()}
    if isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


@cache
def validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(strict(schema.bundle(name)))


def name_of(document: dict[str, Any]) -> str:
    """The schema's name; the answers of `memblock run` are the one kind of document that does not name its own."""
    return re.sub(r"^mmtool\.(.*)/\d+$", r"\1", document.get("schema", "mmtool.memblock-run/1"))


@pytest.mark.parametrize("name", [*schema.names(), *schema.PARTS])
def test_a_schema_is_one_and_says_what_its_keys_are(name: str) -> None:
    found = schema.load(name)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$id"] == f"urn:mmtool:{name}:1"
    assert found["title"].startswith("mmtool") and found["description"]
    for path, key in keys(found, name):
        told = key.get("description") or "$ref" in key or "const" in key
        assert told or "description" in key.get("anyOf", [{}])[0], path


def test_every_document_that_is_printed_has_a_schema() -> None:
    texts = (path.read_text() for path in PACKAGE.rglob("*.py"))
    named = {name for text in texts for name in re.findall(r'"mmtool\.([a-z-]+)/1"', text)}
    assert named - set(schema.names()) == set()
    assert {name for name in schema.names() if "schema" in schema.load(name).get("properties", {})} == named


def test_every_output_is_of_its_schema(outputs: list[tuple[str, dict[str, Any]]]) -> None:
    wrong = []
    for line, document in outputs:
        for error in validator(name_of(document)).iter_errors(document):
            worst = max(error.context, key=lambda e: len(e.absolute_path)) if error.context else error
            wrong.append(f"{line}: /{'/'.join(map(str, worst.absolute_path))}: {worst.message[:200]}")
    assert wrong == []


def test_every_key_is_seen(outputs: list[tuple[str, dict[str, Any]]]) -> None:
    seen: set[int] = set()
    for _, document in outputs:
        root = schema.load(name_of(document))
        visit(root, root, document, seen)
    written = {name for name in schema.names() if "schema" in schema.load(name).get("properties", {})}
    unseen = {path for name in written | set(schema.PARTS) for path, key in keys(schema.load(name), name)
              if id(key) not in seen}  # fmt: skip
    assert unseen == set(NEVER_SEEN)


def keys(part: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema with its own."""
    if isinstance(part, list):
        for each in part:
            yield from keys(each, path)
    elif isinstance(part, dict):
        for word, value in part.items():
            if word == "properties":
                for name, key in value.items():
                    yield f"{path}/{name}", key
                    yield from keys(key, f"{path}/{name}")
            elif word == "$defs":
                for name, each in value.items():
                    yield from keys(each, f"{path}#{name}")
            else:
                yield from keys(value, path + {"items": "[]", "additionalProperties": "/*"}.get(word, ""))


def visit(root: dict[str, Any], part: Any, value: Any, seen: set[int]) -> None:
    """Note the schema of every key in `value`, which is of the schema `part`."""
    if "$ref" in part:
        urn, _, fragment = part["$ref"].partition("#")
        home = schema.load(urn.split(":")[2]) if urn else root
        target: Any = home
        for name in filter(None, fragment.split("/")):
            target = target[name]
        visit(home, target, value, seen)
    for each in part.get("anyOf", ()):
        visit(root, each, value, seen)
    if isinstance(value, dict):
        named, others = part.get("properties", {}), part.get("additionalProperties")
        for name, inner in value.items():
            if name in named:
                seen.add(id(named[name]))
                visit(root, named[name], inner, seen)
            elif isinstance(others, dict):
                visit(root, others, inner, seen)
    elif isinstance(value, list):
        places = part.get("prefixItems", [])
        for i, inner in enumerate(value):
            item = places[i] if i < len(places) else part.get("items")
            if isinstance(item, dict):
                visit(root, item, inner, seen)


def test_the_command_prints_a_schema_that_stands_alone() -> None:
    listed = CliRunner().invoke(cli, ["schema"]).stdout.splitlines()
    assert [line.split()[0] for line in listed] == schema.names()
    alone = json.loads(CliRunner().invoke(cli, ["schema", "alloc"]).stdout)
    assert {"urn:mmtool:system:1"} <= set(alone["$defs"])
    jsonschema.Draft202012Validator(alone).validate(
        {"schema": "mmtool.alloc/1", "allocated": 0, "outcomes": [], "state": STATE_OF_NOTHING}
    )
    document = {"schema": "mmtool.alloc/1", "allocated": 0, "outcomes": [], "state": {}}
    assert not jsonschema.Draft202012Validator(alone).is_valid(document)


STATE_OF_NOTHING: dict[str, Any] = {
    "kernel": {"release": "6.1", "version": "", "profile": "", "arch": "x86_64", "facts": [6, 1, 0], "options": {}},
    "synthetic": True, "mobility_grouping": True, "cpus": {"0": 0}, "pageblocks": [], "nodes": [],
}  # fmt: skip


def test_a_name_that_there_is_not_is_said_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match="there is no schema 'reply'; did you mean replay"):
        CliRunner().invoke(cli, ["schema", "reply"], catch_exceptions=False)


# What is read: fixtures are of their schemas, and the check at the border takes what a validator takes.

READ = {
    "memblock-script": "memblock/vectors.jsonl.gz", "regions": "freelists/t512m_1c.json.gz",
    "recording": "traces/nodes-6.1.json.xz", "process-record": "process/x86_64-6.12.jsonl.xz",
    "slab-cache": "../mmtool/build/caches/debian-6.1-cloud-amd64.jsonl.gz",
}  # fmt: skip
LINES = {"memblock-script", "process-record", "slab-cache"}
"""Kinds of which a file holds an object a line."""


@pytest.mark.parametrize("name", READ)
def test_what_was_recorded_is_of_its_schema(name: str) -> None:
    open_validator = jsonschema.Draft202012Validator(schema.bundle(name))
    text = read_bytes(str(FIXTURES / READ[name])).decode()
    for line in text.splitlines() if name in LINES else [text]:
        open_validator.validate(small(json.loads(line)) if name == "recording" else json.loads(line))


def test_profiles_are_of_their_schema() -> None:
    found = jsonschema.Draft202012Validator(schema.bundle("profile"))
    for name in available():
        found.validate(yaml.safe_load(profile_text(name)))
    keys_of = schema.load("profile")["properties"]
    ranges = {name: option["anyOf"][0] for name, option in keys_of["config"]["properties"].items()}
    assert {name: (whole["minimum"], whole["maximum"]) for name, whole in ranges.items()} == NUMBERS
    sizes, image = (keys_of[key]["additionalProperties"] for key in ("sizes", "image"))
    assert (sizes["maximum"], image["maximum"]) == (LARGEST_SIZE, LARGEST_IMAGE)


def test_types_and_zones_are_the_models() -> None:
    parts, recorded = schema.load("system")["$defs"], schema.load("recording")["$defs"]
    assert parts["type"]["enum"] == [kind.label for kind in MigrateType]
    zones = [part["zone"]["properties"]["name"]["enum"] for part in (parts, recorded)]
    assert zones[0] == zones[1] == parts["zonelist"]["items"]["prefixItems"][1]["enum"]


def small(value: Any) -> Any:
    """A document with one entry in each of its long lists and in each mapping of numbers."""
    if isinstance(value, list):
        return [small(each) for each in (value[:1] if len(value) > 3 else value)]
    if isinstance(value, dict):
        shown = list(value.items())[: 1 if all(key.isdigit() for key in value) else None]
        return {key: small(each) for key, each in shown}
    return value


def damaged(document: Any) -> Iterator[tuple[str, Any]]:
    """The document with one value taken out or put in the place of another, everywhere."""

    def parts(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if path:
            yield path
        entries = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
        for key, each in entries:
            yield from parts(each, (*path, key))

    for path in parts(document, ()):
        for wrong in (None, True, -1, 1 << 70, "x", [], {"x": 0}, "gone"):
            copy = json.loads(json.dumps(document))
            place = copy
            for key in path[:-1]:
                place = place[key]
            if wrong == "gone":
                del place[path[-1]]
            else:
                place[path[-1]] = wrong
            yield "/".join(map(str, path)), copy


def state_document(outputs: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """A state with virtual memory in use, on one node."""
    found = next(document for line, document in outputs if line.startswith("vmalloc --state I386"))
    state: dict[str, Any] = small(found["state"])
    return state


def test_the_border_takes_what_the_schema_takes(outputs: list[tuple[str, dict[str, Any]]]) -> None:
    recording = json.loads(read_bytes(str(FIXTURES / "traces" / "nodes-6.1.json.xz")))
    recorded = small(recording["S0"])
    whole = schema.load("recording")
    moment = jsonschema.Draft202012Validator({"$defs": whole["$defs"], "$ref": "#/$defs/moment"})
    for document, shape, by_schema in (
        (state_document(outputs), shape_of("system"), jsonschema.Draft202012Validator(schema.bundle("system"))),
        (recorded, shape_of("recording", "/$defs/moment"), moment),
    ):
        apart = []
        taken = 0
        shape(document, "")
        for path, damage in damaged(document):
            try:
                shape(damage, "")
                ours = True
            except ShapeError:
                ours = False
            taken += ours
            if ours != by_schema.is_valid(damage):
                apart.append((path, ours))
        assert (apart[:5], taken > 10) == ([], True)
