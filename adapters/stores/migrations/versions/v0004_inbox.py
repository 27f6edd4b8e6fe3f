"""The inbox, and the claims of workers on attempts (rules C1, C2, G1)."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: Engines of the version before know nothing of mail: they would end a run over a request that has been sent to it.
ENGINES_MUST_STOP = True

_TABLES = (
    """
    CREATE TABLE inbox (
      run_id  text COLLATE "C" NOT NULL,
      number  bigint NOT NULL,
      id      text COLLATE "C" NOT NULL,
      kind    text COLLATE "C" NOT NULL,
      content bytea NOT NULL,
      actor   text COLLATE "C" NOT NULL,
      time_us bigint NOT NULL,
      CONSTRAINT inbox_pk PRIMARY KEY (run_id, number),
      CONSTRAINT inbox_run_id_id_key UNIQUE (run_id, id)
    )""",
    """
    CREATE TABLE attempt_claims (
      run_id       text COLLATE "C" NOT NULL,
      path         text COLLATE "C" NOT NULL,
      try          integer NOT NULL,
      attempt      integer NOT NULL,
      worker       text COLLATE "C" NOT NULL,
      claimed_us   bigint NOT NULL,
      last_seen_us bigint NOT NULL,
      progress     double precision,
      message      text COLLATE "C",
      CONSTRAINT attempt_claims_pk PRIMARY KEY (run_id, path, try, attempt)
    ) WITH (fillfactor = 70)""",
)
# Who may not append may send nothing but outcomes: a worker cannot cancel a run (C2).
_SENDERS = """
CREATE POLICY inbox_senders ON inbox USING (true)
  WITH CHECK (kind = 'outcome' OR has_table_privilege('events'::regclass, 'INSERT'))"""


def upgrade() -> None:
    """Make both tables."""
    for statement in (*_TABLES, "ALTER TABLE inbox ENABLE ROW LEVEL SECURITY", _SENDERS):
        op.execute(statement)
