"""A booted state on which one acts: where it comes from, its codec, scripts and replays."""
