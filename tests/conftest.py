"""Bounds for the whole run."""

from __future__ import annotations

import gc
import os
import resource
import signal
import tempfile

import pytest
from hypothesis import HealthCheck, settings

MOST_MEMORY = 8 << 30
"""Bytes: an example for which the model's memory grows without end shall fail and be printed, not end the machine."""

soft, hard = resource.getrlimit(resource.RLIMIT_AS)
if soft == resource.RLIM_INFINITY or soft > MOST_MEMORY:
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(hard, MOST_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))

# Whether a test passes does not depend on how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A boot keeps its state for the commands that go on from it; here it is not the user's.
_states = tempfile.TemporaryDirectory(prefix="mmtool-state-")
os.environ["XDG_STATE_HOME"] = _states.name

# Whoever is started in the background has Ctrl-C ignored, and so would all programs that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What has been collected stays to the end: no search for garbage goes through it, nor as often as usual.

    The program does as much for itself (mmtool.__main__).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(autouse=True)
def _no_terminal() -> None:
    """Python's readline, which some library loads, sets a width for all that is started, past os.environ."""
    os.environ.pop("COLUMNS", None)
    os.unsetenv("COLUMNS")
