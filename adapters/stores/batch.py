"""What every store asks of a batch before it touches anything, and how it answers who was refused (rules A2, A3)."""

from __future__ import annotations

from collections.abc import Sequence

from flowledger.events.errors import Fenced, InboxNotEmpty, InputError, InternalError, StoreError, VersionConflict
from flowledger.events.store import LIVE, Append, Cursor, NewStream


def check(batch: Sequence[Append]) -> None:
    """Each run once, and its events numbered on from ``expected``.

    Raises:
        InternalError: whoever made the batch broke the contract; nothing has been written.
    """
    for request in batch:
        events, expected = request.events, request.expected
        if not events or events[0].version != expected + 1 or events[-1].version != expected + len(events):
            raise InternalError(f"run {request.run_id}: the events do not follow version {expected} one by one")
    if len(batch) > 1 and len({request.run_id for request in batch}) < len(batch):
        raise InternalError("a run stands twice in one batch")


def refusal(request: Append, *, epoch: int, version: int, requests: int) -> StoreError:
    """Why an append was refused, from the stream row as it stands."""
    if epoch != request.epoch:
        return Fenced(f"run {request.run_id} is at epoch {epoch}, this append came under epoch {request.epoch}")
    if version == request.expected and has_unseen(request, requests):
        return InboxNotEmpty(
            f"run {request.run_id} has been sent {requests} requests, this append has seen {request.seen}"
        )
    return VersionConflict(
        f"run {request.run_id} is at version {version}, this append expected {request.expected}",
    )


def has_unseen(request: Append, requests: int) -> bool:
    """Whether there is mail that stands against an end or a suspension (G1)."""
    return request.seen is not None and requests > request.seen


def makes_job(request: Append) -> bool:
    """Whether this append may leave a run to be claimed from the board: a submission, or one that was given up (B1)."""
    if request.create is not None and request.create.owner is None and request.create.queue is not None:
        return True
    return request.release and request.status in LIVE


def no_such_run(request: Append) -> StoreError:
    """The answer to an append to a stream that was never created."""
    return VersionConflict(f"run {request.run_id} does not exist, this append expected version {request.expected}")


def begotten_late(new: NewStream, epoch: int | None) -> Fenced:
    """The answer to a creation whose parent has another owner by now."""
    return Fenced(f"run {new.parent} is at epoch {epoch}; who begets a run in its name was at epoch {new.parent_epoch}")


def position_of(cursor: Cursor) -> int:
    """The position behind a cursor of a store with one writer, where commit order is position order (A4)."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit()):
        raise InputError(f"{str(cursor)!r} is not a cursor of this store", field="cursor", given=str(cursor))
    return int(cursor)
