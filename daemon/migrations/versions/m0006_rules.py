"""Where the results of an analysis go by rule."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply."""
    op.add_column("analyses", sa.Column("destinations", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("analyses", "destinations")
