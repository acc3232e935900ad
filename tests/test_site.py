"""The documentation as a web site: it is built without a warning, and says what the manual pages say."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmtool import schema

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "tools" / "site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def test_every_page_and_document_is_there(site: Path) -> None:
    for page in (ROOT / "man").iterdir():
        text = html.unescape(re.sub(r"<[^>]+>", "", (site / "manual" / f"{page.name}.html").read_text()))
        assert not re.search(r"\\[-&~ef(]|^\.[A-Z]{1,2} ", text, flags=re.M), page.name
        for heading in re.findall(r"^\.SH (.*)", page.read_text(), flags=re.M):
            assert heading.strip('"').replace("\\(aq", "'") in text, page.name
    documents = (site / "documents.html").read_text()
    assert all(schema.load(name)["title"] in documents for name in schema.names())


def test_no_page_fetches_anything(site: Path) -> None:
    for page in site.rglob("*.html"):
        fetched = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?:https?:)?//[^\"]*", page.read_text())
        assert fetched == [], page.name
