"""Small wrong changes to the model's core, one at a time: do its tests notice? Run by hand; pytest does not collect it.

    python tests/mutation.py cma e820               # 30 sampled mutants of each, seed 1
    python tests/mutation.py --sample 0 memblock    # every mutant
    python tests/mutation.py --line 118 fallback    # those of one line
    python tests/mutation.py --list                 # what there is: modules, mutants, tests, and what is equal no more

`TARGETS` says which files a name stands for and which tests are for them. Each mutant is one change to one place: a
comparison loosened, tightened or turned, a small number one more or one less, `and` for `or`, `break` for `continue`,
`min` for `max`, a `not` dropped. It is made in a copy of the package in a temporary directory, and the tests run there
with -x (Hypothesis without shrinking, from a fixed seed). A failing test or --limit seconds kill it. Survivors are
printed with their lines: each is a test that is missing, or a change that is equal in effect, of which
mutation_equal.txt keeps those that somebody proved.

Exit status: 0 where nothing survived but what mutation_equal.txt names, 1 where something did, 2 for wrong usage or
tests that fail without any change.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MOST_SMALL = 64
"""Numbers up to this one are taken for counts, orders and steps; larger ones for sizes, masks and addresses."""


@dataclass(frozen=True)
class Target:
    """Files of the model (patterns under mmtool/linux) and the tests that are for them, quickest first."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


TARGETS = {
    "memblock": Target(
        ("mm/memblock/*.py",),
        (
            "test_memblock",
            "test_memblock_vectors",
            "test_memblock_places",
            "test_memblock_ledger",
            "test_reserve_mem",
            "test_memblock_properties",
            "test_memblock_replay",
            "test_memblock_run",
        ),
    ),
    "e820": Target(("arch/x86/kernel/e820.py",), ("test_e820", "test_map")),
    "crash_reserve": Target(
        ("kernel/crash_reserve.py", "arch/*/*/crash_reserve.py"), ("test_crash_reserve", "test_cma")
    ),
    "cma": Target(("mm/cma.py",), ("test_cma", "test_hugetlb")),
    "zone_watermark": Target(("mm/page_alloc/zone_watermark.py",), ("test_zone_watermark", "test_slowpath")),
    "fallback": Target(("mm/page_alloc/fallback.py",), ("test_fallback", "test_slowpath")),
    "zonelist": Target(("mm/zonelist.py",), ("test_zonelist", "test_captures")),
    "mm_init": Target(("mm/mm_init.py",), ("test_movable", "test_mm_init", "test_x86_log_facts", "test_captures")),
    "free_tree": Target(("mm/vmalloc/free_tree.py",), ("test_vmalloc_free_tree", "test_vmalloc", "test_vmalloc_pages")),
}

EQUAL = {
    line.strip(): why
    for block in (ROOT / "tests" / "mutation_equal.txt").read_text().split("\n\n")[1:]
    for why, *lines in [block.splitlines()]
    for line in lines
}
"""Changes that cannot be told from the model, "file under mmtool/linux function: change", and why."""

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}


@dataclass(frozen=True)
class Mutant:
    """One change: `source` is the whole file with it."""

    path: Path
    line: int
    what: str
    source: str

    @property
    def key(self) -> str:
        """As mutation_equal.txt names it."""
        return f"{self.path.relative_to('mmtool/linux')} {self.what}"


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    match node:
        case ast.Compare():
            for i, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    new = copy.copy(node)
                    new.ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
                    yield new
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant(value=int(value)) if not isinstance(value, bool) and 0 <= value <= MOST_SMALL:
            yield ast.Constant(value + 1)
            if value:
                yield ast.Constant(value - 1)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Call(func=ast.Name(id="min" | "max" as name)):
            yield ast.Call(ast.Name("max" if name == "min" else "min"), node.args, node.keywords)
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()


def places(node: ast.AST, within: str = "") -> Iterator[tuple[ast.AST, str, int | None, ast.AST, str]]:
    """(parent, field, index, node, function) of every node outside annotations, decorators and string literals."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for i, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST):
                continue
            yield node, name, i if isinstance(value, list) else None, child, within
            inner = isinstance(child, ast.FunctionDef | ast.ClassDef)
            yield from places(child, f"{within}.{child.name}".lstrip(".") if inner else within)  # type: ignore[attr-defined]


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a file, in its order."""
    tree = ast.parse((ROOT / path).read_text())
    for parent, name, index, node, within in list(places(tree)):
        for new in changed(node):
            held: Any = parent if index is None else getattr(parent, name)
            slot: Any = name if index is None else index
            # A number says little alone: what it is in is shown with it.
            shown = isinstance(node, ast.Constant) and not hasattr(parent, "body")
            before = ast.unparse(parent if shown else node)
            (setattr if index is None else list.__setitem__)(held, slot, new)
            after = ast.unparse(parent if shown else new)
            source = ast.unparse(ast.fix_missing_locations(tree))
            (setattr if index is None else list.__setitem__)(held, slot, node)
            yield Mutant(path, node.lineno, f"{within}: {before} -> {after}", source)  # type: ignore[attr-defined]


def mutants(target: Target) -> list[Mutant]:
    """Every mutant of a target."""
    linux = ROOT / "mmtool" / "linux"
    paths = sorted({path for pattern in target.files for path in linux.glob(pattern)})
    return [m for path in paths for m in mutants_of(path.relative_to(ROOT))]


class Copy:
    """A copy of the package and its tests, in which a mutant stands at a time."""

    def __init__(self, into: Path) -> None:
        self.root = into
        for tree in ("mmtool", "tests"):
            shutil.copytree(ROOT / tree, into / tree, ignore=shutil.ignore_patterns("__pycache__"))
        for entry in ROOT.iterdir():
            if entry.name not in ("mmtool", "tests") and not entry.name.startswith("."):
                (into / entry.name).symlink_to(entry)

    def passes(self, tests: tuple[str, ...], limit: float, *, keep_bytecode: bool = False) -> bool | None:
        """Do the tests pass? None where they took longer than `limit` seconds."""
        files = [f"tests/{test}.py" for test in tests]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "mutation", *files]
        paths = os.pathsep.join(str(self.root / part) for part in (".", "tests"))
        environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "" if keep_bytecode else "1"}
        try:
            return not subprocess.run(
                command, cwd=self.root, env=environment, capture_output=True, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return None

    def verdict(self, mutant: Mutant, tests: tuple[str, ...], limit: float) -> bool | None:
        """Do the tests pass with the mutant?"""
        file = self.root / mutant.path
        before = file.read_text()
        file.write_text(mutant.source)
        try:
            return self.passes(tests, limit)
        finally:
            file.write_text(before)


def pytest_configure(config: object) -> None:
    """In the copies this module is a plugin: examples from a fixed seed, the first that fails is enough."""
    from hypothesis import Phase, settings

    settings.register_profile(
        "mutants", phases=(Phase.explicit, Phase.generate), derandomize=True, database=None, deadline=None
    )
    settings.load_profile("mutants")


def run(name: str, chosen: list[Mutant], copies: SimpleQueue[Copy], jobs: int, limit: float) -> int:
    """Run the mutants of one target, print survivors as they are found and the sum; how many were not expected."""
    tests = TARGETS[name].tests

    def judge(mutant: Mutant) -> bool | None:
        work = copies.get()
        try:
            return work.verdict(mutant, tests, limit)
        finally:
            copies.put(work)

    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, passed in zip(chosen, pool.map(judge, chosen), strict=True):
            if passed:
                kind = "equal" if mutant.key in EQUAL else "survived"
                print(f"{kind} {mutant.path}:{mutant.line}: {mutant.what}", flush=True)
            else:
                kind = "timed out" if passed is None else "killed"
            counts[kind] += 1
    killed = counts["killed"] + counts["timed out"]
    rest = f"{counts['survived']} survived, {counts['equal']} equal in effect, {counts['timed out']} by the limit"
    print(f"{name}: {killed} of {len(chosen)} killed, {rest}", flush=True)
    return counts["survived"]


def listing(names: list[str]) -> int:
    """Print the modules; 1 where mutation_equal.txt names a change of one that is none of its mutants."""
    stale = 0
    for name in names:
        every = mutants(TARGETS[name])
        print(f"{name}: {len(every)} mutants, {' '.join(TARGETS[name].tests)}")
        paths = {f"{m.path.relative_to('mmtool/linux')} " for m in every}
        known = {key for key in EQUAL if key.startswith(tuple(paths))}
        for key in sorted(known - {m.key for m in every}):
            print(f"no mutant: {key}")
            stale += 1
    return 1 if stale else 0


def main() -> int:
    """The command line; the exit status is in the module's docstring."""
    parser = argparse.ArgumentParser(description="Do the tests notice small wrong changes to the model?")
    parser.add_argument("targets", nargs="*", metavar="MODULE", help=f"of {', '.join(TARGETS)}; all without one")
    parser.add_argument("--sample", type=int, default=30, help="mutants of a module, 0 for all (30)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (1)")
    parser.add_argument("--line", type=int, action="append", help="only mutants of this line; may be repeated")
    parser.add_argument("--limit", type=float, default=60, help="seconds for a mutant (60)")
    parser.add_argument("--jobs", type=int, default=2, help="at a time (2)")
    parser.add_argument("--list", action="store_true", help="print the modules and stop")
    options = parser.parse_args()
    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(TARGETS)}")
    if options.list:
        return listing(options.targets or list(TARGETS))
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mmtool-mutants-") as top:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for i in range(options.jobs):
            copies.put(Copy(Path(top, str(i))))
        for name in options.targets or TARGETS:
            chosen = [m for m in mutants(TARGETS[name]) if not options.line or m.line in options.line]
            if options.sample and len(chosen) > options.sample:
                picked = random.Random(options.seed).sample(range(len(chosen)), options.sample)
                chosen = [chosen[i] for i in sorted(picked)]
            for _ in range(options.jobs):
                unchanged = copies.get()
                # What it compiles here, it need not compile for each mutant.
                if not unchanged.passes(TARGETS[name].tests, 10 * options.limit, keep_bytecode=True):
                    print(f"{name}: the tests fail without any change", file=sys.stderr)
                    return 2
                copies.put(unchanged)
            survived += run(name, chosen, copies, options.jobs, options.limit)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
