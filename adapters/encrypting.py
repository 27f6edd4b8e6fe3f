"""A run's own key, and what it encrypts. AES-SIV is deterministic: a run stays replayable, byte for byte.

The library for it (``flowledger[crypto]``) is loaded by who has secrets.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from flowledger.events.errors import IntegrityError, KeyMissing, NotSupported
from flowledger.events.run_keys import RunKeyRow

from .keys import BYTES, Key

if TYPE_CHECKING:
    from types import ModuleType

_NONCE: Final = 12
#: Of a fingerprint, in hex digits: enough to tell secrets apart, too few to say what they are.
_FINGERPRINT: Final = 16


def aead() -> ModuleType:
    """The library's module of ciphers that also authenticate.

    Raises:
        NotSupported: it is not installed.
    """
    try:
        from cryptography.hazmat.primitives.ciphers import aead  # noqa: PLC0415
    except ImportError as error:
        raise NotSupported(
            "secrets need the package `cryptography`, which is not installed",
            hint="pip install 'flowledger[crypto]'",
        ) from error
    return aead


def _derived(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, purpose.encode(), "sha512")


class RunCipher:
    """See `core.vault.Cipher`. ``process_key`` names and keys the fingerprints, so that they compare across runs."""

    def __init__(self, run_id: str, key: bytes, process_key: Key) -> None:
        self._siv: Any = aead().AESSIV(_derived(key, "flowledger values"))
        self._bound_to = [run_id.encode()]
        self._run_id = run_id
        self._fingerprint_key = _derived(process_key.content, "flowledger fingerprints")
        self._named = process_key.name
        self.digest_key = _derived(key, "flowledger digests")[:BYTES]

    def encrypt(self, content: bytes) -> bytes:
        encrypted: bytes = self._siv.encrypt(content, self._bound_to)
        return encrypted

    def decrypt(self, content: bytes) -> bytes:
        """What `encrypt` was given.

        Raises:
            IntegrityError: it was not encrypted with this run's key.
        """
        try:
            decrypted: bytes = self._siv.decrypt(content, self._bound_to)
        except Exception as error:
            raise IntegrityError(f"run {self._run_id}: an encrypted value was not written with its key") from error
        return decrypted

    def fingerprint(self, content: bytes) -> str:
        digest = hmac.new(self._fingerprint_key, content, sha256).hexdigest()
        return f"{self._named}:{digest[:_FINGERPRINT]}"


def new_run_key(run_id: str, process_key: Key, *, now_us: int) -> RunKeyRow:
    """A key for a run that has none yet."""
    return wrap(run_id, secrets.token_bytes(BYTES), process_key, created_us=now_us)


def wrap(run_id: str, key: bytes, process_key: Key, *, created_us: int) -> RunKeyRow:
    """A run's key, encrypted for its row."""
    nonce = secrets.token_bytes(_NONCE)
    wrapped = nonce + aead().AESGCM(process_key.content).encrypt(nonce, key, run_id.encode())
    return RunKeyRow(run_id, process_key.name, wrapped, created_us)


def unwrap(row: RunKeyRow, process_keys: dict[str, Key]) -> bytes:
    """A run's key.

    Raises:
        KeyMissing: the key that encrypted it is not there, or another one has its name.
    """
    process_key = process_keys.get(row.wrapped_by)
    if process_key is None:
        raise KeyMissing(f"run {row.run_id}: its key was encrypted by {row.wrapped_by!r}, which CODEC_KEYS lacks")
    nonce, wrapped = row.wrapped[:_NONCE], row.wrapped[_NONCE:]
    try:
        key: bytes = aead().AESGCM(process_key.content).decrypt(nonce, wrapped, row.run_id.encode())
    except NotSupported:
        raise
    except Exception as error:
        what = f"run {row.run_id}: the key {row.wrapped_by!r} is not the one that encrypted its key"
        raise KeyMissing(what) from error
    return key
