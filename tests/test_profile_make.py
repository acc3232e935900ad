"""`mmtool profile`: profiles from a kernel's own files, whatever is missing of them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.commands import mmtool
from test_profile_image import arm64, vmlinux

from mmtool.build.kconfig import read_config
from mmtool.build.make import make_profile_from
from mmtool.build.options import OPTIONS, STRUCTURES
from mmtool.build.profile import available, load_profile, parse_profile, profile_text, read_profile
from mmtool.build.system_map import read_system_map
from mmtool.cli.profile import profile
from mmtool.errors import InputError, UsageError
from mmtool.report.profile import to_yaml

CONFIG = """#
# Linux/x86 6.1.176 Kernel Configuration
#
CONFIG_X86_64=y
CONFIG_CC_VERSION_TEXT="gcc-12 (Debian)"
CONFIG_NUMA=y
CONFIG_NODES_SHIFT=10
CONFIG_PHYSICAL_START=0x1000000
CONFIG_MEMORY_FAILURE=m
CONFIG_KEXEC_CORE=y
# CONFIG_CRASH_RESERVE is not set
# CONFIG_HIGHMEM is not set
"""
MAP = "\n".join(
    f"{address:016x} T {name}"
    for name, address in {
        "__per_cpu_start": 0,
        "__per_cpu_end": 0x1200,
        "_text": 0xFFFFFFFF81000000,
        "real_mode_blob": 0xFFFFFFFF82000000,
        "real_mode_blob_end": 0xFFFFFFFF82005001,
        "__init_begin": 0xFFFFFFFF82002000,
        "_end": 0xFFFFFFFF83000000,
    }.items()
)


def test_everything_is_given() -> None:
    made = make_profile_from((CONFIG, "config"), (MAP, "System.map"), (vmlinux(), "vmlinuz"), sizes={"page_ext": 16})
    p = made.profile
    assert (p.name, p.arch, p.release) == ("debian-6.1-cloud-amd64", "x86_64", "6.1.176")
    assert p.config == {
        "NUMA": True,
        "NODES_SHIFT": 10,
        "KEXEC_CORE": True,
        "CONTIG_ALLOC": False,
        "CRASH_RESERVE": False,
    }
    assert p.sizes == {
        "struct_page": 64,
        "pg_data_t": 174208,
        "resource": 64,
        "page_ext": 16,
        "percpu_static": 0x1200,
        "real_mode_blob": 0x6000,
    }
    assert p.image["init_begin"] == 0x1002000 and p.image["end"] == 0x2000000 and p.image["edata"] == 0x30123
    assert [gap for gap in made.unknown if "mem_section" in gap] == list(made.unknown)


def test_what_is_missing_is_said() -> None:
    only_config = make_profile_from((CONFIG, "config"), None, None)
    assert only_config.profile.name == "6.1.176-x86_64"
    assert [gap.split(":")[0] for gap in only_config.unknown] == [
        "unknown sizes (no image)",
        "unknown places in the image",
    ]
    only_image = make_profile_from(None, None, (arm64(), "Image"))
    assert only_image.profile.arch == "arm64" and only_image.profile.release == "6.1.176"
    assert only_image.unknown[0].startswith("no configuration")
    only_map = make_profile_from(None, (MAP, "System.map"), None)
    assert only_map.profile.arch == "x86_64" and any(gap.startswith("no release") for gap in only_map.unknown)
    stub = make_profile_from((CONFIG, "c"), ("ffffffffffffffff B The real System.map is elsewhere\n", "map"), None)
    assert stub.unknown[0] == "map: a stub without symbols, left aside"
    other = make_profile_from((CONFIG.replace("6.1.176", "6.1.1"), "c"), None, (vmlinux(), "vmlinuz"))
    assert any("are they of one kernel?" in gap for gap in other.unknown)


def test_contradictions_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        make_profile_from(None, None, None)
    with pytest.raises(UsageError, match="configuration is for x86_64; the image is for arm64"):
        make_profile_from((CONFIG, "config"), None, (arm64(), "Image"))
    with pytest.raises(UsageError, match="architecture is not told"):
        make_profile_from(("CONFIG_RISCV=y\n", "config"), None, None)


@pytest.mark.parametrize("text", ["", "# nothing\n", "CONFIG_A\n", "CONFIG_A=maybe\n", 'CONFIG_A="x\n', "hello\n"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_config(text, "config")


@pytest.mark.parametrize("text", ["", "c1000000 T _text\nhello\n", "_text c1000000\n"])
def test_what_is_no_system_map_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_system_map(text, "System.map")


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_config, read_system_map):
        try:
            read(text, "file")
        except InputError as error:
            assert "\n" not in str(error)


def test_the_command_writes_what_boot_reads(tmp_path: Path) -> None:
    (tmp_path / "config.gz").write_bytes(gzip.compress(CONFIG.encode()))
    (tmp_path / "vmlinuz").write_bytes(vmlinux())
    out = tmp_path / "mine.yaml"
    args = ["make", "--config", str(tmp_path / "config.gz"), "--vmlinuz", str(tmp_path / "vmlinuz"), "-o", str(out)]
    result = CliRunner().invoke(
        profile, [*args, "--name", "mine", "--size", "page_ext=16 by hand"], catch_exceptions=False
    )
    assert result.exit_code == 0 and result.stdout == "" and "unknown sizes" in result.stderr
    assert "  page_ext: 16  # by hand\n" in out.read_text()
    read = read_profile(str(out))
    assert read.name == "mine" and read.sizes["page_ext"] == 16 and read.image["edata"] == 0x30123
    generic = load_profile("generic-x86_64")
    assert read.exact and read.sizes["mem_section"] == generic.sizes["mem_section"]


def test_a_profile_without_sizes_is_an_estimate(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(to_yaml(make_profile_from((CONFIG, "config"), None, None).profile))
    read = read_profile(str(path))
    assert not read.exact
    assert read.sizes == load_profile("generic-x86_64").sizes and read.image == load_profile("generic-x86_64").image


@pytest.mark.parametrize("given", ["page", "page=", "page=-1", "=4", "page=x", "page=4 a\nb"])
def test_a_size_by_hand_that_is_none(given: str) -> None:
    result = CliRunner().invoke(profile, ["make", "--config", "-", "--size", given], input=CONFIG)
    assert isinstance(result.exception, UsageError)


def test_bad_files_are_told_in_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "vmlinuz"
    bad.write_bytes(b"\xff\xfe" * 300)
    for option in ("--vmlinuz", "--config", "--system-map"):
        done = mmtool("profile", "make", option, bad)
        assert done.returncode == 3 and done.stderr.count(b"\n") == 1 and str(bad).encode() in done.stderr
    done = mmtool("profile", "make", "--config", tmp_path / "none")
    assert done.returncode == 3 and b"No such file" in done.stderr


def test_list_and_show() -> None:
    names = CliRunner().invoke(profile, ["list"]).stdout.split()
    assert names == available() and "generic-arm64" in names
    shown = CliRunner().invoke(profile, ["show", "debian-6.1-686"]).stdout
    assert yaml.safe_load(shown)["sizes"]["resource"] == 32
    assert isinstance(CliRunner().invoke(profile, ["show", "../x"]).exception, UsageError)


@pytest.mark.parametrize("name", available())
def test_profiles_that_come_with_the_package(name: str) -> None:
    p = load_profile(name)
    assert p.name == name
    assert {"struct_page", "resource", "percpu_static"} <= p.sizes.keys()
    assert p.sizes.keys() <= STRUCTURES.keys() | {"percpu_static", "real_mode_blob"}
    assert {"init_begin", "init_end", "bss_stop", "end"} <= p.image.keys()
    order = [p.image[k] for k in ("etext", "start_rodata", "end_rodata", "init_begin", "init_end", "bss_stop", "end")]
    assert order == sorted(order)


@pytest.mark.parametrize("name", available())
def test_the_package_reads_its_own_profiles_as_yaml_has_them(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(profile_text(name))
    read, loaded = read_profile(str(path)), load_profile(name)
    assert (loaded.config, loaded.image) == (read.config, read.image)
    assert loaded.sizes.items() <= read.sizes.items()
    assert {type(value) for value in loaded.config.values()} <= {bool, int, str}


def test_every_option_that_the_model_asks_for_is_kept() -> None:
    package = Path(__file__).parent.parent / "mmtool"
    asked = re.compile(r'(?:enabled|number|config\.get)\(\s*"((?!CONFIG_)[A-Z][A-Z0-9_]+)"')
    names = {name for path in package.rglob("*.py") for name in asked.findall(path.read_text())}
    assert names <= {option.name for option in OPTIONS}


def test_a_text_of_a_megabyte_is_no_profile() -> None:
    with pytest.raises(InputError, match="has 300000 characters"):
        parse_profile("x" * 300000, "huge.yaml")
