"""Events by month on PostgreSQL; what there is becomes the partition for the rest, uncopied."""

from alembic import op

revision = "0009"
down_revision = "0008"

_UP = (
    "ALTER TABLE events RENAME TO events_rest",
    "ALTER INDEX ix_events_study_id RENAME TO ix_events_rest_study_id",
    "ALTER TABLE events_rest DROP CONSTRAINT events_pkey",
    "CREATE TABLE events (LIKE events_rest INCLUDING DEFAULTS) PARTITION BY RANGE (at_us)",
    "ALTER SEQUENCE events_id_seq OWNED BY events.id",
    "ALTER TABLE events ADD PRIMARY KEY (id, at_us)",
    "ALTER TABLE events ADD FOREIGN KEY (study_id) REFERENCES studies (id)",
    "CREATE INDEX ix_events_study_id ON events (study_id)",
    "ALTER TABLE events ATTACH PARTITION events_rest DEFAULT",
)
_DOWN = (
    "ALTER TABLE events RENAME TO events_by_month",
    "CREATE TABLE events (LIKE events_by_month INCLUDING DEFAULTS)",
    "INSERT INTO events SELECT * FROM events_by_month",
    "ALTER SEQUENCE events_id_seq OWNED BY events.id",
    "DROP TABLE events_by_month",
    "ALTER TABLE events ADD PRIMARY KEY (id)",
    "ALTER TABLE events ADD FOREIGN KEY (study_id) REFERENCES studies (id)",
    "CREATE INDEX ix_events_study_id ON events (study_id)",
)


def upgrade() -> None:
    """Apply."""
    _on_postgresql(_UP)


def downgrade() -> None:
    """Undo."""
    _on_postgresql(_DOWN)


def _on_postgresql(statements: tuple[str, ...]) -> None:
    if op.get_bind().dialect.name == "postgresql":
        for statement in statements:
            op.execute(statement)
