"""What the fold keeps of a value: never the value itself, always the bytes that the log has."""

from __future__ import annotations

import msgspec


class Result(msgspec.Struct, frozen=True, gc=False):
    """A stored result: its JSON, or the digest under which it was moved to a payload row."""

    content: msgspec.Raw
    moved: str | None = None
