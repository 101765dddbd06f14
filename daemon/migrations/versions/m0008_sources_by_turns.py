"""Sources that take turns, and what processes say of themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "analyses",
        sa.Column("source_ae", sa.String(length=16), server_default="", nullable=False),
    )
    op.execute(
        "UPDATE analyses SET source_ae = (SELECT source_ae FROM studies"
        " WHERE studies.id = analyses.study_id) WHERE state IN ('queued', 'running', 'parked')"
    )
    op.create_index("ix_analyses_turns", "analyses", ["state", "urgent", "source_ae", "due_us"])
    with op.batch_alter_table("turns") as turns:  # notes lie there too
        turns.alter_column("holder", existing_type=sa.String(128), type_=sa.String(512))
    op.create_table(
        "processes",
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("roles", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("device", sa.String(length=64), server_default="", nullable=False),
        sa.Column("together", sa.Integer(), server_default="0", nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("holder"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("processes")
    op.execute("DELETE FROM turns WHERE length(holder) > 128")
    with op.batch_alter_table("turns") as turns:
        turns.alter_column("holder", existing_type=sa.String(512), type_=sa.String(128))
    op.drop_index("ix_analyses_turns", table_name="analyses")
    op.drop_column("analyses", "source_ae")
