"""Workers: who they are, what they have claimed, requests too large for a message (rules C1 to C4)."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

#: Engines of the version before only note progress in the claims; their statements stay right.
ENGINES_MUST_STOP = False

_STATEMENTS = (
    """
    ALTER TABLE attempt_claims
      ADD COLUMN phase text COLLATE "C" NOT NULL DEFAULT 'execute',
      ADD COLUMN call bigint,
      ADD COLUMN ended_us bigint,
      ADD COLUMN cancelled integer NOT NULL DEFAULT 0,
      DROP CONSTRAINT attempt_claims_pk,
      ADD CONSTRAINT attempt_claims_pk PRIMARY KEY (run_id, path, try, attempt, phase)""",
    """
    CREATE TABLE workers (
      id           text COLLATE "C" NOT NULL,
      host         text COLLATE "C" NOT NULL,
      pid          bigint NOT NULL,
      app          text COLLATE "C" NOT NULL,
      queues       text COLLATE "C" NOT NULL,
      concurrency  bigint NOT NULL,
      state        text COLLATE "C" NOT NULL,
      running      bigint NOT NULL,
      started_us   bigint NOT NULL,
      last_seen_us bigint NOT NULL,
      presence     bigint,
      CONSTRAINT workers_pk PRIMARY KEY (id)
    ) WITH (fillfactor = 70)""",
    """
    CREATE TABLE parcels (
      run_id  text COLLATE "C" NOT NULL,
      path    text COLLATE "C" NOT NULL,
      try     integer NOT NULL,
      attempt integer NOT NULL,
      phase   text COLLATE "C" NOT NULL,
      call    bigint NOT NULL,
      content bytea NOT NULL,
      time_us bigint NOT NULL,
      CONSTRAINT parcels_pk PRIMARY KEY (run_id, path, try, attempt, phase, call)
    )""",
)


def upgrade() -> None:
    """Make what is missing."""
    for statement in _STATEMENTS:
        op.execute(statement)
