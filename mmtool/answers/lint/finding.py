"""What a rule looks at and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.firmware.machine import Machine
from mmtool.late import dataclass
from mmtool.linux.init.boot import Boot

Place = int | str
"""A node's path, the number of a line of the input, the entry's name in a folder, or in words what is meant."""


class Finding(NamedTuple):
    """Something in the machine's description that Linux answers with less, or other, than was meant.

    `what` is wrong at `place`; `why`, what Linux does about it; `change`, what to write instead.
    """

    rule: str
    place: Place
    what: str
    why: str
    change: str


Words = tuple[Place, str, str, str]
"""place, what, why and change of a finding."""


@dataclass(frozen=True)
class Case:
    """A machine, the kernel that is to boot it, and the boot in the model (None where it is not known where memory
    is, or nothing boots)."""

    machine: Machine
    kernel: Kernel
    cmdline: Cmdline
    boot: Boot | None

    @property
    def page_size(self) -> int:
        """Bytes of the kernel's pages."""
        return 1 << self.kernel.page_shift


Rule = Callable[[Case], Iterator[Words]]


def span(start: int, end: int) -> str:
    """A range [start, end) of bytes as the kernel prints one, its last byte included."""
    return f"[{start:#x}-{end - 1:#x}]"
