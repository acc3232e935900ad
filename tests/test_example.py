"""The examples that come with the program, and `example:NAME` in place of a file."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from support.commands import mmtool

from mmtool.errors import UsageError
from mmtool.examples import EXAMPLES, FOLDER, example_path, with_files

ROOT = Path(__file__).parent.parent
SAME = {
    "failure": "reports/6.12-order4.txt",
    "laptop": "logs/laptop-6.16.txt",
    "oom": "reports/3.13-oom.txt",
}
"""Which fixture an example of one file holds."""
CAPTURES = {"arm64": "arm64/arm64-6.1-numa2", "numa4": "captures/x86-6.1-numa4-ring"}


def test_the_folder_holds_the_examples_and_is_small() -> None:
    assert {file.name for file in FOLDER.glob("*.xz")} == {known.file for known in EXAMPLES.values()}
    assert sum(file.stat().st_size for file in FOLDER.glob("*.xz")) < 150_000
    assert set(EXAMPLES) == set(SAME) | set(CAPTURES)


@pytest.mark.parametrize("name", SAME)
def test_a_log_is_that_of_the_fixtures(name: str) -> None:
    assert lzma.decompress(example_path(name).read_bytes()) == (ROOT / "fixtures" / SAME[name]).read_bytes()


@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture_boots_as_that_of_the_fixtures(name: str) -> None:
    done = mmtool("boot", f"example:{name}", "-o", "json")
    fixture = mmtool("boot", ROOT / "fixtures" / CAPTURES[name], "-o", "json")
    assert (done.returncode, done.stdout) == (0, fixture.stdout)


@pytest.mark.parametrize(
    ("name", "command"), [(name, command) for name, known in EXAMPLES.items() for command in known.commands]
)
def test_every_command_that_an_example_names_says_something(name: str, command: str) -> None:
    done = mmtool(*command.split(), f"example:{name}")
    assert done.returncode == (command == "explain")  # the answer is that an allocation failed
    assert done.stdout


def test_it_is_listed_told_and_copied(tmp_path: Path) -> None:
    listed = mmtool("example").stdout.decode().splitlines()
    assert [line.split()[0] for line in listed] == sorted(EXAMPLES)
    told = mmtool("example", "numa4").stdout.decode()
    assert "mmtool boot example:numa4\n" in told
    for name in ("numa4", "example:numa4"):
        assert mmtool("example", name, "-o", "copy.tar.xz", folder=tmp_path).returncode == 0
        assert (tmp_path / "copy.tar.xz").read_bytes() == example_path("numa4").read_bytes()
    assert mmtool("example", "numa4", "-o", "-").stdout == example_path("numa4").read_bytes()


def test_files_stand_in_place_of_names() -> None:
    numa4 = str(example_path("numa4"))
    assert with_files(["boot", "example:numa4"]) == ["boot", numa4]
    assert with_files(["boot", "--capture=example:numa4"]) == ["boot", f"--capture={numa4}"]
    assert with_files(["example", "example:numa4"]) == ["example", "example:numa4"]
    other = ["./example:x", "--cmdline", "a=example:x", "--slit=x"]
    assert with_files(other) == other
    with pytest.raises(UsageError, match="did you mean laptop"):
        with_files(["example:labtop"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("boot", "example:num4"), "there is no example 'num4'; did you mean numa4?"),
        (("boot", "--srat=example:",), "there is no example ''; there are arm64, failure, laptop, numa4, oom"),
        (("example", "num4"), "there is no example 'num4'; did you mean numa4?"),
        (("example", "-o", "x"), "-o copies an example: which of arm64, failure, laptop, numa4, oom?"),
        (("example", "oom", "-o", "/no/such/x.txt.xz"), "-o /no/such/x.txt.xz: No such file or directory"),
        (("example", "oom", "-o", "json"), "-o json: the example is a txt.xz: name a file oom.txt.xz or the like"),
    ],
)
def test_a_wrong_name_is_said_in_one_line(args: tuple[str, ...], said: str) -> None:
    done = mmtool(*args)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", f"mmtool: {said}\n")
