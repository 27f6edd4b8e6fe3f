"""Reading and verifying evidence bundles: of a stranger's file nothing is believed, and nothing is unpacked to disk."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from flowledger.events.chain import verified
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import InputError, SealBroken, Tampered
from flowledger.events.merkle import Head, Proof, proven
from flowledger.events.seals import Seal, Statement, check_seal

from .beside import Beside, Called, Plans
from .bundle import EventLine, Manifest, SealLine
from .findings import Finding, Verified
from .seal_checking import note_key, rewritten
from .signing import is_signed_by
from .verifying import payload_digests, payload_fault

#: What a bundle may come to, unpacked: against files made to fill memory.
MOST_BYTES: Final = 4 * 2**30
#: What a file raises that only looks like a zip (RuntimeError: one that asks for a password).
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
_EXPECTED: Final = "an evidence bundle as `flowledger export` writes it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle as it was read; nothing in it is verified yet."""

    manifest: Manifest
    events: list[StoredEvent]
    payloads: dict[str, bytes]
    plans: dict[str, bytes]
    seals: list[SealLine]
    #: Files that are not what the manifest says, or that it does not name.
    changed: list[str] = field(default_factory=list[str])


def read_bundle(path: Path) -> Bundle:
    """Read a bundle into memory.

    Raises:
        InputError: the file is none, or cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except (OSError, *_BROKEN, _NotABundle, msgspec.MsgspecError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no bundle: {error}", field="FILE", expected=_EXPECTED) from error


class _NotABundle(Exception):
    pass


def _read(archive: zipfile.ZipFile, path: Path) -> Bundle:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise _NotABundle("a name stands in it twice")
    if sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise _NotABundle(f"unpacked it has more than {MOST_BYTES:,} bytes")
    manifest = msgspec.json.decode(archive.read("manifest.json"), type=Manifest)
    content: dict[str, bytes] = {}
    changed = [name for name in names if name not in manifest.files and name != "manifest.json"]
    for name, digest in manifest.files.items():
        content[name] = _content(archive, name)
        if sha256(content[name]).hexdigest() != digest:
            changed.append(name)
    return Bundle(
        manifest=manifest,
        events=list(_events(content.get("events.jsonl", b""))),
        payloads=_below(content, "payloads/", ""),
        plans=_below(content, "plans/", ".json"),
        seals=[msgspec.json.decode(line, type=SealLine) for line in content.get("seals.jsonl", b"").splitlines()],
        changed=changed,
    )


def _content(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file's bytes; none where it is gone, or its checksum in the zip does not fit."""
    try:
        return archive.read(name)
    except (KeyError, *_BROKEN):
        return b""


def _below(content: dict[str, bytes], folder: str, end: str) -> dict[str, bytes]:
    return {
        name.removeprefix(folder).removesuffix(end): found
        for name, found in content.items()
        if name.startswith(folder)
    }  # fmt: skip


def _events(lines: bytes) -> Iterator[StoredEvent]:
    for text in lines.split(b"\n"):
        if text:
            line = msgspec.json.decode(text, type=EventLine)
            payload = bytes.fromhex(line.payload_hex) if line.payload_hex else line.payload.encode()
            yield StoredEvent(
                line.version, line.type, line.schema_version, line.path, line.time_us, line.actor, payload,
                bytes.fromhex(line.hash),
            )  # fmt: skip


# -- verifying ----------------------------------------------------------------------------------


def verify_bundle(bundle: Bundle, *, trusted: frozenset[bytes] = frozenset()) -> Verified:
    """Verify a bundle by itself: files, chain, head, moved values, and the seals that cover the run."""
    manifest = bundle.manifest
    done = Verified(runs=1)
    done.findings += [
        Finding(run_id=manifest.run_id, what=f"{name} is not what the manifest says") for name in bundle.changed
    ]
    try:
        _chain(bundle, done)
        for line in bundle.seals:
            _seal(bundle, line, done, trusted)
    except (Tampered, SealBroken) as error:
        found = Finding(
            run_id=manifest.run_id, version=error.version, seal=getattr(error, "seal", 0), what=error.message
        )
        done.findings.append(found)
    return done


def _chain(bundle: Bundle, done: Verified) -> None:
    manifest = bundle.manifest
    last: StoredEvent | None = None
    beside, plans = Beside(manifest.run_id), Plans(bundle.plans.get)
    for last in verified(manifest.run_id, bundle.events):
        done.events += 1
        beside.take(last)
        changed = plans.fault(manifest.run_id, last)
        if changed is not None:
            raise changed
        for digest in payload_digests(last):
            done.payloads += 1
            wrong = payload_fault(manifest.run_id, last, digest, bundle.payloads.get(digest))
            if wrong is not None:
                raise wrong
    found = (last.version, last.hash.hex()) if last else (0, "")
    if found != (manifest.version, manifest.head):
        raise Tampered(
            f"run {manifest.run_id}: the events end with {found[0]}, the manifest says {manifest.version}",
            run_id=manifest.run_id,
            version=found[0] + 1,
        )
    called = Called(manifest.app, manifest.factory, manifest.key, manifest.status)
    otherwise = beside.fault(called, "the manifest", manifest.version)
    if otherwise is not None:  # what the seals say is wanted all the same
        done.findings.append(Finding(run_id=manifest.run_id, version=otherwise.version, what=otherwise.message))


def _seal(bundle: Bundle, line: SealLine, done: Verified, trusted: frozenset[bytes]) -> None:
    """One seal: its signature, the proof that the head is under its root, and that the event is the one it covers."""
    said, head = _signed(bundle, line)
    note_key(done, said, trusted)
    proof = Proof(line.place, line.size, tuple(_hash(beside, said) for beside in line.beside))
    found = proven(head, proof)
    if found is None or found.hex() != said.root:
        raise SealBroken(
            f"seal {said.seal}: the run's event {line.version} is not under its root", seal=said.seal,
            run_id=head.run_id, version=head.version,
        )  # fmt: skip
    if not 0 < head.version <= len(bundle.events):
        raise Tampered(
            f"run {head.run_id}: the events end with {len(bundle.events)}, seal {said.seal} covers {head.version}",
            run_id=head.run_id, version=len(bundle.events) + 1,
        )  # fmt: skip
    if bundle.events[head.version - 1].hash != head.hash:
        raise rewritten(said.seal, head)
    done.seals += 1


def _signed(bundle: Bundle, line: SealLine) -> tuple[Statement, Head]:
    unread = Seal(0, line.statement.encode(), b"")
    said = unread.read()
    seal = Seal(said.seal, unread.statement, _hash(line.signature, said))
    check_seal(seal, said.previous, None, is_signed_by)
    return said, Head(bundle.manifest.run_id, line.version, _hash(line.hash, said))


def _hash(text: str, said: Statement) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise SealBroken(f"seal {said.seal}: {text[:20]!r} is no hex", seal=said.seal) from error
