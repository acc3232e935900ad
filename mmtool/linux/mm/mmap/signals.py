"""What a touch that fails sends to the process."""

from __future__ import annotations

SIGSEGV, SIGBUS = "SIGSEGV", "SIGBUS"
SEGV_MAPERR, SEGV_ACCERR, SEGV_PKUERR = 1, 2, 4


class Signal(Exception):
    """A signal: its name, si_code and si_addr, and why it comes."""

    def __init__(self, name: str, code: int, addr: int, why: str) -> None:
        super().__init__(f"{name} at {addr:#x}: {why}")
        self.name, self.code, self.addr, self.why = name, code, addr, why
