"""One log in the dressings that tools, mail and web pages give it: mmtool reads the same machine out of every one."""

from __future__ import annotations

import base64
import bz2
import csv
import gzip
import html
import io
import json
import lzma
import quopri
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mmtool.firmware.lines import decode, kernel_lines
from mmtool.firmware.log import read_log
from mmtool.firmware.machine import Machine
from mmtool.firmware.packed import unpack

BASE = Path(__file__).parent.parent / "fixtures" / "logs" / "laptop-6.16.txt"
WORDS = [words for _, words in kernel_lines(BASE.read_text()) if words]
"""What the kernel said, without stamps."""
Dress = Callable[[list[str]], str]


def stamped(lines: list[str]) -> list[str]:
    return [f"[{i / 997:12.6f}] {words}" for i, words in enumerate(lines)]


def each(form: str) -> Dress:
    """Every line in the same form: {s} is the line with its stamp, {w} without, {i} its number."""

    def dress(lines: list[str]) -> str:
        rows = enumerate(zip(stamped(lines), lines, strict=True))
        return "".join(form.format(s=s, w=w, i=i, m=i // 60 % 60, c=i % 60) + "\n" for i, (s, w) in rows)

    return dress


def wrap(width: int, quote: str = "", tail: str = "") -> Dress:
    def dress(lines: list[str]) -> str:
        out = []
        for line in stamped(lines):
            pieces = textwrap.wrap(
                line, width, drop_whitespace=True, break_long_words=False, break_on_hyphens=False,
                replace_whitespace=False,
            )  # fmt: skip
            out += [quote + piece + tail for piece in pieces[:-1]] + [quote + pieces[-1]]
        return "\n".join(out) + "\n"

    return dress


def cut(width: int) -> Dress:
    def dress(lines: list[str]) -> str:
        rows = (line[i : i + width] for line in stamped(lines) for i in range(0, len(line), width))
        return "".join(f"{row}\n" for row in rows)

    return dress


def records(key: str, *, of: str = "{s}", end: str = "", lead: str = "", **more: object) -> Dress:
    def dress(lines: list[str]) -> str:
        rows = zip(stamped(lines), lines, strict=True)
        values = [{"time": i, **more, key: of.format(s=s, w=w) + end} for i, (s, w) in enumerate(rows)]
        return "".join(f"{lead}{json.dumps(value)}\n" for value in values)

    return dress


def document(build: Callable[[str, list[str]], object], indent: int | None = None) -> Dress:
    return lambda lines: json.dumps(build("\n".join(stamped(lines)) + "\n", stamped(lines)), indent=indent)


def mail(encoding: str, body: Callable[[bytes], bytes], kind: str = "text/plain; charset=utf-8") -> Dress:
    def dress(lines: list[str]) -> str:
        packed = body(("\n".join(stamped(lines)) + "\n").encode()).decode()
        head = f"From: a <a@example.org>\nSubject: log\nContent-Type: {kind}\nContent-Transfer-Encoding: {encoding}"
        return f"{head}\n\n{packed}"

    return dress


def multipart(lines: list[str]) -> str:
    packed = base64.encodebytes(("\n".join(stamped(lines)) + "\n").encode()).decode()
    return (
        'From: a <a@example.org>\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="=-b1"\n\n--=-b1\n'
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nHello=2C\nsee dmesg.\n"
        f'--=-b1\nContent-Type: text/plain; name="dmesg.txt"\nContent-Transfer-Encoding: base64\n\n{packed}--=-b1--\n'
    )


def attached_gz(lines: list[str]) -> str:
    data = gzip.compress(("\n".join(stamped(lines)) + "\n").encode())
    return (
        "From: a\nContent-Type: multipart/mixed; boundary=b2\n\n--b2\n\nlog attached\n--b2\n"
        "Content-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n"
        f"{base64.encodebytes(data).decode()}--b2--\n"
    )


def page(line: str, head: str = "<html><body>", foot: str = "</body></html>") -> Dress:
    return lambda lines: head + "".join(line.format(html.escape(text)) for text in stamped(lines)) + foot


def spaced_page(lines: list[str]) -> str:
    rows = (html.escape(text).replace("  ", "&nbsp; ") for text in stamped(lines))
    return "<p>" + "<br />\n".join(rows) + "</p>"


def export(lines: list[str]) -> str:
    return "".join(f"__CURSOR=s={i}\n_TRANSPORT=kernel\nPRIORITY=6\nMESSAGE={w}\n\n" for i, w in enumerate(lines))


def verbose(lines: list[str]) -> str:
    head = "Mon 2024-03-04 10:00:{0:02}.123 CET [s=ab;i={0};b=c]\n    _TRANSPORT=kernel\n    MESSAGE={1}\n"
    return "".join(head.format(i, words) for i, words in enumerate(lines))


def table(delimiter: str) -> Dress:
    def dress(lines: list[str]) -> str:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows(["2024-03-04T10:00:00Z", "host", text] for text in stamped(lines))
        return "time,host,message\n".replace(",", delimiter) + out.getvalue()

    return dress


def lava(lines: list[str]) -> str:
    texts = (text.replace("'", "''") for text in stamped(lines))
    return "".join(f"- {{dt: 2024-03-04T10:00:00, lvl: target, msg: '{text}'}}\n" for text in texts)


def cut_json(lines: list[str]) -> str:
    return document(lambda text, rows: {"dmesg": [{"pri": 6, "msg": s[15:]} for s in rows]}, 3)(lines)[:-40]


def page_in_mail(text: bytes) -> bytes:
    return quopri.encodestring(f"<pre>{html.escape(text.decode())}</pre>".encode())


def two_columns(lines: list[str]) -> str:
    return "\n".join(" " * 4 + text for text in stamped(lines)) + "\n"


DRESSINGS: dict[str, Dress] = {
    "dmesg": each("{s}"),
    "dmesg -t": each("{w}"),
    "dmesg -r": each("<6>{s}"),
    "dmesg -x": each("kern  :info  : {s}"),
    "dmesg -T": each("[Mon Mar  4 10:{m:02}:{c:02} 2024] {w}"),
    "dmesg -d": each("[<    0.000000>] {w}"),
    "dmesg -e": each("[Mar 4 10:{m:02}] {w}"),
    "dmesg iso": each("2024-03-04T10:{m:02}:{c:02},123456+01:00 {w}"),
    "dmesg -J": document(lambda text, lines: {"dmesg": [{"pri": 6, "time": 0.0, "msg": s[15:]} for s in lines]}, 3),
    "dmesg -J, cut": cut_json,
    "kmsg": each("6,{i},0,-;{w}"),
    "netconsole": each("6.16.8-1,6,{i},0,-;{w}"),
    "caller": lambda lines: "".join(s[:14] + "[    T0]" + s[14:] + "\n" for s in stamped(lines)),
    "android": each("<6>{s}"),
    "logcat": each("03-04 10:{m:02}:{c:02}.000     0     0 I kernel  : {s}"),
    "journalctl": each("Mar 04 10:{m:02}:{c:02} host kernel: {w}"),
    "journalctl iso": each("2024-03-04T10:{m:02}:{c:02}+0100 host kernel: {w}"),
    "journalctl iso precise": each("2024-03-04T10:{m:02}:{c:02}.123456+01:00 host kernel: {w}"),
    "journalctl full": each("Mon 2024-03-04 10:{m:02}:{c:02} CET host kernel: {w}"),
    "journalctl unix": each("17095428{c:02}.123456 host kernel: {w}"),
    "journalctl monotonic": each("[    0.{i:06}] host kernel: {w}"),
    "journalctl cat": each("{w}"),
    "journalctl export": export,
    "journalctl verbose": verbose,
    "journalctl json": records("MESSAGE", of="{w}", _TRANSPORT="kernel", PRIORITY="6"),
    "journalctl json-pretty": lambda lines: "".join(
        json.dumps({"_TRANSPORT": "kernel", "MESSAGE": words}, indent=8) + "\n" for words in lines
    ),
    "journalctl json-sse": records("MESSAGE", of="{w}", lead="data: "),
    "journalctl json-seq": records("MESSAGE", of="{w}", lead="\x1e"),
    "journal bytes": document(lambda text, lines: [{"MESSAGE": list(s[15:].encode())} for s in lines]),
    "rsyslog": each("Mar  4 10:{m:02}:{c:02} host kernel: {s}"),
    "syslog rfc 5424": each("<6>1 2024-03-04T10:{m:02}:{c:02}.123Z host kernel - - - {s}"),
    "syslog, year": each("2024 Mar  4 10:{m:02}:{c:02} host kernel: {w}"),
    "syslog, facility": each("2024-03-04T10:{m:02}:{c:02}Z host kern.info kernel: {w}"),
    "docker": records("log", end="\n", stream="stdout"),
    "cri": each("2024-03-04T10:{m:02}:{c:02}.123456789Z stdout F {s}"),
    "compose": each("node-1  | {s}"),
    "kubectl prefix": each("[pod/node-debugger/debug] {s}"),
    "talosctl": each("10.1.10.21: kern:    info: [2024-03-04T10:{m:02}:{c:02}.559459804Z]: {w}"),
    "loki": document(
        lambda text, lines: {"data": {"result": [{"values": [[str(10**18 + i), s] for i, s in enumerate(lines)]}]}}
    ),
    "loki, newest first": document(
        lambda text, lines: {"data": {"result": [{"values": [[str(i), s] for i, s in enumerate(lines)][::-1]}]}}
    ),
    "logfmt": lambda lines: "".join(f"ts=1 level=info msg={json.dumps(s)}\n" for s in stamped(lines)),
    "elastic": document(
        lambda text, lines: {"hits": {"hits": [{"_source": {"message": s, "host": "h"}} for s in lines]}}
    ),
    "cloudwatch": document(lambda text, lines: {"events": [{"timestamp": 1, "message": s} for s in lines]}, 2),
    "ec2 console": document(lambda text, lines: {"InstanceId": "i-1", "Output": text.replace("\n", "\r\n")}),
    "gcp": document(lambda text, lines: [{"textPayload": s, "severity": "INFO"} for s in lines]),
    "fluentd": each("2024-03-04 10:{m:02}:{c:02} +0000 kernel.info: {s}"),
    "github body": document(lambda text, lines: {"title": "t", "body": f"Hi\n```\n{text}```\n"}),
    "github comments": document(
        lambda text, lines: [{"user": {"login": "a"}, "body": "see"}, {"user": {}, "body": text}]
    ),
    "github actions": each("2024-03-04T10:{m:02}:{c:02}.1234567Z {s}"),
    "gitlab ci": each("2024-03-04T10:{m:02}:{c:02}.123456Z 00O {s}"),
    "jenkins": each("[2024-03-04T10:{m:02}:{c:02}.123Z] {s}"),
    "jenkins, plain": each("10:{m:02}:{c:02}  {s}"),
    "lava": lava,
    "lava, json": records("msg", lead="- ", lvl="target"),
    "yaml": lambda lines: yaml.safe_dump([{"lvl": "target", "msg": s} for s in stamped(lines)]),
    "csv": table(","),
    "tsv": table("\t"),
    "csv;": table(";"),
    "splunk": records("_raw", sourcetype="dmesg"),
    "quoted-printable": mail("quoted-printable", quopri.encodestring),
    "base64": mail("base64", base64.encodebytes),
    "quoted-printable, no header": lambda lines: quopri.encodestring("\n".join(stamped(lines)).encode()).decode(),
    "base64, no header": lambda lines: base64.encodebytes("\n".join(stamped(lines)).encode()).decode(),
    "multipart": multipart,
    "attached gz": attached_gz,
    "html mail": mail("quoted-printable", page_in_mail, "text/html"),
    "mail quote": each("> {s}"),
    "mail quote, two deep": each("> > {s}"),
    "mail, wrapped": wrap(72),
    "mail, wrapped at 78": wrap(78),
    "mail, flowed": wrap(72, tail=" "),
    "mail, wrapped and quoted": wrap(76, "> "),
    "mail, wrapped, deeper": wrap(74, ">> "),
    "terminal of 80": cut(80),
    "terminal of 100": cut(100),
    "terminal of 132": cut(132),
    "html pre": page("{}\n", "<html><body><pre>", "</pre></body></html>"),
    "html br": page("{}<br>\n"),
    "html br, one line": page("{}<br/>"),
    "html list": page("<li><span class='l'>{}</span></li>"),
    "html table": page("<tr><td>{}</td></tr>", "<table>", "</table>"),
    "html spaces": spaced_page,
    "html escaped": lambda lines: html.escape("\n".join(stamped(lines))),
    "html escaped twice": lambda lines: html.escape(html.escape("\n".join(stamped(lines)))),
    "markdown fence": lambda lines: "```\n" + "\n".join(stamped(lines)) + "\n```\n",
    "markdown ticks": each("`{s}`"),
    "markdown ticks, quoted": each("> `{s}`"),
    "markdown code": two_columns,
    "markdown list": each("* {s}"),
    "jira": lambda lines: "{noformat}\n" + "\n".join(stamped(lines)) + "\n{noformat}\n",
    "table of markdown": each("| {s} |"),
    "written out": lambda lines: '"' + "\\n".join(stamped(lines)) + '"',
    "python bytes": lambda lines: repr("\n".join(stamped(lines)).encode()),
    "rsyslog escapes": lambda lines: "#012".join(stamped(lines)),
    "diff": each("+{s}"),
    "line numbers": each("{i:5}\t{s}"),
    "line numbers, no stamp": each("{i:5}  {w}"),
    "grep": each("dmesg.txt:{s}"),
    "grep -n": each("{i}:{s}"),
    "grep -n of a file, no stamp": each("var/log/dmesg:{i}:{w}"),
    "xen guest": each("(XEN) HVM4: {w}"),
    "xen guest, new": each("(XEN) [2024-03-04 10:{m:02}:{c:02}] HVM4: {w}"),
    "ts": each("Mar 04 10:{m:02}:{c:02} {s}"),
    "minicom": each("[2024-03-04 10:{m:02}:{c:02}] {s}"),
    "colours": each("\x1b[32m[    0.{i:06}] \x1b[0m{w}"),
    "crlf": lambda lines: "\r\n".join(stamped(lines)) + "\r\n",
    "crcrlf": lambda lines: "\r\r\n".join(stamped(lines)) + "\r\r\n",
    "cr": lambda lines: "\r".join(stamped(lines)) + "\r",
    "hard spaces": lambda lines: "\n".join(stamped(lines)).replace(" ", "\u00a0"),
    "newest first": lambda lines: "\n".join(reversed(stamped(lines))) + "\n",
    "unknown tool": each("node7/kernel#{i} >> {w}"),
    "unknown tool, end": each("<<{i}|{w}>>"),
}


def told(machine: Machine) -> Machine:
    """The machine without where in the file things stand, and with one space for what a mail may have broken at."""
    notes = tuple(replace(note, line=0, text=" ".join(note.text.split())) for note in machine.notes)
    return replace(machine, notes=notes, e820_places=(), origin="", warnings=())


def read(data: bytes) -> Machine:
    return told(read_log(decode(unpack(data, "log")), "log"))


EXPECTED = read(("\n".join(stamped(WORDS)) + "\n").encode())


def test_the_base_is_the_log() -> None:
    assert read(BASE.read_bytes()) == EXPECTED


@pytest.mark.parametrize("name", DRESSINGS)
def test_dressing(name: str) -> None:
    assert read(DRESSINGS[name](WORDS).encode()) == EXPECTED


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda d: d.decode().encode("utf-16"),
        lambda d: d.decode().encode("utf-16-le"),
    ],
)
def test_packed(pack: Callable[[bytes], bytes]) -> None:
    assert read(pack(("\n".join(stamped(WORDS)) + "\n").encode())) == EXPECTED
