"""What /proc/PID/maps and smaps of a process tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmtool.answers.process_maps import answer_maps
from mmtool.cli import cli
from mmtool.errors import InputError
from mmtool.observed.process_maps import parse_maps

MAPS = """\
00400000-00401000 r--p 00000000 08:01 17                                 /bin/program
00401000-00405000 r-xp 00001000 08:01 17                                 /bin/program
00600000-00621000 rw-p 00000000 00:00 0                                  [heap]
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
7f0000400000-7f0000401000 r--p 00000000 00:00 0
7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0                          [stack]
"""


def test_gaps_neighbours_and_huge_pages() -> None:
    answer = answer_maps(parse_maps(MAPS, "maps"))
    assert answer.gaps[0].start == 0x621000
    below_stack = next(g for g in answer.gaps if g.end == 0x7FFFFFFDE000)
    assert below_stack.usable == 0x7FFFFFFDE000 - 0x7F0000401000 - (1 << 20)
    assert [n.why for n in answer.neighbours] == ["protection differs: r--p r-xp", "protection differs: rw-p r--p"]
    assert answer.blocks == 2
    assert answer.largest == 0x7F0000000000 - 0x621000
    assert answer.anon_kib is None


def test_flags_of_smaps_say_more() -> None:
    row = "{} rw-p 00000000 00:00 0\nRss: 4 kB\nAnonymous: 4 kB\nAnonHugePages: 0 kB\nVmFlags: rd wr mr mw me ac {}\n"
    text = row.format("7f0000000000-7f0000001000", "") + row.format("7f0000001000-7f0000002000", "nh")
    answer = answer_maps(parse_maps(text, "smaps"))
    assert [n.why for n in answer.neighbours] == ["flags differ: nh"]
    assert (answer.anon_kib, answer.huge_kib) == (8, 0)


def test_json_and_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "maps"
    path.write_text(MAPS)
    document = json.loads(CliRunner().invoke(cli, ["process", "maps", str(path), "-o", "json"]).output)
    assert document["schema"] == "mmtool.process-maps/1"
    for bad in ("", "hello\n", MAPS.splitlines()[1] + "\n" + MAPS.splitlines()[0] + "\n"):
        with pytest.raises(InputError):
            parse_maps(bad, "maps")
