"""Bounds for the whole run."""

from __future__ import annotations

import resource

MOST_MEMORY = 8 << 30
"""Bytes: an example for which the model's memory grows without end shall fail and be printed, not end the machine."""

soft, hard = resource.getrlimit(resource.RLIMIT_AS)
if soft == resource.RLIM_INFINITY or soft > MOST_MEMORY:
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(hard, MOST_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
