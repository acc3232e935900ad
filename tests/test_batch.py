"""Many machines, one row each: the rows are those of single boots, and nothing ends the run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import mmtool

from mmtool.answers.batch import AHEAD, Row, inputs_of, rows, summary
from mmtool.answers.ledger import memory_ledger
from mmtool.build.choose import kernel_for
from mmtool.errors import InputError
from mmtool.firmware.read import read_input
from mmtool.linux.init.main import start_kernel
from mmtool.report.batch import document

FIXTURES = Path(__file__).parent.parent / "fixtures"
CAPTURE = FIXTURES / "captures" / "x86-6.18-crashkernel"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A log, a folder of a boot, a tree, a file below another folder, and three that are nothing."""
    folder = tmp_path / "fleet"
    (folder / "site").mkdir(parents=True)
    shutil.copy(FIXTURES / "logs" / "laptop-6.16.txt", folder / "a-laptop.txt")
    shutil.copytree(CAPTURE, folder / "b-capture")
    (folder / "c-empty.txt").write_bytes(b"")
    (folder / "d-noise.bin").write_bytes(bytes(range(256)) * 40)
    shutil.copy(FIXTURES / "fdt" / "faults.dtb.gz", folder / "e-board.dtb.gz")
    (folder / "f-broken.dtb").write_bytes(b"\xd0\x0d\xfe\xed\0\0")
    shutil.copy(FIXTURES / "logs" / "i386-5.4-non-pae.txt", folder / "site" / "i386.txt")
    return folder


NAMES = ["a-laptop.txt", "b-capture", "c-empty.txt", "d-noise.bin", "e-board.dtb.gz", "f-broken.dtb", "site/i386.txt"]
PATIENCE = "600s"
"""How long Dask waits for a scheduler that is there, however busy the machine is."""
BAD = {"c-empty.txt", "d-noise.bin", "f-broken.dtb"}


def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    done = mmtool("batch", *arguments, stdin=stdin.encode())
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def run_on_cluster(fleet: Path, address: str, *options: str) -> subprocess.CompletedProcess[str]:
    """With Dask, whose threads do not come along into a child of this process."""
    command = [sys.executable, "-m", "mmtool", "batch", str(fleet), "--dask", address, *options]
    environment = os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": PATIENCE}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_inputs_of_a_folder(fleet: Path) -> None:
    assert [str(Path(file).relative_to(fleet)) for file in inputs_of(str(fleet))] == NAMES


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_row_for_each_in_order(fleet: Path, jobs: int) -> None:
    done = run(fleet, "--jobs", str(jobs))
    assert (done.returncode, done.stderr) == (0, "")
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(fleet / name) for name in NAMES]
    for line, name in zip(lines, NAMES, strict=True):
        assert line["schema"] == "mmtool.batch/1"
        assert (line["error"] is not None) == (name in BAD)
        if line["error"] is not None:
            assert line["error"].startswith(str(fleet / name)) and "\n" not in line["error"]
            assert {value for key, value in line.items() if key not in ("schema", "file", "error")} == {None}


@pytest.mark.parametrize("path", [CAPTURE, FIXTURES / "fdt" / "faults.dtb.gz", FIXTURES / "logs" / "laptop-6.16.txt"])
def test_a_row_is_what_a_boot_says(path: Path) -> None:
    machine = read_input(str(path))
    boot = start_kernel(machine, kernel_for(machine))
    row, ledger = summary(str(path)), memory_ledger(boot)
    assert (row.error, row.kernel, row.arch) == (None, boot.kernel.name, boot.kernel.arch)
    assert (row.installed, row.memtotal) == (ledger.installed, ledger.memtotal)
    assert row.lost == ledger.installed - ledger.memtotal
    assert row.zones is not None
    # An image whose place nothing shows is taken from the sum, but from no zone.
    placed = all(line.taker != "kernel image, place unknown" for line in ledger.lines)
    zones = sum(amount for _, amount in row.zones)
    assert zones >= ledger.memtotal and (zones == ledger.memtotal) == placed
    assert row.takers is not None and len(row.takers) == 3
    assert row.takers[0][1] == max(line.amount for line in ledger.lines)


def test_where_a_crash_kernel_lies() -> None:
    """As the kernel said: crashkernel reserved: 0x00000000af000000 - 0x00000000bf000000."""
    row = summary(str(CAPTURE))
    assert (row.crashkernel, row.crashkernel_at) == ("256M", (0xAF000000, 0xBF000000))
    assert document(row)["crashkernel_at"] == {"start": "0xaf000000", "end": "0xbeffffff"}


def test_csv_has_the_same_rows(fleet: Path) -> None:
    lines = [json.loads(line) for line in run(fleet).stdout.splitlines()]
    found = list(csv.DictReader(run(fleet, "-o", "csv").stdout.splitlines()))
    for line, row in zip(lines, found, strict=True):
        for name in ("file", "error", "kernel", "installed", "memtotal", "lost"):
            assert row[name] == ("" if line[name] is None else str(line[name]))
        zones = "; ".join(f"{zone['zone']} {zone['managed']}" for zone in line["zones"] or ())
        assert row["zones"] == zones


def test_names_on_standard_input(fleet: Path) -> None:
    names = f"{fleet / 'site/i386.txt'}\n\n{fleet / 'nowhere.txt'}\r\n-\n"
    lines = [json.loads(line) for line in run("-", stdin=names).stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(fleet / "site/i386.txt"), str(fleet / "nowhere.txt"), "./-"]
    assert [line["error"] is None for line in lines] == [True, False, False]
    assert lines[1]["error"] == f"{fleet / 'nowhere.txt'}: cannot be read: No such file or directory"


def test_no_more_is_read_than_is_worked_on() -> None:
    """A list without an end: after the first row only what the processes have been given is taken from it."""
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield str(FIXTURES / "logs" / "i386-5.4-non-pae.txt")

    made = rows(endless(), 2)
    assert next(made).error is None
    assert taken == 2 * AHEAD
    next(made)
    assert taken == 2 * AHEAD + 1
    made.close()


def test_a_process_that_is_killed_ends_one_row_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmtool.answers.batch.summary", _dies_on_one)
    made = list(rows(["first", "die", *(f"{i}" for i in range(30))], 2))
    assert [row.file for row in made] == ["first", "die", *(f"{i}" for i in range(30))]
    assert [row.file for row in made if row.error is not None] == ["die"]


def _dies_on_one(file: str) -> Row:
    if file == "die":
        signal.raise_signal(signal.SIGKILL)
    return Row(file)


def test_a_defect_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmtool.answers.batch.start_kernel", lambda *_: 1 / 0)
    assert summary(str(CAPTURE)).error == f"{CAPTURE}: this is a defect of mmtool: ZeroDivisionError: division by zero"


def test_ctrl_c_leaves_whole_lines(fleet: Path) -> None:
    command = [sys.executable, "-m", "mmtool", "batch", "-", "--jobs", "2"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as p:
        assert p.stdin is not None and p.stdout is not None and p.stderr is not None
        p.stdin.write(f"{fleet / 'a-laptop.txt'}\n" * 400)
        p.stdin.close()
        first = p.stdout.readline()
        p.send_signal(signal.SIGINT)
        rest, said = p.stdout.read(), p.stderr.read()
    assert p.returncode == -signal.SIGINT and said.strip() == "mmtool: stopped"
    assert rest == "" or rest.endswith("\n")
    assert {json.loads(line)["error"] for line in [first, *rest.splitlines()]} == {None}
    assert len(rest.splitlines()) < 399


def test_no_process_outlives_a_reader_that_has_seen_enough() -> None:
    """Workers hold standard error: it ends only when the last of them has."""
    command = [sys.executable, "-m", "mmtool", "batch", str(FIXTURES / "logs"), "--jobs", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_folder_that_is_none() -> None:
    done = run("/nowhere")
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        done.stderr
        == "mmtool: /nowhere: cannot be read: No such file or directory; give a folder of logs, or - for a list\n"
    )
    with pytest.raises(InputError):
        list(inputs_of("/nowhere"))


def test_a_dask_cluster_gives_the_same_table(fleet: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        spread = run_on_cluster(fleet, cluster.scheduler_address, "-o", "csv")
    assert (spread.returncode, spread.stderr) == (0, "")
    assert spread.stdout == run(fleet, "--jobs", "1", "-o", "csv").stdout


@pytest.mark.parametrize("address", ["nonsense://nowhere", "nowhere", "tcp://127.0.0.1:x", "tls://127.0.0.1:1", ""])
def test_no_cluster_is_wrong_usage(fleet: Path, address: str) -> None:
    pytest.importorskip("distributed")
    done = run_on_cluster(fleet, address)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"mmtool: --dask {address}".rstrip() + ": ")


def test_a_scheduler_that_does_not_answer_is_waited_for(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as Dask's own configuration says, which is not long here."""
    pytest.importorskip("distributed")
    monkeypatch.setitem(globals(), "PATIENCE", "100ms")
    done = run_on_cluster(fleet, "tcp://127.0.0.1:1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("mmtool: --dask tcp://127.0.0.1:1: no scheduler answers there: ")


def test_processes_here_and_a_cluster_do_not_go_together(fleet: Path) -> None:
    assert run(fleet, "--dask", "tcp://127.0.0.1:1", "--jobs", "2").returncode == 2
