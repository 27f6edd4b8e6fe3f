"""Putting runs on the job board: checked and written, driven by whoever claims them (B1, B3, G8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from flowledger.core.engine.active import Services
from flowledger.core.engine.drafts import Drafts
from flowledger.core.plan import RUN
from flowledger.core.state import State
from flowledger.events import facts
from flowledger.events.chain import GENESIS
from flowledger.events.errors import InputError, KeyConflict, KeyTaken, StoreError
from flowledger.events.store import Append, NewStream, Store

from .driving import Wish

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def submission(
    services: Services, app: str, wish: Wish, *, queue: str, priority: int = 0, not_before: datetime | None = None
) -> Append:
    """The first append of a run that nobody owns yet: its inputs, and nothing of its plan (E8)."""
    run_id = services.ids.run_id()
    drafts = Drafts(run_id, State(wish.plan), services.clock, actor=services.actor, head=GENESIS, epoch=0)
    tags = dict(sorted(wish.tags.items()))
    drafts.create(
        NewStream(
            app=app, factory=wish.factory, key=wish.key, inputs_digest=wish.inputs_digest, tags=tags, queue=queue,
            priority=priority,
        )
    )  # fmt: skip
    moved = drafts.move_out(wish.inputs) if len(wish.inputs) > services.inline_bytes else None
    inputs = facts.Raw(b"{}" if moved else wish.inputs)
    event = facts.RunSubmitted(
        app=app, factory=wish.factory, inputs=inputs, moved=moved, key=wish.key, tags=tags, executor=wish.executor
    )
    drafts.add(RUN, event)
    append = drafts.take()
    return append if not_before is None else replace(append, wake_at_us=_us(not_before))


def submit(store: Store, append: Append) -> str:
    """Write a submission; returns the id of the run, which is another's where the key has been used before (G8).

    Raises:
        KeyConflict: the key belongs to a run with other inputs.
        StoreUnavailable: it is not known whether it was written; with a key it may be sent again.
    """
    result = store.append((append,))[0]
    if isinstance(result, KeyTaken) and append.create is not None:
        new, taken = append.create, store.stream(result.run_id)
        if taken is not None and taken.inputs_digest != new.inputs_digest:
            raise KeyConflict(f"key {new.key!r} of {new.factory} belongs to run {taken.run_id}, which has other inputs")
        return result.run_id
    if isinstance(result, StoreError):
        raise result
    return append.run_id


def _us(time: datetime) -> int:
    if time.tzinfo is None:
        raise InputError(
            f"not_before={time} has no time zone", field="not_before", expected="a time with its zone",
            given=str(time), hint="e.g. datetime(2030, 1, 1, tzinfo=UTC)",
        )  # fmt: skip
    return (time - _EPOCH) // timedelta(microseconds=1)
