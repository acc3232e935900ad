"""The house as CONTRIBUTING.md describes it: floors, no circles, no hidden imports, architectures in their place."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TOP = Path(__file__).parent.parent
FLOORS = {
    "errors": 0, "units": 0, "late": 0, "assumption": 0, "regex": 0, "suggest": 0, "written": 0, "examples": 1,
    "schema": 1, "shape": 1, "firmware": 2, "build": 3, "linux": 4,
    "observed": 5, "system": 6, "answers": 7, "report": 8, "capture": 8, "cli": 9, "api": 9, "__main__": 10,
}  # fmt: skip
"""Who stands on whom: a module imports of its own floor and of lower ones."""
MAY_BE_LAZY = {
    "mmtool.__main__": "a Ctrl-C from the first moment on is met before anything is loaded",
    "mmtool.firmware.read": "a device tree needs pyfdt and a binary table struct, which a log does not",
}
"""Who imports inside functions beside cli/ and api.py, and why; the circles are looked for among these imports too."""
ARCHITECTURES = {"x86_64", "i386", "arm64", "x86", "arm", "riscv", "riscv64"}


@cache
def modules() -> dict[str, tuple[Path, ast.Module]]:
    """Every module of the package by name, with its tree."""
    found = {}
    for path in sorted((TOP / "mmtool").rglob("*.py")):
        name = ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")
        found[name] = path, ast.parse(path.read_text(), str(path))
    return found


def imports(tree: ast.AST, hidden: str = "") -> Iterator[tuple[str, str]]:
    """(module of mmtool that is imported, "" or how it is hidden: "function" or "TYPE_CHECKING")."""
    for node in ast.iter_child_nodes(tree):
        how = hidden
        if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test) and node is not tree.test:
            how = "TYPE_CHECKING"
        if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            how = "function"
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                found = name if name in modules() else node.module or ""
                if found in modules():
                    yield found, how
        elif isinstance(node, ast.Import):
            yield from ((alias.name, how) for alias in node.names if alias.name in modules())
        yield from imports(node, how)


@cache
def graph() -> dict[str, set[str]]:
    """Which modules each imports, at whatever moment."""
    return {name: {to for to, _ in imports(tree)} for name, (_, tree) in modules().items()}


def floor(module: str) -> int:
    parts = module.split(".")
    return FLOORS[parts[1]] if len(parts) > 1 else 0


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected parts with more than one module (Tarjan)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in edges[module]:
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            at = stack.index(module)
            part = stack[at:]
            del stack[at:]
            if len(part) > 1:
                found.append(sorted(part))

    for module in edges:
        if module not in number:
            visit(module)
    return found


def test_no_module_imports_in_a_circle() -> None:
    # The package itself only names what api.py has, and loads it when it is asked for (PEP 562).
    edges = {name: others - {"mmtool"} for name, others in graph().items() if name != "mmtool"}
    assert circles(edges) == []


def test_imports_go_down_the_floors() -> None:
    upwards = [
        f"{name} imports {other}"
        for name, others in graph().items() if name != "mmtool"
        for other in others if floor(other) > floor(name)
    ]  # fmt: skip
    assert upwards == []


def test_every_folder_has_its_floor() -> None:
    assert {name.split(".")[1] for name in modules() if "." in name} == set(FLOORS)


def test_within_linux_steps_stand_above_stages() -> None:
    """mm/, kernel/, drivers/ and fs/ know neither the steps of a boot (init/) nor an architecture."""
    below = ("mmtool.linux.mm.", "mmtool.linux.kernel.", "mmtool.linux.drivers.", "mmtool.linux.fs.")
    above = ("mmtool.linux.init", "mmtool.linux.arch")
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items() if f"{name}.".startswith(below)
        for other in others if other.startswith(above)
    ]  # fmt: skip
    assert wrong == []
    init = [other for name, others in graph().items() if name.startswith("mmtool.linux.init") for other in others]
    assert [other for other in init if other.startswith("mmtool.linux.arch")] == []


def test_early_lies_below_the_stages() -> None:
    below = ("late", "linux.mm.memblock", "linux.kernel.printk", "build", "firmware")
    allowed = tuple(f"mmtool.{name}" for name in below)
    assert [other for other in graph()["mmtool.linux.mm.early"] if not other.startswith(allowed)] == []


def test_no_import_is_hidden() -> None:
    """Neither in a function nor under TYPE_CHECKING, but for cli/ and api.py, which load only what a command needs."""
    hidden = [
        f"{name} imports {other} in a {how} block"
        for name, (_, tree) in modules().items()
        if not name.startswith(("mmtool.cli", "mmtool.api")) and name != "mmtool"
        for other, how in imports(tree) if how and not (how == "function" and name in MAY_BE_LAZY)
    ]  # fmt: skip
    assert hidden == []


def asks_for_architecture(node: ast.AST) -> bool:
    """Is it a comparison with an architecture's name, or `is_64bit`?"""
    if isinstance(node, ast.Compare):
        texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        names = [n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)]
        names += [n.id for n in ast.walk(node) if isinstance(n, ast.Name)] + texts
        return "arch" in names and bool(set(texts) & ARCHITECTURES)
    return isinstance(node, ast.Attribute) and node.attr == "is_64bit"


def test_architectures_are_asked_for_in_their_place_only() -> None:
    """`arch ==` and is_64bit stand in linux/arch/ and build/, and where input says what it is of (firmware/).

    Elsewhere the architecture's interface is asked, or the build; but for options that one architecture alone has.
    """
    places: dict[str, int] = defaultdict(int)
    for name, (_, tree) in modules().items():
        if not name.startswith(("mmtool.linux.arch", "mmtool.build", "mmtool.firmware")):
            for node in ast.walk(tree):
                if isinstance(node, ast.expr) and asks_for_architecture(node):
                    places[name] += 1
    assert set(places) == {"mmtool.cli.process", "mmtool.cli.zram", "mmtool.system.process_default"}


def test_sizes_of_the_build_are_no_constants_of_a_file() -> None:
    """PAGE_SIZE, PAGE_SHIFT and SMP_CACHE_BYTES come from the kernel; x86 has one size of pages, in one place."""
    names = {"PAGE_SIZE", "PAGE_SHIFT", "SMP_CACHE_BYTES"}
    found: dict[str, list[str]] = defaultdict(list)
    for name, (_, tree) in modules().items():
        for node in tree.body:
            if name.startswith("mmtool.linux") and isinstance(node, ast.Assign):
                targets = [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
                if names & set(targets):
                    found[name].append(ast.unparse(node))
    assert set(found) == {"mmtool.linux.arch.x86.page"}


def test_the_checks_see_what_they_look_for() -> None:
    tree = ast.parse(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mmtool.units import human\n"
        "def f():\n    from mmtool.errors import InputError\nif kernel.arch == 'arm64' or k.is_64bit: pass\n"
        "g = arch == 'arm', m['arch'] == 'x86'\n"
    )
    assert dict(imports(tree)) == {"mmtool.units": "TYPE_CHECKING", "mmtool.errors": "function"}
    assert sum(asks_for_architecture(node) for node in ast.walk(tree)) == 4
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_what_documents_stands_behind_what_it_documents() -> None:
    """A string of a body's own is its docstring, or says something of the assignment right before it."""
    lost = [
        f"{path}:{statement.lineno}"
        for path, tree in modules().values()
        for node in ast.walk(tree)
        for body in [getattr(node, "body", None)] if isinstance(body, list)
        for before, statement in zip([None, *body], body, strict=False)
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if isinstance(statement.value.value, str) and not isinstance(before, ast.Assign | ast.AnnAssign | None)
    ]  # fmt: skip
    assert lost == []


def test_dataclasses_are_those_that_start_quickly() -> None:
    """But for the library's own results, which stay frozen for programs that no type checker reads."""
    using = {
        name
        for name, (_, tree) in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
        if any(alias.name == "dataclass" for alias in node.names)
    }
    assert using == {"mmtool.late", "mmtool.api"}, "import dataclass from mmtool.late"


def test_whatever_a_dataclass_annotates_is_a_field() -> None:
    """mmtool.late does not look for what annotates no field."""
    names = {"ClassVar", "InitVar", "KW_ONLY"}
    assert {name for name, (path, _) in modules().items() if names & set(re.findall(r"\w+", path.read_text()))} == {
        "mmtool.late"
    }
