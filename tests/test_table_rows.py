"""Tables of very many rows are laid out as others are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tabulate import tabulate

from mmtool.report.table import MANY_ROWS, Column, Kind, Table, text_tables

CELL = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6), st.lists(CELL, min_size=3, max_size=3))
def test_many_rows_stand_as_few_do(rows: list[tuple[str, str, str]], titles: list[str]) -> None:
    kinds = (Kind.TEXT, Kind.COUNT, Kind.TEXT)
    table = Table("t", "title", tuple(Column(title, kind) for title, kind in zip(titles, kinds, strict=True)))
    table.rows = list((rows * (MANY_ROWS + 1))[: MANY_ROWS + 1])
    align = ["left", "right", "left"]
    by_tabulate = tabulate(table.rows, titles, colalign=align, disable_numparse=True)
    assert text_tables([table]) == f"title\n{by_tabulate}\n"
