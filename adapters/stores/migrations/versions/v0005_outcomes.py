"""Outcomes of transactional tasks (C8)."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ENGINES_MUST_STOP = False


def upgrade() -> None:
    """Make the table."""
    op.execute(
        """
        CREATE TABLE outcomes (
          run_id  text COLLATE "C" NOT NULL,
          path    text COLLATE "C" NOT NULL,
          try     bigint NOT NULL,
          phase   text COLLATE "C" NOT NULL,
          version bigint NOT NULL,
          content bytea,
          time_us bigint NOT NULL,
          CONSTRAINT outcomes_pk PRIMARY KEY (run_id, path, try, phase)
        )"""
    )
