"""storage commitment: what was asked of destinations, and what modalities ask of us."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

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
    op.add_column("instances", sa.Column("committed_us", sa.BigInteger(), nullable=True))
    op.create_table(
        "commitment_requests",
        sa.Column("id", _id, autoincrement=True, nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("source_ae", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("asked_us", sa.BigInteger(), nullable=False),
        sa.Column("verified_us", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source_ae", "transaction_uid"),
    )
    op.create_index("ix_commitment_requests_due", "commitment_requests", ["ended_us", "due_us"])
    op.create_table(
        "commitment_references",
        sa.Column("request_id", _id, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("failure", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["commitment_requests.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("request_id", "ordinal"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("commitment_references")
    op.drop_index("ix_commitment_requests_due", table_name="commitment_requests")
    op.drop_table("commitment_requests")
    op.drop_column("instances", "committed_us")
    op.drop_index(op.f("ix_commitment_deliveries_delivery_id"), table_name="commitment_deliveries")
    op.drop_table("commitment_deliveries")
    op.drop_table("commitments")
    op.drop_column("deliveries", "resends")
