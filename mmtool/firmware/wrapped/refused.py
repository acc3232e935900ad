"""Wrappers that are not undone, since what they hold is out of all proportion."""

from __future__ import annotations


class WrapperError(ValueError):
    """A wrapper that is left as it is: what is wrong with it, and what to give in its place."""
