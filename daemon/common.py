"""What the parts of a service share."""

import threading
from dataclasses import dataclass

from daemon.audit_notes import Notes
from daemon.bundles import Bundles
from daemon.certificates import TlsSetup
from daemon.clock import Clock
from daemon.commitment import Reports
from daemon.config import Config
from daemon.database import Database
from daemon.hints import Hints
from daemon.spool import Folders
from daemon.turns import Turns


@dataclass(frozen=True)
class Common:
    """Rows, files, settings, and what says that there is work."""

    config: Config
    database: Database
    folders: Folders
    clock: Clock
    bundles: Bundles
    recipe: str  # digest of the settings in force
    holder: str  # names this process in leases and turns
    tls: TlsSetup | None
    notes: Notes
    reports: Reports
    turns: Turns
    hints: Hints
    stopping: threading.Event  # set when the service stops
