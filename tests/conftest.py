"""Bounds for the whole run."""

from __future__ import annotations

import os
import resource
import tempfile

MOST_MEMORY = 8 << 30
"""Bytes: an example for which the model's memory grows without end shall fail and be printed, not end the machine."""

soft, hard = resource.getrlimit(resource.RLIMIT_AS)
if soft == resource.RLIM_INFINITY or soft > MOST_MEMORY:
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(hard, MOST_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))

# A boot keeps its state for the commands that go on from it; here it is not the user's.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="mmtool-state-")

# Python's readline, which pytest loads, sets the terminal's width for all that it starts.
os.environ.pop("COLUMNS", None)
