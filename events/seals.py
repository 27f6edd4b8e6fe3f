"""Seals: signed statements about where runs stood, which outlive a rewritten log.

The chain of a run finds what was changed in the middle. Who can rewrite the whole database can also cut off an end, or
compute a new chain; against that a seal names the heads of all runs that went on since the seal before, as one Merkle
root, and is signed with a key that the database does not hold. Seals are chained among themselves, append-only, and
meant to be copied elsewhere: a log that is older than such a copy, or another one, is found out.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

import msgspec

from .errors import SealBroken
from .merkle import Head, root

#: Stands before what is signed, so that a signature made for something else can never be taken for a seal's.
PURPOSE = b"flowledger seal 1\n"
GENESIS_SEAL = "0" * 64


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a seal says.

    ``seal`` counts from 1; ``previous`` is the digest of the seal before; ``through`` the place in the global log up to
    which all events are covered; ``root`` the Merkle root over the heads, sorted by run id; ``runs`` and ``events``
    count what is new; ``key`` names the signing key and ``public_key`` is its public half (hex).
    """

    seal: int
    previous: str
    time_us: int
    through: str
    runs: int
    events: int
    root: str
    key: str
    public_key: str


class Seal(NamedTuple):
    """A statement as it was signed, byte for byte, and the signature."""

    number: int
    statement: bytes
    signature: bytes

    @property
    def digest(self) -> str:
        """What the next seal names as its previous one: SHA-256 (hex) over statement and signature."""
        return sha256(self.statement + self.signature).hexdigest()

    @property
    def signed(self) -> bytes:
        """The bytes the signature is over."""
        return PURPOSE + self.statement

    def read(self) -> Statement:
        """The statement.

        Raises:
            SealBroken: it is none.
        """
        try:
            return msgspec.json.decode(self.statement, type=Statement)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SealBroken(f"seal {self.number}: its statement cannot be read: {error}", seal=self.number) from error


class Sealed(NamedTuple):
    """A head and the number of the seal that covers it."""

    seal: int
    head: Head


class Seals(Protocol):
    """Where a store keeps seals. Append-only, like events."""

    def add(self, seal: Seal, heads: Sequence[Head]) -> bool:
        """Keep a seal with the heads it covers, in one transaction; False if its number is taken."""
        ...

    def read(self, *, after: int = 0, limit: int = 1000) -> list[Seal]:
        """Seals with a number above ``after``, in order."""
        ...

    def last(self) -> Seal | None:
        """The newest seal."""
        ...

    def heads(self, number: int) -> list[Head]:
        """The heads a seal covers, sorted by run id."""
        ...

    def newest(self, run_ids: Sequence[str]) -> dict[str, Sealed]:
        """The newest sealed head of each of these runs, where there is one."""
        ...

    def of_run(self, run_id: str) -> list[Sealed]:
        """All sealed heads of a run, oldest first."""
        ...

    def unmet(self, *, limit: int = 100) -> list[Sealed]:
        """Sealed heads that the log does not hold: no event at that version, or one with another hash."""
        ...


def statement_bytes(statement: Statement) -> bytes:
    """A statement as it is signed and kept."""
    return msgspec.json.encode(statement)


class SignatureCheck(Protocol):
    """Whether ``signature`` over ``message`` is of ``public_key`` (32 bytes each of Ed25519's)."""

    def __call__(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        """True if it is."""
        ...


def check_seal(seal: Seal, previous: str, heads: Sequence[Head] | None, signed_by: SignatureCheck) -> Statement:
    """Check one seal: its number, its place in the chain of seals, its signature, and its root over ``heads``.

    ``heads`` None: they are not at hand, the root is taken as it is.

    Raises:
        SealBroken: what does not hold, and of which seal.
    """
    said = seal.read()
    number = seal.number
    if said.seal != number or said.previous != previous:
        raise SealBroken(f"seal {number} does not follow the seal before it", seal=number)
    if not signed_by(_public_key(said, number), seal.signature, seal.signed):
        raise SealBroken(f"seal {number}: the signature is not one of key {said.key}", seal=number)
    if heads is not None and root(heads).hex() != said.root:
        raise SealBroken(f"seal {number}: the heads kept with it are not those that were signed", seal=number)
    return said


def _public_key(said: Statement, number: int) -> bytes:
    try:
        return bytes.fromhex(said.public_key)
    except ValueError as error:
        raise SealBroken(f"seal {number}: its public key is no hex", seal=number) from error
