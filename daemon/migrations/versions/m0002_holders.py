"""who holds a job."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "analyses", sa.Column("holder", sa.String(length=128), server_default="", nullable=False)
    )


def downgrade() -> None:
    """Undo."""
    op.drop_column("analyses", "holder")
