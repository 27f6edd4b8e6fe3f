"""Contents that may hold secrets, on their way through the broker: encrypted with a key of ``CODEC_KEYS``.

    {"$encrypted":"prod-2026","content":"BASE64"}

AES-GCM under a key of its own, derived from the process's, and bound to what it is: a request is no reply, and the
reply to one attempt none to another. Engines and workers need the same key; one that lacks it is told its name.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from flowledger.adapters.encrypting import aead
from flowledger.adapters.keys import Key, read_keys
from flowledger.events.errors import IntegrityError, KeyMissing, NotSupported

#: What a message holds that a worker is asked with; see ``bound_to`` of `Wrapping`.
REQUEST: Final = "request"

_NONCE_BYTES: Final = 12
_UNREADABLE: Final = "something encrypted for a worker cannot be read"
_HEAD: Final = b'{"$encrypted":"'


class _Wrapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"key": "$encrypted"}):
    key: str
    content: str


_WRAPPED: Final = msgspec.json.Decoder(_Wrapped)


class Wrapping:
    """Encrypts with the first key and decrypts with any. May be used from any thread."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys
        self._ciphers: dict[str, Any] = {}

    def wrapped(self, content: bytes, *, bound_to: str) -> bytes:
        """The content encrypted, as JSON. ``bound_to`` must be the same when it is opened.

        Raises:
            KeyMissing: there is no key.
            NotSupported: ``flowledger[crypto]`` is not installed.
        """
        if not self._keys:
            raise KeyMissing("what is sent to workers holds secrets, and there is no key to encrypt it with")
        key = self._keys[0]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        encrypted = nonce + self._cipher(key).encrypt(nonce, content, bound_to.encode())
        return _written(key.name, encrypted)

    def opened(self, content: bytes, *, bound_to: str) -> bytes:
        """What `wrapped` was given.

        Raises:
            KeyMissing: the key it was encrypted with is not there, or another one has its name.
            IntegrityError: it is nothing that `wrapped` has made, or was bound to something else.
        """
        try:
            found = _WRAPPED.decode(content)
            encrypted = b64decode(found.content, validate=True)
        except (msgspec.MsgspecError, ValueError) as error:
            raise IntegrityError(_UNREADABLE) from error
        if _written(found.key, encrypted) != content:  # base64 has several ways to write the same
            raise IntegrityError(_UNREADABLE)
        key = next((key for key in self._keys if key.name == found.key), None)
        if key is None:
            raise KeyMissing(f"it is encrypted by {found.key!r}, which CODEC_KEYS lacks")
        return self._decrypted(key, encrypted, bound_to)

    def _decrypted(self, key: Key, encrypted: bytes, bound_to: str) -> bytes:
        nonce, sealed = encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:]
        try:
            content: bytes = self._cipher(key).decrypt(nonce, sealed, bound_to.encode())
        except NotSupported:
            raise
        except Exception as error:
            what = f"it was not encrypted by the key {key.name!r} that is here, or not as {bound_to!r}"
            raise IntegrityError(what) from error
        return content

    def _cipher(self, key: Key) -> Any:
        found = self._ciphers.get(key.name)
        if found is None:
            derived = hmac.digest(key.content, b"flowledger messages", "sha256")
            found = self._ciphers[key.name] = aead().AESGCM(derived)
        return found


def _written(key: str, encrypted: bytes) -> bytes:
    return msgspec.json.encode(_Wrapped(key, b64encode(encrypted).decode()))


def wrapping_of(codec_keys: str | None) -> Wrapping:
    """With the ``aes`` keys of the setting ``codec_keys``; there may be none.

    Raises:
        InputError: the setting cannot be read.
    """
    return Wrapping([key for key in read_keys(codec_keys or "", setting="FLOWLEDGER_CODEC_KEYS") if key.kind == "aes"])


def is_wrapped(content: bytes) -> bool:
    """Whether `Wrapping.wrapped` has made this."""
    return content.startswith(_HEAD)
