"""What must hold of an address space whatever is done to it, and a second, naive model of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.cli import cli
from mmtool.linux.kernel.fork import exit_mmap
from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import VM_ACCOUNT, VM_LOCKED, ZERO_PAGE, Folio
from mmtool.linux.mm.mmap.vma import is_data_mapping
from mmtool.system.process import Process
from mmtool.system.process_default import default_process, machine
from mmtool.system.process_script import run

PAGES = 24
RELEASES = ("5.10", "6.1", "6.6", "6.12", "6.18", "7.3")
places = st.integers(0, PAGES - 1)
lengths = st.integers(1, 6)
prots = st.sampled_from(["rw", "r", "-", "rx"])


@st.composite
def operations(draw: st.DrawFn) -> str:
    at, length = draw(places), draw(lengths)
    kind = draw(st.sampled_from(["mmap", "mmap", "munmap", "mprotect", "write", "read", "madvise", "mremap", "mlock"]))
    where = f"0x10000000+{at}P {length}P"
    if kind == "mmap":
        flags = draw(st.sampled_from(["private,anon,fixed", "private,anon,fixed,populate", "shared,anon,fixed"]))
        return f"mmap A {where} {draw(prots)} {flags}"
    if kind == "mprotect":
        return f"mprotect {where} {draw(prots)}"
    if kind == "madvise":
        advice = draw(st.sampled_from(["dontneed", "free", "dontfork", "sequential", "normal", "populate_write"]))
        return f"madvise {where} {advice}"
    if kind == "mremap":
        return f"mremap B {where} {draw(lengths)}P maymove,fixed 0x10000000+{draw(places)}P"
    return f"{kind} {where}"


def started(release: str) -> Process:
    return default_process(machine(release, "x86_64", "native", 1 << 30), ())


def check(task: Task) -> None:
    """Order, counts and charge of one address space."""
    mm, shift = task.mm, task.sys.page_shift
    assert mm.starts == [v.start for v in mm.vmas] == sorted(mm.starts)
    assert all(a.end <= b.start for a, b in zip(mm.vmas, mm.vmas[1:], strict=False))
    assert all(v.start < v.end for v in mm.vmas)
    sizes = [((v.end - v.start) >> shift, v) for v in mm.vmas]
    assert mm.total_vm == sum(n for n, _ in sizes)
    assert mm.data_vm == sum(n for n, v in sizes if is_data_mapping(v.flags))
    assert mm.locked_vm == sum(n for n, v in sizes if v.flags & VM_LOCKED)
    for n, table in mm.tables.ptes.items():
        for page in table:
            assert page >> 9 == n
            assert mm.vma_at(page << shift) is not None


def check_mapcounts(tasks: list[Task]) -> None:
    """Every page is mapped as often as it is counted."""
    counts: Counter[Folio] = Counter()
    for task in tasks:
        for table in task.mm.tables.ptes.values():
            counts.update(p.folio for p in table.values() if p.folio is not None and p.folio is not ZERO_PAGE)
    assert all(folio.mapcount == n for folio, n in counts.items())


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(RELEASES), st.lists(operations(), max_size=14), st.lists(operations(), max_size=6))
def test_an_address_space_stays_whole(release: str, before: list[str], after: list[str]) -> None:
    process = started(release)
    task = process.task
    charged = task.sys.committed
    list(run(process, [*before, "fork", *(f"child {line}" for line in after), *after]))
    tasks = [task] + ([process.child.task] if process.child is not None else [])
    for one in tasks:
        check(one)
    check_mapcounts(tasks)
    for one in reversed(tasks):
        exit_mmap(one)
    assert not task.mm.tables.ptes
    assert not task.mm.tables.huge
    image = sum((v.end - v.start) >> 12 for v in started(release).task.mm.vmas if v.flags & VM_ACCOUNT)
    assert task.sys.committed == charged - image


class Naive:
    """Pages and their protection, one by one: what fixed mappings, munmap() and mprotect() must come to."""

    def __init__(self) -> None:
        self.pages: dict[int, str] = {}

    def do(self, words: list[str]) -> None:
        first, length = int(words[1].partition("+")[2][:-1]), int(words[2][:-1])
        pages = range(first, first + length)
        if words[0] == "mmap":
            self.pages |= dict.fromkeys(pages, words[3])
        elif words[0] == "munmap":
            for page in pages:
                self.pages.pop(page, None)
        else:
            for page in pages:
                if page not in self.pages:
                    break
                self.pages[page] = words[3]


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(RELEASES),
    st.lists(st.tuples(st.sampled_from(["mmap", "munmap", "mprotect"]), places, lengths, prots), max_size=25),
)
def test_a_naive_model_agrees(release: str, steps: list[tuple[str, int, int, str]]) -> None:
    process, naive = started(release), Naive()
    script = []
    for kind, at, length, prot in steps:
        naive.do([kind, f"0x10000000+{at}P", f"{length}P", prot])
        where = f"0x10000000+{at}P {length}P"
        script.append(
            f"mmap A {where} {prot} private,anon,fixed" if kind == "mmap"
            else f"munmap {where}" if kind == "munmap" else f"mprotect {where} {prot}"
        )  # fmt: skip
    list(run(process, script))
    found = {}
    for vma in process.task.mm.each_from(0x10000000, 0x10000000 + (PAGES + 8) * 4096):
        letters = "".join(letter for letter, bit in (("r", 1), ("w", 2), ("x", 4)) if vma.flags & bit) or "-"
        for page in range(vma.start >> 12, vma.end >> 12):
            found[page - 0x10000] = letters
    assert found == naive.pages


def test_pages_come_from_a_boot_and_go_back(tmp_path: Path) -> None:
    boot = CliRunner().invoke(cli, ["boot", "--capture", "fixtures/captures/x86-6.12-64g", "-o", "json"])
    state = tmp_path / "boot.json"
    state.write_text(boot.stdout)
    script = tmp_path / "script"
    lines = ["mmap A 0 8*H rw private,anon", "madvise A 4*H hugepage", "write A 8*H", "fork", "child write A 2*H"]
    lines += ["munmap A+H P", "mmap F 0 8P rw shared tmp", "write F 8P", "mmap S 0 16P rw shared,anon", "write S 16P"]
    script.write_text("\n".join(lines))
    result = CliRunner().invoke(cli, ["process", "run", str(script), "--state", str(state), "-o", "json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    memory = answer["memory"]
    assert memory["refused"] == 0
    assert sum(z["before"] - z["with"] for z in memory["free"]) == sum(memory["pages"].values())
    assert all(z["before"] == z["after"] for z in memory["free"])
    # eight huge pages, two copies of the child's, and what the process began with
    assert 10 * 512 < memory["pages"]["anonymous"] < 11 * 512
    assert memory["pages"]["of files"] >= 16
    assert memory["pages"]["page tables"] * 4 >= answer["steps"][-1]["status"]["VmPTE"]
