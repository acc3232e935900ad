"""Which kernel boots: what changed between releases as named facts, and what only a build knows."""
