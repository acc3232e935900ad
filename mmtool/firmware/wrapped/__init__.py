"""Wrappers that machines put around a log: JSON, mail, HTML, CSV and their like, undone before any parser sees a line.

What kind of wrapper it is, is told from what it looks like; one within another is undone too. A text that no wrapper
holds is returned as it is. Of what was wrapped, lines are counted as they come out.
"""

from __future__ import annotations

from collections.abc import Callable

from mmtool.errors import InputError
from mmtool.firmware.wrapped import escapes, html, mail, records
from mmtool.firmware.wrapped.refused import WrapperError

_UNDO: tuple[Callable[[str], str | None], ...] = (
    mail.undo, records.undo_json, records.undo_journal, records.undo_yaml, records.undo_logfmt, records.undo_csv,
    html.undo, escapes.undo,
)  # fmt: skip
"""What each kind is undone by: the text within, None where the text is not of the kind."""

_DEEPEST = 6
"""Wrappers within each other beyond which a text is taken as it is."""


def unwrap(text: str, source: str = "-") -> str:
    """The log that the text holds, without its wrappers; reading order restored where the newest line came first.

    InputError, with `source` as the file's name, for what unpacks to far more than it is.
    """
    for _ in range(_DEEPEST):
        try:
            inner = next((found for undo in _UNDO if (found := undo(text)) is not None), None)
        except WrapperError as e:
            raise InputError(source, None, str(e)) from None
        if inner is None or inner == text:
            break
        text = inner
    return escapes.oldest_first(text)
