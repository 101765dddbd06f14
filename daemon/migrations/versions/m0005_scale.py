"""Indices and counts by which nothing that runs often takes longer as the rows grow."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_DOOMED = sa.text("file = 'doomed'")
_FAILED = sa.text("attempts > 0 AND detail <> '' AND state IN ('pending', 'stored', 'parked')")
_PURGED = sa.text("purged_us IS NOT NULL")
_INDICES: tuple[tuple[str, str, list[str], sa.TextClause | None], ...] = (
    ("ix_studies_received", "studies", ["received_us"], None),
    ("ix_studies_state", "studies", ["state", "received_us"], None),
    ("ix_studies_source", "studies", ["source_ae", "received_us"], None),
    ("ix_studies_source_state", "studies", ["source_ae", "state", "received_us"], None),
    ("ix_studies_purged", "studies", ["purged_us"], _PURGED),
    ("ix_instances_doomed", "instances", ["instance_hash"], _DOOMED),
    ("ix_objects_doomed", "objects", ["file_hash"], _DOOMED),
    ("ix_deliveries_failed", "deliveries", ["destination", "id"], _FAILED),
    ("ix_refusals_last", "refusals", ["last_us"], None),
)


@dataclass(frozen=True)
class _Tally:
    """Rows of one table that are counted by columns of theirs; in SQL, where `R` is the row."""

    entity: str
    table: str
    column: str  # whose change moves a row from one count to another
    destination: str = "''"
    state: str = "''"
    counted: str = "1 = 1"  # the rows that are counted at all

    def minus(self, row: str) -> str:
        """Return the statement that takes a row out of its count."""
        return (
            f"UPDATE tallies SET number = number - 1 WHERE entity = '{self.entity}'"  # noqa: S608 - our words
            f" AND destination = {self.destination} AND state = {self.state} AND {self.counted};"
        ).replace("R.", f"{row}.")

    def plus(self, row: str) -> str:
        """Return the statement that puts a row into its count."""
        return (
            "INSERT INTO tallies (entity, destination, state, number)"
            f" SELECT '{self.entity}', {self.destination}, {self.state}, 1 WHERE {self.counted}"
            " ON CONFLICT (entity, destination, state)"
            " DO UPDATE SET number = tallies.number + 1;"
        ).replace("R.", f"{row}.")

    def fill(self) -> str:
        """Return the statement that counts what is there."""
        return (
            "INSERT INTO tallies (entity, destination, state, number)"  # noqa: S608 - our words
            f" SELECT '{self.entity}', {self.destination}, {self.state}, count(*)"
            f" FROM {self.table} AS R WHERE {self.counted} GROUP BY 2, 3"
        )


TALLIES = (
    _Tally("study", "studies", "state", state="R.state"),
    _Tally("purged", "studies", "purged_us", counted="R.purged_us IS NOT NULL"),
    _Tally("delivery", "deliveries", "state", destination="R.destination", state="R.state"),
)


def _sqlite(tally: _Tally) -> Iterator[str]:
    name, table = f"tally_{tally.entity}", tally.table
    minus, plus = tally.minus("OLD"), tally.plus("NEW")
    yield f"CREATE TRIGGER {name}_added AFTER INSERT ON {table} BEGIN {plus} END"
    yield (
        f"CREATE TRIGGER {name}_moved AFTER UPDATE OF {tally.column} ON {table}"
        f" BEGIN {minus} {plus} END"
    )
    yield f"CREATE TRIGGER {name}_removed AFTER DELETE ON {table} BEGIN {minus} END"


def postgresql(tally: _Tally) -> Iterator[str]:
    """Yield the same, counted at the commit and under one lock.

    Writers that hold their counts for as long as their transactions last would wait for each other,
    and two that take them in another order for ever.
    """
    name, table = f"tally_{tally.entity}", tally.table
    yield (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_advisory_xact_lock(hashtext('axnode.tallies'));"
        f" IF TG_OP <> 'INSERT' THEN {tally.minus('OLD')} END IF;"
        f" IF TG_OP <> 'DELETE' THEN {tally.plus('NEW')} END IF;"
        " RETURN NULL; END $$"
    )
    yield (
        f"CREATE CONSTRAINT TRIGGER {name} AFTER INSERT OR DELETE OR UPDATE OF {tally.column}"
        f" ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {name}()"
    )


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "studies", sa.Column("source_ae", sa.String(length=16), server_default="", nullable=False)
    )
    op.execute(
        "UPDATE studies SET source_ae = (SELECT source_ae FROM instances"
        " WHERE instances.study_id = studies.id ORDER BY instances.id LIMIT 1)"
        " WHERE EXISTS (SELECT 1 FROM instances WHERE instances.study_id = studies.id)"
    )
    op.drop_index("ix_studies_state", table_name="studies")
    for name, table, columns, where in _INDICES:
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "tallies",
        sa.Column("entity", sa.String(length=16), nullable=False),
        sa.Column("destination", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entity", "destination", "state"),
    )
    triggers = _sqlite if op.get_bind().dialect.name == "sqlite" else postgresql
    for tally in TALLIES:
        op.execute(tally.fill())
        for statement in triggers(tally):
            op.execute(statement)


def downgrade() -> None:
    """Undo."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for tally in TALLIES:
        name = f"tally_{tally.entity}"
        if sqlite:
            for when in ("added", "moved", "removed"):
                op.execute(f"DROP TRIGGER {name}_{when}")
        else:
            op.execute(f"DROP TRIGGER {name} ON {tally.table}")
            op.execute(f"DROP FUNCTION {name}()")
    op.drop_table("tallies")
    for name, table, _, _ in _INDICES:
        op.drop_index(name, table_name=table)
    op.create_index("ix_studies_state", "studies", ["state"])
    op.drop_column("studies", "source_ae")
