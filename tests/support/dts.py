"""What dtc prints of a device tree, read back: a second opinion on what a blob holds."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r'/memreserve/\s+(?P<base>\w+)\s+(?P<size>\w+);|(?P<open>[^\s{};="]+)\s*\{|(?P<close>\};)'
    r'|(?P<name>[^\s{};="]+)(?:\s*=\s*(?P<value>(?:"(?:\\.|[^"\\])*"|[^;"])*))?;'
)


@dataclass
class Node:
    path: str
    properties: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def cells(self, name: str) -> list[int]:
        return [int(word, 0) for part in re.findall("<([^>]*)>", self.properties[name]) for word in part.split()]

    def strings(self, name: str) -> list[str]:
        return re.findall(r'[^"\\]+', self.properties[name].replace('", "', "\\").replace("\\0", "\\"))

    def child(self, name: str) -> Node | None:
        return next((child for child in self.children if child.path.rsplit("/", 1)[1] == name), None)

    def walk(self) -> list[Node]:
        return [self, *(below for child in self.children for below in child.walk())]


@dataclass
class Tree:
    root: Node
    memreserve: list[tuple[int, int]]


def run_dtc(data: bytes, *options: str) -> bytes:
    return subprocess.run(["dtc", "-q", *options], input=data, capture_output=True, check=True).stdout


def compile_dts(source: str) -> bytes:
    return run_dtc(source.encode(), "-I", "dts", "-O", "dtb")


def decompile(data: bytes) -> Tree:
    source = run_dtc(data, "-I", "dtb", "-O", "dts").decode()
    tree, stack = Tree(Node(""), []), list[Node]()
    for m in _TOKEN.finditer(source.removeprefix("/dts-v1/;")):
        if m["base"]:
            tree.memreserve.append((int(m["base"], 0), int(m["base"], 0) + int(m["size"], 0)))
        elif m["open"]:
            node = tree.root if not stack else Node(f"{stack[-1].path}/{m['open']}")
            if stack:
                stack[-1].children.append(node)
            stack.append(node)
        elif m["close"]:
            stack.pop()
        else:
            stack[-1].properties[m["name"]] = (m["value"] or "").strip()
    return tree
