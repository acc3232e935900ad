"""What somebody may have meant who typed a name that there is not."""

from __future__ import annotations

from collections.abc import Iterable

MOST_LISTED = 30


def among(typed: str, names: Iterable[str]) -> str:
    """The end of a message about a wrong name: the nearest of `names`, else all of them if they are few."""
    from difflib import get_close_matches

    known = {name.lower(): name for name in names}
    near = get_close_matches(typed.lower(), known, n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(known[name] for name in near)}?"
    return f"; there are {', '.join(known.values())}" if len(known) <= MOST_LISTED else ""
