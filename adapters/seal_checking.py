"""Seals against the log they speak of: those kept in it, and a copy kept elsewhere.

The copy is what tells a log that is older than it was, or another one: whoever can rewrite a database can rewrite the
seals in it, too, but not what has been carried away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from flowledger.events.errors import InputError, SealBroken
from flowledger.events.merkle import Head
from flowledger.events.seals import GENESIS_SEAL, Seal, Statement, check_seal
from flowledger.events.store import Store

from .findings import Finding, Verified
from .signing import is_signed_by


def verify_seals(store: Store, trusted: frozenset[bytes], done: Verified) -> None:
    """Verify the seals of a log: their own chain, signatures, and roots over the heads kept with them."""
    previous, number = GENESIS_SEAL, 0
    while page := store.seals.read(after=number):
        for seal in page:
            number += 1
            try:
                said = _verified(store, seal, number, previous)
            except SealBroken as error:
                done.findings.append(Finding(seal=error.seal, what=error.message))
                return
            note_key(done, said, trusted)
            done.seals += 1
            previous = seal.digest


def _verified(store: Store, seal: Seal, number: int, previous: str) -> Statement:
    if seal.number != number:
        raise SealBroken(f"seal {number} is missing (found {seal.number})", seal=number)
    return check_seal(seal, previous, store.seals.heads(number), is_signed_by)


def note_key(done: Verified, said: Statement, trusted: frozenset[bytes]) -> None:
    """Note who signed. One who is not trusted, where somebody is, is a finding (once)."""
    is_new = said.public_key not in done.signed_by
    done.signed_by.setdefault(said.public_key, said.key)
    if bytes.fromhex(said.public_key) in trusted:
        return
    done.trusted = False
    if trusted and is_new:
        what = f"seal {said.seal} is signed by a key that is not trusted: {said.key} ({said.public_key})"
        done.findings.append(Finding(seal=said.seal, what=what))


def rewritten(seal: int, head: Head) -> SealBroken:
    """The error for a head that is not the one that was sealed, though the chain may hold."""
    return SealBroken(
        f"run {head.run_id}: event {head.version} is not the one that seal {seal} covers: the run's history was "
        "written anew",
        seal=seal,
        run_id=head.run_id,
        version=head.version,
    )


def unmet(store: Store, seal: int, head: Head) -> Finding:
    """Why the log does not hold a sealed head."""
    found = store.read(head.run_id, after_version=head.version - 1, limit=1)
    if found and found[0].version == head.version:
        what, version = rewritten(seal, head).message, head.version
    else:
        stream = store.stream(head.run_id)
        missing = "the run is gone" if stream is None else f"the log ends with event {stream.version}"
        what = f"run {head.run_id}: seal {seal} covers event {head.version}, but {missing}"
        version = 1 if stream is None else min(stream.version + 1, head.version)
    return Finding(run_id=head.run_id, version=version, seal=seal, what=what)


# -- a copy kept elsewhere ------------------------------------------------------------------------


class Copied(NamedTuple):
    """A seal and its heads, as they were carried away."""

    seal: Seal
    heads: list[Head]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    statement: str
    signature: str
    heads: list[tuple[str, int, str]]


def copy_lines(store: Store, *, after: int = 0) -> Iterator[bytes]:
    """The seals with a number above ``after``, one JSON object per line."""
    while page := store.seals.read(after=after):
        for seal in page:
            after = seal.number
            heads = [(head.run_id, head.version, head.hash.hex()) for head in store.seals.heads(after)]
            line = _Line(statement=seal.statement.decode(), signature=seal.signature.hex(), heads=heads)
            yield msgspec.json.encode(line) + b"\n"


def read_copy(lines: Iterable[bytes], *, name: str) -> list[Copied]:
    """The seals of a copy.

    Raises:
        InputError: it is none.
    """
    copies: list[Copied] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                copies.append(_copied(line))
            except (ValueError, SealBroken) as error:
                raise InputError(f"{name}, line {number}: this is no seal", field=name, expected="a seal") from error
    return copies


def _copied(line: bytes) -> Copied:
    read = msgspec.json.decode(line, type=_Line)
    statement = read.statement.encode()
    number = Seal(0, statement, b"").read().seal
    heads = [Head(run_id, version, bytes.fromhex(hash_)) for run_id, version, hash_ in read.heads]
    return Copied(Seal(number, statement, bytes.fromhex(read.signature)), heads)


def check_copy(store: Store, copies: Iterable[Copied], trusted: frozenset[bytes]) -> Verified:
    """Hold a log to a copy of its seals: it must have the same ones, and every head they cover."""
    done = Verified()
    before: Seal | None = None
    newest: dict[str, tuple[int, Head]] = {}
    for seal, heads in copies:
        try:
            said = check_seal(seal, _previous(seal, before), heads, is_signed_by)
        except SealBroken as error:
            done.findings.append(Finding(seal=error.seal, what=f"the copy of the seals is damaged: {error.message}"))
            return done
        note_key(done, said, trusted)
        done.seals += 1
        before = seal
        newest.update({head.run_id: (seal.number, head) for head in heads})
        _same_seal(store, seal, said, done)
    for seal_number, head in newest.values():
        if not _holds(store, head):
            done.findings.append(unmet(store, seal_number, head))
    return done


def _previous(seal: Seal, before: Seal | None) -> str:
    """What the seal must name; a copy may begin anywhere, so its first one is taken at its word."""
    return seal.read().previous if before is None else before.digest


def _same_seal(store: Store, seal: Seal, said: Statement, done: Verified) -> None:
    """The log must have this seal; the first one it lacks or has otherwise says all about those after it."""
    if any(finding.seal and not finding.run_id for finding in done.findings):
        return
    kept = next(iter(store.seals.read(after=seal.number - 1, limit=1)), None)
    if kept == seal:
        return
    if kept is not None and kept.number == seal.number:
        what = f"seal {seal.number} of the log is not the one that was copied: the seals were written anew"
    else:
        last = store.seals.last()
        have = "has no seals" if last is None else f"ends with seal {last.number}"
        made = datetime.fromtimestamp(said.time_us // 1_000_000, UTC)
        what = (
            f"the log {have}, the copy has seal {seal.number} of {made:%Y-%m-%d %H:%M:%S}Z: the log is an older copy "
            "of itself (a restored backup?), or its end was cut off"
        )
    done.findings.append(Finding(seal=seal.number, what=what))


def _holds(store: Store, head: Head) -> bool:
    found = store.read(head.run_id, after_version=head.version - 1, limit=1)
    return bool(found) and (found[0].version, found[0].hash) == (head.version, head.hash)
