"""From an attempt to the bytes that cross to another process, and from the bytes that come back to an outcome."""

from __future__ import annotations

import msgspec

from flowledger.core.portable import Reply, Request, encoded, reply_of

from .attempt import Attempt, Held, Lost, Outcome, Raised, Returned, Unready, Unsettled


def packed(attempt: Attempt) -> bytes:
    """The attempt as a `Request`. Secrets are in it in clear: it may cross a pipe, and a network only encrypted."""
    task = attempt.node.task
    assert task is not None
    request = Request(
        run=attempt.run_id,
        path=attempt.node.path,
        phase=attempt.phase,
        task=task.name,
        config=msgspec.Raw(task.config or b"{}"),
        try_=attempt.try_,
        attempt=attempt.attempt,
        key=attempt.key,
        arguments={name: msgspec.Raw(content) for name, content in attempt.packed.items()},
        deadline_us=attempt.deadline_us,
        ended=attempt.ended,
        late=attempt.late,
        max_bytes=attempt.max_bytes,
        call=attempt.poll_us,
    )
    return encoded(request)


def reply(outcome: Outcome) -> bytes:
    """An outcome as a `Reply`."""
    match outcome:
        case Returned():
            return encoded(Reply(kind="returned", content=msgspec.Raw(outcome.content)))
        case Raised():
            return encoded(
                Reply(kind="raised", failure=outcome.failure, again=outcome.again, still_running=outcome.still_running)
            )
        case Unready():
            return encoded(Reply(kind="unready", retry_after_s=outcome.retry_after_s, message=outcome.message))
        case Held():
            return encoded(Reply(kind="held", failure=outcome.failure))
        case Lost():
            return encoded(Reply(kind="lost", message=outcome.cause))
        case Unsettled():
            raise AssertionError(outcome)


def outcome_of(content: bytes) -> Outcome:
    """The outcome that a `Reply` tells of; one that cannot be read is a lost attempt."""
    try:
        told = reply_of(content)
    except msgspec.MsgspecError as error:
        return Lost(f"its reply could not be read: {error}")
    if told.kind == "returned":
        return Returned(bytes(told.content))
    if told.kind == "unready":
        return Unready(told.retry_after_s, told.message)
    if told.kind == "lost":
        return Lost(told.message)
    if told.failure is None:
        return Lost("its reply tells of a failure without saying which")
    if told.kind == "held":
        return Held(told.failure)
    return Raised(told.failure, told.again, None, told.still_running)
