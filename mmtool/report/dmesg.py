"""The kernel's own log of a boot, as `mmtool boot -o dmesg` prints it."""

from __future__ import annotations

import sys

from mmtool.linux.init.boot import Boot
from mmtool.linux.kernel.printk import Level
from mmtool.report.assumed import say
from mmtool.report.untrusted import printable


def render(boot: Boot) -> None:
    """Print the log to standard output, and what it rests on to standard error."""
    # The kernel's own tabs stay; whatever else is a control character came with the input.
    text = "".join(line + "\n" for line in dmesg_lines(boot))
    sys.stdout.write("\t".join(printable(part) for part in text.split("\t")))
    say(boot)


def shows_debug(boot: Boot) -> bool:
    """Does the machine's log hold messages of debug level?

    The ring buffer keeps them all, a console only what its log level lets through. Every kernel prints the layout
    of its per-CPU areas at that level; a log that goes on beyond it without that line came from such a console.
    """
    beyond = any(boot.notes(kind) for kind in ("nr_cpus", "rcu_nr_cpus", "slub"))
    return bool(boot.notes("pcpu_alloc")) or not beyond


def dmesg_lines(boot: Boot) -> list[str]:
    """The kernel's log as text, without the debug level where the machine's own log goes without it."""
    least = Level.DEBUG if shows_debug(boot) else Level.INFO
    return [line.text for line in boot.log.lines if line.level <= least]
