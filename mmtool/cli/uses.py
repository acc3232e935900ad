"""The help of every command: its own options before those that others have too, and two lines to try at its foot."""

from __future__ import annotations

import click

USES = {
    "": ("mmtool dmesg.txt", "mmtool boot example:numa4"),
    "alloc": ("mmtool alloc --order 3 --explain", "mmtool boot dmesg.txt -o json | mmtool alloc --order 9 --count max"),
    "batch": ("mmtool batch logs/ -o machines.csv", "find logs -type f | mmtool batch -"),
    "boot": ("mmtool boot dmesg.txt", "mmtool boot example:numa4 --why watermarks,zonelists"),
    "buddy": ("mmtool buddy --memblock regions.json --kernel 6.1", "mmtool buddy --memblock - -o json < regions.json"),
    "buddyinfo": ("mmtool buddyinfo --live", "mmtool boot dmesg.txt -o json | mmtool buddyinfo -o proc"),
    "capture": ("sudo mmtool capture this.tar.gz", "mmtool capture - | ssh desk mmtool boot --capture -"),
    "diff": ("mmtool diff before.txt after.txt", "mmtool diff example:numa4 example:laptop"),
    "example": ("mmtool example", "mmtool example numa4 -o numa4.tar.xz"),
    "explain": ("mmtool explain example:oom", "journalctl -k | mmtool explain - --top 10"),
    "free": ("mmtool free --phys 0x3ec00000", "mmtool free --pfn 0x100 --order 8 --state state.json"),
    "help": ("mmtool help boot", "mmtool help slab kmalloc"),
    "ledger": ("mmtool ledger example:numa4", "mmtool ledger dmesg.txt -o where.csv"),
    "lint": ("mmtool lint board.dtb", "mmtool lint example:arm64 --kernel 6.12"),
    "map": ("mmtool map example:numa4", "mmtool map dmesg.txt --to qemu"),
    "memblock": ("mmtool memblock replay dmesg.txt", "mmtool memblock run scripts.jsonl"),
    "memblock replay": ("mmtool memblock replay dmesg.txt", "mmtool memblock replay console.log.gz --kernel 6.1"),
    "memblock run": ("mmtool memblock run scripts.jsonl", "mmtool memblock run scripts.jsonl.gz -o json"),
    "plot": ("mmtool plot example:numa4 -o numa4.svg", "mmtool plot dmesg.txt --bar"),
    "process": ("mmtool process layout --exec pie --randomize", "mmtool process maps self"),
    "process layout": ("mmtool process layout", "mmtool process layout --exec pie --randomize --arch arm64"),
    "process maps": ("mmtool process maps self", "mmtool process maps /proc/1/smaps"),
    "process run": ("mmtool process run script.txt", "mmtool process run trace.strace --root /srv/chroot"),
    "profile": ("mmtool profile list", "mmtool profile make --config /boot/config-6.1.0 -o mine.yaml"),
    "profile list": ("mmtool profile list", "mmtool profile list | grep arm64"),
    "profile make": (
        "mmtool profile make --config config --vmlinuz vmlinuz -o mine.yaml",
        "mmtool profile make --config config --size resource=64 | less",
    ),
    "profile show": ("mmtool profile show debian-6.1-cloud-amd64", "mmtool profile show generic-x86_64"),
    "reclaim": ("mmtool reclaim run script.txt --lru mglru", "mmtool reclaim rmap forks.txt"),
    "reclaim fit": ("mmtool reclaim fit script.txt", "mmtool reclaim fit script.txt --kernel 6.12"),
    "reclaim rmap": ("mmtool reclaim rmap forks.txt", "mmtool reclaim rmap - --kernel 7.3 -o json < forks.txt"),
    "reclaim run": ("mmtool reclaim run script.txt", "mmtool reclaim run script.txt --lru mglru --kernel 6.12"),
    "replay": ("mmtool replay trace.json.gz", "mmtool replay trace.txt --state before.json"),
    "reserve": ("mmtool reserve example:numa4 --crashkernel 512M", "mmtool reserve dmesg.txt --hugepages 1G:4"),
    "schema": ("mmtool schema", "mmtool schema boot"),
    "slab": ("mmtool slab kmalloc --size 5000", "sudo mmtool slab info /proc/slabinfo"),
    "slab caches": ("mmtool slab caches --kernel 6.12", "mmtool slab caches --cpus 64 --memory 256G -o caches.csv"),
    "slab info": ("sudo mmtool slab info /proc/slabinfo", "mmtool slab info /sys/kernel/slab -o json"),
    "slab kmalloc": ("mmtool slab kmalloc --size 5000", "mmtool slab kmalloc --size 300 --gfp GFP_ATOMIC --kernel 7.3"),
    "slab run": ("mmtool slab run script.txt", "mmtool slab run script.txt --kernel 6.18 --cpus 4"),
    "verify": ("mmtool verify example:numa4", "mmtool verify dmesg.txt --profile mine.yaml"),
    "vmalloc": ("mmtool vmalloc --size 64K --explain", "sudo mmtool vmalloc --info /proc/vmallocinfo"),
    "walk": ("mmtool walk 0x400000", "mmtool walk 0 --script script.txt --name A"),
    "whatif": (
        "mmtool whatif example:numa4 --cmdline+ crashkernel=512M",
        'mmtool whatif dmesg.txt --cmdline+ "hugepagesz=1G hugepages=4" -o json',
    ),
    "zram": ("mmtool zram classes", "mmtool zram run script.txt"),
    "zram classes": ("mmtool zram classes", "mmtool zram classes --kernel 5.10 -o classes.csv"),
    "zram plan": (
        "mmtool zram plan --mm-stat /sys/block/zram0/mm_stat", "mmtool zram plan --sizes lengths.txt --memory 8G",
    ),
    "zram run": ("mmtool zram run script.txt", "mmtool zram run script.txt --kernel 7.3 -o json"),
}
"""Two lines a command, by the words that call it; "" is mmtool itself."""

_SHAPE = ("columns", "in_bytes", "noheadings", "output")
_SHARED = {
    "e820", "dtb", "capture", "boot", "dmesg", "memory", "cmdline", "kernel", "profile", "kernel_base", "initrd",
    "srat", "slit", "cpus", "strict", "config", "system_map", "vmlinuz", "state", "live", "proc",
}  # fmt: skip
"""What many commands have by cli/options.py, kernel_files.py and states.py."""


def dress(command: click.Command, words: str) -> None:
    """Give a command, and those that it has, their foot, and put their options in order."""
    if words in USES:
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in USES[words])
    names = {param.name for param in command.params}
    if names & {"cmdline", "state"}:
        command.params.sort(key=_place)
    for name, inner in getattr(command, "commands", {}).items():
        dress(inner, f"{words} {name}")


def _place(param: click.Parameter) -> int:
    if isinstance(param, click.Argument):
        return 0
    return 3 if param.name in _SHARED else 2 if param.name in _SHAPE else 1
