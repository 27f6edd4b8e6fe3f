"""Keys as they stand in settings: one per line (or comma), ``NAME=KIND:BASE64``.

``ed25519`` is the private half of a key that signs seals, ``ed25519-public`` its public half, ``hmac`` a key with which
engines and workers sign what they send each other, ``aes`` a key that encrypts. A name tells keys apart when one
follows another; the first of a kind is the one that is used, all others only to read.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from flowledger.events.errors import InputError

KeyKind = Literal["ed25519", "ed25519-public", "hmac", "aes"]
#: The kinds that somebody can make; a public half comes with its private one.
NewKind = Literal["ed25519", "hmac", "aes"]

_ENTRY: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]{0,39})=(ed25519|ed25519-public|hmac|aes):([A-Za-z0-9+/_=-]+)", re.ASCII
)
_KINDS: Final[dict[str, KeyKind]] = {
    "ed25519": "ed25519", "ed25519-public": "ed25519-public", "hmac": "hmac", "aes": "aes",
}  # fmt: skip
BYTES: Final = 32
_FORM: Final = "NAME=KIND:BASE64 with 32 bytes, KIND one of ed25519, ed25519-public, hmac, aes; one per line"


class Key(NamedTuple):
    """One key. Its ``repr`` does not show it."""

    name: str
    kind: KeyKind
    content: bytes

    def __repr__(self) -> str:
        return f"<key {self.name} {self.kind}>"

    @property
    def line(self) -> str:
        """The key as `read_keys` reads it."""
        return f"{self.name}={self.kind}:{base64.b64encode(self.content).decode()}"


def read_keys(text: str, *, setting: str) -> list[Key]:
    """The keys in a setting's text; empty lines and those that begin with ``#`` are left out.

    Raises:
        InputError: a line is no key, or two keys of a kind share a name. What stands there is not repeated.
    """
    keys: list[Key] = []
    for number, line in enumerate(_lines(text), start=1):
        found = _ENTRY.fullmatch(line)
        content = _content(found[3]) if found else None
        if found is None or content is None:
            raise InputError(
                f"{setting}: entry {number} is no key", field=setting, expected=_FORM,
                hint="make one with `flowledger keys new`",
            )  # fmt: skip
        key = Key(found[1], _KINDS[found[2]], content)
        if any((other.name, other.kind) == (key.name, key.kind) for other in keys):
            raise InputError(f"{setting}: two keys are called {key.name}", field=setting, expected="a name of its own")
        keys.append(key)
    return keys


def _lines(text: str) -> Iterator[str]:
    for line in re.split(r"[\n,]", text):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield stripped


def _content(text: str) -> bytes | None:
    try:
        content = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        return None
    return content if len(content) == BYTES else None


def new_key(name: str, kind: NewKind) -> Key:
    """A key that nobody else has.

    Raises:
        InputError: the name is none.
    """
    key = Key(name, kind, secrets.token_bytes(BYTES))
    if not _ENTRY.fullmatch(key.line):
        raise InputError(f"{name!r} cannot be the name of a key", field="--name", expected="letters, digits, . _ -")
    return key
