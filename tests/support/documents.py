"""Command lines whose JSON is every kind of document that mmtool prints, on small inputs."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mmtool.capture.collect import Collected, Missing
from mmtool.capture.private import Change
from mmtool.cli import cli
from mmtool.cli.last_boot import last_state_file
from mmtool.examples import with_files
from mmtool.firmware.packed import read_bytes
from mmtool.report.capture import document as capture_document

ROOT = Path(__file__).parent.parent.parent
FIXTURES = ROOT / "fixtures"
X86 = "fixtures/captures/x86-6.1-numa4-ring"
TRIALS = "fixtures/trials"
STRACE = "fixtures/process/strace"
LRU = "fixtures/reclaim/lru/scripts"
REPORTS = [path.relative_to(ROOT) for name in ("reports", "kinds") for path in sorted((FIXTURES / name).glob("*.txt"))]
KEPT = {"STATE", "I386", "TAKEN", "MISS"}
"""Documents that later commands read."""
MAPS = """\
00400000-00401000 r--p 00000000 08:01 100 /bin/true
00401000-00402000 r-xp 00001000 08:01 100 /bin/true
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
7f0000400000-7f0000401000 r--p 00000000 00:00 0
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0 [stack]
"""
SLABS = """\
cache A size=1000
alloc A 40
free A every=4
shrink A
free A all
destroy A
cache B size=64
fragment
alloc B 2
kmalloc 100
kmalloc 1048576
cache C size=5000 flags=PANIC|NO_MERGE
alloc C 20
cache D size=99999999
"""
STORM = "".join(
    (FIXTURES / "kinds" / "m03-kill-lines-only.txt").read_text().replace("152673", str(pid)) for pid in range(10, 14)
)
TAGS = """\
Memory allocations:
    2.0 MiB     512 mm/slub.c:2521 func:alloc_slab_page
    1.00 MiB     256 drivers/net/x.c:77 [x] func:x_fill
"""
PROFILED = (FIXTURES / "reports" / "6.12-order4.txt").read_text().rstrip("\n") + "\n" + TAGS
COMMANDS: list[tuple[str, str | None]] = [
    (f"boot {X86} -o json >STATE", None),
    ("boot fixtures/captures/i386-6.1-1g-debug -o json >I386", None),
    ("boot --e820 fixtures/captures/x86-6.12-memmap-many/dmesg.txt -o json", None),
    ("boot --capture fixtures/arm64/arm64-6.1-numa2 -o json", None),
    (f"boot {X86} --only zones,vmalloc -o json", None),
    (f"boot {X86} --explain 0x98000 -o json", None),
    (f"boot {X86}/dmesg.txt --why min_free,zonelists -o json", None),
    ("ledger fixtures/captures/x86-6.1-movablecore -o json", None),
    ("ledger fixtures/logs/laptop-6.16.txt -o json", None),
    ("verify example:numa4 -o json", None),
    ("verify fixtures/logs/laptop-6.16.txt -o json", None),
    ("verify fixtures/captures/x86-6.12-efi-8g-debug -o json", None),
    (f"diff {X86} fixtures/captures/x86-7.3-numa3-asym -o json", None),
    (f"whatif {X86} --cmdline+ 'crashkernel=128M hugepages=some' -o json", None),
    ("batch fixtures/logs", None),
    ("batch fixtures/fdt", None),
    ("lint fixtures/fdt/faults.dtb.gz -o json", None),
    ("lint - -o json", "0x0-0x9fbff usable\n0x9000-0x9ffff reserved\n"),
    (f"map {X86} -o json", None),
    ("reserve fixtures/captures/x86-6.12-64g --crashkernel 3G,high -o json", None),
    (f"reserve {X86} --crashkernel 3G -o json", None),
    ("buddy --memblock fixtures/freelists/t512m_1c.json.gz -o json", None),
    ("buddyinfo --state STATE -o json", None),
    (f"buddyinfo --proc {TRIALS}/6.12-dma -o json", None),
    ("alloc --state STATE --order 1 --count 3 -o json >TAKEN", None),
    (f"alloc --proc {TRIALS}/6.12-thisnode --order 10 --count 200 -o json", None),
    (f"alloc --proc {TRIALS}/6.12-hatomic-2 --script {TRIALS}/6.12-hatomic-2/script -o json", None),
    ("free --state TAKEN --phys 0x3ec3e000 --order 1 -o json", None),
    ("vmalloc --state I386 --size 64M -o json", None),
    ("vmalloc --state STATE --size 512G -o json", None),
    ("vmalloc --info fixtures/vmalloc/x86-7.3-nokaslr/vmallocinfo -o json", None),
    ("replay fixtures/traces/two-cpus-7.3.json.xz -o json", None),
    ("replay MISS -o json", None),
    *((f"explain {path} -o json", None) for path in REPORTS),
    ("explain - -o json", STORM),
    ("explain - -o json", PROFILED),
    ("memblock replay fixtures/captures/x86-6.12-efi-8g-debug/dmesg.txt -o json", None),
    ("memblock run fixtures/memblock/vectors.jsonl.gz -o json", None),
    ("process run fixtures/process/heap-and-huge.vm --kernel 6.12 -o json", None),
    ("process run fixtures/process/heap-and-huge.vm --state STATE -o json", None),
    ("process run fixtures/process/x86_64-6.1.jsonl.xz -o json", None),
    ("process run fixtures/process/x86_64-7.3.jsonl.xz -o json", None),
    ("process run fixtures/process/i386-6.1-pae.jsonl.xz -o json", None),
    (f"process run {STRACE}/postgres.strace.xz --kernel 6.18.44 --root {STRACE}/root -o json", None),
    ("process layout --kernel 6.12 --exec pie -o json", None),
    ("process layout --kernel 6.12 --exec pie --randomize -o json", None),
    ("process layout fixtures/process/layout/layout.jsonl.xz -o json", None),
    ("process maps - -o json", MAPS),
    ("walk 0x1000 --name A --script - -o json", "mmap A 0 16K rw private,anon\nwrite A 16K\n"),
    ("slab caches --kernel 6.1 -o json", None),
    ("slab caches --kernel 7.3 -o json", None),
    ("slab caches --kernel 5.10 --allocator slab --caches - -o json", '{"name": "huge", "size": 99999999}\n'),
    ("slab kmalloc --size 5000-9000 --kernel 6.1 -o json", None),
    ("slab info fixtures/slab/slabinfo.txt --kernel 6.1 -o json", None),
    ("slab info fixtures/slab/slabinfo.txt --kernel 6.1 --cmdline+ slub_debug=FZPU -o json", None),
    ("slab run - --kernel 7.3 -o json", SLABS),
    ("slab run - --kernel 5.10 --allocator slab -o json", "cache A size=1000\nalloc A 40\n"),
    ("slab run - --state STATE -o json", "cache A size=1000\nalloc A 40\n"),
    ("zram classes --kernel 6.12 -o json", None),
    ("zram run - -o json", "machine disksize=100 limit=2\nwrite 0-7 1500*6,same*2\n"),
    (f"reclaim run --kernel 6.12 {LRU}/anon-zram-1.lru -o json", None),
    (f"reclaim run --kernel 6.12 {LRU}/scan-read-1.lru --lru mglru -o json", None),
    (f"reclaim fit --kernel 6.12 {LRU}/scan-read-1.lru --target-refaults 2000 -o json", None),
    ("reclaim fit - --curve --points 2 -o json", "1.0: mm_filemap_map_pages: \n1.0: page-faults: 7f1000\n"),
    ("zram plan --sizes - --memory 1G -o json", "1500*6,same*2,4000"),
    ("reclaim rmap - --kernel 7.3 -o json", "anon A 4\nstore A 0-2\nfork k\nin k store A 0-1\n"),
]  # fmt: skip


def missed() -> dict[str, Any]:
    """A recorded trace whose first allocation got another page than it can have got."""
    found: dict[str, Any] = json.loads(read_bytes(str(FIXTURES / "traces" / "two-cpus-7.3.json.xz")))
    found["trace"] = re.sub(r"(mm_page_alloc: .*?pfn=0x)", r"\g<1>1", found["trace"], count=1)
    return found


def printed(folder: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Every command with the documents that it prints; `folder` is where those that others read are kept."""
    (folder / "MISS").write_text(json.dumps(missed()))
    for words, given in COMMANDS:
        line, _, kept = words.partition(" >")
        args = with_files([str(folder / word) if word in KEPT else word for word in shlex.split(line)])
        before = Path.cwd()
        os.chdir(ROOT)
        try:
            result = CliRunner().invoke(cli, args, input=given)
        finally:
            os.chdir(before)
        assert result.exit_code in (0, 1) and isinstance(result.exception, SystemExit | None), (line, result.exception)
        if kept:
            (folder / kept).write_text(result.stdout)
        try:
            yield line, [json.loads(result.stdout)]
        except json.JSONDecodeError:
            yield line, [json.loads(text) for text in result.stdout.splitlines()]
    yield "the last boot's state", [json.loads(Path(last_state_file()).read_text())]
    found = Collected({"proc/version": b"Linux"}, [Missing("SRAT.aml", "not there", "nodes", as_root=True)])
    changes = [Change("proc/version", 1, 0, 1)]
    taken = datetime(2026, 11, 28, tzinfo=UTC)
    yield "capture", [capture_document(found, taken, changes, whole=False, names_kept=False)]
