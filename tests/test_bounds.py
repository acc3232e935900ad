"""What a hostile file asks for beyond its size: work is linear in it, or refused in a line that says what to do."""

from __future__ import annotations

import gzip
from base64 import encodebytes

import pytest

from mmtool.errors import InputError
from mmtool.firmware.lines import MOST_SHORT_LINES, decode, kernel_lines
from mmtool.firmware.packed import SMALL

VERSION = "Linux version 6.1.0\n"


def refused(text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        decode(text.encode() if isinstance(text, str) else text, "F")
    assert str(caught.value).startswith("F: ") and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_text_of_crumbs_is_no_log() -> None:
    assert "2 characters a line" in refused(VERSION + "a\n" * (MOST_SHORT_LINES + 1))
    assert "no kernel's log" in refused("a\r" * (MOST_SHORT_LINES + 2))


def test_empty_lines_are_no_crumbs() -> None:
    """A capture has them in place of what is not read."""
    text = decode((VERSION + "\n" * MOST_SHORT_LINES * 2 + "end").encode(), "F")
    assert kernel_lines(text)[-1] == (2 + MOST_SHORT_LINES * 2, "end")


def test_a_log_in_a_mail_that_unpacks_without_end() -> None:
    mail = b"Content-Transfer-Encoding: base64\n\n" + encodebytes(gzip.compress(VERSION.encode() + bytes(SMALL)))
    assert "the log in the mail unpacks to more than 16 MiB" in refused(mail)
    assert VERSION in decode(b"Content-Transfer-Encoding: base64\n\n" + encodebytes(gzip.compress(VERSION.encode())))


def test_a_large_log_in_yaml() -> None:
    assert "give the log out of it" in refused("- a: Linux version 1\n" * 40_000)
    assert decode(b"- a: Linux version 1\n- a: Linux version 2\n") == "Linux version 1\nLinux version 2"


@pytest.mark.parametrize("opening", ["<script>", "<style>", "<!--", "<!DOCTYPE"])
def test_what_a_page_never_ends(opening: str) -> None:
    """Looked for once, and not again from each beginning on."""
    text = decode(("<pre>" + VERSION + opening * 50_000 + "</pre>").encode())
    assert text.startswith(VERSION)


def test_what_a_page_does_not_show() -> None:
    page = f"<!DOCTYPE html><pre><SCRIPT>a</script >{VERSION}<!-- b --><style>c</STYLE>end</pre>"
    assert decode(page.encode()).split() == [*VERSION.split(), "end"]


def test_records_in_records() -> None:
    deep = '{"a":' * 30 + '"Linux version 6.1"' + "}" * 30
    assert decode(deep.encode()) == "Linux version 6.1"
    deeper = '{"a":' * 300 + '"Linux version 6.1"' + "}" * 300
    assert decode(deeper.encode()) == deeper
