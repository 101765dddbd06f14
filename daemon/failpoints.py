"""Named points on the way of a study at which a test kills the process, before and after each step.

`AXNODE_FAILPOINT=NAME` kills at the first arrival, `NAME:3` at the third. Unset, as everywhere but
in tests, a point costs one comparison. The kill is SIGKILL: nothing is flushed, as in a crash.
"""

import itertools
import os
import signal

POINTS = (
    "start.locked",  # the state folder is claimed, nothing is open yet
    "start.opened",  # the database is migrated, no port is open yet
    "spool.opened",  # a file for an instance, or for a result, exists
    "spool.written",  # all its bytes are written, none is synced
    "spool.synced",
    "spool.renamed",  # it has its name; the folder is not synced
    "spool.kept",  # durable; no row names it
    "database.begun",  # a group of writes has run in its transaction
    "database.committed",  # nobody has been told
    "database.checkpointed",
    "receive.recorded",  # the row is committed; the modality has no answer
    "receive.dropped",  # the file of a second coming is gone; nothing is recorded of it
    "assemble.decided",
    "assemble.queued",
    "worker.claimed",
    "worker.analysed",  # the answer is here, no object is built
    "worker.built",  # every object's file is kept; no row names them
    "worker.finished",
    "deliver.due",  # chosen, not sent
    "deliver.answered",  # the PACS has said yes; no row knows
    "deliver.settled",
    "deliver.released",  # the rows of unwanted pictures are gone, their files are not
    "commitment.recorded",  # the request to the PACS is a row; it is not sent
    "commitment.answered",  # the PACS has taken it; no row knows
    "commitment.reported",  # the PACS's report is in the rows; the PACS has no answer
    "custody.recorded",  # the modality's request is a row; the modality has no answer
    "custody.verified",  # the verdict is in the rows; nobody has heard it
    "custody.told",  # the modality has heard it; no row knows
)

_NAME, _, _COUNT = os.environ.get("AXNODE_FAILPOINT", "").partition(":")
_ARRIVALS = itertools.count(1)


def reach(point: str) -> None:
    """End the process here, if it was asked to."""
    if point == _NAME and next(_ARRIVALS) >= int(_COUNT or 1):
        os.kill(os.getpid(), signal.SIGKILL)
