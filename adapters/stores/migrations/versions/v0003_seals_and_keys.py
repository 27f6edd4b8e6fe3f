"""Seals with the heads they cover, append-only; and the keys of runs, whose removal is erasure."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Whether engines of the version before must not run meanwhile; `flowledger db upgrade` then says which do.
ENGINES_MUST_STOP = False

_TABLES = (
    """
    CREATE TABLE seals (
      number    bigint NOT NULL CONSTRAINT seals_pk PRIMARY KEY,
      statement bytea NOT NULL,
      signature bytea NOT NULL
    )""",
    """
    CREATE TABLE sealed_heads (
      run_id  text COLLATE "C" NOT NULL,
      seal    bigint NOT NULL,
      version bigint NOT NULL,
      hash    bytea NOT NULL CONSTRAINT sealed_heads_hash_check CHECK (length(hash) = 32),
      CONSTRAINT sealed_heads_pk PRIMARY KEY (run_id, seal)
    )""",
    "CREATE INDEX sealed_heads_of_seal ON sealed_heads (seal)",
    """
    CREATE TABLE run_keys (
      run_id     text COLLATE "C" NOT NULL CONSTRAINT run_keys_pk PRIMARY KEY,
      wrapped_by text COLLATE "C" NOT NULL,
      wrapped    bytea NOT NULL,
      created_us bigint NOT NULL
    )""",
)


def upgrade() -> None:
    """Make the tables, and have the database refuse changes of the first two."""
    for statement in _TABLES:
        op.execute(statement)
    for table in ("seals", "sealed_heads"):
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change")
