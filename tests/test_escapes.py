"""Text of strangers with control characters in it, planted wherever a command takes some: none comes out as it is.

Every command is given its input under a hostile name and with hostile words in it, and asked for every format it has.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.blobs import blob, cells, text
from support.commands import COMMANDS, CORPUS, LOG, STATE

from mmtool import cli
from mmtool.errors import InputError, UsageError

EVIL = "\x1b[31m\x1b]0;t\x07\x7f\x9b1m\x85\u202e\u2028\x08\r"
"""An escape sequence, a title, a C1 control, a new line that is none, text turned around, a backspace."""
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
FORMATS = ("table", "json", "yaml", "csv", "dmesg", "svg", "html", "ndjson", "proc", "bar")


def formats_of(arguments: list[str]) -> list[str]:
    """The formats that a command has."""
    command: click.Command = cli.cli
    for word in arguments:
        if isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            if found is None:
                break
            command = found
    option = next((p for p in command.params if p.name == "output"), None)
    return list(getattr(getattr(option, "type", None), "formats", ())) or [""]


def output(arguments: list[str]) -> str:
    """All that a command prints, its message too, as main() would show it."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogatepass"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.cli(arguments, standalone_mode=False)
        except (InputError, UsageError) as e:
            with contextlib.suppress(SystemExit):
                cli._fail(str(e), 3)
        except click.UsageError as e:
            with contextlib.suppress(SystemExit):
                cli._fail(cli._usage(e), 2)
        except click.exceptions.Exit:
            pass
        except SystemExit:
            pass
    out.flush()
    raw: bytes = out.buffer.getvalue()  # type: ignore[attr-defined]
    return raw.decode("utf-8", "replace") + err.getvalue()


def is_clean(arguments: list[str]) -> None:
    for name in formats_of(arguments):
        said = output([*arguments, "-o", name] if name else arguments)
        found = RAW.search(said)
        assert found is None, (arguments, name, found and said[max(found.start() - 80, 0) : found.end()])
        assert said


def test_every_format_is_asked_for() -> None:
    assert {name for arguments in COMMANDS.values() for name in formats_of([*map(str, arguments)])} <= {*FORMATS, ""}


@pytest.fixture
def quiet_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))


@pytest.mark.parametrize("name", [name for name, words in COMMANDS.items() if any(isinstance(w, Path) for w in words)])
def test_a_hostile_name_of_a_file(name: str, tmp_path: Path, quiet_stdin: None) -> None:
    """The command's own input, from a path with control characters; and one that is not there."""
    plain = [word for word in COMMANDS[name] if "-o" not in (word,)]
    arguments: list[str] = []
    for word in plain:
        if not isinstance(word, Path):
            arguments.append(word)
            continue
        hostile = tmp_path / f"{word.name}{EVIL}"
        hostile.symlink_to(word)
        arguments.append(str(hostile))
    if name in ("boot -o dmesg", "boot -o json", "boot -o svg", "explain -o yaml", "map"):
        arguments = arguments[:2]
    is_clean(arguments)
    is_clean([word if not word.startswith(str(tmp_path)) else f"{word}gone" for word in arguments])


def planted(source: Path, *places: str) -> Iterator[str]:
    """The text of a file with EVIL behind each of some of its words, one at a time, then in all of them."""
    whole = source.read_text()
    for place in places:
        assert place in whole, (source, place)
        yield whole.replace(place, place + EVIL)
    everywhere = whole
    for place in places:
        everywhere = everywhere.replace(place, place + EVIL)
    yield everywhere


REPORT = CORPUS / "report"
TEXTS: dict[str, tuple[Path, tuple[str, ...], tuple[str, ...]]] = {
    "kernel version": (LOG, ("6.1.0-50-amd64", "Debian", "(x@y)"), ("boot",)),
    "command line": (LOG, ("root=/dev/vda", "numa=fake=2"), ("boot", "ledger", "map", "verify", "batch-of")),
    "a log's words": (CORPUS / "log" / "numa4.txt", ("SRAT", "e820", "Zone", "usable"), ("boot", "lint", "plot")),
    "comm and hardware": (REPORT / "2.6.32-oom.txt", ("invoked", "comm", "Mem-Info", "Node"), ("explain",)),
    "a kill": (REPORT / "oom-5.10.txt", ("hog", "Hardware name: ", "Mem-Info", "Node"), ("explain",)),
    "a cgroup's path": (REPORT / "m01-memcg-v2-nothing-said.txt", ("/", "oom_memcg", "anon"), ("explain",)),
    "a slab cache": (REPORT / "m06a-slub.txt", ("cache: ", "node"), ("explain",)),
    "a device": (REPORT / "m07-swiotlb.txt", ("mt7615e", "usbip-host"), ("explain",)),
    "callers": (CORPUS / "vmallocinfo" / "v.txt", ("+0x", "pages="), ("vmalloc --info",)),
    "caches": (CORPUS / "slabinfo" / "s.txt", ("v6", "slabdata"), ("slab info",)),
    "mappings": (CORPUS / "maps" / "maps.txt", ("dbus-daemon", "[heap]", "VmFlags"), ("process maps",)),
    "names in a script": (CORPUS / "process-script" / "a.vm", ("A", "mmap"), ("process run",)),
    "a program of a trace": (CORPUS / "strace" / "sh.txt", ("bash", "execve"), ("process run",)),
    "objects of reclaim": (CORPUS / "reclaim-script" / "file.lru", ("A",), ("reclaim run",)),
    "objects of rmap": (CORPUS / "rmap-script" / "fork.txt", ("A", "k1"), ("reclaim rmap",)),
    "caches of a script": (CORPUS / "slab-script" / "calls.txt", ("A",), ("slab run",)),
    "caches of a list": (CORPUS / "slab-caches" / "c.jsonl", ('"a"', "SLAB_PANIC"), ("slab caches --caches",)),
    "zram": (CORPUS / "zram-script" / "vary.txt", ("write", "same"), ("zram run",)),
    "tasks of a trace": (CORPUS / "trace" / "plain.txt", ("a-1", "GFP_KERNEL"), (f"replay --state {STATE}",)),
    "memblock=debug": (CORPUS / "memblock-log" / "x86.txt", ("memblock_", "+0x"), ("memblock replay",)),
    "a configuration": (CORPUS / "config" / "small", ("-x", "6.1.176", "=y"), ("profile make --config",)),
    "a profile": (CORPUS / "profile" / "small.yaml", ("mine", "x86_64"), (f"boot {LOG} --profile",)),
    "allocations": (CORPUS / "alloc-script" / "s.txt", ("GFP_KERNEL", "keep"), (f"alloc --state {STATE} --script",)),
}  # fmt: skip
"""What is planted where: the file, its words, and the commands that read it."""


@pytest.mark.parametrize("what", TEXTS)
def test_hostile_words_in_a_text(what: str, tmp_path: Path, quiet_stdin: None) -> None:
    source, places, commands = TEXTS[what]
    for at, content in enumerate(planted(source, *places)):
        path = tmp_path / f"in{at}"
        path.write_text(content)
        for command in commands:
            if command == "batch-of":
                folder = tmp_path / f"d{at}{EVIL}"
                folder.mkdir()
                (folder / f"f{EVIL}").write_text(content)
                is_clean(["batch", "--jobs", "1", str(folder)])
            else:
                is_clean([*command.split(), str(path)])


@pytest.mark.parametrize("command", ["boot", "whatif", "reserve --cma 1M"])
def test_a_hostile_command_line(command: str, quiet_stdin: None) -> None:
    option = "--cmdline+" if command == "whatif" else "--cmdline"
    for words in (f"root={EVIL}", f"{EVIL}=1 cma={EVIL}", f"crashkernel=16M{EVIL} hugepages={EVIL}4 memmap={EVIL}"):
        is_clean([*command.split(), str(LOG), option, words])


def test_a_hostile_tree(tmp_path: Path, quiet_stdin: None) -> None:
    evil = EVIL.replace("\u202e", "").replace("\u2028", "").encode("latin-1").decode("latin-1")
    memory = cells(0, 0x40000000, 0, 0x4000000)
    tree = {
        "#address-cells": cells(2), "#size-cells": cells(2), "compatible": text("x" + EVIL), "model": text(EVIL),
        f"memory{evil}@40000000": {"device_type": text("memory"), "reg": memory},
        "reserved-memory": {
            "#address-cells": cells(2), "#size-cells": cells(2), "ranges": b"",
            f"a{evil}@41000000": {"reg": cells(0, 0x41000000, 0, 0x100000), "no-map": b"", "label": text(EVIL)},
            f"b{evil}": {"compatible": text("shared-dma-pool" + EVIL), "size": cells(0, 1 << 23), "status": text(EVIL)},
            f"c{evil}@0": {"reg": cells(0, 0x41000800, 0, 0x100)},
        },
        "chosen": {"bootargs": text("console=" + EVIL)},
    }  # fmt: skip
    for at, name in enumerate(("plain", f"hostile{EVIL}")):
        path = tmp_path / name
        path.write_bytes(blob(tree, ((0x43000000, 0x1000), (0, 0))))
        for command in ("boot", "lint", "map", "ledger", "plot", f"diff {LOG}"):
            is_clean([*command.split(), str(path)])
        assert at in (0, 1)


@pytest.mark.parametrize("place", ["release", "version", "profile", "arch"])
def test_a_hostile_state(place: str, tmp_path: Path, quiet_stdin: None) -> None:
    document = json.loads(STATE.read_text())
    document["state"]["kernel"][place] += EVIL
    path = tmp_path / "s.json"
    path.write_text(json.dumps(document))
    for command in ("alloc --order 1 --explain", "buddyinfo", "free --pfn 256", "vmalloc --size 64K"):
        is_clean([*command.split(), "--state", str(path)])
    document = json.loads(STATE.read_text())
    for area in document["state"].get("vmalloc", {}).get("busy", []):
        area["caller"] = EVIL
    path.write_text(json.dumps(document))
    is_clean(["vmalloc", "--size", "64K", "--state", str(path)])


def test_formulas_are_defused_in_csv(tmp_path: Path, quiet_stdin: None) -> None:
    whole = (CORPUS / "slabinfo" / "s.txt").read_text().replace("RAWv6", "=cmd|'/C")
    (tmp_path / "s").write_text(whole)
    assert "\n'=cmd|'/C," in output(["slab", "info", str(tmp_path / "s"), "-o", "csv"])
