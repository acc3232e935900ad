"""The kernel log that a boot writes: what the kernel would print, with the level it prints it at."""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum

from mmtool.late import dataclass


class Level(IntEnum):
    """printk levels (include/linux/kern_levels.h)."""

    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: its level and text, without time stamp."""

    level: Level
    text: str


@dataclass
class KernelLog:
    """The ring buffer of a modelled boot, in the order of printing."""

    lines: list[LogLine] = field(default_factory=list)

    def err(self, text: str) -> None:
        self.lines.append(LogLine(Level.ERR, text))

    def warn(self, text: str) -> None:
        self.lines.append(LogLine(Level.WARNING, text))

    def notice(self, text: str) -> None:
        self.lines.append(LogLine(Level.NOTICE, text))

    def info(self, text: str) -> None:
        self.lines.append(LogLine(Level.INFO, text))

    def debug(self, text: str) -> None:
        self.lines.append(LogLine(Level.DEBUG, text))
