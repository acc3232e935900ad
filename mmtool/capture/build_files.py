"""The profile of a kernel's build from what the kernel itself shows: its configuration, symbols and types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mmtool.build.image.btf import NO_TYPES, Types, read_btf
from mmtool.build.make import MadeProfile, make_profile_from
from mmtool.build.options import STRUCTURES
from mmtool.build.shown import shown_facts, structures_asked_for
from mmtool.capture.collect import Collected, Missing
from mmtool.capture.reading import read_in_time
from mmtool.errors import InputError, UsageError
from mmtool.firmware.capture import PROFILE
from mmtool.firmware.packed import unpack
from mmtool.regex import regex
from mmtool.report.profile import to_yaml

BTF, KALLSYMS = "sys/kernel/btf/vmlinux", "proc/kallsyms"


def collect_profile(found: Collected, root: Path = Path("/")) -> None:
    """Put the profile of the running kernel's build among what was collected, where the kernel shows enough of it."""
    try:
        made = build_of(found.files, root, "this machine")
    except (InputError, UsageError) as e:
        found.missing.append(Missing(PROFILE, str(e), "what boot itself takes is estimated"))
        return
    if made is not None:
        found.files[PROFILE] = (to_yaml(made.profile) + "\n").encode()


def build_of(files: Mapping[str, bytes], root: Path, source: str) -> MadeProfile | None:
    """The profile that a running kernel's configuration (of the collected `files`), symbols and types make.

    None without a configuration: nothing tells then what was built. Symbols and the image's place are there for root
    alone. Raises InputError.
    """
    if "config" not in files:
        return None
    config = unpack(files["config"], f"{source}: config").decode("utf-8", "replace")
    symbols = kernel_symbols(root)
    if not symbols and "System.map" in files:
        symbols = files["System.map"].decode("utf-8", "replace")
    types = _types(root)
    made = make_profile_from(
        (config, f"{source}: config"),
        (symbols, f"{source}: symbols") if symbols else None,
        None,
        sizes=_sizes(types),
    )
    places = _resources(files.get("proc/iomem", b"").decode("utf-8", "replace"))
    places |= made.profile.image
    if "init_begin" in places and "bss_start" in places:
        # the locks between them are given back too, so that where the one ends and the other begins does not matter
        places.setdefault("init_end", places["bss_start"])
    shown = {**made.profile.shown, **shown_facts((), types.members)}
    return replace(made, profile=replace(made.profile, image=places, shown=shown))


_RESOURCE = regex(r"^ +([0-9a-f]+)-([0-9a-f]+) : Kernel (code|rodata|data|bss)$", re.MULTILINE)
_PARTS = {
    "code": ("stext", "etext"), "rodata": ("start_rodata", "end_rodata"), "data": ("sdata", "edata"),
    "bss": ("bss_start", "bss_stop"),
}  # fmt: skip


def _resources(iomem: str) -> dict[str, int]:
    """Where the image's parts lie, in bytes from its code, as x86's /proc/iomem has them; empty where it hides them."""
    parts = {m[3]: (int(m[1], 16), int(m[2], 16) + 1) for m in _RESOURCE.finditer(iomem)}
    if "bss" not in parts or "code" not in parts or "rodata" not in parts:
        return {}
    text = parts["code"][0]
    places = {
        name: address - text for part, ends in parts.items() for name, address in zip(_PARTS[part], ends, strict=True)
    }
    end = -(-places["bss_stop"] // _PAGE) * _PAGE
    return places | {"end_of_kernel_reserve": end, "brk_base": end}


_PAGE = 4096


def kernel_symbols(root: Path) -> str:
    """The kernel's own symbols as a System.map has them, "" where their addresses are hidden."""
    try:
        text = read_in_time(root / KALLSYMS).decode("utf-8", "replace")
    except OSError:
        return ""
    own = [line for line in text.splitlines() if "\t" not in line]  # a module's name stands behind a tab
    return "\n".join(own) if any(re.match(r"0*[1-9a-f]", line) for line in own[:50]) else ""


def _types(root: Path) -> Types:
    """The running kernel's own type information; none where it shows none."""
    try:
        return read_btf(read_in_time(root / BTF), f"/{BTF}", structures_asked_for())
    except (OSError, InputError):
        return NO_TYPES


def _sizes(types: Types) -> dict[str, int]:
    """Sizes of structures in bytes, by the names that a profile has for them."""
    sizes = {key: types.structures[name] for key, name in STRUCTURES.items() if name in types.structures}
    percpu = types.sections.get(".data..percpu")
    return sizes if percpu is None else {**sizes, "percpu_static": percpu}
