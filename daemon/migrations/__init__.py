"""The migrations, applied by Alembic, which is imported only where there is something to apply."""

from pathlib import Path

from sqlalchemy import Connection

HEAD = "0005"
"""Revision of the latest migration; a test holds it to Alembic's own search."""


def upgrade(connection: Connection) -> None:
    """Apply what is missing."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
