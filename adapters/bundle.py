"""Evidence bundles: one run in a zip file that verifies without the database, the app, or the code that ran it.

`manifest.json`  what is in it, with the SHA-256 of every file, and where the run stood
`events.jsonl`   every event as stored; the payload is the exact text that was hashed
`payloads/…`     values that were moved out of events, by their digest
`plans/…`        the plans the run had, for readers
`seals.jsonl`    the seals that cover the run, each with the proof that the run's head is under its root
`README.txt`     how to verify it with nothing but a description of the format
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import msgspec

from flowledger.events.chain import GENESIS, verified
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import InputError, RunNotFound
from flowledger.events.merkle import prove
from flowledger.events.store import Store, Stream

from .beside import Beside, plan_of
from .verifying import PAGE, payload_digests, payload_fault

FORMAT: Final = "flowledger-evidence-1"
README: Final = """\
Evidence of one run of a workflow, exported from a flowledger log.

    flowledger verify {name}            with `pip install 'flowledger[crypto]'`, no database needed
    flowledger verify {name} --trust KEY      hold the seals to a public key that you have from elsewhere

By hand: events.jsonl has one event per line, in order. The hash of an event is SHA-256 over

    the hash of the event before (32 zero bytes before the first)
    version (8 bytes), schema_version (4), time_us (8, signed), then the lengths in bytes of
    run id (4), type (4), path (4), actor (4), payload (8)              all big-endian
    run id, type, path, actor, payload                                  UTF-8, as they stand in the file

A file under payloads/ is named by the SHA-256 of its content; the event that it belongs to names it as `moved`.
A leaf of a seal's Merkle tree is SHA-256 over 0x00, length of run id (4), version (8), run id, hash of that event;
an inner node SHA-256 over 0x01, left, right (RFC 6962). A seal's signature is Ed25519 over "flowledger seal 1\\n"
followed by the statement, as it stands in seals.jsonl.
"""


class EventLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event as it stands in the bundle. ``payload_hex`` where the payload is no UTF-8."""

    version: int
    type: str
    schema_version: int
    path: str
    time_us: int
    actor: str
    payload: str = ""
    payload_hex: str = ""
    hash: str


class SealLine(msgspec.Struct, frozen=True, kw_only=True):
    """A seal, the head it has of the run, and where that stands under its root."""

    statement: str
    signature: str
    version: int
    hash: str
    place: int
    size: int
    beside: list[str]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a bundle. ``files``: the SHA-256 of each, by name."""

    format: Literal["flowledger-evidence-1"]
    run_id: str
    app: str
    factory: str
    key: str | None
    status: str
    version: int
    head: str
    exported_us: int
    exported_by: str
    files: dict[str, str]


def export(store: Store, stream: Stream, path: Path, *, actor: str) -> Manifest:
    """Write the bundle of a run to ``path``, which must not exist yet. Every event is verified on its way.

    Raises:
        Tampered: the log does not hold; no bundle is left behind.
        InputError: ``path`` exists or cannot be written.
    """
    if store.stream(stream.run_id) is None:
        raise RunNotFound(f"run {stream.run_id} is gone")
    try:
        with path.open("xb") as file:
            try:
                with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED) as archive:
                    return _Export(store, stream, archive, actor).write(path.name)
            except BaseException:
                path.unlink()
                raise
    except FileExistsError as error:
        raise InputError(f"{path} exists already", field="--out", hint="name another file") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error}", field="--out", hint="name another file with --out"
        ) from error


class _Export:
    """One export under way."""

    def __init__(self, store: Store, stream: Stream, archive: zipfile.ZipFile, actor: str) -> None:
        self._store = store
        self._stream = stream
        self._archive = archive
        self._actor = actor
        self._now_us = store.now_us()
        self._files: dict[str, str] = {}
        self._moved: dict[str, StoredEvent] = {}
        self._plans: set[str] = set()
        self._beside = Beside(stream.run_id)
        self._last: StoredEvent | None = None

    def write(self, name: str) -> Manifest:
        stream = self._stream
        self._put("README.txt", README.format(name=name).encode())
        self._put("events.jsonl", b"".join(self._event_lines()))
        for digest, event in self._moved.items():
            self._put(f"payloads/{digest}", self._payload(digest, event))
        for fingerprint in sorted(self._plans):
            document = self._store.plan(fingerprint)
            if document is not None:
                self._put(f"plans/{fingerprint}.json", document)
        self._put("seals.jsonl", b"".join(self._seal_lines()))
        last = self._last
        manifest = Manifest(
            format=FORMAT, run_id=stream.run_id, app=stream.app, factory=stream.factory, key=stream.key,
            status=self._beside.status(stream.status), version=last.version if last else 0,
            head=(last.hash if last else GENESIS).hex(),
            exported_us=self._now_us, exported_by=self._actor, files=self._files,
        )  # fmt: skip
        self._write("manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        return manifest

    def _put(self, name: str, content: bytes) -> None:
        self._files[name] = sha256(content).hexdigest()
        self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        at = datetime.fromtimestamp(self._now_us / 1e6, UTC)
        entry = zipfile.ZipInfo(name, date_time=(at.year, at.month, at.day, at.hour, at.minute, at.second))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        self._archive.writestr(entry, content)

    def _event_lines(self) -> Iterator[bytes]:
        run_id, version, previous = self._stream.run_id, 0, GENESIS
        while page := self._store.read(run_id, after_version=version, limit=PAGE):
            for event in verified(run_id, page, previous=previous, after_version=version):
                yield event_line(event)
                self._note(event)
            version, previous = page[-1].version, page[-1].hash

    def _note(self, event: StoredEvent) -> None:
        """What else belongs to the event."""
        self._last = event
        self._beside.take(event)
        for digest in payload_digests(event):
            self._moved.setdefault(digest, event)
        fingerprint = plan_of(event)
        if fingerprint is not None and fingerprint.isalnum():
            self._plans.add(fingerprint)

    def _payload(self, digest: str, event: StoredEvent) -> bytes:
        content = self._store.payload(self._stream.run_id, digest)
        wrong = payload_fault(self._stream.run_id, event, digest, content)
        if wrong is not None or content is None:
            assert wrong is not None
            raise wrong
        return content

    def _seal_lines(self) -> Iterator[bytes]:
        seals = self._store.seals
        for number, head in seals.of_run(self._stream.run_id):
            (seal,) = seals.read(after=number - 1, limit=1)
            heads = seals.heads(number)
            proof = prove(heads, heads.index(head))
            line = SealLine(
                statement=seal.statement.decode(), signature=seal.signature.hex(), version=head.version,
                hash=head.hash.hex(), place=proof.place, size=proof.size, beside=[each.hex() for each in proof.beside],
            )  # fmt: skip
            yield msgspec.json.encode(line) + b"\n"


def event_line(event: StoredEvent) -> bytes:
    """An event as one line of JSON."""
    try:
        text, hexadecimal = event.payload.decode(), ""
    except UnicodeDecodeError:
        text, hexadecimal = "", event.payload.hex()
    line = EventLine(
        version=event.version, type=event.type, schema_version=event.schema_version, path=event.path,
        time_us=event.time_us, actor=event.actor, payload=text, payload_hex=hexadecimal, hash=event.hash.hex(),
    )  # fmt: skip
    return msgspec.json.encode(line) + b"\n"
