"""`mmtool capture`: what it collects of a machine is what a boot in the model reads, and names nobody."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from click.testing import CliRunner

from mmtool.build.choose import kernel_for
from mmtool.build.profile import with_estimates
from mmtool.capture import reading
from mmtool.capture.build_files import build_of, collect_profile
from mmtool.capture.collect import Collected, collect
from mmtool.capture.identity import Identity, read_identity
from mmtool.capture.reading import run_program
from mmtool.capture.store import INDEX, write_capture
from mmtool.cli.boot import boot as boot_command
from mmtool.cli.capture import capture as capture_command
from mmtool.errors import InputError, UsageError
from mmtool.firmware.log import read_log
from mmtool.firmware.read import read_capture, read_input, read_machine, read_this_machine

FIXTURES = Path(__file__).parent.parent / "fixtures"
NUMA = FIXTURES / "captures" / "x86-7.3-numa3-asym"
BOARD = FIXTURES / "arm64" / "arm64-6.1-numa2"
LOGS = sorted(FIXTURES.glob("captures/*/dmesg.txt")) + sorted(FIXTURES.glob("logs/*.txt"))
FOLDER = os.environ.get("MMTOOL_LOGS")
ALL_LOGS = LOGS + (sorted(Path(FOLDER).glob("*.txt")) if FOLDER else [])


def no_program(command: tuple[str, ...]) -> bytes | None:
    return None


def printing(dmesg: bytes | None = None, journal: bytes | None = None):
    return lambda command: dmesg if command[0] == "dmesg" else journal


def put(root: Path, path: str, data: bytes | str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)


def machine_of(capture: Path, root: Path) -> Path:
    """A machine's root as the kernel of a recorded boot showed it."""
    for file in capture.rglob("*"):
        name = file.relative_to(capture).as_posix()
        if file.is_file() and name.startswith("proc/"):
            put(root, name, file.read_bytes())
        elif name in ("SRAT.aml", "SLIT.aml"):
            put(root, f"sys/firmware/acpi/tables/{file.stem}", file.read_bytes())
        elif name == "machine.dtb.gz":
            put(root, "sys/firmware/fdt", gzip.decompress(file.read_bytes()))
        elif name == "memmap.txt":
            for path, value in re.findall(r"^/(\S+?):(.*)$", file.read_text(), flags=re.M):
                put(root, path, value + "\n")
    log = (capture / "dmesg.txt").read_text()
    version = re.search(r"Linux version .*", log)
    told = capture / "proc/version"
    put(root, "proc/version", told.read_text() if told.exists() else version[0] + "\n" if version else "")
    put(root, "proc/cmdline", re.findall(r"[Cc]ommand line: (.*)", log)[0] + "\n")
    return root


def collected(capture: Path, root: Path) -> Collected:
    return collect(machine_of(capture, root), printing((capture / "dmesg.txt").read_bytes()))


def answer(*arguments: str) -> str:
    result = CliRunner().invoke(boot_command, arguments, catch_exceptions=False, standalone_mode=False)
    return result.stdout


# What is collected


@pytest.mark.parametrize("recorded", [NUMA, BOARD], ids=lambda path: path.name)
def test_it_collects_what_was_recorded(recorded: Path, tmp_path: Path) -> None:
    files = collected(recorded, tmp_path).files
    for file in recorded.rglob("*"):
        name = file.relative_to(recorded).as_posix()
        if name == "machine.dtb.gz":
            assert files["machine.dtb"] == gzip.decompress(file.read_bytes())
        elif file.is_file() and name != "case.yaml":
            assert files[name] == file.read_bytes(), name


@pytest.mark.parametrize("form", ["folder", "folder.tar.gz"])
@pytest.mark.parametrize("recorded", [NUMA, BOARD], ids=lambda path: path.name)
def test_a_boot_of_it_is_a_boot_of_what_was_recorded(recorded: Path, form: str, tmp_path: Path) -> None:
    files = collected(recorded, tmp_path / "root").files
    target = str(tmp_path / form)
    write_capture(files, target, force=False)
    assert answer("--capture", target, "-o", "json") == answer("--capture", str(recorded), "-o", "json")
    assert replace(read_input(target), origin="") == replace(read_capture(target), origin="")


def test_the_device_is_read_where_there_is_no_dmesg(tmp_path: Path) -> None:
    records = (
        "6,0,0,-;Linux version 6.1.0 (a@b) #1 SMP\n6,1,1500000,-;BIOS-e820: [mem 0x0-0x9ffff] usable\n"
        " SUBSYSTEM=pci\n DEVICE=+pci:0000:00:1f.2\n4,2,12345678901,c;two\\x0alines\n"
    )
    put(tmp_path, "dev/kmsg", records)
    put(tmp_path, "sys/firmware/memmap/0/start", "0x0\n")
    log = collect(tmp_path, no_program).files["dmesg.txt"]
    assert log == (
        b"[    0.000000] Linux version 6.1.0 (a@b) #1 SMP\n[    1.500000] BIOS-e820: [mem 0x0-0x9ffff] usable\n"
        b"[12345.678901] two\nlines\n"
    )


WHOLE = b"[    0.000000] Linux version 6.1.0 (a@b) #1 SMP\n[    0.000000] BIOS-e820: [mem 0x0-0x9ffff] usable\n"
LATER = b"[  100.000000] eth0: link is up\n" * 9


@pytest.mark.parametrize(
    ("dmesg", "journal", "chosen"),
    [
        (WHOLE, None, WHOLE),
        (WHOLE, LATER, WHOLE),
        (LATER, WHOLE, WHOLE),
        (LATER, b"-- No entries --\n", LATER),
        (None, b"-- Journal begins at noon --\n" + WHOLE, WHOLE),
        (None, b"-- No entries --\n", None),
    ],
)
def test_the_log_is_the_one_that_has_its_beginning(
    dmesg: bytes | None, journal: bytes | None, chosen: bytes | None, tmp_path: Path
) -> None:
    put(tmp_path, "sys/firmware/memmap/0/start", "0x0\n")
    found = collect(tmp_path, printing(dmesg, journal))
    assert found.files.get("dmesg.txt") == chosen
    lost = [m.name for m in found.missing if "dmesg" in m.name]
    assert lost == ([] if chosen is WHOLE else ["dmesg.txt"] if chosen is None else ["start of dmesg.txt"])


@pytest.mark.parametrize("log", [LATER, None])
def test_without_its_beginning_the_log_is_made_up_for(log: bytes | None, tmp_path: Path) -> None:
    """/sys and /proc say then what mmtool boot reads of a machine that it runs on."""
    root = machine_of(NUMA, tmp_path / "root")
    target = str(tmp_path / "capture")
    write_capture(collect(root, printing(log)).files, target, force=False)
    got, want = read_capture(target), read_this_machine(root)
    assert got.e820 and got.kernel_base
    for name in ("source", "e820", "release", "version_line", "cmdline", "srat", "slit"):
        assert getattr(got, name) == getattr(want, name)


def test_a_map_in_the_log_goes_before_the_one_in_sys(tmp_path: Path) -> None:
    write_capture({"dmesg.txt": WHOLE, "memmap.txt": (NUMA / "memmap.txt").read_bytes()}, f"{tmp_path}/c", force=False)
    assert read_capture(f"{tmp_path}/c").e820 == read_log(WHOLE.decode(), "").e820


def test_the_kernels_files_are_found_by_its_release(tmp_path: Path) -> None:
    root = machine_of(NUMA, tmp_path)
    put(root, "boot/config-7.3.4+deb13-cloud-amd64", "CONFIG_NUMA=y\n")
    put(root, "boot/config-6.1", "CONFIG_NUMA=n\n")
    put(root, "boot/System.map-7.3.4+deb13-cloud-amd64", "ffffffffffffffff B The real System.map is elsewhere\n")
    put(root, "lib/modules/7.3.4+deb13-cloud-amd64/System.map", "ffffffff81000000 T _text\n" * 1000)
    files = collect(root, no_program).files
    assert files["config"] == b"CONFIG_NUMA=y\n"
    assert len(files["System.map"]) == 25_000
    put(root, "proc/config.gz", gzip.compress(b"CONFIG_NUMA=m\n"))
    assert collect(root, no_program).files["config"] == b"CONFIG_NUMA=m\n"


def test_the_profile_of_its_build_comes_with_a_machine(tmp_path: Path) -> None:
    """As `mmtool boot` without an input makes it of a machine that it runs on; options go before it."""
    root = machine_of(NUMA, tmp_path / "root")
    put(root, "proc/config.gz", gzip.compress(b"CONFIG_X86_64=y\nCONFIG_NUMA=y\nCONFIG_NODES_SHIFT=3\n"))
    found = collect(root, printing((NUMA / "dmesg.txt").read_bytes()))
    collect_profile(found, root)
    made = build_of(found.files, root, "")
    target = f"{tmp_path}/c.tar.gz"
    write_capture(found.files, target, force=False)
    machine = read_input(target)
    assert made is not None
    assert kernel_for(machine).profile == kernel_for(machine, profile=with_estimates(made.profile)).profile
    assert kernel_for(machine).profile.config["NODES_SHIFT"] == 3
    without = replace(machine, build=None)
    assert kernel_for(machine, "6.1").profile == kernel_for(without, "6.1").profile
    assert kernel_for(machine).profile != kernel_for(without).profile


def test_a_build_that_shows_no_profile_is_said(tmp_path: Path) -> None:
    found = Collected({"config": b"CONFIG_ALPHA=y\n"})
    collect_profile(found, tmp_path)
    assert "profile.yaml" not in found.files and "no profile.yaml, the architecture" in str(found.missing[0])
    collect_profile(found := Collected({}), tmp_path)
    assert not found.files and not found.missing


@pytest.mark.parametrize("text", ["", "name: [", "a: &a [*a]", "name: x\narch: vax\n", "sizes: {struct_page: -1}"])
def test_a_damaged_profile_of_a_stranger_is_refused(text: str, tmp_path: Path) -> None:
    files = {"dmesg.txt": (NUMA / "dmesg.txt").read_bytes(), "profile.yaml": text.encode()}
    write_capture(files, f"{tmp_path}/c", force=False)
    with pytest.raises(InputError, match=f"^{tmp_path}/c/profile.yaml"):
        kernel_for(read_capture(f"{tmp_path}/c"))


# What is missing


def test_what_is_missing_is_said_with_its_cost(tmp_path: Path) -> None:
    root = machine_of(NUMA, tmp_path)
    (root / "proc/zoneinfo").unlink()
    (root / "proc/pagetypeinfo").unlink()
    (root / "proc/pagetypeinfo").mkdir()
    put(root, "proc/iomem", re.sub("[0-9a-f]{8,}", "00000000", (root / "proc/iomem").read_text()))
    said = {m.name: str(m) for m in collect(root, printing(LATER)).missing}
    assert (
        said["proc/zoneinfo"]
        == "no proc/zoneinfo, /proc/zoneinfo is not there: nothing to compare zones and watermarks with"
    )
    assert said["proc/pagetypeinfo"] == (
        "no proc/pagetypeinfo, is a directory: free blocks are not told apart by mobility"
    )
    assert said["proc/iomem"] == (
        "no proc/iomem, its addresses are hidden: where the kernel's image lies stays unknown; run it as root"
    )
    assert said["System.map"].startswith("no System.map, neither /boot/System.map-7.3.4+deb13-cloud-amd64 nor /lib/")
    assert set(said) == {
        "proc/zoneinfo",
        "proc/pagetypeinfo",
        "proc/iomem",
        "config",
        "System.map",
        "start of dmesg.txt",
    }


def test_what_not_every_machine_has_is_not_missed(tmp_path: Path) -> None:
    root = machine_of(NUMA, tmp_path)
    (root / "sys/firmware/acpi/tables/SRAT").unlink()
    found = collect(root, printing(WHOLE))
    assert "SRAT.aml" not in found.files and not [m for m in found.missing if m.name == "SRAT.aml"]


def test_a_machine_that_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither the kernel's log nor the map can be read"):
        collect(tmp_path, no_program)


@pytest.mark.parametrize("name", ["proc/zoneinfo", "proc/cmdline", "sys/devices/system/cpu/online", "boot/config-1"])
def test_what_never_answers_is_missing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine_of(NUMA, tmp_path)
    put(root, "proc/version", "Linux version 1 (a@b)\n")
    put(root, name, "y")
    answering = Event()
    plain = reading.read_plain

    def waiting(path: Path) -> bytes:
        if path == root / name:
            answering.wait(20)
        return plain(path)

    monkeypatch.setattr(reading, "read_plain", waiting)
    monkeypatch.setattr(reading, "PATIENCE", 0.05)
    found = collect(root, printing(WHOLE))
    answering.set()
    assert any(m.why.endswith("does not answer") for m in found.missing if m.name in (name, "config"))
    assert "proc/buddyinfo" in found.files and name not in found.files


def test_settings_are_read_that_make_room_for_what_they_are_asked_for() -> None:
    assert reading.read_in_time(Path("/proc/sys/vm/swappiness")).strip().isdigit()


def test_a_fifo_in_place_of_a_file_is_missing(tmp_path: Path) -> None:
    root = machine_of(NUMA, tmp_path)
    for name in ("proc/zoneinfo", "proc/slabinfo"):
        (root / name).unlink(missing_ok=True)
    os.mkfifo(root / "proc/zoneinfo")
    (root / "proc/slabinfo").symlink_to("/dev/zero")
    missing = {m.name: m.why for m in collect(root, printing(WHOLE)).missing}
    assert missing["proc/zoneinfo"] == missing["proc/slabinfo"] == "not a plain file"


def test_a_program_that_never_ends_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PATIENCE", 0.2)
    assert run_program(("sh", "-c", "echo x; exec sleep 60")) is None
    monkeypatch.setattr(reading, "PATIENCE", 20.0)
    assert run_program(("sh", "-c", "echo x")) == b"x\n"
    assert run_program(("sh", "-c", "echo x; false")) is None
    assert run_program((str(tmp_path / "none"),)) is None
    monkeypatch.setattr(reading, "LARGEST", 1 << 16)
    assert run_program(("sh", "-c", "exec cat /dev/zero")) is None


# What a machine is called


def test_a_machine_knows_its_names(tmp_path: Path) -> None:
    put(tmp_path, "proc/sys/kernel/hostname", "zeus.example\n")
    put(tmp_path, "proc/sys/kernel/domainname", "(none)\n")
    put(tmp_path, "sys/class/net/eth0/address", "00:1b:21:aa:bb:cc\n")
    put(tmp_path, "sys/class/net/lo/address", "00:00:00:00:00:00\n")
    put(tmp_path, "sys/class/dmi/id/product_serial", "CZC1234567\n")
    put(tmp_path, "sys/class/dmi/id/board_serial", "To be filled by O.E.M.\n")
    put(tmp_path, "sys/class/dmi/id/chassis_serial", "0123456789\n")
    people = "alice.smith:x:1000:1000:Alice:/home/a:/bin/sh\nodd\nb:x:y\nnobody:x:65534:65534::/:/bin/false\n"
    put(tmp_path, "etc/passwd", f"root:x:0:0:root:/root:/bin/bash\n{people}")
    assert read_identity(tmp_path) == Identity(
        frozenset({"zeus.example", "zeus"}), frozenset({"001b21aabbcc", "CZC1234567"}), frozenset({"alice.smith"})
    )


# Where it goes

ONE = {
    INDEX: json.dumps({"files": [{"name": "SRAT.aml"}, {"name": "proc/iomem"}]}).encode(),
    "SRAT.aml": b"s",
    "proc/iomem": b"",
}
OTHER = {INDEX: b"{}", "dmesg.txt": WHOLE}


def listed(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def contents(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_capture_is_written_over_only_by_force(tmp_path: Path) -> None:
    target = tmp_path / "c"
    write_capture(ONE, str(target), force=False)
    (target / "notes").write_text("mine")
    with pytest.raises(UsageError, match="is there already; give --force"):
        write_capture(OTHER, str(target), force=False)
    assert contents(target) == {**ONE, "notes": b"mine"}
    write_capture(OTHER, str(target), force=True)
    assert contents(target) == {**OTHER, "notes": b"mine"}
    assert listed(tmp_path) == ["c"]


@pytest.mark.parametrize("name", ["c", "c.tar.gz"])
def test_a_capture_is_for_its_owner_alone(name: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for _ in range(2):
            write_capture(ONE, str(tmp_path / name), force=True)
            for path in tmp_path.rglob("*"):
                assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    finally:
        os.umask(before)
    if name != "c":
        with tarfile.open(tmp_path / name) as tar:
            assert {member.mode for member in tar} == {0o600}


@pytest.mark.parametrize("name", ["c", "c.tar.gz"])
def test_a_link_that_somebody_planted_is_not_written_through(name: str, tmp_path: Path) -> None:
    """Beside the capture, where it is written before it is renamed, and in its place."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / f".{name}.{os.getpid()}").symlink_to("mine")
    with pytest.raises(UsageError, match="File exists"):
        write_capture(ONE, str(tmp_path / name), force=False)
    (tmp_path / name).symlink_to("mine")
    with pytest.raises(UsageError, match="is there already"):
        write_capture(ONE, str(tmp_path / name), force=False)
    if name != "c":
        write_capture(ONE, str(tmp_path / name), force=True)
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_capture_goes_into_an_empty_folder_where_it_is(tmp_path: Path) -> None:
    before = tmp_path.stat().st_ino
    write_capture(ONE, str(tmp_path), force=False)
    assert contents(tmp_path) == ONE and tmp_path.stat().st_ino == before


def test_a_write_that_was_stopped_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before any of its moves, it leaves a folder that --force takes."""
    replace_file, moves = Path.replace, 0

    def stopping(self: Path, to: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves == stop:
            raise KeyboardInterrupt
        return replace_file(self, to)

    for stop in (1, 2, 3):
        target = tmp_path / f"c{stop}"
        write_capture(ONE, str(target), force=False)
        moves = 0
        monkeypatch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            write_capture(OTHER, str(target), force=True)
        monkeypatch.undo()
        write_capture(OTHER, str(target), force=True)
        assert contents(target) == OTHER and set(listed(target)) == set(OTHER)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_capture_is_never_written_over(force: bool, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "x.tar.gz").mkdir()
    for name in ("full", "file", "x.tar.gz", "nowhere/c"):
        before = contents(tmp_path)
        with pytest.raises(UsageError, match=f"^{tmp_path}/{name}"):
            write_capture(ONE, str(tmp_path / name), force=force)
        assert contents(tmp_path) == before


def test_an_index_that_points_elsewhere_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    names = [{"name": "../mine"}, {"name": str(tmp_path / "mine")}]
    write_capture({INDEX: json.dumps({"files": names}).encode()}, f"{tmp_path}/c", force=False)
    write_capture(OTHER, f"{tmp_path}/c", force=True)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    write_capture({INDEX: b"no"}, f"{tmp_path}/c", force=False)
    with pytest.raises(UsageError, match=r"capture\.json is damaged"):
        write_capture(OTHER, f"{tmp_path}/c", force=True)
    assert listed(tmp_path) == ["c"]


def test_a_tar_file_holds_a_folder_and_names_no_user(tmp_path: Path) -> None:
    target = tmp_path / "box.tar.gz"
    write_capture(ONE, str(target), force=False)
    with pytest.raises(UsageError, match="--force"):
        write_capture(ONE, str(target), force=False)
    write_capture(OTHER, str(target), force=True)
    with tarfile.open(target) as tar:
        assert [(m.name, m.uid, m.uname) for m in tar] == [("box/capture.json", 0, ""), ("box/dmesg.txt", 0, "")]
    assert listed(tmp_path) == ["box.tar.gz"]


@pytest.mark.parametrize("top", ["", "./", "a/b/", "./a/"])
def test_a_capture_packed_by_hand_is_read(top: str, tmp_path: Path) -> None:
    target = tmp_path / "c.tar"
    with tarfile.open(target, "w") as tar:
        for file in NUMA.rglob("*"):
            tar.add(file, top + file.relative_to(NUMA).as_posix(), recursive=False)
    assert replace(read_capture(str(target)), origin="") == replace(read_capture(str(NUMA)), origin="")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither a folder nor a tar file"),
        (WHOLE, "neither a folder nor a tar file"),
        (gzip.compress(WHOLE, mtime=0)[:-9], "the compressed file ends too early"),
    ],
)
def test_what_is_no_capture_is_said(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_capture(str(tmp_path / "f"))


def test_a_tar_file_of_something_else_is_no_capture(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(NUMA / "SRAT.aml", "x/SRAT.aml")
    (tmp_path / "f.tar").write_bytes(out.getvalue())
    with pytest.raises(InputError, match=r"it has no dmesg\.txt"):
        read_capture(str(tmp_path / "f.tar"))
    (tmp_path / "f.tar").write_bytes(out.getvalue()[:700])
    with pytest.raises(InputError, match="the tar file is damaged"):
        read_capture(str(tmp_path / "f.tar"))


def test_a_tar_file_is_no_map(tmp_path: Path) -> None:
    write_capture(OTHER, f"{tmp_path}/c.tgz", force=False)
    with pytest.raises(InputError, match=r"is a capture, .*; give it with --capture"):
        read_machine(f"{tmp_path}/c.tgz")


# On this machine


@pytest.mark.skipif(not os.access("/sys/firmware/memmap", os.R_OK), reason="this machine shows no map")
def test_this_machine_is_captured_and_booted(tmp_path: Path) -> None:
    target = str(tmp_path / "here.tar.gz")
    result = CliRunner().invoke(capture_command, [target, "-o", "json"], catch_exceptions=False, standalone_mode=False)
    doc = json.loads(result.stdout)
    assert doc["schema"] == "mmtool.capture/1" and not doc["names_kept"]
    assert {"memmap.txt", "proc/version", "proc/zoneinfo"} <= {file["name"] for file in doc["files"]}
    assert all(f"mmtool: no {m['name']}, " in result.stderr for m in doc["missing"])
    packed = CliRunner().invoke(capture_command, ["-"], catch_exceptions=False, standalone_mode=False).stdout_bytes
    for source in (target, tmp_path / "again.tar.gz"):
        Path(source).write_bytes(packed) if source != target else None
        machine, here = read_capture(str(source)), read_this_machine()
        assert machine.e820 and machine.release == here.release
        assert json.loads(answer("--capture", str(source), "-o", "json"))["nodes"]


def test_names_are_kept_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = b"[    0.000000] BIOS-e820: [mem 0x0-0x9ffff] usable\n[    1.000000] eth0: 00:1b:21:aa:bb:cc\n"
    found = Collected({"dmesg.txt": said})
    monkeypatch.setattr("mmtool.capture.collect.collect", lambda: Collected(dict(found.files)))
    cases = {
        (): said.splitlines()[0] + b"\n\n",
        ("--keep-names",): said.splitlines()[0] + b"\n\n",
        ("--whole",): said.replace(b"00:1b:21:aa:bb:cc", b"02:00:00:00:00:01"),
        ("--whole", "--keep-names"): said,
    }
    for options, want in cases.items():
        target = tmp_path / f"c{''.join(options)}"
        done = CliRunner().invoke(capture_command, [str(target), *options], catch_exceptions=False)
        assert done.exit_code == 0
        assert (target / "dmesg.txt").read_bytes() == want
        doc = json.loads((target / INDEX).read_bytes())
        assert (doc["whole"], doc["names_kept"]) == ("--whole" in options, "--keep-names" in options)
        lost = {"name": "dmesg.txt", "lines": 2, "left_out": int(not doc["whole"]), "replaced": int(doc["whole"])}
        assert doc["changed"] == ([] if options == ("--whole", "--keep-names") else [lost])
        assert ("left out, as mmtool does not read them: 1 of 2 lines of dmesg.txt" in done.stderr) is not doc["whole"]
