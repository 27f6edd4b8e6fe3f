"""The schema of a SQLite file that holds the log. One writer at a time, so positions are the order of the log (A4)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import DDL, Column, ForeignKey, Table, UniqueConstraint, event

from . import columns
from .columns import INT64, TEXT

#: Raised with every change of what stands here or in `columns`; a file says which it has in ``meta``.
SCHEMA_VERSION: Final = 7

METADATA: Final = columns.named()
#: Types are kept to; and rows lie in the index of their key, where that is short beside them and read by it alone.
_STRICT: Final[dict[str, Any]] = {"sqlite_strict": True}
_IN_KEY: Final[dict[str, Any]] = {"sqlite_strict": True, "sqlite_with_rowid": False}


def _of_run() -> ForeignKey:
    return ForeignKey("streams.run_id")


meta = Table("meta", METADATA, Column("name", TEXT, primary_key=True), Column("value", TEXT, nullable=False), **_IN_KEY)
streams = Table("streams", METADATA, *columns.streams(), **_IN_KEY)
columns.job_indexes(streams, "sqlite")
events = Table(
    "events",
    METADATA,
    # Identifies, and with one writer also orders (A4). Never used twice, even after the archiver has been.
    Column("position", INT64, primary_key=True, autoincrement=True),
    *columns.events(_of_run()),
    UniqueConstraint("run_id", "version"),
    sqlite_autoincrement=True,
    **_STRICT,
)
payloads = Table("payloads", METADATA, *columns.payloads(_of_run()), **_STRICT)
plans = Table("plans", METADATA, *columns.plans(), **_STRICT)
outcomes = Table("outcomes", METADATA, *columns.outcomes(_of_run()), **_IN_KEY)
seals = Table("seals", METADATA, *columns.seals(), **_STRICT)
sealed_heads = Table("sealed_heads", METADATA, *columns.sealed_heads(), **_STRICT)
run_keys = Table("run_keys", METADATA, *columns.run_keys(), **_STRICT)
owners = Table("owners", METADATA, *columns.owners(), **_IN_KEY)
conductors = Table("conductors", METADATA, *columns.conductors(), **_IN_KEY)
job_notes = Table("job_notes", METADATA, *columns.job_notes(), **_IN_KEY)
inbox = Table("inbox", METADATA, *columns.inbox(), **_STRICT)
attempt_claims = Table("attempt_claims", METADATA, *columns.attempt_claims(), **_IN_KEY)
workers = Table("workers", METADATA, *columns.workers(), **_IN_KEY)
parcels = Table("parcels", METADATA, *columns.parcels(), **_STRICT)


def _append_only(table: Table, *identities: str) -> None:
    """Have the file refuse every change to rows of ``table``.

    REPLACE deletes the old row without firing delete triggers, unless the connection at hand has asked for them: so
    an insert that meets one of the ``identities`` is refused before it can replace anything.
    """
    name = table.name
    exists = " OR ".join(f"EXISTS (SELECT 1 FROM {name} WHERE {identity})" for identity in identities)  # noqa: S608
    for when in ("UPDATE", "DELETE"):
        _refuse(table, f"{name}_no_{when.lower()}", when, "", f"{name} is append-only")
    _refuse(table, f"{name}_no_replace", "INSERT", f"WHEN {exists}", f"{name} is append-only: the row exists")


def _refuse(table: Table, trigger: str, when: str, condition: str, message: str) -> None:
    refuse = f"SELECT RAISE(ABORT, '{message}');"
    ddl = DDL(f"CREATE TRIGGER {trigger} BEFORE {when} ON {table.name} {condition} BEGIN {refuse} END")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", ddl)


_append_only(events, "position = NEW.position", "run_id = NEW.run_id AND version = NEW.version")
_append_only(payloads, "run_id = NEW.run_id AND digest = NEW.digest")
_append_only(plans, "fingerprint = NEW.fingerprint")
_append_only(seals, "number = NEW.number")
_append_only(sealed_heads, "run_id = NEW.run_id AND seal = NEW.seal")
