"""Erasure: the run's key is removed, its history stays and still verifies."""

from __future__ import annotations

from flowledger.core.redaction import Redactor
from flowledger.events.chain import GENESIS, link, verified
from flowledger.events.codec import encode
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import IllegalRequest, InputError, RunNotFound, RunOwned, StoreError
from flowledger.events.facts import RunErased
from flowledger.events.store import FINAL, Append, Claim, Held, Store, Stream

from .ids import new_ulid

PAGE = 2_000
TAKEOVER_S = 20.0


def erase(store: Store, stream: Stream, *, reason: str, actor: str) -> None:
    """Remove the key of a run that is over: its secrets and encrypted values cannot be read any more, by anybody.

    That it was done, by whom and why, is written down first; so a crash in between leaves it to be done again.

    Raises:
        InputError: there is no reason.
        IllegalRequest: the run is not over, or has nothing encrypted.
        RunOwned: somebody is at work on it.
        Tampered: its log does not hold.
    """
    if not reason.strip():
        raise InputError("an erasure needs a reason", field="--reason", expected="a text", hint='add --reason "…"')
    if stream.status not in FINAL:
        raise IllegalRequest(
            f"run {stream.run_id} is {stream.status}: what it needs to go on cannot be erased", hint="cancel it first"
        )
    if store.run_keys.get(stream.run_id) is None:
        raise IllegalRequest(
            f"run {stream.run_id} has no key: it has no secrets, or they have been erased",
            hint="values that were not encrypted stay in the log for ever",
        )
    last, is_told = _read(store, stream.run_id)
    if not is_told:
        _tell(store, stream, last, reason=Redactor()(reason.strip()), actor=actor)
    store.run_keys.remove(stream.run_id)


def _read(store: Store, run_id: str) -> tuple[StoredEvent, bool]:
    """The last event of a run, verified up to there, and whether its erasure is in the log already."""
    version, previous, last, is_told = 0, GENESIS, None, False
    while page := store.read(run_id, after_version=version, limit=PAGE):
        for last in verified(run_id, page, previous=previous, after_version=version):
            is_told = is_told or last.type == RunErased.__name__
        version, previous = page[-1].version, page[-1].hash
    if last is None:
        raise RunNotFound(f"run {run_id} has no events")
    return last, is_told


def _tell(store: Store, stream: Stream, last: StoredEvent, *, reason: str, actor: str) -> None:
    run_id = stream.run_id
    claim = store.claim(run_id, new_ulid(), takeover_s=TAKEOVER_S)
    if claim is None:
        raise RunNotFound(f"run {run_id} is gone")
    if isinstance(claim, Held):
        raise RunOwned(f"run {run_id} is driven by process {claim.pid} on {claim.host}", hint="wait until it has ended")
    append = Append(
        run_id=run_id,
        expected=last.version,
        epoch=claim.epoch,
        events=[_event(run_id, last, max(last.time_us, store.now_us()), reason=reason, actor=actor)],
        status=stream.status,
        direction=stream.direction,
        release=True,
    )
    (result,) = store.append([append])
    if isinstance(result, StoreError):
        _give_up(store, run_id, claim)
        raise result


def _give_up(store: Store, run_id: str, claim: Claim) -> None:
    store.release(run_id, epoch=claim.epoch)


def _event(run_id: str, last: StoredEvent, time_us: int, *, reason: str, actor: str) -> StoredEvent:
    event = RunErased(reason=reason)
    name, version, payload = RunErased.__name__, last.version + 1, encode(event)
    hash_ = link(last.hash, run_id.encode(), version, name, event.schema_version, "", time_us, actor, payload)
    return StoredEvent(version, name, event.schema_version, "", time_us, actor, payload, hash_)
