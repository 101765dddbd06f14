"""The receiving half of a node as a process of its own: everything real but model and worker.

    python -m tests.reception_process CONFIG LIMITS

CONFIG is a file as ``axnode serve`` reads it, LIMITS a JSON object of `dicom_io.reception.Limits`.
Prints its port, and serves until standard input closes.
"""

import json
import logging
import sys
from pathlib import Path

from daemon import clock, logs
from daemon import config as configuration
from daemon.commitment import Reports
from daemon.database import Database
from daemon.receive import Reception
from daemon.spool import Spool
from dicom_io.acceptor import Acceptor
from dicom_io.reception import Limits


def main() -> None:
    """Serve."""
    logs.configure(logging.INFO)
    config = configuration.load(Path(sys.argv[1]), {})
    database = Database(config.database_url)
    spool, objects = (Spool(config.state_dir / name) for name in ("spool", "objects"))
    reports = Reports(database, objects, clock.now_us)
    reception = Reception(config, database, spool, clock.now_us, reports)
    settings = {"max_associations": config.node.max_associations, **json.loads(sys.argv[2])}
    acceptor = Acceptor(
        reception, reception.accepted, config.node.host, config.node.port, Limits(**settings)
    )
    acceptor.start()
    print(acceptor.port, flush=True)
    sys.stdin.read()
    acceptor.stop(5)
    database.close()


if __name__ == "__main__":
    main()
