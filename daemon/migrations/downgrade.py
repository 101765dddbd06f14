"""The database back to the schema of an older release: ``python -m daemon.migrations.downgrade``.

Run by `deploy/install.sh` with the newer release's environment, while no service runs.
"""

import argparse
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from daemon.config import load
from daemon.migrations import alembic_config


def main() -> None:
    """Undo every migration after a revision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("revision")
    options = parser.parse_args()
    config = load(options.config)
    if config.database.url is None and not (config.state_dir / "axnode.sqlite").exists():
        return
    with create_engine(config.database_url).begin() as connection:
        command.downgrade(alembic_config(connection), options.revision)


if __name__ == "__main__":
    main()
