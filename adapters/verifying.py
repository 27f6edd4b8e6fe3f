"""Verifying a log: every chain from the stored bytes, every moved value, every head, every seal (rules A6, A8).

Nothing is decoded but where an event says that its value was moved out, so logs of newer releases can be verified too.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import msgspec

from flowledger.events.chain import GENESIS, verified
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import SealBroken, Tampered
from flowledger.events.seals import Sealed
from flowledger.events.store import ChecksItself, Store, Stream

from .beside import Beside, Called, Plans
from .findings import Finding, Verified
from .seal_checking import rewritten, unmet, verify_seals

PAGE = 2_000
STREAMS = 500


# -- one run ------------------------------------------------------------------------------------


def verify_run(store: Store, stream: Stream) -> Verified:
    """Verify one run: its chain, its head as the stream row has it, its moved values, and its sealed heads."""
    sealed = {each.head.version: each for each in store.seals.of_run(stream.run_id)}
    done = _verify_stream(store, stream, sealed, Plans(store.plan))
    done.seals = len(sealed)
    return done


def _verify_stream(store: Store, stream: Stream, sealed: dict[int, Sealed], plans: Plans) -> Verified:
    done = Verified(runs=1)
    walk = _Walk(store, stream, sealed, plans, done)
    try:
        walk.events()
    except (Tampered, SealBroken) as error:
        done.findings.append(Finding(run_id=stream.run_id, version=error.version, what=error.message))
    return done


class _Walk:
    """Goes along one stream."""

    def __init__(
        self, store: Store, stream: Stream, sealed: dict[int, Sealed], plans: Plans, done: Verified
    ) -> None:  # fmt: skip
        self._store = store
        self._plans = plans
        self._beside = Beside(stream.run_id)
        self._stream = stream
        self._sealed = sealed
        self._done = done

    def events(self) -> None:
        stream = self._stream
        version, previous = 0, GENESIS
        while page := self._store.read(stream.run_id, after_version=version, limit=PAGE):
            for event in verified(stream.run_id, page, previous=previous, after_version=version):
                self._event(event)
            version, previous = page[-1].version, page[-1].hash
        if version < stream.version:
            raise _cut_off(stream.run_id, version, stream.version)
        newest = max(self._sealed, default=0)
        if version < newest:
            raise _cut_off(stream.run_id, version, newest, self._sealed[newest].seal)

    def _event(self, event: StoredEvent) -> None:
        self._done.events += 1
        run_id = self._stream.run_id
        if event.version == self._stream.version and event.hash != self._stream.head_hash:
            what = f"run {run_id}: the stream row has another hash for event {event.version} than the log"
            raise Tampered(what, run_id=run_id, version=event.version)
        sealed = self._sealed.get(event.version)
        if sealed is not None and sealed.head.hash != event.hash:
            raise rewritten(sealed.seal, sealed.head)
        for digest in payload_digests(event):
            self._payload(event, digest)
        self._hold_to(event)

    def _hold_to(self, event: StoredEvent) -> None:
        """Hold to the event what stands beside it: the plan it names; and, with the last one, the stream row."""
        stream = self._stream
        self._beside.take(event)
        wrong = self._plans.fault(stream.run_id, event)
        if wrong is None and event.version == stream.version:
            called = Called(stream.app, stream.factory, stream.key, stream.status, stream.tags)
            wrong = self._beside.fault(called, "the stream row", event.version)
        if wrong is not None:
            raise wrong

    def _payload(self, event: StoredEvent, digest: str) -> None:
        run_id = self._stream.run_id
        content = self._store.payload(run_id, digest)
        self._done.payloads += 1
        wrong = payload_fault(run_id, event, digest, content)
        if wrong is not None:
            raise wrong


def _cut_off(run_id: str, version: int, expected: int, seal: int = 0) -> Tampered:
    who = f"seal {seal}" if seal else "the stream row"
    return Tampered(
        f"run {run_id}: the log ends with event {version}, {who} says there are {expected}",
        run_id=run_id,
        version=version + 1,
    )


class _Moving(msgspec.Struct):
    moved: str | None = None
    secrets: tuple[str, ...] = ()


_MOVING = msgspec.json.Decoder(_Moving)


def payload_digests(event: StoredEvent) -> tuple[str, ...]:
    """The payload rows that an event refers to: the value that was moved out of it, and its secrets."""
    if b'"moved"' not in event.payload and b'"secrets"' not in event.payload:
        return ()
    try:
        found = _MOVING.decode(event.payload)
    except msgspec.MsgspecError:
        return ()  # not one of ours: its bytes are what was written, which is all that is asked here
    return found.secrets if found.moved is None else (found.moved, *found.secrets)


def payload_fault(run_id: str, event: StoredEvent, digest: str, content: bytes | None) -> Tampered | None:
    """What is wrong with a moved value."""
    if content is not None and sha256(content).hexdigest() == digest:
        return None
    wrong = "is missing" if content is None else "was changed"
    return Tampered(
        f"run {run_id}: the value of event {event.version} {event.type} {wrong} (payload {digest[:12]})",
        run_id=run_id,
        version=event.version,
    )


# -- all runs -----------------------------------------------------------------------------------


def verify_all(store: Store, *, trusted: frozenset[bytes] = frozenset()) -> Verified:
    """Verify every run and every seal of a log; every finding is reported, of a run its first.

    A database that can hash computes the chains itself (`ChecksItself`); what it finds amiss is looked at here again.
    """
    done, plans = Verified(), Plans(store.plan)
    verify_seals(store, trusted, done)
    if isinstance(store, ChecksItself):
        for counted in store.check_log():
            amiss = {*counted.amiss, *(run_id for run_id, plan in counted.plans if not plans.is_good(plan))}
            done.runs += counted.runs
            done.events += counted.events
            done.payloads += counted.payloads
            for run_id in sorted(amiss):
                done.findings += _looked_at_again(store, run_id, plans)
    else:
        for stream in _streams(store):
            done.add(_verify_stream(store, stream, {}, plans))
        done.findings += [_stray(run_id) for run_id in store.strays()]
    known = {finding.run_id for finding in done.findings}
    for sealed in store.seals.unmet():
        if sealed.head.run_id not in known:
            done.findings.append(unmet(store, sealed.seal, sealed.head))
            known.add(sealed.head.run_id)
    return done


def _looked_at_again(store: Store, run_id: str, plans: Plans) -> list[Finding]:
    stream = store.stream(run_id)
    return [_stray(run_id)] if stream is None else _verify_stream(store, stream, {}, plans).findings


def _stray(run_id: str) -> Finding:
    return Finding(run_id=run_id, version=1, what=f"run {run_id}: it has events, but its stream row is gone")


def _streams(store: Store) -> Iterator[Stream]:
    before: str | None = None
    while page := store.streams(before=before, limit=STREAMS):
        yield from page
        before = page[-1].run_id
