"""Retention: which files still lie on the disk, and for how long a study has been at rest."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = ("instances", "objects")
_INDICES = (
    ("ix_instances_instance_hash", "instances", "instance_hash"),
    ("ix_objects_file_hash", "objects", "file_hash"),
)


def upgrade() -> None:
    """Apply."""
    for table in _TABLES:
        op.add_column(
            table, sa.Column("file", sa.String(length=8), server_default="kept", nullable=False)
        )
    op.add_column(
        "studies", sa.Column("days_at_rest", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("studies", sa.Column("purged_us", sa.BigInteger(), nullable=True))
    for name, table, column in _INDICES:
        op.create_index(name, table, [column], unique=False)


def downgrade() -> None:
    """Undo."""
    for name, table, _ in _INDICES:
        op.drop_index(name, table_name=table)
    op.drop_column("studies", "purged_us")
    op.drop_column("studies", "days_at_rest")
    for table in _TABLES:
        op.drop_column(table, "file")
