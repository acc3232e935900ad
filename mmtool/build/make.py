"""A profile made from a kernel's own files: its configuration, its System.map, its image. Each may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mmtool.build.build import stable_version
from mmtool.build.image import segments
from mmtool.build.image.read import KernelImage, percpu_static, read_image
from mmtool.build.kconfig import KernelConfig, read_config
from mmtool.build.options import OPTIONS, STRUCTURES
from mmtool.build.profile import Option, Profile, debian_name
from mmtool.build.shown import shown_facts, structures_asked_for
from mmtool.build.system_map import read_system_map
from mmtool.errors import UsageError
from mmtool.late import dataclass

# What an image must tell for the model to place it: the rest follows from its neighbours or is printed only.
_NEEDED_PLACES = {
    "x86_64": ("init_begin", "init_end", "bss_stop", "brk_base", "end"),
    "i386": ("init_begin", "init_end", "bss_stop", "brk_base", "end"),
    "arm64": ("stext", "init_begin", "init_end", "end"),
}
# Structures of which every kernel of the architecture has one, in boot memory.
_NEEDED_SIZES = {
    "x86_64": ("struct_page", "pg_data_t", "mem_section", "mem_section_usage", "resource", "firmware_map_entry"),
    "i386": ("struct_page", "resource", "firmware_map_entry"),
    "arm64": ("struct_page", "pg_data_t", "mem_section", "mem_section_usage", "resource", "device_node", "property"),
}


@dataclass(frozen=True)
class MadeProfile:
    """A profile and what it lacks: `unknown` holds a sentence for each gap, with what it costs."""

    profile: Profile
    unknown: tuple[str, ...]


def make_profile_from(
    config: tuple[str, str] | None,
    system_map: tuple[str, str] | None,
    image: tuple[bytes, str] | None,
    *,
    name: str | None = None,
    sizes: Mapping[str, int] | None = None,
) -> MadeProfile:
    """A profile from the contents of files, each with its name for messages; `sizes` (bytes) go before the image's.

    InputError for a file that is not what it should be; UsageError when there is none or they contradict each other.
    """
    if config is None and system_map is None and image is None:
        raise UsageError("give at least one of the kernel's configuration, System.map and image")
    symbols = read_system_map(*system_map) if system_map is not None else None
    made = make_profile(
        read_config(*config) if config is not None else None,
        symbols or None,
        read_image(*image, structures_asked_for()) if image is not None else None,
        name=name,
        sizes=sizes or {},
    )
    if system_map is not None and not symbols:
        return replace(made, unknown=(f"{system_map[1]}: a stub without symbols, left aside", *made.unknown))
    return made


def make_profile(
    config: KernelConfig | None,
    symbols: Mapping[str, int] | None,
    image: KernelImage | None,
    *,
    name: str | None,
    sizes: Mapping[str, int],
) -> MadeProfile:
    """A profile from what the files hold; UsageError when they are of different architectures or tell none."""
    arch = _arch(config, symbols, image)
    release = _release(config, image)
    members = image.members if image is not None else {}
    if name is None:
        uname = image.release if image is not None else None
        name = (debian_name(uname) or uname) if uname else f"{release or 'unknown'}-{arch}"
    profile = Profile(
        name,
        arch,
        release or "unknown",
        kept_options(config.options) if config is not None else {},
        _in_order({**_sizes(symbols, image), **sizes}),
        _places(symbols, image),
        uname=image.release if image is not None else None,
        shown=shown_facts(symbols or (image.symbols if image is not None else {}), members),
    )
    return MadeProfile(profile, tuple(_unknown(profile, config, image)))


def kept_options(options: Mapping[str, Option]) -> dict[str, Option]:
    """Of a whole configuration what a profile keeps: the options that are set, and where it counts that one is not."""
    kept: dict[str, Option] = {}
    for option in OPTIONS:
        value = options.get(option.name)
        if value is None and option.absent_is_no:
            value = False
        if value is not None and (value is not False or option.no_counts or option.absent_is_no):
            kept[option.name] = value
    return kept


def _arch(config: KernelConfig | None, symbols: Mapping[str, int] | None, image: KernelImage | None) -> str:
    told = {
        "the configuration": config.arch if config is not None else None,
        "the image": image.arch if image is not None else None,
    }
    known = {arch for arch in told.values() if arch is not None}
    if len(known) > 1:
        raise UsageError("; ".join(f"{what} is for {arch}" for what, arch in told.items()))
    if known:
        return known.pop()
    if config is None and symbols is not None:
        if "real_mode_blob" in symbols:
            return "x86_64" if symbols.get("_text", 0) >> 32 else "i386"
        if "swapper_pg_dir" in symbols and "idmap_pg_dir" in symbols:
            return "arm64"
    raise UsageError("the architecture is not told, or is neither x86 nor arm64")


def _release(config: KernelConfig | None, image: KernelImage | None) -> str | None:
    """The mainline or stable release: the configuration's title, else what the image's banner says of its origin."""
    if config is not None and config.release is not None:
        return config.release
    if image is None or image.release is None:
        return None
    version = stable_version(image.release, image.banner)
    return ".".join(str(n) for n in version) if version is not None else image.release


def _sizes(symbols: Mapping[str, int] | None, image: KernelImage | None) -> dict[str, int]:
    sizes: dict[str, int] = {}
    if image is not None:
        sizes |= {key: image.structures[name] for key, name in STRUCTURES.items() if name in image.structures}
    percpu = percpu_static(symbols or {}) or (image.percpu_static if image is not None else None)
    if percpu is not None:
        sizes["percpu_static"] = percpu
    blob = _real_mode_blob(symbols or {}) or (image.real_mode_blob if image is not None else None)
    if blob is not None:
        sizes["real_mode_blob"] = blob
    return sizes


def _in_order(sizes: Mapping[str, int]) -> dict[str, int]:
    return {name: sizes[name] for name in STRUCTURES if name in sizes} | dict(sizes)


def _real_mode_blob(symbols: Mapping[str, int]) -> int | None:
    """Bytes of whole pages that the real-mode code takes (real_mode_size_needed())."""
    start, end = symbols.get("real_mode_blob"), symbols.get("real_mode_blob_end")
    return -(-(end - start) // 4096) * 4096 if start is not None and end is not None and end > start else None


def _places(symbols: Mapping[str, int] | None, image: KernelImage | None) -> dict[str, int]:
    places = {**(image.places if image is not None else {}), **segments.from_symbols(symbols or {})}
    return {name: places[name] for name in segments.SYMBOLS if name in places}


def _unknown(profile: Profile, config: KernelConfig | None, image: KernelImage | None) -> list[str]:
    gaps: list[str] = []
    if config is None:
        gaps.append("no configuration: zones, nodes and reservations that depend on options are those of a bare kernel")
    if profile.release == "unknown":
        gaps.append("no release: neither configuration nor image tells it; set 'release' in the profile")
    elif config is not None and image is not None and _release(None, image) != profile.release:
        gaps.append(f"the configuration is of {profile.release}, the image of {image.release}: are they of one kernel?")
    sizes = [s for s in (*_NEEDED_SIZES[profile.arch], "percpu_static") if s not in profile.sizes]
    if profile.arch != "arm64" and "real_mode_blob" not in profile.sizes:
        sizes.append("real_mode_blob")
    if sizes:
        why = "no image" if image is None else "the image holds no type information" if not image.structures else ""
        gaps.append(
            f"unknown sizes{f' ({why})' if why else ''}: {', '.join(sizes)}; estimates stand in for them, "
            "and what boot reserves is off by some pages"
        )
    places = [p for p in _NEEDED_PLACES[profile.arch] if p not in profile.image]
    if places:
        gaps.append(
            f"unknown places in the image: {', '.join(places)}; give the kernel's real System.map, else estimates "
            "stand in for what the kernel takes itself and gives back after boot"
        )
    return gaps
