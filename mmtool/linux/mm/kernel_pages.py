"""`KernelPages`: how much memory the kernel reckons with before the page allocator starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KernelPages:
    """nr_kernel_pages (without high memory) and nr_all_pages, in pages."""

    kernel: int = 0
    all: int = 0
