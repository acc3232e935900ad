"""Where a state of the page allocator comes from (a file, a pipe, /proc, the last boot)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmtool.cli.last_boot import read_last_state
from mmtool.cli.options import F
from mmtool.cli.output import note
from mmtool.errors import InputError, UsageError
from mmtool.report.untrusted import printable

if TYPE_CHECKING:
    from mmtool.system.system import System

PROC = Path("/proc")

STATE_OPTIONS = (
    click.option("--state", metavar="FILE|-", help="A state that mmtool printed as JSON or YAML, or a recorded one."),
    click.option("--live", is_flag=True, help="The state of this machine, as its /proc has it."),
    click.option("--proc", metavar="DIR", help="A folder with /proc's version, zoneinfo, buddyinfo, pagetypeinfo."),
)  # fmt: skip


def state_options(command: F) -> F:
    """The options that say on which state a command acts: arguments of load_system()."""
    for option in reversed(STATE_OPTIONS):
        command = option(command)
    return command


def load_system(*, state: str | None, live: bool, proc: str | None) -> System:
    """The state of the state options; says on standard error which it is, unless an option named it.

    Without an option it is a document on standard input if that is a pipe, else the last boot.
    """
    if (state is not None) + live + (proc is not None) > 1:
        raise UsageError("--state, --live and --proc each bring a state of their own; give one of them")
    if live or proc is not None:
        folder = PROC if proc is None else Path(proc)
        return _system_of_proc(folder)
    if state is None and _is_pipe():
        note("goes on from the state on standard input")
        return system_of_json(read_json("-"), "-")
    if state is not None:
        return system_of_json(read_json(state), state)
    try:
        document, kept = read_last_state()
    except FileNotFoundError:
        raise UsageError(
            "there is no state to act on; give --state, --live or --proc, or run mmtool boot first"
        ) from None
    except OSError as e:
        raise UsageError(f"the last boot cannot be gone on from: {e.strerror or e}") from None
    system = system_of_json(document, kept)
    source = printable(document["source"])
    note(f"goes on from the last boot, of {source}, Linux {system.kernel.name}")
    return system


def _is_pipe() -> bool:
    """Is standard input a pipe or a file? A terminal, /dev/null and a closed one are not."""
    import stat

    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def read_json(source: str) -> Any:
    """A JSON document, plain, compressed or in a page that mmtool made; InputError with the line when it is none."""
    return parse_json(_document_bytes(source), source)


def _document_bytes(source: str) -> bytes:
    from mmtool.firmware.packed import read_bytes
    from mmtool.system.codec.page import document_bytes, is_page

    data = read_bytes(source)
    return document_bytes(data, source) if is_page(data) else data


def parse_json(data: bytes, source: str) -> Any:
    """The document in `data`; InputError with the line when there is none."""
    import json

    if data.startswith(b"schema: mmtool."):
        return _parse_yaml(data, source)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(source, f"byte {e.start}", "not UTF-8 text") from None
    # A recorded trace is long: what is not needed any more goes before the next copy is made.
    del data
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise InputError(source, e.lineno, f"not JSON: {e.msg}{_hint(text)}") from None
    except (RecursionError, ValueError):
        raise InputError(source, None, "not JSON that can be read: nested too deep, or a number too long") from None


def _parse_yaml(data: bytes, source: str) -> Any:
    """A document that mmtool printed with -o yaml; InputError where it was cut or changed."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, loader)):
            raise InputError(source, None, "YAML with aliases (*name), which mmtool does not print")
        return yaml.load(data, loader)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        said = getattr(e, "problem", None) or "cannot be read"
        raise InputError(source, mark.line + 1 if mark else None, f"not YAML: {said}") from None
    except (RecursionError, ValueError):
        raise InputError(source, None, "not YAML that can be read: nested too deep, or a number too long") from None


def _hint(text: str) -> str:
    """What to do where it is another output of mmtool's."""
    table = text.startswith("Linux ") or "\nWhere it went\n" in text
    return "; this is the table: add -o json to mmtool boot" if table else ""


def system_of_json(document: object, source: str) -> System:
    """The `System` of a parsed document."""
    from mmtool.system.codec.source import state_from_json
    from mmtool.system.restore import system_of

    state, kernel = state_from_json(document, source)
    return system_of(state, kernel)


def _system_of_proc(folder: Path) -> System:
    from mmtool.observed.buddyinfo import parse_buddyinfo
    from mmtool.observed.pagetypeinfo import parse_pagetypeinfo
    from mmtool.observed.zoneinfo import parse_zoneinfo
    from mmtool.system.codec.source import kernel_named
    from mmtool.system.restore import system_of
    from mmtool.system.synthetic import ProcTexts, state_from_proc

    version = _text(folder, "version").strip()
    words = version.split()
    if words[:2] != ["Linux", "version"] or len(words) < 3:
        raise InputError(str(folder / "version"), 1, "does not begin with 'Linux version', as /proc/version does")
    types = folder / "pagetypeinfo"
    try:
        types_text = _text(folder, types.name)
    except InputError:
        types_text = None
    if types_text is None:
        note(f"{types} cannot be read (it is for root alone): all free blocks count as Movable")
    texts = ProcTexts(
        version,
        parse_zoneinfo(_text(folder, "zoneinfo"), str(folder / "zoneinfo")),
        parse_buddyinfo(_text(folder, "buddyinfo"), str(folder / "buddyinfo")),
        parse_pagetypeinfo(types_text, str(types)) if types_text is not None else None,
    )
    kernel = kernel_named(words[2], version)
    swap_free = _swap_free(folder) >> kernel.page_shift - 10
    return system_of(state_from_proc(texts, kernel, str(folder), swap_free), kernel)


def _swap_free(folder: Path) -> int:
    """SwapFree of meminfo in KiB; 0 where there is none."""
    try:
        lines = _text(folder, "meminfo").splitlines()
    except InputError:
        return 0
    words = next((line.split() for line in lines if line.startswith("SwapFree:")), [])
    return int(words[1]) if words[1:2] and words[1].isascii() and words[1].isdecimal() and len(words[1]) < 16 else 0


def _text(folder: Path, name: str) -> str:
    from mmtool.firmware.below import read_below

    try:
        data = read_below(folder, name)
    except OSError as e:
        raise InputError(str(folder / name), None, e.strerror or "cannot be read") from None
    if data is None:
        raise InputError(str(folder / name), None, "is not there")
    return data.decode("utf-8", "replace")
