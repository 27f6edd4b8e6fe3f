"""A run created in the transaction of somebody else: there when that commits, gone when it rolls back (the outbox).

The caller's connection may be SQLAlchemy's, with whatever driver, or psycopg's own. It must be to the database of the
log, and in a transaction: nothing here begins or ends one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import asdict
from sqlalchemy import Connection, text

from flowledger.events.errors import InputError, InternalError, KeyTaken
from flowledger.events.store import Append, Appended, AppendResult

#: Executes a statement with ``:names`` and gives its rows, or for one without rows how many it has touched.
Execute = Callable[[str, Mapping[str, object]], Sequence[Any]]

_STREAM: Final = (
    "INSERT INTO {s}streams (run_id, app, factory, key, inputs_digest, tags, queue, priority, status, direction, "
    "wake_at_us, owner, epoch, version, head_hash, created_us) VALUES (:run_id, :app, :factory, :key, :inputs_digest, "
    ":tags, :queue, :priority, :status, :direction, :wake_at_us, NULL, 0, :version, :head_hash, :created_us) "
    "ON CONFLICT DO NOTHING RETURNING run_id"
)
_HOLDER: Final = "SELECT run_id, inputs_digest FROM {s}streams WHERE app = :app AND factory = :factory AND key = :key"
_EVENT: Final = (
    "INSERT INTO {s}events ({more}run_id, version, type, schema_version, path, time_us, actor, payload, hash) "
    "VALUES ({values}:run_id, :version, :type, :schema_version, :path, :time_us, :actor, :payload, :hash)"
)
_GENERATION: Final = "(SELECT max(id) FROM {s}generations), "
_PAYLOAD: Final = "INSERT INTO {s}payloads (run_id, digest, content) VALUES (:run_id, :digest, :content)"


def create(
    execute: Execute, request: Append, *, prefix: str = "", generations: bool = False,
    stored: Callable[[str], str] = str,
) -> AppendResult:  # fmt: skip
    """Write the first append of a run that nobody owns.

    ``prefix`` is the schema with its dot; ``stored`` makes a text fit for the database.
    """
    new = request.create
    if new is None or new.owner is not None or request.plans:
        raise InternalError(f"run {request.run_id}: only a submission rides in somebody else's transaction")
    last = request.events[-1]
    row = {
        "run_id": request.run_id, "app": stored(new.app), "factory": stored(new.factory),
        "key": None if new.key is None else stored(new.key), "inputs_digest": new.inputs_digest,
        "tags": stored(json.dumps(dict(new.tags))), "queue": None if new.queue is None else stored(new.queue),
        "priority": new.priority, "status": request.status, "direction": request.direction,
        "wake_at_us": request.wake_at_us, "version": last.version, "head_hash": last.hash,
        "created_us": request.events[0].time_us,
    }  # fmt: skip
    if not execute(_STREAM.format(s=prefix), row):
        holder = execute(_HOLDER.format(s=prefix), {name: row[name] for name in ("app", "factory", "key")})
        if not holder:
            raise InternalError(f"run {request.run_id} exists already")
        run_id, digest = holder[0]
        what = f"key {new.key!r} of {new.factory} belongs to run {run_id}"
        return KeyTaken(what, run_id=run_id, inputs_digest=digest)
    more, values = ("generation, ", _GENERATION.format(s=prefix)) if generations else ("", "")
    insert = _EVENT.format(s=prefix, more=more, values=values)
    for e in request.events:
        event = asdict(e) | {"run_id": request.run_id, "path": stored(e.path), "actor": stored(e.actor)}
        execute(insert, event)
    for payload in request.payloads:
        execute(_PAYLOAD.format(s=prefix), {"run_id": request.run_id, **payload._asdict()})
    return Appended(last.version)


def through_sqlalchemy(connection: Connection) -> Execute:
    """Execute on a connection of SQLAlchemy, which then knows that it is in a transaction."""

    def execute(statement: str, values: Mapping[str, object]) -> Sequence[Any]:
        result = connection.execute(text(statement), dict(values))
        return result.fetchall() if result.returns_rows else ()

    return execute


_NAMED: Final = re.compile(r":(\w+)")


def named_for_psycopg(statement: str) -> str:
    """The statement with psycopg's placeholders."""
    return _NAMED.sub(r"%(\1)s", statement)


def unfit(connection: object, why: str, hint: str) -> InputError:
    """The error for a connection that cannot take a submission along."""
    return InputError(
        f"connection={type(connection).__module__}.{type(connection).__qualname__}: {why}",
        field="connection", expected="a SQLAlchemy or psycopg connection, in a transaction", hint=hint,
    )  # fmt: skip


NO_TRANSACTION: Final = (
    "it commits each statement on its own",
    "begin a transaction: the run is there when it commits",
)
ANOTHER_DATABASE: Final = (
    "it is to another database than the log's", "hand in a connection to the database of the log, or leave it out"
)  # fmt: skip
