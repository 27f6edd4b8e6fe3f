"""The log: streams, events, payloads, plans, owners, generations; and triggers that keep it as it is (A5 to A8)."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: Whether engines of the version before must not run meanwhile; `flowledger db upgrade` then says which do.
ENGINES_MUST_STOP = False

_TABLES = (
    """
    CREATE TABLE streams (
      run_id        text COLLATE "C" NOT NULL CONSTRAINT streams_pk PRIMARY KEY,
      app           text COLLATE "C" NOT NULL,
      factory       text COLLATE "C" NOT NULL,
      key           text COLLATE "C",
      inputs_digest text COLLATE "C" NOT NULL,
      tags          text COLLATE "C" NOT NULL,
      queue         text COLLATE "C",
      priority      integer NOT NULL,
      status        text COLLATE "C" NOT NULL,
      direction     text COLLATE "C" NOT NULL,
      wake_at_us    bigint,
      owner         text COLLATE "C",
      epoch         bigint NOT NULL,
      requests      bigint NOT NULL DEFAULT 0,
      version       bigint NOT NULL,
      head_hash     bytea NOT NULL CONSTRAINT streams_head_hash_check CHECK (length(head_hash) = 32),
      created_us    bigint NOT NULL,
      CONSTRAINT streams_app_key_factory_key UNIQUE (app, key, factory)
    ) WITH (fillfactor = 70)""",
    "CREATE INDEX streams_ls ON streams (app, run_id)",
    """
    CREATE INDEX streams_jobs ON streams (queue, priority DESC, run_id)
     WHERE queue IS NOT NULL AND owner IS NULL""",
    "CREATE INDEX streams_timers ON streams (wake_at_us) WHERE wake_at_us IS NOT NULL",
    """
    CREATE TABLE events (
      position       bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
      xid            xid8 NOT NULL DEFAULT pg_current_xact_id(),
      generation     smallint NOT NULL,
      run_id         text COLLATE "C" NOT NULL,
      version        bigint NOT NULL CONSTRAINT events_version_check CHECK (version > 0),
      type           text COLLATE "C" NOT NULL,
      schema_version integer NOT NULL,
      path           text COLLATE "C" NOT NULL,
      time_us        bigint NOT NULL,
      actor          text COLLATE "C" NOT NULL,
      payload        bytea NOT NULL,
      hash           bytea NOT NULL CONSTRAINT events_hash_check CHECK (length(hash) = 32),
      CONSTRAINT events_pk PRIMARY KEY (run_id, version)
    ) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0)""",
    "CREATE INDEX events_follow ON events (generation, xid, position)",
    """
    CREATE TABLE payloads (
      run_id  text COLLATE "C" NOT NULL,
      digest  text COLLATE "C" NOT NULL,
      content bytea NOT NULL,
      CONSTRAINT payloads_pk PRIMARY KEY (run_id, digest)
    )""",
    """
    CREATE TABLE plans (
      fingerprint text COLLATE "C" NOT NULL CONSTRAINT plans_pk PRIMARY KEY,
      document    bytea NOT NULL
    )""",
    """
    CREATE TABLE owners (
      id           text COLLATE "C" NOT NULL CONSTRAINT owners_pk PRIMARY KEY,
      host         text COLLATE "C" NOT NULL,
      pid          bigint NOT NULL,
      app          text COLLATE "C" NOT NULL,
      last_seen_us bigint NOT NULL,
      presence     bigint
    ) WITH (fillfactor = 10)""",
    """
    CREATE TABLE generations (
      id                smallint NOT NULL CONSTRAINT generations_pk PRIMARY KEY,
      system_identifier text COLLATE "C",
      objects           text COLLATE "C" NOT NULL,
      reason            text COLLATE "C" NOT NULL,
      actor             text COLLATE "C" NOT NULL,
      started_us        bigint NOT NULL
    )""",
)

_REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%.% is append-only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'insufficient_privilege';
END $$"""


def upgrade() -> None:
    """Make everything in the schema that is first in the search path."""
    for statement in (*_TABLES, _REFUSE, "REVOKE ALL ON FUNCTION refuse_change() FROM PUBLIC"):
        op.execute(statement)
    for table in ("events", "payloads", "plans", "generations"):
        # Per statement: refused even where no row would change. ALWAYS: replication does not get around it either.
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change")
