"""What SECURITY.md promises, as far as no other test shows it."""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import json
import lzma
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.commands import LOG, run
from test_structure import modules

from mmtool.answers.batch import Row, cluster_rows, summary
from mmtool.build.image import compress
from mmtool.errors import InputError
from mmtool.firmware import packed
from mmtool.firmware.fdt.container import tree_in

ROOT = Path(__file__).parent.parent
CONNECT = {"socket", "http", "urllib", "ssl", "ftplib", "smtplib", "asyncio", "xmlrpc", "webbrowser", "requests"}


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 10
    for file, test in named:
        functions = ast.walk(ast.parse((ROOT / file).read_text()))
        assert test in {f.name for f in functions if isinstance(f, ast.FunctionDef)}, (file, test)


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log", data)
    return out.getvalue()


def by_program(name: str, data: bytes) -> bytes:
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    return subprocess.run([name, "-c"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("how", ["gzip", "xz", "bzip2", "zip", "zstd", "lz4"])
def test_what_unpacks_without_end_is_refused(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LARGEST", 1 << 20)
    pack = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zip": zipped}
    for size in (1 << 20, (1 << 20) + 1, 1 << 24):
        data = pack[how](bytes(size)) if how in pack else by_program(how, bytes(size))
        if size <= packed.LARGEST:
            assert packed.unpack(data, "f") == bytes(size)
        else:
            with pytest.raises(InputError, match=r"^f: unpacks to more than"):
                packed.unpack(data, "f")


@pytest.mark.parametrize("how", ["gzip", "xz", "bzip2", "zstd"])
def test_an_image_that_unpacks_without_end_is_refused(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress, "LARGEST", 1 << 20)
    pack = {"gzip": gzip.compress, "xz": lambda data: lzma.compress(data, preset=0), "bzip2": bz2.compress}
    for size in ((1 << 20) - 1, (1 << 20) + 1, 1 << 24):
        data = pack[how](bytes(size)) if how in pack else by_program(how, bytes(size))
        if size < compress.LARGEST:
            assert compress.decompress(data, "f") == bytes(size)
        else:
            with pytest.raises(InputError, match=r"^f: "):
                compress.decompress(data, "f")


def test_a_limit_by_ratio_that_an_option_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less for small files than is allowed, since a log is read line by line."""
    assert packed.most_of(1) == packed.SMALL == 16 << 20
    assert packed.most_of(1 << 20) == 50 << 20
    assert packed.most_of(1 << 30) == packed.LARGEST
    monkeypatch.setattr(packed, "SMALL", 128 << 10)
    log = LOG.read_bytes() + b"\n" * (packed.SMALL + 1)
    for name, data in (("log.gz", gzip.compress(log)), ("log.xz", lzma.compress(log, preset=0))):
        (tmp_path / name).write_bytes(data)
        refused = run(("boot", tmp_path / name))
        assert (refused.status, refused.out) == (3, b"")
        assert refused.said == [
            f"mmtool: {tmp_path}/{name}: unpacks to more than 128 KiB; where you trust it, allow it: "
            "mmtool --unpack SIZE COMMAND ..."
        ]
        assert run(("--unpack", "17M", "boot", tmp_path / name)).out == run(("boot", LOG)).out
    done = run(("--unpack", "much", "boot", LOG))
    assert done.status == 2 and done.said[0].startswith("mmtool: --unpack: 'much' is not a size")


def test_very_many_packed_parts_are_refused() -> None:
    part = gzip.compress(b"")
    assert packed.unpack(part * packed.MOST_PARTS, "f") == b""
    with pytest.raises(InputError, match=r"^f: more than 1000 packed parts"):
        packed.unpack(part * (packed.MOST_PARTS + 1), "f")


@pytest.mark.parametrize("program", ["zstd", "lz4"])
def test_what_a_program_cannot_unpack_is_one_line(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = by_program(program, bytes(range(256)) * 40)
    with pytest.raises(InputError, match=rf"^f: the compressed file is damaged, says {program}; copy it again$"):
        packed.unpack(data[:-9], "f")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InputError, match=rf"^f: compressed with {program}, which is not installed here"):
        packed.unpack(data, "f")


@pytest.mark.parametrize("asks", ['chosen { x = /incbin/("/etc/passwd"); };', '/include/ "/etc/passwd"'])
def test_a_source_that_asks_for_other_files_is_refused(asks: str) -> None:
    with pytest.raises(InputError, match=r"^f:3: /\w+/ asks for another file; compile it where that file is: dtc "):
        tree_in(f"/dts-v1/;\n/ {{\n{asks}\n}};\n".encode(), "f")


def test_nothing_opens_a_connection() -> None:
    for path, tree in modules().values():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & CONNECT, path


def test_a_cluster_is_handed_paths_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what comes back is a row of plain values."""
    handed: list[tuple[Any, ...]] = []

    class Client:
        def __init__(self, address: str, set_as_default: bool) -> None:
            self.address = address

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def nthreads(self) -> dict[str, int]:
            return {"a": 1}

        def submit(self, work: Callable[[str], Row], *arguments: Any, pure: bool) -> Any:
            handed.append((work, *arguments))
            return SimpleNamespace(result=lambda: work(*arguments))

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client))
    monkeypatch.setattr("mmtool.answers.batch._ask_scheduler", lambda address: None)
    row, missing = cluster_rows([str(LOG), str(tmp_path / "gone")], "tcp://nowhere:1")
    assert handed == [(summary, str(LOG)), (summary, str(tmp_path / "gone"))]
    assert row.error is None and missing.error is not None
    assert json.loads(json.dumps(asdict(row)))["kernel"] == row.kernel
