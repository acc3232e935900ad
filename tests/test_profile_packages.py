"""Profiles made from Debian's kernel packages are those that come with mmtool, number for number.

MMTOOL_KERNELS names a folder with the packages unpacked, each in a folder of its name; without it nothing runs.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmtool.build.make import make_profile_from
from mmtool.build.profile import available, debian_name, load_profile

KERNELS = os.environ.get("MMTOOL_KERNELS", "")
IMAGES = sorted(Path(KERNELS).glob("linux-*/**/vmlinuz*")) if KERNELS else []
# Of the kernels whose own symbol table leaves data out (no CONFIG_KALLSYMS_ALL), and no section table tells it.
FROM_SYSTEM_MAP = {"end_rodata", "init_end", "initdata_end", "sdata", "bss_start", "bss_stop", "percpu_static"}


def release(image: Path) -> str:
    return image.parent.name if image.name == "vmlinuz" else image.name.removeprefix("vmlinuz-")


def neighbour(image: Path, kind: str) -> Path | None:
    """The package's config or System.map; from 6.19 on they lie in a package of their own."""
    name = release(image)
    found = sorted(Path(KERNELS).glob(f"linux-*/**/{kind}-{name}"))
    found += sorted(Path(KERNELS).glob(f"linux-base-{name}/**/{kind}"))
    return max((path for path in found if path.is_file()), key=lambda path: path.stat().st_size, default=None)


@pytest.mark.skipif(not IMAGES, reason="MMTOOL_KERNELS names no folder with kernel packages")
@pytest.mark.parametrize("image", IMAGES, ids=release)
def test_made_profile_is_the_shipped_one(image: Path) -> None:
    name = debian_name(release(image))
    assert name is not None
    if name not in available():
        pytest.skip("no profile of this kernel")
    shipped = load_profile(name)
    config, system_map = neighbour(image, "config"), neighbour(image, "System.map")
    made = make_profile_from(
        (config.read_text(), str(config)) if config else None,
        (system_map.read_text(), str(system_map)) if system_map else None,
        (image.read_bytes(), str(image)),
    ).profile
    if made.release != shipped.release:
        pytest.skip(f"{made.release} where the profile is of {shipped.release}")
    assert made.config == shipped.config
    lacking = shipped.sizes.keys() - made.sizes.keys() | shipped.image.keys() - made.image.keys()
    assert not lacking or made.arch == "i386" or lacking <= FROM_SYSTEM_MAP
    assert made.sizes == {k: v for k, v in shipped.sizes.items() if k in made.sizes}
    assert made.image == {k: v for k, v in shipped.image.items() if k in made.image}
