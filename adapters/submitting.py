"""Putting runs on the job board: checked and written, driven by whoever claims them (B1, B3, G8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, get_args

from msgspec.structs import replace
from pydantic_core import PydanticSerializationError, to_json

from flowledger.core.engine.active import Services
from flowledger.core.engine.drafts import Drafts
from flowledger.core.options import QUEUE_CHARS, is_queue
from flowledger.core.plan import RUN
from flowledger.core.state import State
from flowledger.events import facts
from flowledger.events.chain import GENESIS
from flowledger.events.errors import InputError, KeyConflict, KeyTaken, StoreError
from flowledger.events.facts import OnFailure
from flowledger.events.store import Append, NewStream, Store

from .driving import Wish

KEY_CHARS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def submission(
    services: Services, app: str, wish: Wish, *, queue: str | None, priority: int = 0,
    not_before: datetime | None = None, parent: facts.ParentAtom | None = None, parent_epoch: int = 0,
) -> Append:  # fmt: skip
    """The first append of a run that nobody owns yet: its inputs, and nothing of its plan (E8).

    ``parent``: whose child it is, which is driven under ``parent_epoch`` (G7).
    """
    run_id = services.ids.run_id()
    state, moved = State(wish.plan), dict[str, bytes]()
    vault = services.vaults.of(run_id, wish.plan, None)
    drafts = Drafts(
        run_id, state, services.clock, actor=services.actor, head=GENESIS, epoch=0, vault=vault, moved=moved,
        inline_bytes=services.inline_bytes,
    )  # fmt: skip
    tags = dict(sorted(wish.tags.items()))
    drafts.create(
        NewStream(
            app=app, factory=wish.factory, key=wish.key, inputs_digest=wish.inputs_digest, tags=tags, queue=queue,
            priority=priority, parent=None if parent is None else parent.run, parent_epoch=parent_epoch,
        )
    )  # fmt: skip
    event = facts.RunSubmitted(
        app=app, factory=wish.factory, inputs=facts.Raw(wish.inputs), key=wish.key, tags=tags, executor=wish.executor,
        codec=vault.codec_name, parent=parent,
    )  # fmt: skip
    drafts.add(RUN, event)
    append = drafts.take()
    return append if not_before is None else replace(append, wake_at_us=_us(not_before))


def submit(store: Store, append: Append, *, connection: Any = None) -> str:
    """Write a submission; returns the id of the run, which is another's where the key has been used before (G8).

    ``connection``: write it in the transaction this is in, which is its owner's to commit or to roll back.

    Raises:
        KeyConflict: the key belongs to a run with other inputs.
        InputError: the connection cannot take it along.
        StoreUnavailable: it is not known whether it was written; with a key it may be sent again.
    """
    result = store.append((append,))[0] if connection is None else store.append_through(connection, append)
    if isinstance(result, KeyTaken) and append.create is not None:
        new, digest = append.create, result.inputs_digest
        if digest is None:
            taken = store.stream(result.run_id)
            digest = None if taken is None else taken.inputs_digest
        if digest is not None and digest != new.inputs_digest:
            raise KeyConflict(
                f"key {new.key!r} of {new.factory} belongs to run {result.run_id}, which has other inputs"
            )
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


def as_json(inputs: Mapping[str, Any], flow: str) -> bytes:
    """The inputs of a flow as a JSON object; models, dataclasses, dates and the like as pydantic writes them.

    Raises:
        InputError: one cannot be written.
    """
    try:
        return to_json(dict(inputs))
    except PydanticSerializationError as error:
        raise InputError(
            f"{flow}: the inputs cannot be written as JSON: {error}", field="inputs", expected="what JSON can hold",
            hint="give plain values, models or dataclasses",
        ) from error  # fmt: skip


def check_wish(*, key: str | None, tags: Mapping[str, str] | None, on_failure: OnFailure | None) -> None:
    """See that what a run is called by, and what it is to do when it fails, is what it should be.

    Raises:
        InputError: it is not; nothing has been written.
    """
    if key is not None and not (_is_text(key) and 1 <= len(key) <= KEY_CHARS):
        _refuse("key", key, f"a text of 1 to {KEY_CHARS} characters")
    if tags is not None:
        _check_tags(tags)
    if on_failure is not None and on_failure not in get_args(OnFailure):
        _refuse("on_failure", on_failure, " or ".join(map(repr, get_args(OnFailure))))


def _check_tags(tags: Mapping[str, str]) -> None:
    if not isinstance(tags, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        _refuse("tags", tags, "texts by name", hint='e.g. {"tenant": "acme"}')
    for name, value in tags.items():
        if not (_is_text(name) and name and _is_text(value)):
            _refuse("tags", {name: value}, "texts by name", hint='e.g. {"tenant": "acme"}')


def check_job(*, queue: str, priority: int, not_before: datetime | None) -> None:
    """See that what says when and by whom a job is taken is what it should be.

    Raises:
        InputError: it is not; nothing has been written.
    """
    check_queues((queue,))
    check_priority(priority)
    if not_before is not None and not isinstance(not_before, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
        _refuse("not_before", not_before, "a time with its zone", hint="e.g. datetime(2030, 1, 1, tzinfo=UTC)")


def check_queues(queues: Iterable[str]) -> None:
    """See that queues have names.

    Raises:
        InputError: one has none.
    """
    for queue in queues:
        if not is_queue(queue):
            _refuse("queue", queue, f"1 to {QUEUE_CHARS} characters that can be printed")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _refuse(option: str, given: object, expected: str, *, hint: str | None = None) -> NoReturn:
    raise InputError(
        f"{option}={given!r}: expected {expected}", field=option, expected=expected, given=repr(given), hint=hint
    )


def check_priority(priority: int) -> None:
    """Raise `InputError` unless it is a whole number of 32 bits."""
    if type(priority) is not int or not -(2**31) <= priority < 2**31:
        raise InputError(
            f"priority={priority!r} is not a whole number", field="priority", expected="a number of 32 bits",
            given=repr(priority), hint="higher comes first; 0 is the default",
        )  # fmt: skip
