"""What failure reports look like from which release on: the fields of show_mem(), masks with names, and eras between.

Fields are those of mm/show_mem.c (before 6.6 mm/page_alloc.c).
"""

from __future__ import annotations

from mmtool.build.fact import Version

FIELDS_SINCE: dict[str, Version] = {
    "free_cma": (3, 7, 0),
    "managed": (3, 8, 0),
    "free_pcp": (4, 2, 0),
    "reserved_highatomic": (5, 7, 0),
    "boost": (5, 18, 0),
    "free_highatomic": (6, 13, 0),
    "zspages": (6, 19, 0),
}
"""Fields of a zone's line, from the release on that first printed them."""

NAMES_SINCE: Version = (4, 6, 0)
"""From here on a mask is followed by its names (mm, printk: introduce new format string for flags)."""

ERAS: tuple[Version, ...] = (
    (2, 6, 32), (3, 6, 0), (3, 7, 0), (3, 8, 0), (3, 16, 0), (4, 2, 0), (4, 4, 0), (4, 5, 0), (4, 6, 0), (4, 10, 0),
    (4, 14, 0), (4, 15, 0), (4, 18, 0), (5, 1, 0), (5, 7, 0), (5, 9, 0), (5, 14, 0), (5, 18, 0), (6, 0, 0), (6, 3, 0),
    (6, 8, 0), (6, 12, 0), (6, 13, 0), (6, 14, 0), (6, 19, 0), (7, 3, 0),
)  # fmt: skip
"""One release for each time when something changed that a verdict on a report depends on, masks included."""
