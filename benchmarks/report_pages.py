"""Can every page be read? Pages of captures and logs in a browser, on a telephone by night and on a desk by day.

python benchmarks/report_pages.py FILE|DIR...; each is booted, its page looked at in 360 and 1200 px, with and without
its script and with all that folds open. Prints each fault (texts that meet, are cut or smaller than 12 px, a page wider
than its window, an error, a request), the slowest and the largest page; exit status 1 when there is a fault.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.browser import WIDTHS, Page, browser  # noqa: E402

from mmtool import api  # noqa: E402
from mmtool.errors import InputError, UsageError  # noqa: E402
from mmtool.report.html.boot import html  # noqa: E402

OPEN = "() => document.querySelectorAll('details').forEach((d) => (d.open = true))"


def main(sources: list[str]) -> int:
    faulty = pages = 0
    slowest, largest = (0.0, ""), (0, "")
    with browser() as started, TemporaryDirectory() as folder:
        for source in sources:
            try:
                booted = api.boot(source)._boot
            except (InputError, UsageError) as e:
                print(f"{source}: not booted: {e}")
                continue
            before = process_time()
            text = html(booted)
            slowest = max(slowest, (process_time() - before, source))
            largest = max(largest, (len(text), source))
            path = Path(folder) / "page.html"
            path.write_text(text)
            faults = [f"{how}: {fault}" for how, fault in looked_at(started, path)]
            pages += 1
            faulty += bool(faults)
            for fault in faults[:5]:
                print(f"{source}: {fault}", flush=True)
            if pages % 25 == 0:
                print(f"{pages} pages so far, {faulty} with faults", flush=True)
    print(f"{pages} pages, {faulty} with faults; {slowest[0]:.2f} s for {slowest[1]}, {largest[0]} B for {largest[1]}")
    return 1 if faulty else 0


def looked_at(started: object, path: Path) -> list[tuple[str, str]]:
    found = []
    for width in WIDTHS:
        scheme = "dark" if width == WIDTHS[0] else "light"
        for script in (True, False):
            with Page(started, path, width=width, java_script_enabled=script, color_scheme=scheme) as opened:
                opened.page.evaluate(OPEN)
                name = f"{width} px, {'with' if script else 'without'} script"
                found += [(name, fault) for fault in opened.faults()]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
