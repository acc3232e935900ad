"""What an architecture is asked for: by start_kernel(), and by answers about a kernel that has not booted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, Generic

from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.firmware.cmdline import Cmdline
from mmtool.firmware.machine import Machine
from mmtool.linux.init.boot import B, Step
from mmtool.linux.mm.address_space import AddressSpace, LayoutInputs
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import Memblock

MODELS = {
    "x86_64": "mmtool.linux.arch.x86.model",
    "i386": "mmtool.linux.arch.x86.model",
    "arm64": "mmtool.linux.arch.arm64.model",
}
"""Which module has the `ARCHITECTURE` of a kernel's arch. Only the one that boots is loaded."""


class Architecture(ABC, Generic[B]):
    """The interface of an architecture; `B` is its kind of `Boot`."""

    @abstractmethod
    def boot(self, early: Early, machine: Machine, cpus: int, kernel_base: int | None) -> B:
        """The state in which its kernel begins."""

    @abstractmethod
    def steps(self, kernel: Kernel) -> list[Step[B]]:
        """The boot's steps for a kernel, in its order: (name, function)."""

    @abstractmethod
    def zone_limits(self, kernel: Kernel, cmdline: Cmdline, mb: Memblock) -> tuple[list[tuple[str, int]], int]:
        """(limit of each zone type as free_area_init() takes them, max_low_pfn) for the memory of `mb` alone."""

    @abstractmethod
    def image_takes(self, kernel: Kernel) -> int:
        """Bytes of memory that the kernel's image takes until init runs, wherever it lies; 0 where it is not known."""

    @abstractmethod
    def address_space(self, inputs: LayoutInputs) -> AddressSpace:
        """Where a kernel puts what in virtual memory."""


def architecture(kernel: Kernel, origin: str = "-") -> Architecture[Any]:
    """The architecture of a kernel; InputError, of the file `origin`, where it is not modelled."""
    name = MODELS.get(kernel.arch)
    if name is None:
        raise InputError(origin, None, f"Linux on {kernel.arch} is not modelled; there are: {', '.join(MODELS)}")
    found: Architecture[Any] = import_module(name).ARCHITECTURE
    return found
