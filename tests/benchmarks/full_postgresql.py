"""The rows of `tests.benchmarks.full_database` in a PostgreSQL database, as years leave it."""

import psycopg
from psycopg import sql

from daemon import schema
from daemon.database import Database
from tests.benchmarks.full_database import rows

_COUNTS = (
    "DELETE FROM tally_sums",
    "INSERT INTO tally_sums SELECT 'study', '', state, count(*) FROM studies GROUP BY state",
    "INSERT INTO tally_sums SELECT 'delivery', destination, state, count(*) FROM deliveries"
    " GROUP BY destination, state",
)


def fill(url: str, at_rest: int, under_way: int) -> None:
    """Make a database of so many studies; none of what is under way is due for a day.

    Statistics are as the server keeps them by itself (autovacuum), and rows are vacuumed. Triggers
    would count each row in one transaction, and so leave as many versions of a count.
    """
    Database(url).close()
    plain = url.replace("postgresql+psycopg", "postgresql", 1)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for name, values in rows(at_rest, under_way).items():
            found = iter(values)
            first = next(found, None)
            if first is None:
                continue
            table = sql.Identifier(name)
            columns = sql.SQL(", ").join(map(sql.Identifier, first))
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(table, columns)
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write_row(tuple(first.values()))
                for row in found:
                    copy.write_row(tuple(row.values()))
            if "id" in schema.metadata.tables[name].c:
                connection.execute(
                    sql.SQL(
                        "SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT max(id) FROM {}))"
                    ).format(sql.Literal(name), table)
                )
        for statement in _COUNTS:
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE")
