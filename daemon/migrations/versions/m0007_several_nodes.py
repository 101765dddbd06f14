"""What several nodes with the same rows need, and studies that do not wait their turn."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
_URGENT = sa.text("urgent AND state = 'queued'")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "turns",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column(
        "analyses", sa.Column("urgent", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.create_index(
        "ix_analyses_urgent",
        "analyses",
        ["due_us"],
        sqlite_where=_URGENT,
        postgresql_where=_URGENT,
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_analyses_urgent", table_name="analyses")
    op.drop_column("analyses", "urgent")
    op.drop_table("turns")
