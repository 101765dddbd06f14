"""Nights are counted once for all studies, and not once for each."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Apply."""
    op.add_column("node", sa.Column("nights", sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "studies", sa.Column("moved_night", sa.Integer(), server_default="0", nullable=False)
    )
    op.execute("UPDATE studies SET moved_night = -days_at_rest WHERE days_at_rest > 0")
    op.drop_column("studies", "days_at_rest")


def downgrade() -> None:
    """Undo."""
    op.add_column(
        "studies", sa.Column("days_at_rest", sa.Integer(), server_default="0", nullable=False)
    )
    op.execute("UPDATE studies SET days_at_rest = (SELECT nights FROM node) - moved_night")
    op.drop_column("studies", "moved_night")
    op.drop_column("node", "nights")
