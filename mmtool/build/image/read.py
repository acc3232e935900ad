"""Everything that a kernel's own image tells of its build."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import field

from mmtool.build.image import btf, segments
from mmtool.build.image.arm64 import Arm64Image
from mmtool.build.image.elf import Elf
from mmtool.build.image.kallsyms import read_kallsyms
from mmtool.build.image.realmode import blob_size
from mmtool.build.image.unpack import unpack
from mmtool.late import dataclass
from mmtool.regex import regex

_BANNER = regex(rb"Linux version (\d[^\s\0]*) \([^\0\n]*")


@dataclass(frozen=True)
class KernelImage:
    """A kernel's image. Empty or None: not told.

    `banner` is the "Linux version" line, `release` its name as uname -r has it; `symbols` map names to addresses
    (differences between them are right even where the first of all is 0); `structures` map names to sizes in bytes;
    `places` are offsets from _text in bytes, by the names of `segments.SYMBOLS`; `percpu_static` and `real_mode_blob`
    in bytes.
    """

    arch: str
    banner: str
    release: str | None
    symbols: Mapping[str, int]
    structures: Mapping[str, int]
    places: Mapping[str, int]
    percpu_static: int | None
    real_mode_blob: int | None
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names of the members of the structures that were asked for."""


def read_image(data: bytes, source: str, members_of: Container[str] = ()) -> KernelImage:
    """Read a vmlinuz, Image or vmlinux, with the members of the structures in `members_of`.

    InputError when it is none, broken or compressed in an unknown way.
    """
    kernel = unpack(data, source)
    return _from_elf(kernel, members_of) if isinstance(kernel, Elf) else _from_arm64(kernel, members_of)


def _from_elf(elf: Elf, members_of: Container[str]) -> KernelImage:
    rodata, types = elf.section(".rodata"), elf.section(".BTF")
    symbols = elf.symbols()
    if not symbols and rodata is not None:
        symbols = read_kallsyms(elf.content(rodata), rodata.address, 32 if elf.arch == "i386" else 64)
    found = btf.read_btf(elf.content(types), elf.source, members_of) if types is not None else btf.NO_TYPES
    banner, release = _banner(elf.data)
    percpu = elf.section(".data..percpu")
    return KernelImage(
        elf.arch,
        banner,
        release,
        symbols,
        found.structures,
        segments.from_sections(elf) | segments.from_symbols(symbols),
        percpu_static(symbols) or (percpu.size if percpu is not None else None),
        blob_size(elf),
        found.members,
    )


def _from_arm64(image: Arm64Image, members_of: Container[str]) -> KernelImage:
    symbols = read_kallsyms(image.data, 0, 64)
    if "_stext" in symbols and "_text" not in symbols and "stext" in image.places:
        # Without CONFIG_KALLSYMS_ALL the table begins after the header, whose size the header tells.
        symbols["_text"] = symbols["_stext"] - image.places["stext"]
    found = btf.find(image.data)
    types = btf.read_btf(found, image.source, members_of) if found is not None else btf.NO_TYPES
    banner, release = _banner(image.data)
    return KernelImage(
        "arm64",
        banner,
        release,
        symbols,
        types.structures,
        {**image.places, **segments.from_symbols(symbols)},
        # The area ends with its last variable (x86 fills its last page).
        percpu_static(symbols) or types.sections.get(".data..percpu"),
        None,
        types.members,
    )


def percpu_static(symbols: Mapping[str, int]) -> int | None:
    """Bytes of the per-CPU variables of the kernel itself; None when the symbols do not tell."""
    start, end = symbols.get("__per_cpu_start"), symbols.get("__per_cpu_end")
    return end - start if start is not None and end is not None and end >= start else None


def _banner(data: bytes) -> tuple[str, str | None]:
    m = _BANNER.search(data)
    return (m[0].decode("utf-8", "replace"), m[1].decode("utf-8", "replace")) if m else ("", None)
