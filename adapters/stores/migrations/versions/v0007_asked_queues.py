"""What engines have asked workers for and nobody has begun."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

#: Engines of the version before leave the new column empty.
ENGINES_MUST_STOP = False


def upgrade() -> None:
    """Make what is missing."""
    op.execute('ALTER TABLE owners ADD COLUMN asks text COLLATE "C"')
