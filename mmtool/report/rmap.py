"""How often pages are mapped after each line of a script: as JSON, and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby

from mmtool.report.table import Kind, Table, columns
from mmtool.system.rmap_script import RmapLine


def words_text(words: list[str]) -> str:
    """Words of pages, neighbours of a kind as WORD*N."""
    runs = ((word, len(list(group))) for word, group in groupby(words))
    return " ".join(word if n == 1 else f"{word}*{n}" for word, n in runs)


def rmap_json(lines: Iterable[RmapLine]) -> str:
    """The document of all lines."""
    return json.dumps(
        {
            "schema": "mmtool.reclaim-rmap/1",
            "lines": [
                {
                    "line": line.line,
                    "pages": {who: {o: words_text(w) for o, w in objs.items()} for who, objs in line.pages.items()},
                    "pss_kb": line.pss_kb,
                }
                for line in lines
            ],
        }
    )


def rmap_table(lines: Iterable[RmapLine], script: list[str]) -> Table:
    """Line by line: each process's view of each object."""
    rows = [
        (line.line, script[line.line - 1], who, name, words_text(words), line.pss_kb[who][name])
        for line in lines
        for who, objects in line.pages.items()
        for name, words in objects.items()
    ]
    titles = columns(("Line", Kind.COUNT), "Does", "Process", "Object", "Pages", ("Pss KiB", Kind.COUNT))
    return Table("rmap", "How often pages are mapped", titles, list(rows))
