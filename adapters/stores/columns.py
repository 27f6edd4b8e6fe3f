"""What tables look like in every database that holds the log: their columns and keys (rules A5 to A8, B2, C1, G1, G8).

`sqlite_schema` and `postgres.schema` make the tables, each with what its database adds. They know nothing of each
other, and nothing here names an option of a database: SQLAlchemy loads all of a database's code where one is named.

Append-only tables (events, payloads, plans) are guarded by the database itself. Indexes on streams are partial where
their columns change, so that the append of an embedded run touches none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

# SQLite gives AUTOINCREMENT only to a column called INTEGER, which there has 64 bits anyway. Its REAL has 64 bits, too.
FLOAT64: Final[TypeEngine[float]] = Double[float]().with_variant(REAL(), "sqlite")
INT64: Final = BigInteger().with_variant(Integer(), "sqlite")
#: A number of 16 bits where the database has such.
INT16: Final = SmallInteger().with_variant(Integer(), "sqlite")
# Compared byte by byte, whatever the language of the database: ids and prefixes sort alike everywhere.
TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")

_NAMES: Final = {
    "pk": "%(table_name)s_pk",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}
#: Which runs an index of `job_indexes` holds.
_JOBS: Final = (
    "queue IS NOT NULL AND owner IS NULL AND wake_at_us IS NULL AND status IN ('PENDING', 'RUNNING', 'SUSPENDING')"
)
_DUE: Final = "queue IS NOT NULL AND owner IS NULL AND wake_at_us IS NOT NULL"
_OWNED: Final = "queue IS NOT NULL AND owner IS NOT NULL"


def named() -> MetaData:
    """Where the tables of one database are listed; what they have is named alike in all."""
    return MetaData(naming_convention=_NAMES)


# -- the log ------------------------------------------------------------------------------------


def streams() -> list[SchemaItem]:
    """One row per run: where its stream ends, and how it stands."""
    return [
        Column("run_id", TEXT, primary_key=True),
        Column("app", TEXT, nullable=False),
        Column("factory", TEXT, nullable=False),
        Column("key", TEXT),
        Column("inputs_digest", TEXT, nullable=False),
        Column("tags", TEXT, nullable=False),  # a JSON object of strings
        Column("queue", TEXT),  # NULL: an embedded run, never claimed from a queue (B3)
        Column("priority", Integer, nullable=False),
        Column("status", TEXT, nullable=False),
        Column("direction", TEXT, nullable=False),
        Column("wake_at_us", INT64),
        Column("owner", TEXT),  # no foreign key: an owner without a row is dead (B2)
        Column("epoch", INT64, nullable=False),
        Column("requests", INT64, nullable=False, server_default="0"),
        Column("version", INT64, nullable=False),
        Column("head_hash", LargeBinary, nullable=False),
        Column("created_us", INT64, nullable=False),
        # The key stands before the factory: this order also answers "which runs have this key".
        UniqueConstraint("app", "key", "factory"),
        CheckConstraint("length(head_hash) = 32", name="head_hash"),
        Index("streams_ls", "app", "run_id"),
    ]


def job_indexes(streams: Table, dialect: str) -> None:
    """Index what conductors ask every second: each index holds the answers, not the runs there ever were."""

    def where(condition: str) -> Mapping[str, Any]:
        return {f"{dialect}_where": text(condition)}

    Index("streams_jobs", streams.c.priority.desc(), streams.c.run_id, **where(_JOBS))
    Index("streams_due", streams.c.wake_at_us, **where(_DUE))
    Index("streams_owned", streams.c.owner, **where(_OWNED))


def events(*run_id: ForeignKey) -> list[SchemaItem]:
    """One row per event, without what gives it its place in the global log."""
    return [
        Column("run_id", TEXT, *run_id, nullable=False),
        Column("version", Integer, nullable=False),
        Column("type", TEXT, nullable=False),
        Column("schema_version", INT16, nullable=False),
        Column("path", TEXT, nullable=False),
        Column("time_us", INT64, nullable=False),
        Column("actor", TEXT, nullable=False),
        Column("payload", LargeBinary, nullable=False),  # bytes, not json: what was hashed is what is read (A8)
        Column("hash", LargeBinary, nullable=False),
        CheckConstraint("length(hash) = 32", name="hash"),
        CheckConstraint("version > 0", name="version"),
    ]


def payloads(*run_id: ForeignKey) -> list[SchemaItem]:
    """What was too large for an event."""
    return [
        Column("run_id", TEXT, *run_id, nullable=False),
        Column("digest", TEXT, nullable=False),
        Column("content", LargeBinary, nullable=False),
        PrimaryKeyConstraint("run_id", "digest"),
    ]


def plans() -> list[SchemaItem]:
    """Compiled flows, each once."""
    return [Column("fingerprint", TEXT, primary_key=True), Column("document", LargeBinary, nullable=False)]


def outcomes(*run_id: ForeignKey) -> list[SchemaItem]:
    """What transactional bodies have left with the user's own rows."""
    return [
        Column("run_id", TEXT, *run_id, nullable=False),
        Column("path", TEXT, nullable=False),
        Column("try", INT64, nullable=False),
        Column("phase", TEXT, nullable=False),
        Column("version", INT64, nullable=False),  # of the stream, when the attempt was started or declared lost
        Column("content", LargeBinary),  # NULL: no attempt started up to `version` will ever be committed (C8)
        Column("time_us", INT64, nullable=False),
        PrimaryKeyConstraint("run_id", "path", "try", "phase"),
    ]


# -- who vouches for the log, and who may read what is encrypted in it --------------------------


def seals() -> list[SchemaItem]:
    """Signed statements about the log."""
    return [
        Column("number", INT64, primary_key=True, autoincrement=False),
        Column("statement", LargeBinary, nullable=False),  # bytes: what was signed is what is read
        Column("signature", LargeBinary, nullable=False),
    ]


def sealed_heads() -> list[SchemaItem]:
    """How far each stream was when it was sealed."""
    return [
        Column("run_id", TEXT, nullable=False),
        Column("seal", INT64, nullable=False),
        Column("version", INT64, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        PrimaryKeyConstraint("run_id", "seal"),
        CheckConstraint("length(hash) = 32", name="hash"),
        Index("sealed_heads_of_seal", "seal"),
    ]


def run_keys() -> list[SchemaItem]:
    """Keys of runs. Not append-only: to delete a run's key is to erase what it encrypted."""
    return [
        Column("run_id", TEXT, primary_key=True),
        Column("wrapped_by", TEXT, nullable=False),  # the name of the key that encrypts this one
        Column("wrapped", LargeBinary, nullable=False),
        Column("created_us", INT64, nullable=False),
    ]


# -- who is at work, and on what ----------------------------------------------------------------


def owners() -> list[SchemaItem]:
    """Processes that drive runs."""
    return [
        Column("id", TEXT, primary_key=True),
        Column("host", TEXT, nullable=False),
        Column("pid", INT64, nullable=False),
        Column("app", TEXT, nullable=False),
        Column("last_seen_us", INT64, nullable=False),
        Column("asks", TEXT),  # what it has asked workers for and nobody has begun: JSON (`backlogs`)
    ]


def conductors() -> list[SchemaItem]:
    """Owners that take jobs, with what they take."""
    return [
        Column("owner", TEXT, primary_key=True),
        Column("factories", TEXT, nullable=False),  # JSON arrays of strings
        Column("queues", TEXT, nullable=False),
        Column("runs", Integer, nullable=False),
        Column("max_runs", Integer, nullable=False),
        Column("draining", Integer, nullable=False),
    ]


def job_notes() -> list[SchemaItem]:
    """Why a job was not taken up."""
    return [
        Column("run_id", TEXT, primary_key=True),
        Column("remark", TEXT, nullable=False),
        Column("reason", TEXT, nullable=False),
        Column("actor", TEXT, nullable=False),
        Column("at_us", INT64, nullable=False),
        Column("times", Integer, nullable=False),
    ]


def inbox() -> list[SchemaItem]:
    """Mail of runs."""
    return [
        Column("run_id", TEXT, nullable=False),
        Column("number", INT64, nullable=False),  # what ``streams.requests`` was raised to
        Column("id", TEXT, nullable=False),  # the sender's: the same one again is the same mail
        Column("kind", TEXT, nullable=False),
        Column("content", LargeBinary, nullable=False),
        Column("actor", TEXT, nullable=False),
        Column("time_us", INT64, nullable=False),
        PrimaryKeyConstraint("run_id", "number"),
        UniqueConstraint("run_id", "id"),
    ]


def attempt_claims() -> list[SchemaItem]:
    """A worker's "I have begun": whoever inserts the row first runs the attempt (C1). It says how that goes on (F2).

    Without a ``call`` it is a note of how far a body has got that runs in the process of its engine.
    """
    return [
        Column("run_id", TEXT, nullable=False),
        Column("path", TEXT, nullable=False),
        Column("try", Integer, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("phase", TEXT, nullable=False, server_default="execute"),
        Column("worker", TEXT, nullable=False),
        Column("claimed_us", INT64, nullable=False),
        Column("last_seen_us", INT64, nullable=False),
        Column("progress", FLOAT64),  # 0 to 1
        Column("message", TEXT),
        Column("call", INT64),  # see `events.claims.Ask`
        Column("ended_us", INT64),
        Column("cancelled", Integer, nullable=False, server_default="0"),  # 1: nobody wants it any more
        PrimaryKeyConstraint("run_id", "path", "try", "attempt", "phase"),
    ]


def workers() -> list[SchemaItem]:
    """Processes that make attempts for others."""
    return [
        Column("id", TEXT, primary_key=True),
        Column("host", TEXT, nullable=False),
        Column("pid", INT64, nullable=False),
        Column("app", TEXT, nullable=False),
        Column("queues", TEXT, nullable=False),  # a JSON list
        Column("concurrency", INT64, nullable=False),
        Column("state", TEXT, nullable=False),
        Column("running", INT64, nullable=False),
        Column("started_us", INT64, nullable=False),
        Column("last_seen_us", INT64, nullable=False),
    ]


def parcels() -> list[SchemaItem]:
    """Requests that are too large for a message."""
    return [
        Column("run_id", TEXT, nullable=False),
        Column("path", TEXT, nullable=False),
        Column("try", Integer, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("phase", TEXT, nullable=False),
        Column("call", INT64, nullable=False),
        Column("content", LargeBinary, nullable=False),
        Column("time_us", INT64, nullable=False),
        PrimaryKeyConstraint("run_id", "path", "try", "attempt", "phase", "call"),
    ]
