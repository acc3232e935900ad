"""How much of a text are a kernel's words: by this the part of a wrapper is chosen that holds the log."""

from __future__ import annotations

from mmtool.regex import regex

_WORDS = regex(
    r"Linux version \d|BIOS-e820|BIOS-provided|Command line: |Zone ranges:|Memory: \d+K|Mem-Info:|Call Trace|"
    r"allocation failure|memory node ranges|memblock|System RAM|Booting Linux on|-e820 RAM map|"
    r"\[\s*\d{1,7}\.\d{6}\]|/firmware/memmap|efi: mem|\[mem 0x|"
    r"invoked oom-killer|oom-kill:constraint|[Kk]ill(?:ed)? process \d|no killable process|Comm: \S+ (?:Not t|T)ainted|"
    r"oom_score_adj name|vmalloc error|vmap allocation for|SL[AU]B: Unable to|swiotlb buffer|lowmemorykiller: |"
    r"page allocation stalls"
)


def kernel_words(text: str) -> int:
    """How many places of the text only a kernel's log has."""
    return sum(1 for _ in _WORDS.finditer(text))
