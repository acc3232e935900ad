"""What the kernel itself would complain of in its log: a table of its warnings about memory."""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.answers.lint.finding import Case, Words

COMMAND_LINE = "command line"
WARNINGS: tuple[tuple[str, str, str, str], ...] = (
    ("NUMA: nodes only cover", "SRAT", "Linux gives up the firmware's nodes and makes one node of all memory",
     "Let the firmware's SRAT name every range of RAM."),
    ("NUMA: no nodes coverage for", "SRAT", "Linux gives up the firmware's nodes and makes one node of all memory",
     "Let the firmware's SRAT name every range of RAM."),
    ("NUMA: Warning: node ", "SRAT", "Linux takes the blocks for one and may give up the firmware's nodes",
     "Give each range of RAM one node."),
    ("NUMA: Warning: invalid", "SRAT", "Linux leaves the entry out", "Correct the table."),
    ("crashkernel reservation failed - No", COMMAND_LINE, "nothing is kept: a crash leaves no dump",
     "Ask for less, or add ,high."),
    ("crashkernel reservation failed", COMMAND_LINE, "nothing is kept: a crash leaves no dump",
     "Give crashkernel= without an address."),
    ("cannot allocate crashkernel low", COMMAND_LINE, "nothing is kept: a crash leaves no dump",
     "Add ,high and ask for less with ,low."),
    ("cannot allocate crashkernel", COMMAND_LINE, "nothing is kept: a crash leaves no dump",
     "Ask for less, or add ,high."),
    ("cannot reserve crashkernel", COMMAND_LINE, "nothing is kept: a crash leaves no dump",
     "Give crashkernel= without an address."),
    ("Cannot reserve ", COMMAND_LINE, "nothing is kept: a crash leaves no dump", "Ask for less with ,low."),
    ("crashkernel: ", COMMAND_LINE, "nothing is kept: a crash leaves no dump", "Correct crashkernel=."),
    ("cma: Failed to reserve", COMMAND_LINE, "devices that need contiguous memory get what the page allocator has",
     "Ask for less with cma=, or make room below its limit."),
    ("cma: Size ", COMMAND_LINE, "nothing is kept for contiguous allocations", "Ask for less with cma=."),
    ("cma: Region at ", COMMAND_LINE, "nothing is kept for contiguous allocations", "Correct the address in cma=."),
    ("HugeTLB: allocating ", COMMAND_LINE, "the pool stays smaller than asked for", "Ask for fewer huge pages."),
    ("HugeTLB: hugepages=", COMMAND_LINE, "Linux leaves the option out", "Put hugepagesz= before each hugepages=."),
    ("HugeTLB: unsupported", COMMAND_LINE, "Linux leaves it out, and the hugepages= that follows",
     "Use a size that the processor has."),
    ("HugeTLB: Invalid hugepages", COMMAND_LINE, "Linux leaves the option out", "Write N or NODE:N,..."),
    ("initrd not fully accessible", "/chosen", "Linux goes without the initial RAM disk",
     "Let the boot loader put it into memory that the linear map reaches, with addresses of 64 bits."),
    ("Memory doesn't fit in the linear mapping", "/memory", "Linux takes the memory beyond for none",
     "Boot a kernel with more address bits (ARM64_VA_BITS)."),
    ("The system has no mirror memory", COMMAND_LINE, "Linux leaves kernelcore=mirror out", "Drop kernelcore=mirror."),
    ("Not enough memory for each node", COMMAND_LINE, "Linux leaves numa=fake= out", "Ask for fewer nodes."),
)  # fmt: skip
"""How a line begins, what it is about, what comes of it and what to change."""


def kernel_warning(case: Case) -> Iterator[Words]:
    """Every line of WARNINGS that the kernel would print.

    crashkernel=auto is no mistake where a distribution's kernel knows it, which its name does not tell. Of a map that
    the log has cut nobody can say what does not fit.
    """
    if case.boot and any(case.boot.notes("map_cut")):
        return
    auto = "auto" in case.cmdline.all("crashkernel")
    for line in case.boot.log.lines if case.boot else ():
        if auto and line.text.startswith("crashkernel: "):
            continue
        for beginning, place, why, change in WARNINGS:
            if line.text.startswith(beginning):
                yield place, line.text, why, change
                break


def crashkernel_kept_quiet(case: Case) -> Iterator[Words]:
    """crashkernel= that the kernel passes over without a word. With ranges of memory that may be what was meant."""
    boot = case.boot
    if boot is None or not any("crashkernel" in step.name for step in boot.steps):
        return
    asked = [value for value in case.cmdline.all("crashkernel") if value and ":" not in value and value != "auto"]
    if asked and not any("crash" in line.text.lower() for line in boot.log.lines):
        yield (
            COMMAND_LINE,
            f"crashkernel={asked[-1]} keeps nothing",
            "Linux passes over it without a word: it asks for all memory and more, or the build has no crash kernels",
            "Ask for less.",
        )
