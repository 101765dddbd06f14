"""What several nodes with the same rows need, and studies that do not wait their turn."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


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
    op.drop_index("ix_analyses_due", table_name="analyses")
    op.create_index("ix_analyses_due", "analyses", ["state", "urgent", "due_us"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_analyses_due", table_name="analyses")
    op.drop_column("analyses", "urgent")
    op.create_index("ix_analyses_due", "analyses", ["state", "due_us"])
    op.drop_table("turns")
