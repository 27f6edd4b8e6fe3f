"""The job board: what conductors say of themselves, what is said of jobs, and indexes that hold only what waits."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: Whether engines of the version before must not run meanwhile; `flowledger db upgrade` then says which do.
ENGINES_MUST_STOP = False

_STATEMENTS = (
    """
    CREATE TABLE conductors (
      owner     text COLLATE "C" NOT NULL CONSTRAINT conductors_pk PRIMARY KEY,
      factories text COLLATE "C" NOT NULL,
      queues    text COLLATE "C" NOT NULL,
      runs      integer NOT NULL,
      max_runs  integer NOT NULL,
      draining  integer NOT NULL
    ) WITH (fillfactor = 10)""",
    """
    CREATE TABLE job_notes (
      run_id text COLLATE "C" NOT NULL CONSTRAINT job_notes_pk PRIMARY KEY,
      remark text COLLATE "C" NOT NULL,
      reason text COLLATE "C" NOT NULL,
      actor  text COLLATE "C" NOT NULL,
      at_us  bigint NOT NULL,
      times  integer NOT NULL
    )""",
    "DROP INDEX streams_jobs",
    "DROP INDEX streams_timers",
    """
    CREATE INDEX streams_jobs ON streams (priority DESC, run_id)
     WHERE queue IS NOT NULL AND owner IS NULL AND wake_at_us IS NULL
       AND status IN ('PENDING', 'RUNNING', 'SUSPENDING')""",
    """
    CREATE INDEX streams_due ON streams (wake_at_us)
     WHERE queue IS NOT NULL AND owner IS NULL AND wake_at_us IS NOT NULL""",
    "CREATE INDEX streams_owned ON streams (owner) WHERE queue IS NOT NULL AND owner IS NOT NULL",
)


def upgrade() -> None:
    """Add to the schema that is first in the search path."""
    for statement in _STATEMENTS:
        op.execute(statement)
