"""Documents within a page of HTML, packed, and back: what a report was made of goes with it.

An element is `<script type="application/gzip" id="NAME">` around base64 of the JSON, which browsers do not run; what a
report was made of has the name "document".
"""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64decode, b64encode
from binascii import Error
from typing import Any

from mmtool.errors import InputError
from mmtool.firmware.packed import unpack

DOCUMENT = "document"
_ELEMENT = re.compile(rb'<script type="application/gzip" id="document">([A-Za-z0-9+/=\s]*)</script>')
_PAGE = re.compile(rb"\s*<!doctype html", re.IGNORECASE)


def element(name: str, value: Any) -> str:
    """The element of a page that holds a value, in ASCII."""
    packed = gzip.compress(json.dumps(value, separators=(",", ":")).encode(), mtime=0)
    return f'<script type="application/gzip" id="{name}">{b64encode(packed).decode()}</script>'


def is_page(data: bytes) -> bool:
    """Does a page of HTML begin here?"""
    return _PAGE.match(data) is not None


def document_bytes(data: bytes, source: str) -> bytes:
    """The JSON in a page that mmtool made. InputError where it holds none."""
    found = _ELEMENT.search(data)
    if found is None:
        raise InputError(source, None, "this page of HTML holds no document; mmtool boot -o html makes one that does")
    try:
        packed = b64decode(found[1], validate=False)
    except Error:
        raise InputError(source, None, "the document in this page is damaged; copy the file again") from None
    if packed[:2] != b"\x1f\x8b":
        raise InputError(source, None, "the document in this page is damaged; copy the file again")
    return unpack(packed, source)
