"""Mail as it was sent: the part with the log, out of quoted-printable or base64; either also without a header."""

from __future__ import annotations

import re
from dataclasses import field

from mmtool.firmware.packed import SMALL, most_of, too_large
from mmtool.firmware.wrapped.kernel_words import kernel_words
from mmtool.firmware.wrapped.refused import WrapperError
from mmtool.late import dataclass
from mmtool.regex import regex

_FIELD = regex(r"([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)")
_ENCODING = regex(r"content-transfer-encoding:\s*(quoted-printable|base64)", re.IGNORECASE)
_SOFT = regex(r"=[ \t]*\r?$", re.MULTILINE)
_BASE64 = regex(r"[A-Za-z0-9+/]{20,100}={0,2}")


@dataclass
class _Part:
    """A part of a mail: its header's fields in lower case, and its lines."""

    header: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def text(self) -> str:
        body = "\n".join(self.lines)
        encoding = self.header.get("content-transfer-encoding", "").strip().lower()
        if encoding == "quoted-printable":
            return _of_quoted_printable(body, self.charset)
        if encoding == "base64":
            return _of_base64(body, self.charset) or body
        return body

    @property
    def charset(self) -> str:
        m = re.search(r"charset=\"?([\w.:-]+)", self.header.get("content-type", ""), re.IGNORECASE)
        return m[1] if m else "utf-8"


def undo(text: str) -> str | None:
    """Of a mail, or of several in one file, the parts that were encoded; of their alternatives the one with most.

    WrapperError where a part unpacks to far more than it is.
    """
    if "-encoding:" in text.lower() and _ENCODING.search(text):
        parts = _parts(text)
        texts = [part.text() for part in parts]
        counts = [kernel_words(t) for t in texts]
        most = max(counts, default=0)
        if most:
            # the same log as plain text and as HTML is read once; logs of several mails all
            kept = [t for t, count in zip(texts, counts, strict=True) if count * 2 > most]
            return kept[0] if len({count for count in counts if count * 2 > most}) == 1 else max(kept, key=kernel_words)
        return None
    if "=3D" in text and len(_SOFT.findall(text)) >= 3:
        return _of_quoted_printable(text, "utf-8")
    if _is_base64(text):
        found = _of_base64(text, "utf-8")
        return found if found is not None and kernel_words(found) else None
    return None


def _is_base64(text: str) -> bool:
    """Is it two lines of base64 or more, and nothing else?"""
    count = 0
    for raw in text.split("\n"):
        if line := raw.strip():
            if " " in line or not _BASE64.fullmatch(line):
                return False
            count += 1
    return count >= 2


def _parts(text: str) -> list[_Part]:
    """The text cut at the boundaries; a header is what looks like one where a part begins."""
    boundaries = set(re.findall(r"boundary=\"?([^\"\s;]+)", text, re.IGNORECASE))
    parts = [_Part()]
    in_header, last = True, ""
    for raw in text.split("\n"):
        line = raw.rstrip("\r")
        mark = line.rstrip().removesuffix("--")
        at_boundary = line.startswith("--") and len(line) > 2 and (mark[2:] in boundaries or line[2:] in boundaries)
        bare = not boundaries and not in_header and _ENCODING.match(line) is not None
        if at_boundary or bare or re.match(r"From \S+.*\d{4}", line):
            parts.append(_Part())
            in_header, last = True, ""
            if at_boundary:
                continue
        if in_header and (m := _FIELD.match(line)):
            last = m[1].lower()
            parts[-1].header[last] = m[2]
        elif in_header and last and line[:1] in (" ", "\t"):
            parts[-1].header[last] += " " + line.strip()
        elif in_header and not line.strip():
            in_header = not last
        else:
            in_header = in_header and line.startswith("From ")
            parts[-1].lines.append(line)
    return parts


def _of_quoted_printable(text: str, charset: str) -> str:
    import binascii  # a library of its own, which no plain log needs

    return _of_bytes(binascii.a2b_qp(text.encode("utf-8", "replace")), charset)


def _of_base64(text: str, charset: str) -> str | None:
    import binascii

    packed = "".join(line for line in (raw.strip() for raw in text.split("\n")) if _BASE64_ANY.fullmatch(line))
    try:
        data = binascii.a2b_base64(packed + "=" * (-len(packed) % 4))
    except binascii.Error:
        return None
    return _of_bytes(data, charset)


_BASE64_ANY = regex(r"[A-Za-z0-9+/]+={0,2}")


def _of_bytes(data: bytes, charset: str) -> str:
    if data[:2] == b"\x1f\x8b":
        import zlib

        most = most_of(len(data), SMALL)
        try:
            data = zlib.decompressobj(wbits=31).decompress(data, most + 1)
        except zlib.error:
            return ""
        if len(data) > most:
            raise WrapperError(f"the log in the mail {too_large(most)}")
    try:
        return data.decode(charset, "replace").replace("\r\n", "\n")
    except LookupError:
        return data.decode("utf-8", "replace").replace("\r\n", "\n")
