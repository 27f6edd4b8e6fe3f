"""A digest over tables: rows of all kinds, framed so that no two contents look alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec

_ENCODER: Final = msgspec.msgpack.Encoder()


class Hash(Protocol):
    """As much of a hash as is needed."""

    def update(self, content: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


def new() -> Hash:
    """An empty one."""
    return sha256()


def take_in(digest: Hash, table: str, rows: Iterable[Sequence[Any]]) -> None:
    """Add a table: its name, then its rows in order."""
    digest.update(_ENCODER.encode(table))
    for row in rows:
        digest.update(_ENCODER.encode(list(row)))
