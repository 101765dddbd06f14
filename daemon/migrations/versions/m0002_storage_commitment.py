"""storage commitment: what was asked of destinations."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "deliveries", sa.Column("resends", sa.Integer(), server_default="0", nullable=False)
    )
    op.create_table(
        "commitments",
        sa.Column("id", _id, autoincrement=True, nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(length=32), nullable=False),
        sa.Column("asked_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("transaction_uid"),
    )
    op.create_table(
        "commitment_deliveries",
        sa.Column("commitment_id", _id, nullable=False),
        sa.Column("delivery_id", _id, nullable=False),
        sa.ForeignKeyConstraint(["commitment_id"], ["commitments.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("commitment_id", "delivery_id"),
    )
    op.create_index(
        op.f("ix_commitment_deliveries_delivery_id"), "commitment_deliveries", ["delivery_id"]
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index(op.f("ix_commitment_deliveries_delivery_id"), table_name="commitment_deliveries")
    op.drop_table("commitment_deliveries")
    op.drop_table("commitments")
    op.drop_column("deliveries", "resends")
