"""`mmtool buddy`: the hand-over alone, from memblock's region lists to the free lists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmtool.cli.options import output_option
from mmtool.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmtool.mm.page_alloc import Pgdat


@click.command()
@click.option("--memblock", "source", metavar="FILE|-", required=True, help="JSON with memory and reserved regions.")
@click.option("--kernel", "release", metavar="NAME", default="6.1", show_default=True, help="A release, such as 6.12.")
@click.option(
    "--movable-start", "movable", metavar="NID=PFN", multiple=True, help="Where a node's Movable zone begins."
)
@click.option("--no-deferred", is_flag=True, help="A kernel without CONFIG_DEFERRED_STRUCT_PAGE_INIT.")
@click.option("--late", is_flag=True, help="The lists after page_alloc_init_late, nothing allocated in between.")
@output_option("table", "json", "yaml", "csv")
def buddy(source: str, release: str, movable: tuple[str, ...], no_deferred: bool, late: bool, output: str) -> None:
    """Hand memblock's free memory to the buddy allocator and print the free lists.

    FILE holds memblock's two lists as they stand before memblock_free_all: {"memory": [{"base", "size",
    "flags", "nid"}, ...], "reserved": [...]}; it may be compressed. The answer is the state right after:
    which blocks are free, list by list, from head to tail.
    """
    from mmtool.kernel.release import parse_version, release_facts
    from mmtool.mm.page_alloc import make_nodes, memblock_free_all, page_alloc_init_late, zone_spans
    from mmtool.observed.memblock import memblock_from_json

    version = parse_version(release)
    if version is None:
        raise UsageError(f"--kernel {release}: not a release such as 6.1 or 6.12.43")
    starts = dict(_movable_start(text) for text in movable)
    lists = memblock_from_json(_load_json(source), source)
    spans = zone_spans(lists.memory, zone_movable_pfn=starts)
    pgdats = make_nodes(lists.memory, spans, release_facts(version), deferred=not no_deferred)
    memblock_free_all(lists.memory, lists.reserved, pgdats)
    if late:
        page_alloc_init_late(lists.memory, lists.reserved, pgdats)
    click.echo(_render(pgdats, output))


def _movable_start(text: str) -> tuple[int, int]:
    nid, _, pfn = text.partition("=")
    try:
        return int(nid), int(pfn, 0)
    except ValueError:
        raise UsageError(
            f"--movable-start {text}: give a node number and a page frame number, such as 0=1048576"
        ) from None


def _render(pgdats: Mapping[int, Pgdat], output: str) -> str:
    from mmtool.report import buddy as report

    if output == "table":
        return report.table(pgdats)
    if output == "json":
        import json

        return json.dumps(report.document(pgdats))
    if output == "yaml":
        import yaml

        return str(yaml.safe_dump(report.document(pgdats), sort_keys=False, default_flow_style=None)).rstrip("\n")
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(report.COLUMNS)
    writer.writerows(report.rows(pgdats))
    return text.getvalue().rstrip("\n")


def _load_json(source: str) -> Any:
    """The parsed content of a file ("-": standard input), gzipped or not; InputError when there is none."""
    import json

    data = _read(source)
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(source, f"byte {error.start}", "not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InputError(source, error.lineno, f"not JSON: {error.msg}") from None
    except RecursionError:
        raise InputError(source, None, "nested too deep") from None
    except ValueError:
        # Python refuses integers of thousands of digits.
        raise InputError(source, None, "a number in it is too long") from None


def _read(source: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(source, None, getattr(error, "strerror", None) or "cannot be read") from None
    if not data.startswith(b"\x1f\x8b"):
        return data
    import gzip
    import zlib

    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise InputError(source, None, "a gzip file, but a broken one") from None
