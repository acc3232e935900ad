"""What `mmtool boot` prints: the kernel's log, a document, tables."""

from __future__ import annotations

import sys

from mmtool.init.boot import Boot


def render(boot: Boot, output: str, sections: tuple[str, ...]) -> None:
    if output == "dmesg":
        sys.stdout.write("".join(line.text + "\n" for line in boot.log.lines))
