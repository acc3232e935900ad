"""`Early`: the four things that every function of early boot works with, whatever its stage."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.late import dataclass
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import Memblock


@dataclass(repr=False)
class Early:
    """What a kernel that starts has from its first line on: what it is, what it was told, memory, and its log.

    Functions of mm/, kernel/ and drivers/ take this, and the state of their own stage beside it; a whole `Boot`
    (linux/init) is one too, so that a step hands itself on.
    """

    kernel: Kernel
    memblock: Memblock
    cmdline: Cmdline
    log: KernelLog
