"""Values as they travel and as they are stored: packed as the server reads them, text that Postgres can keep.

psycopg dumps arrays item by item, which costs more than all the rest of an append. Here a whole column of a batch
becomes the bytes that the server reads (PostgreSQL's binary formats).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from struct import Struct, pack
from typing import Any, Final

_HEAD: Final = Struct(">iiIii")  # dimensions, has nulls, the items' type, how many, first index
_LENGTH: Final = Struct(">i").pack
_NULL: Final = _LENGTH(-1)

# Postgres' text cannot hold NUL. It stands for itself as \x01 0, and \x01 as \x01 1; nothing else is changed.
_STORED: Final = {0: "\x010", 1: "\x011"}
_ORIGINAL: Final = {"\x010": "\0", "\x011": "\x01"}
_ESCAPED: Final = re.compile("\x01[01]")


def stored(text: str) -> str:
    """A text as the database keeps it."""
    return text.translate(_STORED) if "\0" in text or "\x01" in text else text


def original(text: str) -> str:
    """A text as it was before `stored`."""
    return _ESCAPED.sub(lambda found: _ORIGINAL[found[0]], text) if "\x01" in text else text


def text(value: str) -> bytes:
    """Pack a text, as `stored`."""
    return stored(value).encode()


def words(value: bytes | None) -> str:
    """Unpack a text that is not null, as it was before `stored`."""
    assert value is not None
    return original(value.decode())


#: Pack a whole number of 64 bits, or of 32; both raise `struct.error` where it has more.
int8: Final = Struct(">q").pack
int4: Final = Struct(">i").pack


def optional(value: int | None) -> bytes | None:
    """Pack a whole number of 64 bits, or null."""
    return None if value is None else int8(value)


def whole(value: bytes | None) -> int | None:
    """Unpack a whole number of 64 bits, or null."""
    return None if value is None else int.from_bytes(value, "big", signed=True)


def flag(value: bool) -> bytes:
    """Pack a boolean."""
    return b"\x01" if value else b"\x00"


def texts(values: Iterable[str | None]) -> bytes:
    """Pack a ``text[]``, each as `stored`."""
    return _packed(25, [None if value is None else text(value) for value in values])


def blobs(values: Iterable[bytes]) -> bytes:
    """Pack a ``bytea[]``."""
    return _packed(17, list(values))


def ints(values: Sequence[int | None]) -> bytes:
    """Pack an ``int8[]``.

    Raises:
        struct.error: a number has more than 64 bits.
    """
    if None in values:
        return _packed(20, [optional(value) for value in values])
    flat: list[Any] = [8] * (2 * len(values))
    flat[1::2] = values
    return _HEAD.pack(1, 0, 20, len(values), 1) + pack(">" + "iq" * len(values), *flat)


def _packed(type_oid: int, values: Sequence[bytes | None]) -> bytes:
    parts = [_HEAD.pack(1, None in values, type_oid, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_LENGTH(len(value)), value)
    return b"".join(parts)
