"""Ed25519 signatures. The library for it (``flowledger[crypto]``) is loaded by who signs or verifies one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowledger.events.errors import InputError, NotSupported

from .keys import Key, read_keys

if TYPE_CHECKING:
    from types import ModuleType


def _ed25519() -> ModuleType:
    """The library's module.

    Raises:
        NotSupported: it is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ImportError as error:
        raise NotSupported(
            "signatures need the package `cryptography`, which is not installed",
            hint="pip install 'flowledger[crypto]'",
        ) from error
    return ed25519


class Signer:
    """Signs with one key."""

    def __init__(self, key: Key) -> None:
        self.name = key.name
        self._private: Any = _ed25519().Ed25519PrivateKey.from_private_bytes(key.content)
        self.public_key: bytes = self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        signature: bytes = self._private.sign(message)
        return signature


def is_signed_by(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether this is a signature of that key over this message."""
    ed25519 = _ed25519()
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except Exception:  # noqa: BLE001 - a bad key, a bad signature: the library has an error for each
        return False
    return True


def public_half(key: Key) -> Key:
    """The public half of a signing key."""
    return key if key.kind == "ed25519-public" else Key(key.name, "ed25519-public", Signer(key).public_key)


def signer_of(signing_keys: str | None) -> Signer:
    """Who signs, from the setting ``signing_keys``: its first ``ed25519`` key.

    Raises:
        InputError: there is none.
    """
    keys = [key for key in read_keys(signing_keys or "", setting="FLOWLEDGER_SIGNING_KEYS") if key.kind == "ed25519"]
    if not keys:
        raise InputError(
            "there is no key to sign with", field="FLOWLEDGER_SIGNING_KEYS", expected="an ed25519 key",
            hint="`flowledger keys new --kind ed25519 --name … --out FILE` makes one; name the file in "
            "FLOWLEDGER_SIGNING_KEYS_FILE",
        )  # fmt: skip
    return Signer(keys[0])


def trusted_keys(signing_keys: str | None, trusted: str | None) -> frozenset[bytes]:
    """The public keys whose seals are believed: those named, and the public halves of one's own signing keys."""
    keys = read_keys(signing_keys or "", setting="FLOWLEDGER_SIGNING_KEYS")
    keys += read_keys(trusted or "", setting="FLOWLEDGER_TRUSTED_KEYS")
    return frozenset(public_half(key).content for key in keys if key.kind in ("ed25519", "ed25519-public"))
