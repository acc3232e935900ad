"""The documentation as a web site: README, tour, library, manual pages, documents. `python tools/site.py [FOLDER]`

Manual pages and schemas become Markdown, and MkDocs makes pages of all (build/site without an argument). It needs the
extra `docs`. Whatever MkDocs warns of, such as a link that leads nowhere, is an error. No page fetches anything.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mmtool import schema
from mmtool.cli import GROUPS

ROOT = Path(__file__).parent.parent
TEXTS = {
    "README.md": "index.md", "docs/tour.md": "tour.md", "docs/tour.zh.md": "tour.zh.md", "docs/api.md": "api.md",
    "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md",
}  # fmt: skip
"""Files of the tree and where they are in the site."""
ESCAPES = {
    "aq": "'", "bu": "\u2022", "en": "\u2013", "hy": "-", "lq": "\u201c", "rq": "\u201d",
    "ga": "`", "ha": "^", "ti": "~",
}  # fmt: skip
FONTS = {"B": "strong", "I": "em"}


def main() -> int:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve()
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder) / "pages"
        config = write(pages)
        settings = Path(folder) / "mkdocs.yml"
        settings.write_text(yaml.safe_dump(config | {"docs_dir": str(pages), "site_dir": str(out)}, sort_keys=False))
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", str(settings)]
        return subprocess.run(command, cwd=ROOT).returncode


def write(pages: Path) -> dict[str, Any]:
    """Put the site's sources into a folder; MkDocs' settings."""
    (pages / "manual").mkdir(parents=True)
    (pages / "docs").mkdir()
    for source, target in TEXTS.items():
        (pages / target).write_text(linked((ROOT / source).read_text()))
    for picture in (ROOT / "docs").glob("*.svg"):
        (pages / "docs" / picture.name).write_bytes(picture.read_bytes())
    for page in (ROOT / "man").iterdir():
        (pages / "manual" / f"{page.name}.md").write_text(manual_page(page.read_text(), page.name))
    (pages / "documents.md").write_text(documents())
    about_all = {"mmtool(1)": "mmtool.1", "Terms": "mmtool-concepts.7", "Formats": "mmtool-formats.5"}
    commands = [
        {group: [{name: f"manual/mmtool-{name}.1.md"} for name in sorted(members)]} for group, members in GROUPS.items()
    ]
    return {
        "site_name": "mmtool", "theme": {"name": "readthedocs", "highlightjs": False}, "use_directory_urls": False,
        "markdown_extensions": ["tables", "fenced_code", "toc"],
        "nav": [
            {"mmtool": "index.md"}, {"Tour": "tour.md"}, {"导览": "tour.zh.md"},
            {"Manual": [*({title: f"manual/{name}.md"} for title, name in about_all.items()), *commands]},
            {"Library": "api.md"}, {"Documents": "documents.md"},
            {"Contributing": "contributing.md"}, {"Security": "security.md"}, {"Changes": "changelog.md"},
        ],
    }  # fmt: skip


def linked(text: str) -> str:
    """Markdown whose links to files of the tree lead to their pages."""
    for source, target in TEXTS.items():
        text = text.replace(f"]({source})", f"]({target})").replace(f"]({Path(source).name})", f"]({target})")
    return text


# Manual pages


def manual_page(roff: str, name: str) -> str:
    """A manual page as Markdown: headings, and HTML between them."""
    title = f"{name.rpartition('.')[0]}({name.rpartition('.')[2]})"
    return f"# {title}\n\n" + "\n".join(_blocks(roff.splitlines())) + "\n"


def _blocks(lines: list[str]) -> Iterator[str]:
    """Headings, paragraphs, lists of terms, and examples, each a block with blank lines around it."""
    words: list[str] = []
    term: str | None = None
    at = 0

    def flush() -> Iterator[str]:
        nonlocal words, term
        said = " ".join(words)
        if term is not None:
            yield f"<dl><dt>{term}</dt><dd>{said}</dd></dl>\n"
        elif said:
            yield f"<p>{said}</p>\n"
        words, term = [], None

    while at < len(lines):
        macro, _, rest = lines[at].partition(" ")
        at += 1
        if macro in (".SH", ".SS"):
            yield from flush()
            yield f"{'##' if macro == '.SH' else '###'} {html.escape(plain(rest.strip(chr(34))), quote=False)}\n"
        elif macro in (".TP", ".IP"):
            yield from flush()
            if macro == ".TP":
                term, at = inline(lines[at]), at + 1
            else:
                term = inline(rest.split()[0]) if rest else ""
        elif macro in (".PP", ".RS", ".RE"):
            yield from flush()
        elif macro in (".EX", ".nf"):
            yield from flush()
            end = next(i for i in range(at, len(lines)) if lines[i] in (".EE", ".fi"))
            yield "<pre><code>" + "\n".join(inline(line) for line in lines[at:end]) + "</code></pre>\n"
            at = end + 1
        elif macro == ".br":
            words.append("<br>")
        elif macro != ".TH" and not macro.startswith('.\\"'):
            words.append(inline(lines[at - 1]))
    yield from flush()


def inline(line: str) -> str:
    """A line of text, or of a macro that sets fonts, as HTML."""
    macro = re.match(r"\.([BIR]{1,2}) (.*)", line)
    if macro is None:
        return _fonts(line)
    fonts, parts = macro[1], [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', macro[2])]
    if len(fonts) == 1:
        return _in(fonts, _fonts(" ".join(parts)))
    text = "".join(_in(fonts[i % 2], _fonts(part)) for i, part in enumerate(parts))
    page = re.search(r"<strong>(mmtool[\w-]*)</strong> ?\((\d)\)", text)
    if page is None:
        return text
    link = f'<a href="{page[1]}.{page[2]}.html">{page[1]}({page[2]})</a>'
    return text[: page.start()] + link + text[page.end() :]


def _in(font: str, text: str) -> str:
    return f"<{FONTS[font]}>{text}</{FONTS[font]}>" if font in FONTS and text.strip() else text


def _fonts(text: str) -> str:
    """Text with \\f changes of font as HTML."""
    parts = re.split(r"\\f([BIRP])", text)
    return html.escape(plain(parts[0]), quote=False) + "".join(
        _in(font, html.escape(plain(part), quote=False)) for font, part in zip(parts[1::2], parts[2::2], strict=True)
    )


def plain(text: str) -> str:
    """Roff's escapes as characters."""
    text = text.replace("\\&", "").replace("\\-", "-").replace("\\~", "\u00a0").replace("\\e", "\\")
    return re.sub(r"\\\((\w\w)", lambda m: ESCAPES[m[1]], text)


# Documents


def documents() -> str:
    """Every schema with its keys, types and what they mean."""
    parts = [
        "# Documents\n",
        "What mmtool prints with `-o json` or `-o yaml`, and what it reads. `mmtool schema NAME` prints the JSON "
        "Schema; [mmtool-formats(5)](manual/mmtool-formats.5.md) says what a number promises.\n",
    ]
    for name in [*schema.names(), *schema.PARTS]:
        found = schema.load(name)
        parts.append(f"## {found['title']}\n\n{found['description']}\n")
        parts.append("| key | type | what |\n|---|---|---|")
        parts += _keys(found, "")
        for part, inner in found.get("$defs", {}).items():
            rows = list(_keys(inner, f"#{part}"))
            parts += [f"| `#{part}` | {_kind(inner)} | {inner.get('description', '')} |", *rows]
        parts.append("")
    return "\n".join(parts) + "\n"


def _keys(part: Any, path: str) -> Iterator[str]:
    for name, key in part.get("properties", {}).items() if isinstance(part, dict) else ():
        where = f"{path}/{name}".lstrip("/")
        yield f"| `{where}` | {_kind(key)} | {str(key.get('description', '')).replace('|', chr(92) + '|')} |"
        yield from _keys(key, where)
    for word, mark in (("items", "[]"), ("additionalProperties", "/*")):
        if isinstance(part, dict) and isinstance(part.get(word), dict):
            yield from _keys(part[word], path + mark)
    for choice in part.get("anyOf", ()) if isinstance(part, dict) else ():
        yield from _keys(choice, path)


def _kind(key: dict[str, Any]) -> str:
    if "$ref" in key:
        urn, _, fragment = key["$ref"].partition("#/$defs/")
        return " ".join(filter(None, (urn.split(":")[2] if urn else "", f"#{fragment}" if fragment else "")))
    if "anyOf" in key:
        return " or ".join(_kind(choice) for choice in key["anyOf"])
    if "enum" in key:
        return ", ".join(map(str, key["enum"]))
    if "const" in key:
        return str(key["const"])
    kind = key.get("type", "any")
    return kind if isinstance(kind, str) else " or ".join(kind)


if __name__ == "__main__":
    sys.exit(main())
