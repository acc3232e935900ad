"""Web pages: tags go, those that end a line leave its end, and entities become their characters."""

from __future__ import annotations

import re

from mmtool.firmware.wrapped.kernel_words import kernel_words
from mmtool.regex import regex

_NAMES = (
    "a|abbr|article|aside|b|big|blockquote|body|button|center|code|dd|del|details|div|dl|dt|em|figure|font|footer|form|"
    "h[1-6]|head|header|hr|html|i|img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|option|p|path|pre|samp|section|"
    "select|small|span|strong|sub|summary|sup|svg|table|tbody|td|template|textarea|tfoot|th|thead|time|title|tr|tt|u|ul|"
    "var|wbr"
)
# an opening angle alone may be the kernel's own: a level, a mail address, "<    0.000000>"
_TAG = regex(rf"</?(?:{_NAMES})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_BREAK = regex(r"<br\s*/?>\r?\n?", re.IGNORECASE)
_END = regex(r"</(?:p|div|li|tr|h[1-6]|pre|dd|dt|blockquote|table|title)\s*>\r?\n?", re.IGNORECASE)
_UNSEEN = regex(r"<(?:(script|style)\b|!(--|DOCTYPE))", re.IGNORECASE)
_SEEN_AGAIN = {
    "script": regex(r"</script\s*>", re.IGNORECASE), "style": regex(r"</style\s*>", re.IGNORECASE),
    "--": regex(r"-->"), "doctype": regex(r">"),
}  # fmt: skip
"""What ends each part of a page that is not seen."""
_IS_PAGE = regex(r"<(?:br|pre|html|body|div|span|p|td|li|code|tt)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_ENTITY = regex(r"&(?:gt|lt|amp|nbsp|quot|apos|#\d{1,5}|#x[0-9a-f]{1,4});", re.IGNORECASE)


def undo(text: str) -> str | None:
    """The text of a page, or of a log whose angles and spaces are written as in one."""
    page = "<" in text and _IS_PAGE.search(text) is not None
    if not page and ("&" not in text or not _ENTITY.search(text)):
        return None
    if page:
        text = _seen(text)
        text = _TAG.sub("", _END.sub("\n", _BREAK.sub("\n", text)))
    from html import unescape

    text = unescape(text)
    return text if kernel_words(text) else None


def _seen(text: str) -> str:
    """A page without its scripts, styles and comments; what never ends is none."""
    out, at, endless = [], 0, set[str]()
    while (begin := _UNSEEN.search(text, at)) is not None:
        kind = (begin[1] or begin[2]).lower()
        end = None if kind in endless else _SEEN_AGAIN[kind].search(text, begin.end())
        if end is None:
            endless.add(kind)
        out.append(text[at : begin.start() if end is not None else begin.end()])
        at = (end or begin).end()
    return "".join(out) + text[at:]
