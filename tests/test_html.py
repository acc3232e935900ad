"""`mmtool boot -o html` and `mmtool plot --html`: one file, closed to the network, strangers' text escaped."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from support.captures import booted, captures

from mmtool import api
from mmtool.cli.alloc import alloc
from mmtool.cli.boot import boot
from mmtool.cli.diff import diff as compare
from mmtool.cli.plot import plot
from mmtool.cli.reclaim import reclaim
from mmtool.cli.states import read_json
from mmtool.errors import InputError, UsageError
from mmtool.examples import resolved
from mmtool.report.html.boot import html
from mmtool.report.html.markup import tag, text
from mmtool.report.html.steps import PURPOSE
from mmtool.report.picture.lanes import smallest

FIXTURES = Path(__file__).parent.parent / "fixtures"
LAPTOP = resolved("example:laptop")
VOID = {"meta", "input", "br", "option"}


class Elements(HTMLParser):
    """The elements of a page: names with attributes, and whether each that is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def laptop() -> str:
    return CliRunner().invoke(plot, [LAPTOP, "--html"], catch_exceptions=False).stdout


def test_a_laptop_is_one_small_file(laptop: str) -> None:
    assert len(laptop) < 150_000 and laptop.isascii() and laptop == api.boot(LAPTOP).to_html()
    elements = Elements(laptop)
    assert elements.open == []
    refers = [value for _, a in elements.found for key, value in a.items() if key in ("src", "href", "action", "data")]
    assert refers and [value for value in refers if not (value or "").startswith("#")] == []
    assert [a for _, a in elements.found if any(key == "style" or key.startswith("on") for key in a)] == []
    ids = [a["id"] for _, a in elements.found if "id" in a]
    assert len(ids) == len(set(ids))
    referring = ("for", "list", "aria-labelledby", "aria-describedby")
    assert {a[key] for _, a in elements.found for key in referring if key in a} <= set(ids)


def test_the_policy_allows_what_is_there_by_hash_and_nothing_else(laptop: str) -> None:
    policy = next(a["content"] or "" for name, a in Elements(laptop).found if a.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy and "http" not in policy
    for directive, element in (("style-src", r"<style>(.*?)</style>"), ("script-src", r"<script>(.*?)</script>")):
        (content,) = re.findall(element, laptop, flags=re.S)
        assert rules[directive] == f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
    assert laptop.index("Content-Security-Policy") < laptop.index("<style>")


def test_the_document_in_it_is_read_back(laptop: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(laptop)
    assert read_json(str(page)) == api.boot(LAPTOP).to_dict()
    one = CliRunner().invoke(alloc, ["--order", "3", "--state", str(page), "-o", "json"])
    assert json.loads(one.stdout)["outcomes"][0]["ok"]


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("<p>", "this page of HTML holds no document"),
        ('<script type="application/gzip" id="document">e30=</script>', "the document in this page is damaged"),
        ('<script type="application/gzip" id="document">H4sI=</script>', "the compressed file ends too early"),
        ('<script type="application/gzip" id="document">H4sIAAAA</script>', "the compressed file ends too early"),
    ],
)
def test_a_page_without_a_document_is_refused(page: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text(f"<!DOCTYPE html>{page}")
    with pytest.raises(InputError, match=says):
        read_json(str(tmp_path / "x.html"))


def test_every_machine_has_its_page_and_every_step_says_what_it_is_for() -> None:
    said: dict[str, str] = {}
    for capture in [c for c in captures() if c.says_where_memory_is]:
        machine = booted(capture.path)
        said |= {step.name: PURPOSE.get(step.name, "") for step in machine.steps}
        assert Elements(html(machine)).open == [], capture.path
    assert {"mem_init", "arm64_memblock_init", "e820__memory_setup"} <= set(said)
    assert [name for name, says in said.items() if not says.endswith((".", ")"))] == []


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e<!--"


def test_names_of_strangers_are_text(tmp_path: Path) -> None:
    log = tmp_path / "dmesg.txt"
    log.write_text(
        "Linux version 6.1.0-<b>bold</b>\u202e (a@b) #1 SMP\n"
        f"Command line: root=/dev/sda {HOSTILE} reserve_mem=4M:4096:<i>x</i>\n"
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable\n"
        "BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable\n"
    )
    page = CliRunner().invoke(boot, [str(log), "-o", "html"], catch_exceptions=False).stdout
    elements = Elements(page)
    assert elements.open == []
    assert not {"img", "b>", "i"} & {name for name, _ in elements.found}
    assert len([name for name, _ in elements.found if name == "script"]) == 3
    assert any("onerror=alert(2)" in words for words in elements.words)
    assert "\\u202e" in page and "&#8238;" not in page


@settings(deadline=None)
@given(st.text())
def test_whatever_the_text_is_it_comes_back(value: str) -> None:
    elements = Elements(tag("p", tag("b", title=value), value))
    assert [name for name, _ in elements.found] == ["p", "b"]
    shown = "".join(elements.words)
    assert Elements(text(value)).words == ([shown] if shown else [])
    assert elements.found[1][1]["title"] == shown


def test_the_document_of_a_comparison_is_in_its_page(laptop: str, tmp_path: Path) -> None:
    name = str(FIXTURES / "captures" / "x86-6.18-mem1g")
    page = tmp_path / "diff.html"
    page.write_text(CliRunner().invoke(compare, [name, LAPTOP, "-o", "html"], catch_exceptions=False).stdout)
    printed = CliRunner().invoke(compare, [name, LAPTOP, "-o", "json"], catch_exceptions=False).stdout
    assert read_json(str(page)) == json.loads(printed)
    same = CliRunner().invoke(compare, [LAPTOP, LAPTOP, "-o", "html"], catch_exceptions=False).stdout
    assert Elements(same).open == [] and "Nothing differs." in same


@pytest.mark.parametrize("lru", ["classic", "mglru"])
def test_a_workload_is_drawn_line_by_line(lru: str) -> None:
    script = str(sorted((FIXTURES / "reclaim" / "lru" / "scripts").iterdir())[0])
    drawn, table = (
        CliRunner().invoke(reclaim, ["run", script, "--lru", lru, "-o", form], catch_exceptions=False).stdout
        for form in ("html", "json")
    )
    elements = Elements(drawn)
    assert elements.open == [] and "script" not in {name for name, _ in elements.found}
    assert "script-src 'none';" in next(a["content"] or "" for _, a in elements.found if a.get("http-equiv"))
    lines = json.loads(table)["lines"]
    said = re.findall(r"<title>line (\d+) of (\d+), (\w+ (?:anon|file)|unevictable): (\d+)</title>", drawn)
    assert {(int(line), name.replace(" ", "_"), int(count)) for line, _, name, count in said} == {
        (i, name, count) for i, line in enumerate(lines, 1) for name, count in line["lists"].items() if count
    }


def test_plot_does_one_thing_at_a_time() -> None:
    for options in ("--html --bar", "--html -o x.svg", "--detail -o bar", "--bar -o x.html", "--html --detail"):
        with pytest.raises(UsageError, match="give one of them"):
            CliRunner().invoke(plot, [LAPTOP, *options.split()], catch_exceptions=False)


RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from("abcd")), max_size=12)


@settings(deadline=None)
@given(RANGES)
def test_each_byte_is_named_by_the_smallest_range_around_it(ranges: list[tuple[int, int, str]]) -> None:
    entries = [(start, start + size, name) for start, size, name in ranges]
    named = list(smallest(entries))
    assert all(a[1] <= b[0] for a, b in pairwise(named))
    for at in range(64):
        around = [(end - start, name) for start, end, name in entries if start <= at < end]
        least = {name for size, name in around if size == min(size for size, _ in around)}
        found = {name for start, end, name in named if start <= at < end}
        assert found <= least and bool(found) == bool(around)
