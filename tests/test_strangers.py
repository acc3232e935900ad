"""Captures that a stranger made: nothing is written, no link followed, nothing waited for, no bomb unpacked."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mmtool.errors import InputError
from mmtool.firmware.capture import MOST_MEMBERS
from mmtool.firmware.read import read_capture, read_input
from mmtool.observed.answers import read_answers

NUMA = Path(__file__).parent.parent / "fixtures" / "captures" / "x86-7.3-numa3-asym"
SECRET = "root:$6$ofnobody$"


def copied(to: Path) -> Path:
    for file in NUMA.rglob("*"):
        if file.is_file():
            place = to / file.relative_to(NUMA)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    return to


def link(at: Path, to: str) -> None:
    at.unlink(missing_ok=True)
    at.symlink_to(to)


def fifo(at: Path, _: str) -> None:
    at.unlink(missing_ok=True)
    os.mkfifo(at)


def listening(at: Path, _: str) -> None:
    at.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(at))


def sparse(at: Path, _: str) -> None:
    with at.open("wb") as file:
        file.truncate(1 << 40)


ODD: dict[str, tuple[Callable[[Path, str], None], str]] = {
    "a link to another file": (link, "{secret}"),
    "a link to a device without end": (link, "/dev/zero"),
    "a link to itself": (link, "dmesg.txt"),
    "a fifo": (fifo, ""),
    "a socket": (listening, ""),
    "a file of 1 TiB of holes": (sparse, ""),
}


@pytest.mark.parametrize("name", ["dmesg.txt", "proc/zoneinfo", "SRAT.aml", "proc/iomem"])
@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_plain_file_of_the_folder_is_not_read(
    odd: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    make, to = ODD[odd]
    monkeypatch.chdir(copied(tmp_path / "c"))  # a socket's path may be no longer than 107 bytes
    make(Path(name), to.format(secret=tmp_path / "secret"))
    for read in (read_answers,) if name == "proc/zoneinfo" else (read_capture, read_input):
        with pytest.raises(InputError, match=f"{name}: cannot be read: ") as said:
            read(str(tmp_path / "c"))
        assert "\n" not in str(said.value) and SECRET not in str(said.value)


def test_a_folder_within_is_not_reached_by_a_link(tmp_path: Path) -> None:
    copied(tmp_path / "c")
    (tmp_path / "c/proc").rename(tmp_path / "elsewhere")
    (tmp_path / "c/proc").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="proc/version: cannot be read: a symbolic link, which is not followed"):
        read_capture(str(tmp_path / "c"))


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    copied(tmp_path / "c")
    (tmp_path / "here").symlink_to("c")
    assert replace(read_capture(f"{tmp_path}/here"), origin="") == replace(read_capture(f"{tmp_path}/c"), origin="")


def test_a_tree_in_folders_within_folders_is_read_as_deep_as_a_kernel_would(tmp_path: Path) -> None:
    """And what is no plain file in it is none of its properties."""
    deep = tmp_path / "t"
    deep.mkdir()
    (deep / "#address-cells").write_bytes(b"\0\0\0\2")
    (deep / "#size-cells").write_bytes(b"\0\0\0\2")
    (deep / "compatible").write_bytes(b"acme,board\0")
    os.mkfifo(deep / "model")
    (deep / "serial-number").symlink_to("/dev/zero")
    below = deep
    for _ in range(150):
        below = below / "a"
        below.mkdir()
    tree = read_input(f"{tmp_path}/t", need_memory=False).fdt
    assert tree is not None and tree.compatible == ("acme,board",) and tree.model is None
    assert [problem.message for problem in tree.problems] == ["nodes below depth 62 are left out"]
    shutil.rmtree(deep)  # deeper than what else clears up there may reach


# A tar file's members


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def plain(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    return member, data


def special(name: str, kind: bytes, to: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.devmajor, member.devminor = kind, to, 1, 5
    return member, b""


LOG = (NUMA / "dmesg.txt").read_bytes()
KINDS = {
    "a symbolic link": (tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": (tarfile.LNKTYPE, "/etc/passwd"),
    "a character device": (tarfile.CHRTYPE, ""),
    "a block device": (tarfile.BLKTYPE, ""),
    "a fifo": (tarfile.FIFOTYPE, ""),
    "a folder": (tarfile.DIRTYPE, ""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_is_no_plain_file_is_not_there(kind: str, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(packed(special("c/dmesg.txt", *KINDS[kind])))
    with pytest.raises(InputError, match=r"is not a capture: it has no dmesg\.txt"):
        read_capture(f"{tmp_path}/c")


def test_members_with_names_of_places_elsewhere_are_names(tmp_path: Path) -> None:
    """Nothing is written, and what the capture's own names hold is read."""
    (tmp_path / "mine").write_text("mine")
    odd = ("../mine", f"{tmp_path}/mine", "c/../../mine", "/etc/passwd", "c/" + "d/" * 2000 + "x", "\x1b[31m", "")
    (tmp_path / "c").write_bytes(packed(*(plain(name, b"theirs") for name in odd), plain("c/dmesg.txt", LOG)))
    before = sorted(path.name for path in tmp_path.iterdir())
    assert read_capture(f"{tmp_path}/c").e820 == read_capture(str(NUMA)).e820
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_member_of_holes_is_not_filled_up(tmp_path: Path) -> None:
    """GNU's sparse format: 1 KiB on disk that claims to be 1 TiB."""
    member = tarfile.TarInfo("c/dmesg.txt")
    member.size = 512
    member.pax_headers = {
        "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(1 << 40),
        "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,512",
    }  # fmt: skip
    (tmp_path / "c").write_bytes(packed((member, LOG[:512])))
    with pytest.raises(InputError, match="holds more than 256 MiB, which no capture does"):
        read_capture(f"{tmp_path}/c")


def test_many_members_are_refused(tmp_path: Path) -> None:
    one = tarfile.TarInfo("x").tobuf()
    (tmp_path / "c").write_bytes(gzip.compress(one * (MOST_MEMBERS + 1) + bytes(1024), 1))
    with pytest.raises(InputError, match=f"holds more than {MOST_MEMBERS} files"):
        read_capture(f"{tmp_path}/c")


def test_a_capture_within_a_capture_is_not_opened(tmp_path: Path) -> None:
    inner = packed(plain("c/dmesg.txt", LOG))
    (tmp_path / "c").write_bytes(packed(plain("c.tar.gz", inner)))
    with pytest.raises(InputError, match=r"is not a capture: it has no dmesg\.txt"):
        read_capture(f"{tmp_path}/c")
    (tmp_path / "c").write_bytes(packed(plain("c/dmesg.txt", inner)))
    with pytest.raises(InputError, match=r"dmesg\.txt: "):
        read_capture(f"{tmp_path}/c")


def test_a_log_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(packed(plain("c/dmesg.txt", gzip.compress(bytes((256 << 20) + 1), 1))))
    with pytest.raises(InputError, match="unpacks to more than"):
        read_capture(f"{tmp_path}/c")
