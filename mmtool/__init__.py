"""What Linux does with a machine's memory, modelled away from the machine.

    import mmtool
    mmtool.boot("dmesg.txt").zones

`mmtool.api` tells more; it is imported when one of its functions is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "boot", "explain", "verify"]

if TYPE_CHECKING:
    from mmtool.api import boot, explain, verify


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("mmtool.api"), name)
    raise AttributeError(f"module 'mmtool' has no attribute {name!r}")
