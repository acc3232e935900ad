"""What an installation brings: the program, its profiles, manual pages and completions, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import mmtool

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHARED = {
    **{f"share/man/man{page.suffix[1:]}/{page.name}": page for page in (ROOT / "man").iterdir()},
    "share/bash-completion/completions/mmtool": ROOT / "completions" / "mmtool",
    "share/zsh/site-functions/_mmtool": ROOT / "completions" / "_mmtool",
    "share/fish/vendor_completions.d/mmtool.fish": ROOT / "completions" / "mmtool.fish",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree to build in."""
    pytest.importorskip("setuptools", minversion="77", reason="the build asks for it")
    tree = tmp_path_factory.mktemp("tree")
    hidden = shutil.ignore_patterns(".*", "*.egg-info", "dist", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=hidden, dirs_exist_ok=True, symlinks=True)
    shutil.copytree(ROOT / ".ci", tree / ".ci")
    shutil.rmtree(tree / "build", ignore_errors=True)
    return tree


def built(tree: Path, what: str) -> Path:
    """What the build's backend makes of the tree, without a network."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{what}(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tree)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tree / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tree: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(built(tree, "wheel"))


def test_the_source_distribution_can_run_its_tests(tree: Path) -> None:
    """It holds every file of the tree, tests and fixtures among them."""
    files = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file() or path.is_symlink()}
    with tarfile.open(built(tree, "sdist")) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert {name for name in files if not name.startswith(("build/", "mmtool.egg-info/"))} - held == set()


def test_the_debian_package_says_what_the_metadata_say() -> None:
    project = PROJECT["project"]
    control = (ROOT / "debian" / "control").read_text()
    for requirement in project["dependencies"]:
        name, _, version = requirement.replace("pyyaml", "yaml").partition(">=")
        asked = re.search(rf"^ python3-{name}(?: \(>= (.*)\))?,$", control, re.M)
        assert name == "pyfdt" or (asked is not None and asked[1] in (None, version)), requirement
    assert "Package: python3-pyfdt" in control
    changelog = (ROOT / "debian" / "changelog").read_text()
    assert re.match(r"mmtool \((.*)-\d+\) ", changelog)[1] == project["version"]  # type: ignore[index]


def test_every_place_has_the_same_version() -> None:
    version = PROJECT["project"]["version"]
    assert mmtool.__version__ == version
    for page in (ROOT / "man").iterdir():
        assert f'"mmtool {version}" "mmtool manual"' in page.read_text(), page.name


@pytest.mark.skipif(shutil.which("patch") is None, reason="no patch here")
def test_debians_patch_applies() -> None:
    for patch in (ROOT / "debian" / "patches").glob("*.patch"):
        command = ["patch", "-p1", "--dry-run", "--fuzz=0", "-i", str(patch)]
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0, patch.name


def test_the_wheel_holds_the_program_its_pages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    data = f"mmtool-{PROJECT['project']['version']}.data/data/"
    package = {
        file.relative_to(ROOT).as_posix(): file
        for file in (ROOT / "mmtool").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    expected = package | {data + name: file for name, file in SHARED.items()}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == set(expected)
    assert all(wheel.read(name) == file.read_bytes() for name, file in expected.items())
    assert any(name.startswith("mmtool/build/profiles/") for name in held)
    assert not [name for name in held if "fixtures" in name or "test" in name]


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert re.findall(r"^(\w+) = (\S+)$", wheel.read(points).decode(), flags=re.M) == [
        ("mmtool", "mmtool.__main__:main")
    ]


def test_installed_by_itself_it_boots(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Only what the wheel holds is there, not this tree."""
    wheel.extractall(tmp_path)
    command = [sys.executable, "-m", "mmtool", "boot", "example:numa4", "-o", "dmesg"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    remarks = [said for said in done.stderr.splitlines() if not said.startswith("mmtool: assumed: ")]
    assert (done.returncode, remarks) == (0, [])
    assert "Zone ranges:" in done.stdout.splitlines()


def test_the_oldest_python_is_the_one_that_is_checked_for() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    named = [c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if "Python ::" in c]
    assert named == ["3.11", "3.12", "3.13"] and named[0] == oldest


def test_every_file_is_in_the_language_of_the_oldest_python() -> None:
    import ast

    for file in (ROOT / "mmtool").rglob("*.py"):
        ast.parse(file.read_text(), feature_version=(3, 11))
