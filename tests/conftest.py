"""Bounds for the whole run."""

from __future__ import annotations

import resource

MOST_MEMORY = 8 << 30
"""Bytes: an example for which the model's memory grows without end shall fail and be printed, not end the machine."""

resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
