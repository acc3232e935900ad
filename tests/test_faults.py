"""Faults of the world around it: a full disk, a closed pipe, signals, a home that is not there, somebody else's links.

Of each: nothing is lost, nothing is left, and the exit status says how it went.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import stat
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from support.commands import COMMANDS, CORPUS, LOG, STATE, STRANGER, TREE, Done, Started, run

from mmtool import cli
from mmtool.cli.output import SUFFIXES, OutputType, written
from mmtool.errors import UsageError

WRITERS: dict[str, tuple[tuple[str | Path, ...], str]] = {
    "boot": (("boot", LOG, "-o"), ".json"),
    "profile make": ((*COMMANDS["profile make"], "-o"), ".yaml"),
    "example": (("example", "numa4", "-o"), ".tar.xz"),
    "capture": (("capture",), ".tar.gz"),
    "capture folder": (("capture",), ""),
}
"""Commands that write a file, whose name comes last and ends so."""
FULL = Path("/dev/full")
SIGNALS = (2, 15)
STOPPED = "mmtool: stopped"
TIMES = int(os.environ.get("MMTOOL_SIGNALS", "1"))
"""How often each command is sent each signal."""
SEED = int(os.environ.get("MMTOOL_SEED", "1"))
is_root = os.geteuid() == 0


def form_of(name: str) -> str | None:
    """The ending of a file that a command may be told to write to."""
    command: click.Command = cli.cli
    for word in map(str, COMMANDS[name]):
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), word) or command
    types = [p.type for p in command.params if p.name == "output"]
    return next((SUFFIXES[form][0][1:] for t in types if isinstance(t, OutputType) for form in t.formats[:1]), None)


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Every command once, here, so that a child has what it needs at once, also one that may not read Python's own."""
    import_module("encodings.utf_8_sig")
    for arguments in COMMANDS.values():
        out = io.TextIOWrapper(io.BytesIO())
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.suppress(SystemExit),
        ):
            cli.cli([*map(str, arguments)], standalone_mode=False)


@pytest.fixture(scope="module")
def sound(loaded: None) -> dict[str, Done]:
    """What each command does where nothing is wrong."""
    return {name: run(arguments) for name, arguments in COMMANDS.items()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A place for the last boot's state."""
    return tmp_path / "home"


def keeping(home: Path) -> dict[str, str | None]:
    return {"XDG_STATE_HOME": str(home)}


def kept(home: Path) -> str:
    """Of which file the state is that a command would go on from."""
    return str(json.loads((home / "mmtool" / "boot.json").read_text())["source"])


def test_every_command_is_tried() -> None:
    assert {arguments[0] for arguments in COMMANDS.values()} == set(cli.COMMANDS)


def test_they_are_sound(sound: dict[str, Done]) -> None:
    for name, done in sound.items():
        assert done.status in (0, 1), (name, done)
        assert done.out or done.status, (name, done)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(name: str, sound: dict[str, Done]) -> None:
    with FULL.open("wb") as full:
        done = run(COMMANDS[name], out=full)
    if not sound[name].out:
        assert (done.status, done.said) == (sound[name].status, sound[name].said)
        return
    assert (done.status, done.said[-1]) == (3, "mmtool: standard output: No space left on device")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_pipe(name: str, sound: dict[str, Done]) -> None:
    """Whoever reads has seen enough: the command ends by SIGPIPE, without a word of it and without leaving anybody."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        started = Started(COMMANDS[name], out=pipe)
    done = started.wait()
    assert done.status == (-13 if sound[name].out else sound[name].status)
    assert set(done.said) <= set(sound[name].said)
    gone(started)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_has_seen_enough(name: str, sound: dict[str, Done]) -> None:
    """As with | head -1."""
    read, write = os.pipe()
    with os.fdopen(write, "wb") as pipe:
        started = Started(COMMANDS[name], out=pipe, prepare=lambda: os.close(read))
    with os.fdopen(read, "rb") as lines:
        lines.readline()
    done = started.wait()
    assert done.status in (sound[name].status, -13)
    assert set(done.said) <= set(sound[name].said)
    gone(started)


def test_no_worker_is_left_behind_a_reader_that_has_seen_enough() -> None:
    """More rows than a pipe holds."""
    read, write = os.pipe()
    with os.fdopen(write, "wb") as pipe:
        listed = f"{LOG}\n".encode() * 500
        started = Started(
            ("batch", "-", "--jobs", "4"), out=pipe, stdin=listed, prepare=lambda: os.close(read)
        )  # fmt: skip
    with os.fdopen(read, "rb") as lines:
        assert json.loads(lines.readline())["file"] == str(LOG)
    done = started.wait()
    assert (done.status, done.said) == (-13, [])
    gone(started)


TO_FILES = [name for name, words in COMMANDS.items() if not {"-o", "--bar"} & {*words} and form_of(name)]


@pytest.mark.parametrize("name", TO_FILES)
def test_a_file_on_a_full_disk(name: str, tmp_path: Path, sound: dict[str, Done]) -> None:
    link = tmp_path / f"full.{form_of(name)}"
    link.symlink_to(FULL)
    done = run((*COMMANDS[name], "-o", link))
    if sound[name].out:
        assert (done.status, done.out, done.said[-1]) == (2, b"", f"mmtool: -o {link}: No space left on device")
    assert list(tmp_path.iterdir()) == [link]


def gone(started: Started) -> None:
    """Nobody of its process group is left. Workers are ended by the kernel with their parent, and init buries them."""
    for _ in range(60_000):
        if not started.left():
            return
        time.sleep(0.01)
    raise AssertionError("somebody is left for ever")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_at_any_moment(name: str, number: int, sound: dict[str, Done], home: Path) -> None:
    """At whatever moment it comes, the command ends by it or is through already, and nothing is half done."""
    moments = random.Random(f"{SEED} {name} {number}")
    began = time.monotonic()
    run(COMMANDS[name], environment=keeping(home))
    whole = time.monotonic() - began
    for _ in range(TIMES):
        started = Started(COMMANDS[name], environment=keeping(home))
        time.sleep(moments.uniform(0, whole))
        with contextlib.suppress(ProcessLookupError):
            os.kill(started.pid, number)
        done = started.wait()
        assert done.status in (sound[name].status, -number)
        assert set(done.said) <= {*sound[name].said, STOPPED}
        if done.status != -number:
            assert len(done.out) == len(sound[name].out) or name == "capture"
        gone(started)
        if home.exists():
            assert {path.name for path in (home / "mmtool").iterdir()} <= {"boot.json", "lock"}
            if (home / "mmtool" / "boot.json").exists():
                kept(home)


def test_ctrl_c_at_a_terminal_is_for_all_of_its_processes(sound: dict[str, Done]) -> None:
    """Also for one that has only just been made."""
    moments = random.Random(f"{SEED} group")
    began = time.monotonic()
    run(COMMANDS["batch"])
    whole = time.monotonic() - began
    for _ in range(2 * TIMES):
        started = Started(COMMANDS["batch"])
        time.sleep(moments.uniform(0, whole))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, 2)
        done = started.wait()
        assert done.status in (0, -2)
        assert set(done.said) <= {STOPPED}
        assert done.status or done.out == sound["batch"].out
        gone(started)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_signal_while_a_file_is_written(name: str, number: int, tmp_path: Path) -> None:
    """The file is there whole or not at all, and nothing beside it."""
    target = tmp_path / "target"
    target.mkdir()
    arguments, file = WRITERS[name][0], target / f"made{WRITERS[name][1]}"
    moments = random.Random(f"{SEED} {name} {number}")
    began = time.monotonic()
    assert run((*arguments, file)).status == 0
    whole = time.monotonic() - began
    length = len(list(file.rglob("*"))) if file.is_dir() else file.stat().st_size
    for _ in range(2 * TIMES):
        for path in sorted(target.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        started = Started((*arguments, file))
        time.sleep(moments.uniform(0, whole))
        with contextlib.suppress(ProcessLookupError):
            os.kill(started.pid, number)
        done = started.wait()
        assert done.status in (0, -number)
        there = [path.name for path in target.iterdir()]
        assert there == [file.name] if done.status == 0 else set(there) <= {file.name}
        if file.is_dir():
            assert len(list(file.rglob("*"))) == length
        elif file.exists() and name != "capture":
            assert file.stat().st_size == length


@pytest.mark.parametrize("name", WRITERS)
def test_two_writers_of_one_file(name: str, tmp_path: Path) -> None:
    """Each is through or says why not, and the file is whole."""
    arguments, file = WRITERS[name][0], tmp_path / f"made{WRITERS[name][1]}"
    assert run((*arguments, file)).status == 0
    length = len(list(file.rglob("*"))) if file.is_dir() else file.stat().st_size
    for _ in range(3):
        started = [Started((*arguments, file)) for _ in range(4)]
        for done in [one.wait() for one in started]:
            assert done.status == 0 or (name.startswith("capture") and len(done.said) == 1), done
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    if file.is_dir():
        assert len(list(file.rglob("*"))) == length
    elif name != "capture":
        assert file.stat().st_size == length


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Through one's own link, and to a pipe or a device as it is."""
    target, link, pipe = tmp_path / "file.csv", tmp_path / "link.csv", tmp_path / "pipe.csv"
    target.write_text("old")
    link.symlink_to(target)
    with pytest.raises(KeyboardInterrupt), written(str(link)):
        print("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    planted = tmp_path / f".file.csv.{os.getpid()}"
    planted.symlink_to(STATE)
    before = STATE.read_bytes()
    with written(str(link)):
        print("new")
    assert (target.read_text(), link.is_symlink(), STATE.read_bytes()) == ("new\n", True, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.csv", "link.csv"]
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with written(str(pipe)):
        print("through")
    assert os.read(reader, 100) == b"through\n"
    os.close(reader)
    with pytest.raises(UsageError, match=r"^-o /dev/full: No space left on device$"), written(str(FULL)):
        print("no")


def test_a_boot_is_kept_for_its_user_alone_and_by_the_name_it_came_from(home: Path) -> None:
    assert run(("boot", LOG), environment=keeping(home)).said == []
    assert kept(home) == str(LOG)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home / "mmtool").iterdir()}
    assert modes == {"boot.json": 0o600, "lock": 0o600}
    assert stat.S_IMODE((home / "mmtool").stat().st_mode) == 0o700
    done = run(("buddyinfo",), environment=keeping(home))
    assert done.said == [f"mmtool: goes on from the last boot, of {LOG}, Linux 6.1.0-50-amd64"]


@pytest.mark.parametrize("how", ["whole", "full", "pipe", "explain"])
def test_who_saw_a_machine_goes_on_from_it(how: str, home: Path) -> None:
    """Also where the disk was full, the reader left early, or only an address was asked for."""
    run(("boot", TREE), environment=keeping(home))
    assert kept(home) == str(TREE)
    if how == "full":
        with FULL.open("wb") as full:
            assert run(("boot", LOG), out=full, environment=keeping(home)).status == 3
    elif how == "pipe":
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            assert run(("boot", LOG, "-o", "json"), out=pipe, environment=keeping(home)).status == -13
    else:
        assert (
            run(("boot", LOG, *(("--explain", "0") if how == "explain" else ())), environment=keeping(home)).status == 0
        )
    assert kept(home) == str(LOG)


def refused(home: Path | None, said: str, **other: str | None) -> None:
    """A boot that cannot be kept answers all the same, and says so."""
    environment = {**(keeping(home) if home is not None else {}), **other}
    done = run(("boot", LOG), environment=environment)
    assert (done.status, len(done.said)) == (0, 1)
    assert done.said[0].startswith("mmtool: this boot is not kept: ") and said in done.said[0]
    assert done.out == run(("boot", LOG)).out


def test_a_home_that_is_not_there_or_no_folder(home: Path) -> None:
    home.write_text("a file")
    refused(home, "File exists; no command can go on from it")
    refused(None, "no command can go on", XDG_STATE_HOME=None, HOME="/proc/nowhere")
    done = run(("buddyinfo",), environment=keeping(home))
    assert done.status == 2 and len(done.said) == 1


NOT_KEPT = "mmtool: this boot is not kept: "


def same_but_not_kept(name: str, done: Done, sound: Done) -> None:
    """The answer is the same, and a boot says that it is not kept; nothing else has a need for a home."""
    assert done.status == sound.status, (name, done)
    assert done.out == sound.out or name == "capture", name
    said = [line for line in done.said if not line.startswith(NOT_KEPT)]
    assert said == sound.said or name == "capture", (name, done)
    assert len(done.said) - len(said) == (COMMANDS[name][0] == "boot"), (name, done)


def test_without_a_home(sound: dict[str, Done]) -> None:
    for name, arguments in COMMANDS.items():
        done = run(arguments, environment={"XDG_STATE_HOME": None, "HOME": "/proc/nowhere"})
        same_but_not_kept(name, done, sound[name])


@pytest.mark.skipif(not is_root, reason="only root becomes another user")
def test_with_a_home_that_may_only_be_read(sound: dict[str, Done], home: Path) -> None:
    home.mkdir(mode=0o555)
    with open_to_all(CORPUS), open_to_all(home):
        for name, arguments in COMMANDS.items():
            done = run(arguments, environment={"XDG_STATE_HOME": None, "HOME": str(home)}, prepare=become_nobody)
            same_but_not_kept(name, done, sound[name])
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", ["boot.json", "boot.json.new", "lock"])
def test_a_planted_link_is_not_followed(name: str, home: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (home / "mmtool").mkdir(parents=True, mode=0o700)
    (home / "mmtool" / name).symlink_to(victim)
    done = run(("boot", LOG), environment=keeping(home))
    assert (done.status, victim.read_text()) == (0, "precious")
    if name == "lock":
        assert done.said[0].startswith("mmtool: this boot is not kept: ")
    else:
        assert (done.said, kept(home)) == ([], str(LOG))
        assert not (home / "mmtool" / "boot.json").is_symlink()


@pytest.mark.parametrize("name", ["alloc", "buddyinfo", "free", "vmalloc"])
def test_a_planted_link_is_not_read(name: str, home: Path) -> None:
    (home / "mmtool").mkdir(parents=True, mode=0o700)
    (home / "mmtool" / "boot.json").symlink_to(STATE)
    done = run(COMMANDS[name][:-2], environment=keeping(home))
    assert (done.status, done.out) == (3, b"")
    assert done.said == [f"mmtool: {home}/mmtool/boot.json: is no file that mmtool boot kept; remove it"]


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"schema": "mmtool.state/0", "source": "x"}', "[" * 100000])
def test_a_state_of_another_version_is_refused(document: str, home: Path) -> None:
    (home / "mmtool").mkdir(parents=True, mode=0o700)
    (home / "mmtool" / "boot.json").write_text(document)
    done = run(("buddyinfo",), environment=keeping(home))
    assert (done.status, len(done.said)) == (3, 1)
    assert done.said[0].endswith("was kept by another version of mmtool; run mmtool boot again")


@pytest.mark.skipif(not is_root, reason="only root makes folders of others")
@pytest.mark.parametrize("what", ["folder", "link", "file"])
def test_what_another_user_put_there(what: str, home: Path, tmp_path: Path) -> None:
    home.mkdir()
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o755)
    if what == "folder":
        (home / "mmtool").mkdir()
        os.chown(home / "mmtool", STRANGER, STRANGER)
    elif what == "link":
        (home / "mmtool").symlink_to(mine)
        os.chown(home / "mmtool", STRANGER, STRANGER, follow_symlinks=False)
    else:
        (home / "mmtool").mkdir(mode=0o700)
        (home / "mmtool" / "boot.json").write_bytes(STATE.read_bytes())
        os.chown(home / "mmtool" / "boot.json", STRANGER, STRANGER)
        done = run(("buddyinfo",), environment=keeping(home))
        assert done.status == 3 and "is no file that mmtool boot kept for you" in done.said[0]
        return
    refused(home, "another user's; no command can go on from it")
    assert list(mine.iterdir()) == [] and stat.S_IMODE(mine.stat().st_mode) == 0o755
    assert run(("buddyinfo",), environment=keeping(home)).status == 2


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(STRANGER)
    os.setuid(STRANGER)


@contextlib.contextmanager
def open_to_all(path: Path) -> Iterator[None]:
    """Every folder above `path` may be passed by anyone, for as long."""
    modes = [(folder, stat.S_IMODE(folder.stat().st_mode)) for folder in (path, *path.parents)]
    try:
        for folder, mode in modes:
            if not mode & 0o001:
                folder.chmod(mode | 0o011)
        yield
    finally:
        for folder, mode in modes:
            folder.chmod(mode)


@pytest.mark.skipif(not is_root, reason="only root becomes another user")
def test_a_home_that_may_not_be_written(home: Path) -> None:
    """An older state that cannot be removed is named; with it, who goes on knows from where."""
    run(("boot", TREE), environment=keeping(home))
    folder = home / "mmtool"
    for path in (folder, *folder.iterdir()):
        os.chown(path, STRANGER, STRANGER)
    folder.chmod(0o500)
    (folder / "lock").unlink()

    with open_to_all(home):
        done = run(("boot", LOG), environment=keeping(home), prepare=become_nobody)
        assert done.status == 0 and len(done.said) == 1
        assert done.said[0].endswith(f"; a command that goes on from the last boot takes an older one, of {TREE}")
        assert "Permission denied" in done.said[0]
        again = run(("buddyinfo",), environment=keeping(home), prepare=become_nobody)
    assert again.said == [f"mmtool: goes on from the last boot, of {TREE}, Linux 6.12"]


def test_a_disk_that_is_full_keeps_no_older_state(home: Path) -> None:
    """The file cannot be made: a folder stands in its place, as good as no room for it."""
    run(("boot", TREE), environment=keeping(home))
    (home / "mmtool" / "boot.json.new").mkdir()
    (home / "mmtool" / "boot.json.new" / "x").write_text("")
    done = run(("boot", LOG), environment=keeping(home))
    assert done.status == 0 and len(done.said) == 1
    assert done.said[0].endswith("; the boot before, which was kept, is removed, and no command can go on from either")
    assert run(("buddyinfo",), environment=keeping(home)).status == 2


def test_two_writers_at_once(home: Path) -> None:
    """Each is through, and what is kept is one of theirs, whole."""
    started = [Started(("boot", source), environment=keeping(home)) for source in (LOG, TREE) * 6]
    done = [one.wait() for one in started]
    assert {(one.status, *one.said) for one in done} == {(0,)}
    assert kept(home) in (str(LOG), str(TREE))
    assert sorted(path.name for path in (home / "mmtool").iterdir()) == ["boot.json", "lock"]
    assert run(("buddyinfo",), environment=keeping(home)).status == 0


@pytest.mark.skipif(not is_root, reason="only root becomes another user")
def test_as_nobody(sound: dict[str, Done], home: Path) -> None:
    with open_to_all(CORPUS):
        home.mkdir()
        os.chown(home, STRANGER, STRANGER)
        with open_to_all(home):
            for name, arguments in COMMANDS.items():
                done = run(arguments, environment=keeping(home), prepare=become_nobody)
                if name != "capture":
                    assert done == sound[name], name
                assert done.status in (0, 1)
            assert kept(home) == str(TREE)


@pytest.mark.parametrize(("encoding", "every"), [("ascii", 1), ("latin-1", 4)])
def test_a_language_without_unicode(encoding: str, every: int, sound: dict[str, Done]) -> None:
    """What cannot be written in it is written in other words, and nothing ends for it."""
    for name, arguments in [*COMMANDS.items()][::every]:
        done = run(arguments, environment={"LC_ALL": "C", "LANG": "C"}, encoding=encoding)
        assert (done.status, done.said) == (sound[name].status, sound[name].said), name
        assert name == "capture" or done.out.count(b"\n") == sound[name].out.count(b"\n"), name


def test_twenty_columns(sound: dict[str, Done]) -> None:
    for name, arguments in COMMANDS.items():
        done = run(arguments, environment={"COLUMNS": "20"})
        assert (done.status, done.said) == (sound[name].status, sound[name].said), name
        assert done.out or not sound[name].out, name
