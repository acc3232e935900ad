"""A headless browser for the pages of reports, and what is measured in them."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
)  # fmt: skip
WIDTHS = (360, 1200)
PATIENCE = 300_000.0
"""Milliseconds after which a browser that does not answer never will, however busy the machine is."""

DRAWN = "() => !document.getElementById('view') || document.documentElement.classList.contains('live')"

SETTLED = """() => new Promise((done) =>
  setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))))"""

TEXTS = """() => {
  // Every piece of text that is seen: where it lies, how large it is set, and whether all of it is within the page.
  const out = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest("script, style, title, datalist, .away")) continue;
    if (!parent.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      let { left, top, right, bottom } = box;
      for (let up = parent; up && up !== document.body; up = up.parentElement) {
        if (getComputedStyle(up).overflowX === "visible" || up instanceof SVGElement) continue;
        const edge = up.getBoundingClientRect();
        left = Math.max(left, edge.left); right = Math.min(right, edge.right);
        top = Math.max(top, edge.top); bottom = Math.min(bottom, edge.bottom);
      }
      if (right - left < 1 || bottom - top < 1) continue;
      const svg = parent.closest("svg"), frame = svg && svg.getBoundingClientRect();
      const held = !frame || (left >= frame.left - 1 && right <= frame.right + 1);
      const scale = parent.getScreenCTM ? parent.getScreenCTM().a : 1;
      out.push({
        text: node.textContent.trim().slice(0, 60), size: parseFloat(getComputedStyle(parent).fontSize) * scale,
        box: [left, top, right, bottom], held,
      });
    }
  }
  return out;
}"""


def program() -> str | None:
    """The browser that there is."""
    named = os.environ.get("MMTOOL_BROWSER")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A browser, or the test is skipped with the reason."""
    api = pytest.importorskip("playwright.sync_api", reason="the development extra brings playwright")
    path = program()
    if path is None:
        pytest.skip("no browser here: apt-get install chromium, or name one in MMTOOL_BROWSER")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # a browser asks for terabytes of addresses
    driver = api.sync_playwright()
    try:
        playwright = driver.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    try:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=PATIENCE)
        yield started
        started.close()
    finally:
        driver.__exit__()


class Page:
    """A page in the browser, and what went wrong in it."""

    def __init__(self, browser: Any, path: Path, *, fragment: str = "", width: int = 1200, **how: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **how)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.address = path.absolute().as_uri()
        self.page.goto(self.address + fragment)
        if how.get("java_script_enabled", True):
            self.page.wait_for_function(DRAWN)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *raised: object) -> None:
        self.context.close()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate(SETTLED)

    def faults(self) -> list[str]:
        """What a reader would stumble over: texts that meet, small or cut ones, a page wider than its window."""
        texts = self.page.evaluate(TEXTS)
        found = [f"small, {t['size']:g} px: {t['text']}" for t in texts if t["size"] < 12]
        found += [f"cut: {t['text']}" for t in texts if not t["held"]]
        found += [f"{a} meets {b}" for a, b in meetings([(*t["box"], t["text"]) for t in texts])]
        wide, window = self.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        if wide > window:
            found.append(f"the page is {wide} px wide in a window of {window} px")
        return found + self.errors + [url for url in self.requests if url.partition("#")[0] != self.address]


def meetings(boxes: list[tuple[float, float, float, float, str]]) -> list[tuple[str, str]]:
    """Pairs of texts that share more than the edge of their room."""
    found = []
    boxes = sorted(boxes, key=lambda box: box[1])
    for i, (left, top, right, bottom, text) in enumerate(boxes):
        for other_left, other_top, other_right, other_bottom, other in boxes[i + 1 :]:
            if other_top >= bottom - 1:
                break
            across = min(right, other_right) - max(left, other_left)
            down = min(bottom, other_bottom) - max(top, other_top)
            # Lines of one paragraph overlap by what their font is higher than the line.
            if across > 1 and down > 0.35 * min(bottom - top, other_bottom - other_top):
                found.append((text, other))
    return found
