"""The schema of a Postgres database that holds the log: what the migrations must lead to.

Postgres has many writers, so its global log is ordered by transaction and not by position (A4). There are no foreign
keys: the one statement that appends joins the rows of the streams anyway.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Identity, Index, PrimaryKeyConstraint, SmallInteger, Table, text
from sqlalchemy.types import UserDefinedType

from flowledger.adapters.stores import columns
from flowledger.adapters.stores.columns import TEXT

#: The newest migration. Alembic keeps which one a database has.
SCHEMA_VERSION: Final = 8

METADATA: Final = columns.named()


class Xid8(UserDefinedType[str]):
    """A transaction id with its epoch."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type's name."""
        return "xid8"


streams = Table("streams", METADATA, *columns.streams())
columns.job_indexes(streams, "postgresql")
events = Table(
    "events",
    METADATA,
    Column("position", BigInteger, Identity(always=True), nullable=False),  # identifies, does not order (A4)
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("generation", SmallInteger, nullable=False),  # whose cluster's transaction id that is (A5)
    *columns.events(),
    PrimaryKeyConstraint("run_id", "version"),
    Index("events_follow", "generation", "xid", "position"),
)
payloads = Table("payloads", METADATA, *columns.payloads())
plans = Table("plans", METADATA, *columns.plans())
outcomes = Table("outcomes", METADATA, *columns.outcomes())
seals = Table("seals", METADATA, *columns.seals())
sealed_heads = Table("sealed_heads", METADATA, *columns.sealed_heads())
run_keys = Table("run_keys", METADATA, *columns.run_keys())
# presence: of its advisory lock, if it has one
owners = Table("owners", METADATA, *columns.owners(), Column("presence", BigInteger))
conductors = Table("conductors", METADATA, *columns.conductors())
job_notes = Table("job_notes", METADATA, *columns.job_notes())
inbox = Table("inbox", METADATA, *columns.inbox())
attempt_claims = Table("attempt_claims", METADATA, *columns.attempt_claims())
workers = Table("workers", METADATA, *columns.workers(), Column("presence", BigInteger))
parcels = Table("parcels", METADATA, *columns.parcels())
generations = Table(
    "generations",
    METADATA,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("system_identifier", TEXT),  # NULL: the role that began it may not ask for it
    Column("objects", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("started_us", BigInteger, nullable=False),
)
