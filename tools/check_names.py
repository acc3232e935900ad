"""Compare the kernel's functions that the model's docstrings name with kernels' sources.

python tools/check_names.py [--write FILE] SOURCE...: unpacked kernel sources, folders with a Makefile. Each `name()` in
a docstring of mmtool/linux/ is a function or a macro in one of them, or a function of mmtool's own; what is neither is
printed with its place, and exit status is 1. --write keeps what was found, a name and the releases a line, as
fixtures/kernel-names.txt does for those who have no sources.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

TOP = Path(__file__).parent.parent
_NAMED = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\(\)")
_SUFFIXES = {".c", ".h", ".S"}


def named() -> dict[str, list[str]]:
    """Name -> where docstrings of the model name it, "path:line"."""
    found = defaultdict(list)
    for path in sorted((TOP / "mmtool" / "linux").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                place = f"{path.relative_to(TOP)}:{getattr(node, 'lineno', 1)}"
                for name in _NAMED.findall(ast.get_docstring(node) or ""):
                    found[name].append(place)
    return dict(found)


def own() -> set[str]:
    """The functions and classes of mmtool itself."""
    trees = (ast.parse(path.read_text(), str(path)) for path in (TOP / "mmtool").rglob("*.py"))
    kinds = ast.FunctionDef | ast.ClassDef
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


def in_source(source: Path, names: Iterable[str]) -> set[str]:
    """Those of the names that are called, defined or declared in a source tree."""
    wanted = set(names)
    found: set[str] = set()
    for path in source.rglob("*"):
        if path.suffix in _SUFFIXES and path.is_file():
            found |= wanted & set(re.findall(r"\b([A-Za-z_]\w*)\s*\(", path.read_text(errors="replace")))
    return found


def release(source: Path) -> str:
    """VERSION.PATCHLEVEL of a source tree."""
    numbers = dict(re.findall(r"^(VERSION|PATCHLEVEL) *= *(\d+)", (source / "Makefile").read_text(), re.M))
    return f"{numbers['VERSION']}.{numbers['PATCHLEVEL']}"


def read_names(path: Path) -> dict[str, list[str]]:
    """A kept list: name -> releases."""
    return {name: releases for name, *releases in map(str.split, path.read_text().splitlines())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the names and their releases")
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE")
    arguments = parser.parse_args()
    names = named()
    found: dict[str, list[str]] = defaultdict(list)
    for source in arguments.sources:
        for name in in_source(source, names):
            found[name].append(release(source))
    nowhere = names.keys() - found.keys() - own()
    for name in sorted(nowhere):
        print(f"{names[name][0]}: {name}() is in none of the sources")
    print(f"{len(names)} names, {len(arguments.sources)} source trees: {len(nowhere)} in none")
    if arguments.write:
        arguments.write.write_text("".join(f"{name} {' '.join(found[name])}\n" for name in sorted(found)))
    return 1 if nowhere else 0


if __name__ == "__main__":
    sys.exit(main())
