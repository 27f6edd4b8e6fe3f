"""Values as they travel and as they are stored: arrays packed in one go, text that Postgres can keep.

psycopg dumps arrays item by item, which costs more than all the rest of an append. Here a whole column of a batch
becomes the bytes that the server reads (PostgreSQL's binary array format).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from struct import Struct, pack
from typing import Any, Final

from psycopg.adapt import Dumper
from psycopg.pq import Format

from .connecting import GuardedConnection

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


class Texts(bytes):
    """A packed ``text[]``."""


class Bytes(bytes):
    """A packed ``bytea[]``."""


class Ints(bytes):
    """A packed ``int8[]``."""


def texts(values: Iterable[str | None]) -> Texts:
    """Pack texts, each as `stored`."""
    return Texts(_packed(25, [None if value is None else stored(value).encode() for value in values]))


def blobs(values: Iterable[bytes]) -> Bytes:
    """Pack byte strings."""
    return Bytes(_packed(17, list(values)))


def ints(values: Sequence[int | None]) -> Ints:
    """Pack whole numbers of 64 bits.

    Raises:
        struct.error: one has more.
    """
    if None in values:
        return Ints(_packed(20, [None if value is None else pack(">q", value) for value in values]))
    flat: list[Any] = [8] * (2 * len(values))
    flat[1::2] = values
    return Ints(_HEAD.pack(1, 0, 20, len(values), 1) + pack(">" + "iq" * len(values), *flat))


def _packed(type_oid: int, values: Sequence[bytes | None]) -> bytes:
    parts = [_HEAD.pack(1, None in values, type_oid, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_LENGTH(len(value)), value)
    return b"".join(parts)


class _Packed(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


class _TextsDumper(_Packed):
    oid = 1009


class _BytesDumper(_Packed):
    oid = 1001


class _IntsDumper(_Packed):
    oid = 1016


def register(connection: GuardedConnection) -> None:
    """Have the connection take packed arrays."""
    for cls, dumper in ((Texts, _TextsDumper), (Bytes, _BytesDumper), (Ints, _IntsDumper)):
        connection.adapters.register_dumper(cls, dumper)
