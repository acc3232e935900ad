"""What differs between releases in zsmalloc and zram: mm/zsmalloc.c, drivers/block/zram/zram_drv.c."""

from __future__ import annotations

from mmtool.build.fact import Facts, Mark, since

ZSMALLOC = "mm/zsmalloc.c"


class ZramFacts(Facts):
    """mm/zsmalloc.c and drivers/block/zram."""

    chain_size_is_an_option: bool = since(
        "6.3", "zsmalloc: make zspage chain size configurable", marks=Mark(ZSMALLOC, "CONFIG_ZSMALLOC_CHAIN_SIZE")
    )
    """CONFIG_ZSMALLOC_CHAIN_SIZE says of how many pages a zspage may be made; before, four."""
    chain_wastes_least: bool = since(
        "6.3", "zsmalloc: rework zspage chain size selection", marks=Mark(ZSMALLOC, "calculate_zspage_chain_size")
    )
    """A chain has the length that leaves the fewest bytes over; before, the one that uses the largest share."""
    fullness_in_tenths: bool = since(
        "6.4", "zsmalloc: fine-grained inuse ratio based fullness grouping", marks=Mark(ZSMALLOC, "ZS_INUSE_RATIO_99")
    )
    """zspages are kept apart by tenths of how full they are; before, above and up to three quarters."""
    head_is_not_compared: bool = since("6.4", marks=Mark(ZSMALLOC, "get_zspage_inuse(head)", gone=True, since="4.14"))
    """A zspage goes to the head of its list; before, behind a head that is fuller."""
    compaction_keeps_destination: bool = since(
        "6.4", "zsmalloc: rework compaction algorithm", marks=Mark(ZSMALLOC, "isolate_dst_zspage")
    )
    """Compaction fills one zspage from the emptiest ones in turn; before, one zspage is emptied into the fullest."""
    index_bits_hold_the_tag: bool = since("6.9", marks=Mark(ZSMALLOC, "_PFN_BITS - OBJ_TAG_BITS", gone=True))
    """An object's index in its zspage has a bit more: the tag is in the handle alone."""
    class_in_object: bool = since("7.3", marks=Mark(ZSMALLOC, "ZS_OBJ_CLASS_BITS"))
    """Where a word has the room, an object's location names its size class too."""
    counts_huge_pages_since: bool = since("5.11", marks=Mark("drivers/block/zram/zram_drv.c", "huge_pages_since"))
    """mm_stat ends in the number of incompressible pages since the device was set up."""
    entry_packs_access_time: bool = since(
        "7.0", marks=Mark("drivers/block/zram/zram_drv.h", "u32 ac_time;")
    )
    """When a page was last used is a half word of its entry; before, a word beside it."""
