"""What an answer rests on though nothing shows it, and the facts that a kernel's image or sources prove."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mmtool.answers.assumed import UNMODELLED, assumptions
from mmtool.build.choose import kernel_for
from mmtool.build.fact import Change, Facts, Mark, Member, Symbol, between, since, until
from mmtool.build.profile import Profile, available, load_profile
from mmtool.build.release import Release
from mmtool.build.shown import groups, shown_facts
from mmtool.cli.boot import boot
from mmtool.cli.ledger import ledger
from mmtool.cli.verify import verify
from mmtool.firmware.cmdline import READ
from mmtool.firmware.machine import E820Entry, Machine
from mmtool.linux.init.main import start_kernel

FIXTURES = Path(__file__).parent.parent / "fixtures"
CAPTURE = FIXTURES / "captures" / "x86-6.1-numa4-ring"
LOG = CAPTURE / "dmesg.txt"
TABLE = "BIOS-e820: [mem 0x0000000000000000-0x000000003fffffff] usable\n"


def run(command: object, *arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)  # type: ignore[arg-type]


def kinds(result: Result) -> list[str]:
    return [entry["kind"] for entry in json.loads(result.stdout).get("assumed", [])]


def test_a_map_alone_leaves_most_to_assume(tmp_path: Path) -> None:
    table = tmp_path / "map.txt"
    table.write_text(TABLE)
    wanted = ["release", "arch", "profile", "kernel_image", "cpus", "initrd"]
    wanted += ["page_table_levels", "zone_device"]
    assert kinds(run(boot, table, "-o", "json")) == wanted
    said = run(boot, table, "-o", "dmesg")
    assert [line.split(": ")[2] for line in said.stderr.splitlines()] == wanted
    assert "assumed" not in said.stdout
    shown = run(boot, table).stdout
    assert "Not known, so taken for granted" in shown and "give --kernel RELEASE" in shown


def test_options_that_do_what_is_not_modelled_are_said() -> None:
    assert set(UNMODELLED) <= READ
    for asked in ("memory_corruption_check=1", "kfence.sample_interval=100", "percpu_alloc=page", "alloc_mptable"):
        assert "options" in kinds(run(boot, LOG, "--cmdline", asked, "-o", "json")), asked
    for idle in ("memory_corruption_check=0", "kfence.sample_interval=0", "percpu_alloc=embed", "quiet"):
        assert "options" not in kinds(run(boot, LOG, "--cmdline", idle, "-o", "json")), idle


@pytest.mark.parametrize(
    ("hypervisor", "name", "said"),
    [(True, "Intel(R) Xeon(R)", True), (False, "Intel(R) Xeon(R)", False), (True, "QEMU TCG CPU", False)],
)
def test_a_hypervisor_may_hide_five_levels(hypervisor: bool, name: str, said: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = ["Linux version 6.18.2 (x@x) (gcc) #1 SMP", "BIOS-provided physical RAM map:", TABLE.strip()]
    lines += ["Hypervisor detected: KVM"] * hypervisor
    log.write_text("\n".join([*lines, f"smpboot: CPU0: {name} (family: 0x6, model: 0x8f, stepping: 0x8)", ""]))
    assert ("page_table_levels" in kinds(run(boot, log, "-o", "json"))) == said


def test_each_is_gone_once_it_is_given() -> None:
    given = ("--kernel-base", "16M", "--slit", CAPTURE / "SLIT.aml")
    assert kinds(run(boot, LOG, "-o", "json")) == ["kernel_image", "slit"]
    assert kinds(run(boot, LOG, *given, "-o", "json")) == []
    assert "Assumed" not in run(ledger, LOG, *given).stdout
    assert run(ledger, LOG).stdout.index("Assumed") > run(ledger, LOG).stdout.index("MemTotal")


def test_a_configuration_of_another_build_is_said() -> None:
    given = ("--kernel-base", "16M", "--slit", CAPTURE / "SLIT.aml")
    (entry,) = json.loads(run(boot, LOG, *given, "--kernel", "debian-7.1-cloud-amd64", "-o", "json").stdout)["assumed"]
    assert entry["kind"] == "config" and entry["what"] == "the configuration is debian-6.18-cloud-amd64's"
    assert kinds(run(boot, LOG, *given, "--kernel", "debian-6.18-cloud-amd64", "-o", "json")) == []


def test_a_stand_in_for_a_configuration_is_a_profile_there_is() -> None:
    profiles = [load_profile(name) for name in available()]
    borrowed = {p.name: p.config_of for p in profiles if p.config_of is not None}
    assert borrowed and not [name for name, other in borrowed.items() if load_profile(other).config_of is not None]
    for name, other in borrowed.items():
        assert load_profile(name).arch == load_profile(other).arch
        # 7.0 has SLUB's per-CPU partial slabs no more
        gone = load_profile(other).config.items() - load_profile(name).config.items()
        assert gone <= {("SLUB_CPU_PARTIAL", True)}
        assert load_profile(name).config.keys() <= load_profile(other).config.keys()


@pytest.mark.parametrize("command", [boot, ledger, verify])
def test_strict_answers_and_ends_with_4(command: object) -> None:
    strict = run(command, LOG, "--strict")
    assert (strict.exit_code, strict.stdout) == (4, run(command, LOG).stdout)
    given = ("--kernel-base", "16M", "--slit", CAPTURE / "SLIT.aml")
    assert run(command, LOG, *given, "--strict").exit_code == run(command, LOG, *given).exit_code != 4


def test_a_build_is_a_profiles_own_by_its_very_name_alone() -> None:
    def exact(name: str) -> tuple[bool, str]:
        kernel = kernel_for(Machine("table", ()), name)
        return kernel.profile.exact, kernel.profile.name

    assert exact("6.1.0-50-cloud-amd64") == (True, "debian-6.1-cloud-amd64")
    assert exact("6.1.0-47-cloud-amd64") == (False, "debian-6.1-cloud-amd64")
    assert exact("debian-6.1-cloud-amd64") == (True, "debian-6.1-cloud-amd64")
    assert kernel_for(Machine("table", ()), "6.1.0-50-cloud-amd64").release.version == (6, 1, 176)


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("7.4.1+deb13-cloud-amd64", "debian-7.3-cloud-amd64"),
        ("6.14.6+deb13-cloud-amd64", "debian-6.12-cloud-amd64"),
        ("5.19.0-2-arm64", "debian-6.1-cloud-arm64"),  # 6.0 follows it
        ("6.3.0-1-686", "debian-6.1-686"),
        ("5.9.0-4-amd64", "generic-x86_64"),  # older than all that there are
        ("7.4.1-mine", "generic-x86_64"),
    ],
)
def test_debians_other_kernels_are_like_those_next_to_them(name: str, profile: str) -> None:
    arch = "arm64" if "arm64" in name else "i386" if "686" in name else "x86_64"
    kernel = kernel_for(Machine("none", (), release=name, arch=arch))
    assert kernel.profile.name == profile and not kernel.profile.exact
    assert "profile" in [a.kind for a in kernel.assumed]
    if arch == "x86_64":
        assert kernel.enabled("X86_5LEVEL") or kernel.release.five_levels_always


@pytest.mark.parametrize(("name", "assumed"), [("6.12", True), ("6.12.30", False), ("6.1.0-47-amd64", True)])
def test_a_series_does_not_tell_its_stable_release(name: str, assumed: bool) -> None:
    told = [a for a in kernel_for(Machine("table", ()), name).assumed if a.kind == "release"]
    assert bool(told) == assumed
    assert not told or "facts differ" in told[0].effect


def test_a_release_of_which_something_is_open_says_so() -> None:
    machine = Machine("table", (E820Entry(0, 1 << 30, 1),))
    booted = start_kernel(machine, kernel_for(machine, "6.15.2"))
    [entry] = [a for a in assumptions(booted) if a.kind == "facts"]
    assert "gfp_prints_in_bit_order: yes" in entry.what and "arm64" not in entry.what


class Sample(Facts):
    came: bool = since("6.10", "a title", stable="6.6.1-30-80 6.8.4", not_in="6.8", marks=Mark("f.c", "x"))
    went: bool = until("6.3", not_in="6.1", seen_in="6.4")
    lasted: bool = between(Change("5.4"), Change("5.9"))
    shows: bool = since("7.0", marks=(Symbol("f", beside="g"), Member("zone", "m")))


def test_facts_hold_from_what_brings_them_to_what_ends_them() -> None:
    releases = ((6, 6, 29), (6, 6, 30), (6, 7, 0), (6, 8, 3), (6, 8, 4), (6, 9, 0), (6, 10, 0))
    came = [version for version in releases if Sample(version).came]
    assert came == [(6, 6, 30), (6, 8, 4), (6, 10, 0)]
    fact = vars(Sample)["came"]
    open_at = [v for v in ((6, 6, 0), (6, 6, 79), (6, 6, 80), (6, 8, 9), (6, 9, 1)) if fact.open_at(v)]
    assert open_at == [(6, 6, 79), (6, 9, 1)]
    assert [Sample((6, n, 5)).went for n in (1, 2, 3)] == [True, True, False]
    assert [Sample((6, n, 5)).open_facts for n in (1, 2, 3, 4)] == [(), ("went",), ("went",), ()]
    assert [Sample((5, n, 0)).lasted for n in (3, 4, 8, 9)] == [False, True, True, False]


def test_what_the_image_shows_goes_before_its_release() -> None:
    marks = vars(Sample)["shows"].image_marks
    told = [[mark.shows(symbols, members) for mark in marks] for symbols, members in (
        ({"f"}, {}), ({"g"}, {"zone": {"m"}}), (set(), {"zone": set()}),
    )]  # fmt: skip
    assert told == [[True, None], [False, True], [None, False]]
    profile = Profile("mine", "x86_64", "6.1.20", shown={"has_reserve_mem": True, "pcp_high_is_tuned": False})
    kernel = kernel_for(Machine("table", ()), None, profile)
    assert kernel.release.has_reserve_mem and not Release((6, 1, 20)).has_reserve_mem
    assert kernel.facts(Release).has_reserve_mem


def test_an_images_symbols_and_types_show_facts() -> None:
    symbols = {"mm_core_init", "mm_core_init_early", "memblock_free_all"}
    shown = shown_facts(symbols, {"per_cpu_pages": {"high", "high_min"}, "reserved_mem": {"name"}})
    assert shown["zones_after_setup_arch"] and shown["pcp_high_is_tuned"]
    assert not shown["reserved_mem_keeps_its_node"] and not shown["memblock_has_reserved_mark_kern"]
    assert "highatomic_counts_free" not in shown


def test_every_fact_has_evidence() -> None:
    for group in groups():
        for fact in group.declared():
            changes = [change for change in (fact.begins, fact.ends) if change is not None]
            assert changes and (fact.marks or all(c.title or c.not_in for c in changes)), fact.name


def test_every_kind_is_in_the_manual() -> None:
    package = Path(__file__).parent.parent / "mmtool"
    texts = [(package / name).read_text() for name in ("answers/assumed.py", "build/choose.py")]
    kinds = {kind for text in texts for kind in re.findall(r'Assumption\(\s*"([a-z_]+)"', text)}
    manual = (package.parent / "man/mmtool-formats.5").read_text()
    told = manual[manual.index("The kinds: of the kernel") :].split(".TP")[0]
    assert len(kinds) > 12 and kinds == set(re.findall(r"^\.BR? ([a-z_]+)", told, re.MULTILINE))
