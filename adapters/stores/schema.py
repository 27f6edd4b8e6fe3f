"""The one schema: what a database that holds the log looks like (rules A5 to A8, B2, C1, G1, G8).

Append-only tables (events, payloads, plans) are guarded by the database itself. Indexes on streams are partial where
their columns change, so that the append of an embedded run touches none of them.

Most of it is the same everywhere (`METADATA` is SQLite's). Postgres has many writers, so its global log is ordered by
transaction and not by position, and it has its own keys: `POSTGRES`, which the migrations must lead to.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    DDL,
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.types import TypeEngine, UserDefinedType

#: Raised with every change of what stands here; a database says which it has in ``meta``.
SCHEMA_VERSION = 7
#: The same on Postgres: the newest migration.
POSTGRES_VERSION = 7

# SQLite gives AUTOINCREMENT only to a column called INTEGER, which there has 64 bits anyway. Its REAL has 64 bits, too.
_Float64: TypeEngine[float] = Double[float]().with_variant(REAL(), "sqlite")
_Int64 = BigInteger().with_variant(Integer(), "sqlite")
# Compared byte by byte, whatever the language of the database: ids and prefixes sort alike everywhere.
_Text = Text().with_variant(Text(collation="C"), "postgresql")

_NAMES = {
    "pk": "%(table_name)s_pk",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}
METADATA = MetaData(naming_convention=_NAMES)
POSTGRES = MetaData(naming_convention=_NAMES)

meta = Table(
    "meta",
    METADATA,
    Column("name", _Text, primary_key=True),
    Column("value", _Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

streams = Table(
    "streams",
    METADATA,
    Column("run_id", _Text, primary_key=True),
    Column("app", _Text, nullable=False),
    Column("factory", _Text, nullable=False),
    Column("key", _Text),
    Column("inputs_digest", _Text, nullable=False),
    Column("tags", _Text, nullable=False),  # a JSON object of strings
    Column("queue", _Text),  # NULL: an embedded run, never claimed from a queue (B3)
    Column("priority", Integer, nullable=False),
    Column("status", _Text, nullable=False),
    Column("direction", _Text, nullable=False),
    Column("wake_at_us", _Int64),
    Column("owner", _Text),  # no foreign key: an owner without a row is dead (B2)
    Column("epoch", _Int64, nullable=False),
    Column("requests", _Int64, nullable=False, server_default="0"),
    Column("version", _Int64, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("created_us", _Int64, nullable=False),
    # The key stands before the factory: this order also answers "which runs have this key".
    UniqueConstraint("app", "key", "factory"),
    CheckConstraint("length(head_hash) = 32", name="head_hash"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
Index("streams_ls", streams.c.app, streams.c.run_id)


def _job_index(name: str, where: str, *columns: Any) -> None:
    """An index of a question that conductors ask every second: it holds the answers, not the runs there ever were."""
    Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


_job_index(
    "streams_jobs",
    "queue IS NOT NULL AND owner IS NULL AND wake_at_us IS NULL AND status IN ('PENDING', 'RUNNING', 'SUSPENDING')",
    streams.c.priority.desc(),
    streams.c.run_id,
)
_job_index("streams_due", "queue IS NOT NULL AND owner IS NULL AND wake_at_us IS NOT NULL", streams.c.wake_at_us)
_job_index("streams_owned", "queue IS NOT NULL AND owner IS NOT NULL", streams.c.owner)


def _event_columns(*run_id: ForeignKey) -> list[Column[Any]]:
    return [
        Column("run_id", _Text, *run_id, nullable=False),
        Column("version", _Int64, nullable=False),
        Column("type", _Text, nullable=False),
        Column("schema_version", Integer, nullable=False),
        Column("path", _Text, nullable=False),
        Column("time_us", _Int64, nullable=False),
        Column("actor", _Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),  # bytes, not json: what was hashed is what is read (A8)
        Column("hash", LargeBinary, nullable=False),
    ]


def _event_checks() -> list[CheckConstraint]:
    return [CheckConstraint("length(hash) = 32", name="hash"), CheckConstraint("version > 0", name="version")]


events = Table(
    "events",
    METADATA,
    # Identifies, and with one writer also orders (A4). Never used twice, even after the archiver has been.
    Column("position", _Int64, primary_key=True, autoincrement=True),
    *_event_columns(ForeignKey("streams.run_id")),
    UniqueConstraint("run_id", "version"),
    *_event_checks(),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

payloads = Table(
    "payloads",
    METADATA,
    Column("run_id", _Text, ForeignKey("streams.run_id"), nullable=False),
    Column("digest", _Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "digest"),
    sqlite_strict=True,
)

plans = Table(
    "plans",
    METADATA,
    Column("fingerprint", _Text, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    sqlite_strict=True,
)

owners = Table(
    "owners",
    METADATA,
    Column("id", _Text, primary_key=True),
    Column("host", _Text, nullable=False),
    Column("pid", _Int64, nullable=False),
    Column("app", _Text, nullable=False),
    Column("last_seen_us", _Int64, nullable=False),
    Column("asks", _Text),  # what it has asked workers for and nobody has begun: JSON (`backlogs`)
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# -- who vouches for the log, and who may read what is encrypted in it

seals = Table(
    "seals",
    METADATA,
    Column("number", _Int64, primary_key=True, autoincrement=False),
    Column("statement", LargeBinary, nullable=False),  # bytes: what was signed is what is read
    Column("signature", LargeBinary, nullable=False),
    sqlite_strict=True,
)

sealed_heads = Table(
    "sealed_heads",
    METADATA,
    Column("run_id", _Text, nullable=False),
    Column("seal", _Int64, nullable=False),
    Column("version", _Int64, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "seal"),
    CheckConstraint("length(hash) = 32", name="hash"),
    sqlite_strict=True,
)
Index("sealed_heads_of_seal", sealed_heads.c.seal)

# Not append-only: to delete a run's key is to erase what it encrypted.
run_keys = Table(
    "run_keys",
    METADATA,
    Column("run_id", _Text, primary_key=True),
    Column("wrapped_by", _Text, nullable=False),  # the name of the key that encrypts this one
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_us", _Int64, nullable=False),
    sqlite_strict=True,
)


conductors = Table(
    "conductors",
    METADATA,
    Column("owner", _Text, primary_key=True),
    Column("factories", _Text, nullable=False),  # JSON arrays of strings
    Column("queues", _Text, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("max_runs", Integer, nullable=False),
    Column("draining", Integer, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

job_notes = Table(
    "job_notes",
    METADATA,
    Column("run_id", _Text, primary_key=True),
    Column("remark", _Text, nullable=False),
    Column("reason", _Text, nullable=False),
    Column("actor", _Text, nullable=False),
    Column("at_us", _Int64, nullable=False),
    Column("times", Integer, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

inbox = Table(
    "inbox",
    METADATA,
    Column("run_id", _Text, nullable=False),
    Column("number", _Int64, nullable=False),  # what ``streams.requests`` was raised to
    Column("id", _Text, nullable=False),  # the sender's: the same one again is the same mail
    Column("kind", _Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("actor", _Text, nullable=False),
    Column("time_us", _Int64, nullable=False),
    PrimaryKeyConstraint("run_id", "number"),
    UniqueConstraint("run_id", "id"),
    sqlite_strict=True,
)

# A worker's "I have begun": whoever inserts the row first runs the attempt (C1). It says how that goes on (F2). Without
# a ``call`` it is a note of how far a body has got that runs in the process of its engine.
attempt_claims = Table(
    "attempt_claims",
    METADATA,
    Column("run_id", _Text, nullable=False),
    Column("path", _Text, nullable=False),
    Column("try", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("phase", _Text, nullable=False, server_default="execute"),
    Column("worker", _Text, nullable=False),
    Column("claimed_us", _Int64, nullable=False),
    Column("last_seen_us", _Int64, nullable=False),
    Column("progress", _Float64),  # 0 to 1
    Column("message", _Text),
    Column("call", _Int64),  # see `events.claims.Ask`
    Column("ended_us", _Int64),
    Column("cancelled", Integer, nullable=False, server_default="0"),  # 1: nobody wants it any more
    PrimaryKeyConstraint("run_id", "path", "try", "attempt", "phase"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

workers = Table(
    "workers",
    METADATA,
    Column("id", _Text, primary_key=True),
    Column("host", _Text, nullable=False),
    Column("pid", _Int64, nullable=False),
    Column("app", _Text, nullable=False),
    Column("queues", _Text, nullable=False),  # a JSON list
    Column("concurrency", _Int64, nullable=False),
    Column("state", _Text, nullable=False),
    Column("running", _Int64, nullable=False),
    Column("started_us", _Int64, nullable=False),
    Column("last_seen_us", _Int64, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# Requests that are too large for a message.
parcels = Table(
    "parcels",
    METADATA,
    Column("run_id", _Text, nullable=False),
    Column("path", _Text, nullable=False),
    Column("try", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("phase", _Text, nullable=False),
    Column("call", _Int64, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("time_us", _Int64, nullable=False),
    PrimaryKeyConstraint("run_id", "path", "try", "attempt", "phase", "call"),
    sqlite_strict=True,
)

outcomes = Table(
    "outcomes",
    METADATA,
    Column("run_id", _Text, ForeignKey("streams.run_id"), nullable=False),
    Column("path", _Text, nullable=False),
    Column("try", _Int64, nullable=False),
    Column("phase", _Text, nullable=False),
    Column("version", _Int64, nullable=False),  # of the stream, when the attempt was started or declared lost
    Column("content", LargeBinary),  # NULL: no attempt started up to `version` will ever be committed (C8)
    Column("time_us", _Int64, nullable=False),
    PrimaryKeyConstraint("run_id", "path", "try", "phase"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)


def _append_only(table: Table, *identities: str) -> None:
    """Have SQLite refuse every change to rows of ``table``.

    REPLACE deletes the old row without firing delete triggers, unless the connection at hand has asked for them: so
    an insert that meets one of the ``identities`` is refused before it can replace anything.
    """
    name = table.name
    exists = " OR ".join(f"EXISTS (SELECT 1 FROM {name} WHERE {identity})" for identity in identities)  # noqa: S608
    for when in ("UPDATE", "DELETE"):
        _on_sqlite(table, f"{name}_no_{when.lower()}", when, "", f"{name} is append-only")
    _on_sqlite(table, f"{name}_no_replace", "INSERT", f"WHEN {exists}", f"{name} is append-only: the row exists")


def _on_sqlite(table: Table, trigger: str, when: str, condition: str, message: str) -> None:
    refuse = f"SELECT RAISE(ABORT, '{message}');"
    ddl = DDL(f"CREATE TRIGGER {trigger} BEFORE {when} ON {table.name} {condition} BEGIN {refuse} END")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", ddl.execute_if(dialect="sqlite"))


_append_only(events, "position = NEW.position", "run_id = NEW.run_id AND version = NEW.version")
_append_only(payloads, "run_id = NEW.run_id AND digest = NEW.digest")
_append_only(plans, "fingerprint = NEW.fingerprint")
_append_only(seals, "number = NEW.number")
_append_only(sealed_heads, "run_id = NEW.run_id AND seal = NEW.seal")


# -- Postgres -----------------------------------------------------------------------------------


class Xid8(UserDefinedType[str]):
    """A transaction id with its epoch."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type's name."""
        return "xid8"


pg_streams = streams.to_metadata(POSTGRES)
pg_plans = plans.to_metadata(POSTGRES)
pg_seals = seals.to_metadata(POSTGRES)
pg_sealed_heads = sealed_heads.to_metadata(POSTGRES)
pg_run_keys = run_keys.to_metadata(POSTGRES)

# No foreign keys on the hot path: the one statement that inserts here joins the stream rows anyway.
pg_payloads = Table(
    "payloads",
    POSTGRES,
    Column("run_id", _Text, nullable=False),
    Column("digest", _Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "digest"),
)

pg_outcomes = Table(
    "outcomes",
    POSTGRES,
    Column("run_id", _Text, nullable=False),
    Column("path", _Text, nullable=False),
    Column("try", BigInteger, nullable=False),
    Column("phase", _Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("content", LargeBinary),
    Column("time_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("run_id", "path", "try", "phase"),
)

pg_events = Table(
    "events",
    POSTGRES,
    Column("position", BigInteger, Identity(always=True), nullable=False),  # identifies, does not order (A4)
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("generation", SmallInteger, nullable=False),  # whose cluster's transaction id that is (A5)
    *_event_columns(),
    PrimaryKeyConstraint("run_id", "version"),
    *_event_checks(),
)
Index("events_follow", pg_events.c.generation, pg_events.c.xid, pg_events.c.position)

pg_owners = owners.to_metadata(POSTGRES)
pg_owners.append_column(Column("presence", BigInteger))  # the number of its advisory lock; NULL: it has none
pg_inbox = inbox.to_metadata(POSTGRES)
pg_attempt_claims = attempt_claims.to_metadata(POSTGRES)
pg_workers = workers.to_metadata(POSTGRES)
pg_workers.append_column(Column("presence", BigInteger))
pg_parcels = parcels.to_metadata(POSTGRES)

pg_conductors = conductors.to_metadata(POSTGRES)
pg_job_notes = job_notes.to_metadata(POSTGRES)

pg_generations = Table(
    "generations",
    POSTGRES,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("system_identifier", _Text),  # NULL: the role that began it may not ask for it
    Column("objects", _Text, nullable=False),
    Column("reason", _Text, nullable=False),
    Column("actor", _Text, nullable=False),
    Column("started_us", BigInteger, nullable=False),
)
