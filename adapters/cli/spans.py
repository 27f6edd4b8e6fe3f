"""Words with a style: what lines are made of, before anybody knows whether they go to a screen or a pipe."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """Words in one style, as rich names styles."""

    text: str
    style: str = ""


Line = list[Span]
