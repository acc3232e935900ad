"""Doing a recorded series of allocations and frees again (`run`): what the events tell of the order in which things
happened (`order`), of compaction (`compaction`) and of kswapd (`kswapd`)."""
