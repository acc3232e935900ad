"""The architectures that there are, those that there are not, and a boot whose steps stand in their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.boots import boot_of
from support.commands import mmtool

from mmtool.build.choose import kernel_for
from mmtool.build.kernel import Kernel
from mmtool.build.profile import GENERIC
from mmtool.errors import InputError
from mmtool.firmware.machine import E820Entry, Machine
from mmtool.linux.init.architecture import MODELS, architecture

MAP = "[mem 0x0000000000000000-0x000000000009fbff] usable\n[mem 0x0000000000100000-0x000000003fffffff] usable\n"
MACHINE = Machine("table", (E820Entry(0, 0x9FC00, 1), E820Entry(0x100000, 1 << 30, 1)))


def kernel_of(arch: str) -> Kernel:
    kernel = kernel_for(MACHINE, GENERIC[arch])
    assert kernel.arch == arch
    return kernel


def test_the_build_knows_those_that_are_modelled() -> None:
    assert set(MODELS) == set(GENERIC)
    assert {arch: kernel_of(arch).word_size for arch in MODELS} == {"x86_64": 8, "i386": 4, "arm64": 8}


def test_another_architecture_is_refused_and_not_booted_with_other_words(tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_text(MAP)
    (tmp_path / "riscv.yaml").write_text("name: x\narch: riscv64\nrelease: '6.12'\nconfig: {}\nsizes: {}\n")
    line = ["boot", "--e820", f"{tmp_path}/map.txt", "--profile", f"{tmp_path}/riscv.yaml"]
    ran = mmtool(*line)
    said = f"mmtool: {tmp_path}/riscv.yaml: arch: Linux on 'riscv64' is not modelled; there are: x86_64, i386, arm64\n"
    assert (ran.returncode, ran.stdout, ran.stderr.decode()) == (3, b"", said)
    kernel = kernel_of("x86_64")
    with pytest.raises(InputError, match="Linux on riscv64 is not modelled"):
        architecture(replace(kernel, profile=replace(kernel.profile, arch="riscv64")))


@pytest.mark.parametrize("arch", sorted(MODELS))
def test_a_step_out_of_its_order_is_an_error(arch: str) -> None:
    """What no step has settled yet is absent: there is no number that could be taken for it."""
    kernel = kernel_of(arch)
    for name, step in architecture(kernel).steps(kernel):
        if name in ("free_area_init", "build_all_zonelists", "mem_init", "paging_init", "setup_per_cpu_pageset"):
            boot = boot_of(kernel, "")
            boot.memblock.add(1 << 20, 1 << 30)
            with pytest.raises(AttributeError):
                step(boot)
                step(boot) if name != "paging_init" else boot.nodes
