"""Taking out of a capture by what one machine is known among others, and what its owner told it in confidence.

What no reader asks for does not get here (`reduce`, `needed`). Of the rest a value goes unless it is known to be
harmless: of the command line's options, of a device tree's properties, of what makers of firmware wrote into tables.
Names and numbers in what is left are found by their form, by the words before them, and by what the machine is known to
be called. What goes is replaced by something as long, so that lines stay as long as the kernel made them and a device
tree keeps its size.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

from mmtool.capture.confided import fill, hide_table, hide_tree, hide_values
from mmtool.capture.identity import NO_HOST, Identity, is_serial, names_of_host
from mmtool.capture.reduce import boot_lines_read, with_continued
from mmtool.firmware.capture import LOG
from mmtool.firmware.lines import kernel_lines, plain, raw_pieces
from mmtool.observed.reports.report import places_read
from mmtool.regex import regex

_HEX_PAIRS = regex(r"(?<![0-9a-f])[0-9a-f]{2}([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2}){4,}(?![0-9a-f])", re.IGNORECASE)
_EUI_64 = regex(r"(?<![0-9a-f])[0-9a-f]{1,4}:[0-9a-f]{1,2}ff:fe[0-9a-f]{2}:[0-9a-f]{1,4}(?![0-9a-f])", re.I)
_UUID = regex(r"(?<![0-9a-f])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8}(?::[0-9a-f]{8}){3})", re.I)
_MAC_PARTS = {6: (0, 6), 7: (1, 7), 14: (0, 6, 12)}
"""Where addresses begin and end among so many bytes: alone, behind BOOTIF's type, two in a packet's head."""

_SERIALS = tuple(
    regex(pattern)
    for pattern in (
        r"\bSerialNumber: ([^\n]+)",
        r"(?i)\bserial[-_ ]?(?:no|number)\s*[:=#]\s*\"?([^\s\",;]{3,})",
        r"(?i)\bs/n\s*[:=#]?\s*([^\s\",;]{3,})",
        r"(?i)\b(?:ww[pn]n|wwid|sas_?addr(?:ess)?|eui|nguid|naa)[^\s0-9a-f]{0,3}((?:0x)?[0-9a-f]{16,32})\b",
        r"\b(?:iqn|nqn)\.([^\s,\";]+)",
        r"/dev/disk/by-id/([^\s,\";]+)",
    )
)
_THIS_HOST = tuple(
    regex(pattern)
    for pattern in (
        r"(?i)\bhostname (?:set )?to [<'\"]?([\w.-]+)",
        r"\b(?:host|hostname|nodename)=([\w.-]+)",
        r"\bip=(?:[^\s:]*:){4}([\w.-]+)",
    )
)
_OTHER_HOSTS = tuple(
    regex(pattern)
    for pattern in (
        r"\bLinux version \S+ \([^\s@()]+@([^\s()]+)\)",
        r"\b(?:nis-)?domain=([\w.-]+)",
        r"\bCONFIG_DEFAULT_HOSTNAME=\"([^\"\n]+)\"",
        r"\bnfsroot=([a-zA-Z][\w.-]*):",
        r"(?i)\bnfs: server ([a-zA-Z][\w.-]*)",
        r"(?i)\bcifs: .*\\\\([a-z][\w.-]*)\\",
    )
)
_BUILDER = regex(r"\bLinux version \S+ \(([^\s@()]+)@")
_NUMBERED = (
    ("ip", regex(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]|-\d)")),
    ("ip", regex(r"(?<![\w:])(?=[0-9a-f:]*::|(?:[0-9a-f]+:){7})[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:])", re.I)),
)
_CONFIDED = tuple(
    regex(pattern)
    for pattern in (
        r"([\w.+-]+@[\w-]+(?:\.[\w-]+)+)",
        r"/(?:home|Users|root|srv|mnt|media)/([^\s\"',;:)\]]+)",
        r"\b[a-z][a-z0-9+.-]{1,15}://([^\s\"',;)\]]+)",
        r"(?i)\b\w*(?:passw(?:or)?d|passphrase|secret|token|bearer|credential|username|user|login|ssid|apikey|auth)\w*"
        r"\s*(?:[=:]\s*|\s)\"?([^\s\",;]+)",
    )
)
"""Addresses of mail, paths below a home, what stands behind "://" and behind a word such as "password"."""

_QUOTED = regex(r"^(CONFIG_\w+=)(\".*\")$", re.MULTILINE)
"""A text in a configuration: paths of keys, names, a command line. What mmtool reads are numbers and switches."""

_SWAP = regex(r"^/.*?(?=\s+(?:file|partition)\s)", re.MULTILINE)
"""Where /proc/swaps has a device or a file."""

_CMDLINE = regex(r"(?:Kernel command line|Command line):? ")
_UNKNOWN = regex(r"Unknown kernel command line parameters:? ")
_CONTINUED = " \\"
"""How a line ends whose command line goes on in the next (from 6.19 on)."""
_MAKERS_WORDS = tuple(
    regex(pattern)
    for pattern in (
        r"DMI: (?!SMBIOS \d)(.*)$",
        r"DMI: SMBIOS [\d.]+ present\.?( .+)$",
        r"ACPI: (?:\w{4} )?[^(]*\(v\d+ ([^)]*)\)",
        r"efi: EFI v[\d.]+ by (.*)$",
        r"\bHardware name: (.*)$",
    )
)
"""What firmware's and boards' makers wrote: names of products and of virtual machines, and of who made them."""
_TASK = tuple(
    regex(pattern)
    for pattern in (
        r"^(.{1,64}?)(?=: (?:page allocation|vmalloc|vmemmap)| invoked oom-killer| cpuset=)",
        r"[Kk]ill(?:ed|ing)? process \d+,?(?: UID \d+,)? (?:\(|'|\")(.{1,64}?)(?:\)|'|\")(?=,| |$)",
        r"[Kk]illing process '([^']{1,64})'",
        r"(?:SIGTERM|SIGKILL) to process \d+ (?:uid \d+ )?\"([^\"]{1,64})\"",
        r"Kill(?:ing)? '([^']{1,64})' \(\d",
        r"on behalf of '([^']{1,64})'",
        r",task=([^,]{1,64})",
        r"^\[ *\d+\](?: +-?\d+){6,11} +(\S.*)$",
        r"(?:oom_reaper: (?:reaped process|unable to reap pid:) ?|OOM victim )\d+ \((.{1,64}?)\)",
    )
)
"""Where a line of a report names a task."""
_PROGRAMS = regex(
    r"(?:kworker|kswapd|khugepaged|kcompactd|ksoftirqd|swapper|migration|rcu_|jbd2|kthreadd|oom_reaper|writeback|cpuhp|"
    r"kdevtmpfs|systemd-|dbus-|gnome-|qemu-system-)[\w/:.+-]*|"
    r"(?:python|ruby|perl|php|node|java|postgres|mysqld|mariadbd|redis-server|mongod|dockerd|containerd|containerd-shim|"
    r"kubelet|chrome|chromium|firefox|Web Content|Isolated Web Co|plasmashell|Xorg|Xwayland|cc1|cc1plus|clang|ld|"
    r"stress|stress-ng|systemd|\(sd-pam\)|init|bash|dash|zsh|ksh|sh|busybox|sshd|sudo|cron|crond|agetty|getty|login|rsyslogd|"
    r"polkitd|NetworkManager|udevd|nginx|httpd|apache2|sleep|cat|cp|dd|tar|gzip|xz|rsync|git|make|gcc|rustc|cargo|go|vim|"
    r"emacs|top|htop|less|find|grep|awk|sed)[\d.]*"
)
"""Programs and kernel threads of any machine; what others are called may be somebody's."""
_MEMCG_OF_CACHE = regex(r"\bcache: [^\n,(]{1,200}\((?:\d+:)?([^)\n]{1,300})\)")
"""The cgroup whose part of a cache it is."""
_CGROUPS = regex(r"(?:(?<=[ =])|^)/[^\s,]*|(?<=cpuset=)[^/\s,][^\s,]*")
_SLICE = regex(
    r"(?:system|machine|init|app|session|background|kubepods|kubepods-(?:besteffort|burstable))\.(?:slice|scope)|"
    r"user(?:-\d+)?\.slice|user@\d+\.service|session-\w{1,4}\.scope|kubepods|besteffort|burstable|docker|lxc|payload|"
    r"mems_allowed|"
)
"""Cgroups that every machine has."""
_UNIT = regex(r"(.*?)(\.(?:service|scope|slice|socket|mount))?(:?)$")


_Part = tuple[int, str, str, str]
"""A line with a part of a command line: its number, what is before it, the part, what is behind it."""


class Redactor:
    """Replaces what is known or confided; one object gives one stand-in to one name."""

    def __init__(self, identity: Identity) -> None:
        self._hosts = identity.hosts
        self._serials = identity.serials
        self._users = identity.users
        self._stand_ins: dict[tuple[str, str], str] = {}

    def files(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """The files of a capture without names."""
        for name in (LOG, "proc/cmdline"):
            self._learn(_text(files.get(name, b"")))
        return {name: self._file(name, data) for name, data in files.items()}

    def _file(self, name: str, data: bytes) -> bytes:
        edits: dict[str, Callable[[bytes], bytes]] = {
            LOG: lambda data: _bytes(self.log(_text(data))),
            "proc/cmdline": lambda data: _bytes(self.cmdline(_text(data))),
            "proc/version": lambda data: _bytes(self._patterns(_text(data))),
            "config": lambda data: _bytes(_QUOTED.sub(lambda m: m[1] + fill(m[2]), _text(data))),
            "proc/swaps": lambda data: _bytes(_SWAP.sub(lambda m: fill(m[0]), _text(data))),
            "machine.dtb": self.tree,
            "SRAT.aml": hide_table,
            "SLIT.aml": hide_table,
        }
        if name == "System.map":
            return data
        if name in edits:
            return edits[name](data)
        return _bytes("\n".join(map(self._of_numbers, _text(data).split("\n"))))

    def log(self, text: str) -> str:
        """A kernel log without names."""
        self._learn(text)
        of_a_boot, places = boot_lines_read(text), places_read(text)
        read = with_continued(text, of_a_boot | places.keys())
        lines = text.split("\n")
        hidden = self._command_lines(lines)
        of_reports = {number: places[number] for number in places.keys() - of_a_boot}
        reported = _reported(text, lines, of_reports)
        return "\n".join(
            hidden[number] if number in hidden else self._line(reported.get(number, line), number in read)
            for number, line in enumerate(lines, 1)
        )

    def cmdline(self, text: str) -> str:
        """A command line with the values alone that mmtool reads or that tell nothing."""
        return hide_values(text)

    def tree(self, data: bytes) -> bytes:
        """A device tree's blob without names, as long as before. Raises InputError."""
        return hide_tree(data, lambda value: _bytes(self.cmdline(_text(value))))

    # ---- what a text is known to hold --------------------------------------------------------------

    def _learn(self, text: str) -> None:
        """Names that the text itself says are this machine's."""
        for pattern in _THIS_HOST:
            self._hosts |= {host for m in pattern.finditer(text) for host in names_of_host(m[1])}

    def _command_lines(self, lines: list[str]) -> dict[int, str]:
        """By their numbers the lines with a command line, its values hidden; one in several lines is one."""
        said: list[list[_Part]] = [[]]
        for number, line in enumerate(lines, 1):
            words = plain(line)
            if (m := _CMDLINE.match(words)) is None:
                continue
            at = line.rfind(words) + m.end()
            end = "\\" if words.endswith(_CONTINUED) else ""
            rest = line[at:]
            kept = rest.rstrip()
            said[-1].append((number, line[:at], kept.removesuffix(end), end + rest[len(kept) :]))
            if not end:
                said.append([])
        texts = ["".join(part for _, _, part, _ in parts) for parts in said]
        hidden: dict[int, str] = {}
        for parts, text in zip(said, texts, strict=True):
            # printk may have cut the one where another goes on: its last word is then no option, as it looks like
            left, at = self.cmdline(text + _rest_of(text, texts)), 0
            for number, head, part, end in parts:
                hidden[number] = head + left[at : at + len(part)] + end
                at += len(part)
        return hidden

    def _line(self, line: str, is_read: bool) -> str:
        return "".join(self._message(piece, is_read) for piece in raw_pieces(line))

    def _message(self, line: str, is_read: bool) -> str:
        words = plain(line)
        head = line[: line.rfind(words)] if words else line
        rest = line[len(head) :]
        if m := _UNKNOWN.match(rest):
            return head + m[0] + fill(rest[m.end() :])
        for pattern in _MAKERS_WORDS:
            rest = _groups(pattern, fill, rest)
        if not is_read:
            return head + self._of_anything(rest)
        rest = self._patterns(rest)
        for pattern in _TASK:
            rest = _groups(pattern, self._task, rest)
        rest = _groups(_MEMCG_OF_CACHE, self._cgroup_name, rest)
        return head + (_CGROUPS.sub(self._cgroup, rest) if _names_cgroups(words) else rest)

    def _of_anything(self, text: str) -> str:
        """A line of the log that nobody reads."""
        for pattern in _CONFIDED:
            text = _groups(pattern, fill, text)
        return self._known(self._of_numbers(text))

    def _of_numbers(self, text: str) -> str:
        """A line of a file that the kernel fills with numbers and with names of its own."""
        text = self._patterns(text)
        for kind, pattern in _NUMBERED:
            text = pattern.sub(lambda m, kind=kind: self._stand_in(kind, m[0].lower()), text)  # type: ignore[misc]
        return self._known(text, distinct=True)

    def _patterns(self, text: str) -> str:
        """Without what is known by its form or by the words before it."""
        text = _UUID.sub(lambda m: self._stand_in("uuid", m[0].lower()), text)
        text = _HEX_PAIRS.sub(self._macs, text)
        text = _EUI_64.sub(lambda m: self._stand_in("eui", m[0].lower()), text)
        for kind, patterns in (("serial", _SERIALS), ("host", (*_THIS_HOST, *_OTHER_HOSTS)), ("user", (_BUILDER,))):
            for pattern in patterns:
                text = pattern.sub(partial(self._group, kind), text)
        return text

    def _group(self, kind: str, m: re.Match[str]) -> str:
        start, end = m.start(1) - m.start(), m.end(1) - m.start()
        if m[1].lower() in NO_HOST:
            return m[0]
        return m[0][:start] + self._stand_in(kind, m[1].lower()) + m[0][end:]

    def _macs(self, m: re.Match[str]) -> str:
        pairs = m[0].split(m[1])
        places = _MAC_PARTS.get(len(pairs), (0, len(pairs)))
        for start, end in pairwise(places):
            digits = self._stand_in("mac", "".join(pairs[start:end]).lower())
            pairs[start:end] = re.findall("..", digits)
        return m[1].join(pairs)

    def _task(self, name: str) -> str:
        """A task's name; programs that every machine has keep theirs, but for a name of this machine in it."""
        return self._known(name) if _PROGRAMS.fullmatch(name) else self._stand_in("task", name)

    def _cgroup(self, m: re.Match[str]) -> str:
        """A cgroup's path; what systemd and container engines call theirs on every machine stays."""
        return "/".join(map(self._cgroup_name, m[0].split("/")))

    def _cgroup_name(self, name: str) -> str:
        parts = _UNIT.fullmatch(name)
        if parts is None or _SLICE.fullmatch(name.rstrip(":")):
            return name
        return self._stand_in("cgroup", parts[1]) + (parts[2] or "") + parts[3]

    def _known(self, text: str, *, distinct: bool = False) -> str:
        """Without known names and numbers where they stand as words; of names only `distinct` ones if so asked."""
        for kind, names in (("host", self._hosts), ("user", self._users), ("serial", self._serials)):
            if pattern := _words(names, distinct and kind != "serial"):
                text = pattern.sub(lambda m, kind=kind: self._stand_in(kind, m[0].lower()), text)  # type: ignore[misc]
        return text

    # ---- stand-ins ---------------------------------------------------------------------------------

    def _stand_in(self, kind: str, name: str) -> str:
        if name in self._stand_ins.values() or (kind in _MAKERS and set(name) <= set("0f:-.")):
            return name  # a stand-in already, or an address of everybody or of nobody
        if (kind, name) not in self._stand_ins:
            number = 1 + sum(known == kind for known, _ in self._stand_ins)
            self._stand_ins[kind, name] = _MAKERS.get(kind, _word)(kind, name, number)
        return self._stand_ins[kind, name]


def _rest_of(text: str, others: list[str]) -> str:
    """How a command line goes on that was cut, as far as another line of the log tells."""
    end = text[-_TAIL:]
    found = (other[other.find(end) + len(end) :] for other in others if len(end) == _TAIL and end in other)
    return max(found, key=len, default="")


_TAIL = 40
"""Letters by which the place is found where a command line was cut."""


def _reported(text: str, lines: list[str], read: dict[int, list[tuple[int, int]]]) -> dict[int, str]:
    """By their numbers the lines of reports, with x for what of them is not read: `read` has the places that are.

    Any line that a report's words are found in may be one of a program's: "eth0: gateway:10 of alice".
    """
    said = kernel_lines(text)
    told = dict(said)
    once = Counter(number for number, _ in said)
    hidden = {}
    for number, places in read.items():
        line, words = lines[number - 1], told[number]
        head = line.rfind(words)
        # not of one that is put together from several, or cut into several
        if once[number] == 1 and words and head >= 0 and "\\" not in line:
            seen = {head + at for start, end in places for at in range(start, end)} | set(range(head))
            hidden[number] = _WORD.sub(lambda m, seen=seen: _unread(m, seen), line)  # type: ignore[misc]
    return hidden


_WORD = regex(r"[^\W_]+")
_HEX = regex(r"(?=.*\d)[0-9a-fA-F]+")


def _unread(m: re.Match[str], seen: set[int]) -> str:
    """A word of a line in x, a number in 0, as far as it is not seen: what is read ends where it did."""
    stand_in = "0" if _HEX.fullmatch(m[0]) else "x"
    return "".join(c if at in seen else stand_in for at, c in enumerate(m[0], m.start()))


def _groups(pattern: re.Pattern[str], edit: Callable[[str], str], text: str) -> str:
    """The text with the first group of every match edited."""
    return pattern.sub(lambda m: m[0][: m.start(1) - m.start()] + edit(m[1]) + m[0][m.end(1) - m.start() :], text)


def _names_cgroups(words: str) -> bool:
    """Is it a line of a report with paths of cgroups?"""
    signs = ("cgroup", "cpuset=", "oom-kill:", "Task in /", "Tasks in /", "Killed /", "Marked /")
    return any(sign in words for sign in signs)


def _word(kind: str, name: str, number: int) -> str:
    """host0001, as long as the name."""
    digits = str(number)
    if len(name) < len(digits) + 1:
        return "x" * len(name)
    letters = kind[: len(name) - len(digits)]
    return letters + digits.zfill(len(name) - len(letters))


def _mac(kind: str, name: str, number: int) -> str:
    """An address that nobody was given: 02 and the number."""
    return "02" + f"{number:x}".zfill(len(name) - 2)


def _digits(kind: str, name: str, number: int) -> str:
    """The number in hex, with the separators of the name."""
    left = list(f"{number:x}".zfill(sum(c.isalnum() for c in name)))
    return "".join(left.pop(0) if c.isalnum() else c for c in name)


_MAKERS = {"mac": _mac, "uuid": _digits, "eui": _digits, "ip": _digits}


@cache
def _words(names: frozenset[str], distinct: bool) -> re.Pattern[str] | None:
    """Finds these names as whole words, also as device mapper writes them; None where there are none."""
    chosen = [name for name in names if not distinct or _is_distinct(name)]
    forms = {form for name in chosen for form in (name, name.replace("-", "--"))}
    longest_first = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    return re.compile(rf"(?<![0-9A-Za-z])(?:{longest_first})(?![0-9A-Za-z])", re.IGNORECASE) if forms else None


def _is_distinct(host: str) -> bool:
    """Can it hardly be a word of the kernel's?"""
    return is_serial(host) and any(c.isalpha() for c in host)


def _text(data: bytes) -> str:
    """A character a byte, so that what is not ASCII comes through and lengths stay."""
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
