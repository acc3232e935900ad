"""Which architecture a device tree's machine has, by what its CPUs are called."""

from __future__ import annotations

import re

from mmtool.firmware.fdt.blob import Node

_CPUS: tuple[tuple[str, str], ...] = (
    ("riscv", r"riscv\b|(?:sifive|thead|starfive|andestech|spacemit|canaan|eswin|ventana|tenstorrent),"),
    # cores of 32 bits: ARMv4 to ARMv7, and those of ARMv8 that have AArch32 alone
    ("arm", r"arm,(?:cortex-(?:a(?:5|7|8|9|12|15|17|32)(?!\d)|r|m)|arm\d|1[01]|sa1|xscale|pj4)|arm,armv[4-7]"),
    ("arm", r"(?:marvell,(?:pj4|sheeva|feroceon|mohawk|xsc)|qcom,(?:krait|scorpion)|brcm,brahma-b15|faraday,)"),
    ("arm", r"(?:intel,(?:xscale|sa1\d)|ti,(?:omap|am3)|cirrus,ep|hisilicon,hip01)"),
    ("mips", r"(?:mips|mti|img|brcm,bmips|ingenic|loongson,gs|mscc|qca|ralink|cavium,octeon|lantiq|mtk,mt76)"),
    ("powerpc", r"(?:powerpc|fsl,e[56]|ibm,power|amcc|fsl,p\d|fsl,t\d)|PowerPC,"),
    ("loongarch", r"loongson,la\d"),
    ("arc", r"snps,arc"),
    ("openrisc", r"opencores,or1|openrisc"),
    ("xtensa", r"cdns,xtensa"),
    ("microblaze", r"xlnx,microblaze"),
    ("nios2", r"altr,nios2"),
    ("sh", r"jcore|renesas,sh"),
    ("csky", r"csky"),
    ("x86", r"intel,(?:ce4100|atom|core|x86|eden)"),
)
"""An architecture, and how the names of its CPUs begin; those of any other name are taken as arm64's."""


def architecture(root: Node) -> tuple[str, str] | None:
    """The architecture of the tree's CPUs and the path of the first that shows it; None where no CPU says what it is.

    One CPU of arm64 decides for it.
    """
    found: tuple[str, str] | None = None
    top = next((node for node in root.children if node.is_named("cpus")), None)
    for node in top.children if top is not None else ():
        names = node.strings("compatible")
        if not names or not (node.is_named("cpu") or node.string("device_type") == "cpu" or "," in node.name):
            continue
        arch = _of_names((*names, node.name))
        if arch == "arm64":
            return arch, node.path
        found = found or (arch, node.path)
    return found


def _of_names(names: tuple[str, ...]) -> str:
    return next((arch for arch, pattern in _CPUS if any(re.match(pattern, name) for name in names)), "arm64")
