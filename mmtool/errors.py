"""The two ways a command ends without a result."""

from __future__ import annotations


class InputError(Exception):
    """Unusable input: what is wrong, and where.

    `source` is the file as the user named it ("-" for standard input), `where` a line number, a node
    path or a byte offset in it (None when the whole file is meant). The command line prints
    `mmtool: SOURCE:WHERE: MESSAGE` and exits with status 3.
    """

    def __init__(self, source: str, where: int | str | None, message: str) -> None:
        self.source, self.where, self.message = source, where, message
        place = source if where is None else f"{source}:{where}"
        super().__init__(f"{place}: {message}")


class UsageError(Exception):
    """The options contradict each other or ask for what does not exist; exit status 2."""
