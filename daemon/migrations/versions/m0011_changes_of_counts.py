"""On PostgreSQL each change of a count is a row, so that no writer waits for another's counts."""

from collections.abc import Iterator

from alembic import op

from daemon.migrations.versions import m0005_scale as before

revision = "0011"
down_revision = "0010"

_KEY = "entity, destination, state"
_UP = (
    "ALTER TABLE tallies RENAME TO tally_sums",
    "ALTER INDEX tallies_pkey RENAME TO tally_sums_pkey",
    "CREATE TABLE tally_changes (entity varchar(16) NOT NULL, destination varchar(32) NOT NULL,"
    " state varchar(16) NOT NULL, number bigint NOT NULL)",
    f"CREATE VIEW tallies AS SELECT {_KEY}, sum(number)::bigint AS number FROM (SELECT * FROM"  # noqa: S608 - our words
    f" tally_sums UNION ALL SELECT * FROM tally_changes) AS each GROUP BY {_KEY}",
)
_DOWN = (
    "CREATE TABLE tallies_again AS SELECT * FROM tallies",
    "DROP VIEW tallies",
    "DROP TABLE tally_changes",
    "DROP TABLE tally_sums",
    "ALTER TABLE tallies_again RENAME TO tallies",
    f"ALTER TABLE tallies ADD PRIMARY KEY ({_KEY})",
    "ALTER TABLE tallies ALTER number SET NOT NULL",
)


def upgrade() -> None:
    """Apply."""
    if op.get_bind().dialect.name == "postgresql":
        for statement in (*_untriggered(), *_UP, *_triggers()):
            op.execute(statement)


def downgrade() -> None:
    """Undo."""
    if op.get_bind().dialect.name == "postgresql":
        for statement in (*_untriggered(), *_DOWN):
            op.execute(statement)
        for tally in before.TALLIES:
            for statement in before.postgresql(tally):
                op.execute(statement)


def _triggers() -> Iterator[str]:
    """Yield what makes the triggers: what is counted no more, and what is counted now."""
    for tally in before.TALLIES:
        name = f"tally_{tally.entity}"
        rows = {
            row: (
                f"INSERT INTO tally_changes SELECT '{tally.entity}', {tally.destination},"
                f" {tally.state}, {change} WHERE {tally.counted};"
            ).replace("R.", f"{row}.")
            for row, change in (("OLD", -1), ("NEW", 1))
        }
        yield (
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF TG_OP <> 'INSERT' THEN {rows['OLD']} END IF;"
            f" IF TG_OP <> 'DELETE' THEN {rows['NEW']} END IF;"
            " RETURN NULL; END $$"
        )
        yield (
            f"CREATE TRIGGER {name} AFTER INSERT OR DELETE OR UPDATE OF {tally.column}"
            f" ON {tally.table} FOR EACH ROW EXECUTE FUNCTION {name}()"
        )


def _untriggered() -> Iterator[str]:
    for tally in before.TALLIES:
        name = f"tally_{tally.entity}"
        yield f"DROP TRIGGER {name} ON {tally.table}"
        yield f"DROP FUNCTION {name}()"
