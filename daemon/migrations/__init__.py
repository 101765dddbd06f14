"""The migrations, applied by Alembic, which is imported only where there is something to apply."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, column, inspect, select, table

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0011"
"""Revision of the latest migration; a test holds it to Alembic's own search."""


def upgrade(connection: Connection) -> None:
    """Apply what is missing."""
    from alembic import command

    command.upgrade(alembic_config(connection), HEAD)


def alembic_config(connection: Connection) -> "Config":
    """Return what Alembic's commands take, to work on this connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def revision(connection: Connection) -> str | None:
    """Return the schema's revision as Alembic notes it; None: there is no schema yet."""
    name = "alembic_version"
    if not inspect(connection).has_table(name):
        return None
    return connection.execute(select(column("version_num")).select_from(table(name))).scalar()
