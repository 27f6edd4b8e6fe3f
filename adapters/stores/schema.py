"""The one schema: what a database that holds the log looks like (rules A6 to A8, B2, G8).

Append-only tables (events, payloads, plans) are guarded by the database itself. Indexes on streams are partial where
their columns change, so that the append of an embedded run touches none of them.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
)

#: Raised with every change of what stands here; a database says which it has in ``meta``.
SCHEMA_VERSION = 1

# SQLite gives AUTOINCREMENT only to a column called INTEGER, which there has 64 bits anyway.
_Int64 = BigInteger().with_variant(Integer(), "sqlite")

METADATA = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

meta = Table(
    "meta",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

streams = Table(
    "streams",
    METADATA,
    Column("run_id", Text, primary_key=True),
    Column("app", Text, nullable=False),
    Column("factory", Text, nullable=False),
    Column("key", Text),
    Column("inputs_digest", Text, nullable=False),
    Column("tags", Text, nullable=False),  # a JSON object of strings
    Column("queue", Text),  # NULL: an embedded run, never claimed from a queue (B3)
    Column("priority", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("wake_at_us", _Int64),
    Column("owner", Text),  # no foreign key: an owner without a row is dead (B2)
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
_waits_in_queue = streams.c.queue.is_not(None) & streams.c.owner.is_(None)
Index(
    "streams_jobs",
    streams.c.queue,
    streams.c.priority.desc(),
    streams.c.run_id,
    sqlite_where=_waits_in_queue,
    postgresql_where=_waits_in_queue,
)
_has_timer = streams.c.wake_at_us.is_not(None)
Index("streams_timers", streams.c.wake_at_us, sqlite_where=_has_timer, postgresql_where=_has_timer)

events = Table(
    "events",
    METADATA,
    # Identifies, and with one writer also orders (A4). Never used twice, even after the archiver has been.
    Column("position", _Int64, primary_key=True, autoincrement=True),
    Column("run_id", Text, ForeignKey("streams.run_id"), nullable=False),
    Column("version", _Int64, nullable=False),
    Column("type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("time_us", _Int64, nullable=False),
    Column("actor", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # bytes, not json: what was hashed is what is read (A8)
    Column("hash", LargeBinary, nullable=False),
    UniqueConstraint("run_id", "version"),
    CheckConstraint("length(hash) = 32", name="hash"),
    CheckConstraint("version > 0", name="version"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

payloads = Table(
    "payloads",
    METADATA,
    Column("run_id", Text, ForeignKey("streams.run_id"), nullable=False),
    Column("digest", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "digest"),
    sqlite_strict=True,
)

plans = Table(
    "plans",
    METADATA,
    Column("fingerprint", Text, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    sqlite_strict=True,
)

owners = Table(
    "owners",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", _Int64, nullable=False),
    Column("app", Text, nullable=False),
    Column("last_seen_us", _Int64, nullable=False),
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
