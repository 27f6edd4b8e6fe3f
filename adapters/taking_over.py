"""A person takes a run away from an owner that is believed dead or hangs, before its time is over (rules B1, B2)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from flowledger.core.redaction import Redactor
from flowledger.events.chain import link
from flowledger.events.codec import encode
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import IllegalRequest, InputError, IntegrityError, RunNotFound, RunOwned, StoreError
from flowledger.events.facts import RunReleased
from flowledger.events.store import LIVE, Append, Claim, Held, Owner, Store, Stream

from .ids import new_ulid

#: An owner that was heard within so many of its heartbeats is taken to live.
FRESH_BEATS = 2.0
#: Whoever was heard, it is longer ago than that: `Store.claim` then takes no owner for alive.
HOWEVER_FRESH_S = -1.0


def take_over(store: Store, stream: Stream, *, reason: str, actor: str, fresh_s: float, force: bool = False) -> bool:
    """Take a run from its owner; the log says who did it, from whom and why. False: nobody owned it.

    It then is on the board again, or free for `resume`. What the old owner still appends is refused; what it runs
    locally is interrupted by whoever drives the run next (C3).

    Args:
        store: where the run is.
        stream: the run.
        reason: why, for the log.
        actor: who takes it.
        fresh_s: an owner that was heard so many seconds ago, or later, is taken to live.
        force: take it from one that lives, too.

    Raises:
        InputError: there is no reason.
        IllegalRequest: the run is over, or suspended: there is nothing to drive.
        RunOwned: its owner was heard just now, and it is not forced.
    """
    if not reason.strip():
        raise InputError("a takeover needs a reason", field="--reason", expected="a text", hint='add --reason "…"')
    if stream.status not in LIVE:
        raise IllegalRequest(f"run {stream.run_id} is {stream.status}: nobody drives it")
    if stream.owner is None:
        return False
    me = Owner(id=new_ulid(), host=socket.gethostname(), pid=os.getpid(), app=stream.app)
    store.join(me)  # whoever has no row is dead, and would be taken over from in the middle of this
    try:
        claim = _claimed(store, stream, me, HOWEVER_FRESH_S if force else fresh_s)
        _tell(store, stream, claim, RunReleased(reason=Redactor()(reason.strip()), taken_from=stream.owner), actor)
    finally:
        with suppress(StoreError):
            store.leave(me.id)
    if stream.queue is not None:
        store.board.note(stream.run_id, "released", reason=reason, actor=actor)
    return True


def _claimed(store: Store, stream: Stream, me: Owner, dead_s: float) -> Claim:
    claim = store.claim(stream.run_id, me.id, takeover_s=dead_s)
    if claim is None:
        raise RunNotFound(f"run {stream.run_id} is gone")
    if isinstance(claim, Held):
        raise RunOwned(
            f"run {stream.run_id} is driven by process {claim.pid} on {claim.host}, "
            f"which was heard {claim.seen_s:.0f} s ago: it lives",
            hint="end that process, or take the run all the same with --force: tasks it runs will run again elsewhere",
        )
    return claim


def _tell(store: Store, stream: Stream, claim: Claim, event: RunReleased, actor: str) -> None:
    """Write it down and let go, in one append. ``wake_at`` is none: what comes next is for the next owner to judge."""
    rows = store.read(stream.run_id, after_version=claim.version - 1, limit=1)
    if not rows or rows[0].hash != claim.head_hash:
        store.release(stream.run_id, epoch=claim.epoch)
        raise IntegrityError(f"run {stream.run_id}: the log does not end as its stream says, at {claim.version}")
    now = store.stream(stream.run_id) or stream
    append = Append(
        run_id=stream.run_id,
        expected=claim.version,
        epoch=claim.epoch,
        events=[_stored(stream.run_id, rows[0], max(rows[0].time_us, store.now_us()), event, actor)],
        status=now.status,
        direction=now.direction,
        release=True,
    )
    (result,) = store.append([append])
    if isinstance(result, StoreError):
        raise result


def _stored(run_id: str, last: StoredEvent, time_us: int, event: RunReleased, actor: str) -> StoredEvent:
    name, version, payload = RunReleased.__name__, last.version + 1, encode(event)
    hash_ = link(last.hash, run_id.encode(), version, name, event.schema_version, "", time_us, actor, payload)
    return StoredEvent(version, name, event.schema_version, "", time_us, actor, payload, hash_)
