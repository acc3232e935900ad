"""The file around a report: what it may load (nothing), its style, its script and the data that the script reads."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib import resources
from typing import Any

from mmtool.report.html.markup import Markup, join, tag
from mmtool.system.codec.page import DOCUMENT, element

NONE = "'none'"
ASSETS = resources.files("mmtool.report.html") / "assets"


def page(title: str, body: Markup, sides: Sequence[Any] = (), document: Any = None) -> str:
    """The whole file, in ASCII: `sides` are the boots that the script draws, `document` is read back from it.

    Its content security policy allows this style sheet and this script, by hash, and no connection whatever. Without
    `sides` there is no script.
    """
    style, script = asset("report.css"), asset("report.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script) if sides else NONE}; base-uri 'none';"
        " form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    embedded = Markup(element(DOCUMENT, document)) if document is not None else ""
    scripts = join([Markup(element("view", sides)), tag("script", Markup(script))] if sides else [])
    html = f"<!doctype html>\n{tag('html', head, tag('body', body, embedded, scripts), lang='en')}\n"
    return html.encode("ascii", "xmlcharrefreplace").decode()


def asset(name: str) -> str:
    """A file of the assets, without what makes its lines easy to read."""
    lines = (ASSETS / name).read_text("ascii").splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
