"""The kernel's command line, taken apart as the kernel does it.

Models next_arg() of lib/cmdline.c and parse_args() of kernel/params.c: words end at white space outside of
double quotes, which cannot be escaped; a word's first "=" parts name and value; "--" ends the kernel's part.
"""

from __future__ import annotations

from functools import cached_property

from mmtool.late import dataclass

_SPACE = " \t\n\v\f\r"

Option = tuple[str, str | None]

READ = frozenset(
    (
        "acpi",
        "add_efi_memmap",
        "alloc_mptable",
        "arm64.nolva",
        "cgroup.memory",
        "cma",
        "cma_pernuma",
        "crashkernel",
        "debug_guardpage_minorder",
        "debug_pagealloc",
        "default_hugepagesz",
        "dhash_entries",
        "disable_mtrr_trim",
        "efi",
        "efi_fake_mem",
        "hashdist",
        "highmem",
        "hugepages",
        "hugepagesz",
        "hugetlb_cma",
        "hugetlb_cma_only",
        "ihash_entries",
        "init_on_free",
        "iommu",
        "kernelcore",
        "kfence.sample_interval",
        "log_buf_len",
        "maxcpus",
        "mem",
        "memblock",
        "memmap",
        "memory_corruption_check",
        "mhash_entries",
        "movable_node",
        "movablecore",
        "mphash_entries",
        "no5lvl",
        "noefi",
        "nohugevmalloc",
        "nokaslr",
        "nopse",
        "nosmp",
        "nr_cpus",
        "numa",
        "numa_cma",
        "ohci1394_dma",
        "percpu_alloc",
        "possible_cpus",
        "reserve_mem",
        "retain_initrd",
        "rodata",
        "slab_max_order",
        "slab_merge",
        "slab_min_objects",
        "slab_min_order",
        "slab_nomerge",
        "slub_debug",
        "slub_max_order",
        "slub_merge",
        "slub_min_objects",
        "slub_min_order",
        "slub_nomerge",
        "swiotlb",
        "transparent_hugepage",
        "vmalloc",
    )
)
"""Parameters that change what mmtool answers; of all others it has no opinion."""


def same_name(name: str) -> str:
    """A parameter's name with "-" and "_" made one, as the kernel compares names (parameq())."""
    return name.replace("-", "_")


@dataclass(frozen=True)
class Cmdline:
    """A command line's options in order, repeated and unknown ones too.

    `options` are (name, value) as written, value None where there is no "="; what follows "--" is init's and not
    among them. `text` is the line as the boot loader gave it.
    """

    options: tuple[Option, ...] = ()
    text: str = ""

    def all(self, name: str) -> tuple[str | None, ...]:
        """The values of every option of that name ("-" and "_" are one), in order."""
        return self._values.get(same_name(name), ())

    @cached_property
    def _values(self) -> dict[str, tuple[str | None, ...]]:
        """The values by name: a boot asks for some forty."""
        values: dict[str, list[str | None]] = {}
        for name, value in self.options:
            values.setdefault(same_name(name), []).append(value)
        return {name: tuple(found) for name, found in values.items()}

    def get(self, name: str) -> str | None:
        """The value of the last option of that name; None when there is none, or it has no value."""
        values = self.all(name)
        return values[-1] if values else None

    def has(self, name: str) -> bool:
        """Is there an option of that name, with or without a value?"""
        return bool(self.all(name))


def unread(text: str) -> list[str]:
    """The names in a command line that change nothing of what mmtool answers."""
    read = {same_name(name) for name in READ}
    return [name for name, _ in parse_cmdline(text).options if same_name(name) not in read]


def parse_cmdline(text: str) -> Cmdline:
    """Take a command line apart; every text is one."""
    options: list[Option] = []
    at = _skip_spaces(text, 0)
    while at < len(text):
        name, value, at = next_arg(text, at)
        if name == "--" and value is None:
            break
        options.append((name, value))
    return Cmdline(tuple(options), text)


def next_arg(text: str, at: int) -> tuple[str, str | None, int]:
    """The parameter at `text[at:]`: its name, its value or None, and where the next one begins.

    A word that begins with a quote is quoted whole; a value that begins with one loses it, and the one
    at its end. An "=" at the very beginning parts nothing.
    """
    quoted = text[at : at + 1] == '"'
    start = at + 1 if quoted else at
    in_quote, equals, end = quoted, start, start
    while end < len(text) and (in_quote or text[end] not in _SPACE):
        if text[end] == "=" and equals == start:
            equals = end
        elif text[end] == '"':
            in_quote = not in_quote
        end += 1
    word_end = end
    value: str | None = None
    if equals > start:
        value_start = equals + 1
        if text[value_start : value_start + 1] == '"' and value_start < end:
            value_start += 1
            if text[end - 1] == '"':
                word_end = end - 1
    if quoted and end > start and text[end - 1] == '"':
        word_end = end - 1
    if equals > start:
        value = text[value_start : max(word_end, value_start)]
    name = text[start : equals if equals > start else word_end]
    return name, value, _skip_spaces(text, end)


def _skip_spaces(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
