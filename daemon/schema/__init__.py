"""The tables. Times are integer UTC microseconds (`_us`); identifiers of people are never stored.

Migrations live in `daemon/migrations`; a test holds both to the same schema.
"""

from daemon.schema.base import metadata
from daemon.schema.commitment import (
    commitment_deliveries,
    commitment_references,
    commitment_requests,
    commitments,
)
from daemon.schema.node import NIGHTS, node, processes, refusals, turns
from daemon.schema.studies import (
    DOOMED,
    FAILED,
    analyses,
    analysis_instances,
    deliveries,
    events,
    instances,
    objects,
    studies,
    tallies,
)

__all__ = [
    "DOOMED",
    "FAILED",
    "NIGHTS",
    "analyses",
    "analysis_instances",
    "commitment_deliveries",
    "commitment_references",
    "commitment_requests",
    "commitments",
    "deliveries",
    "events",
    "instances",
    "metadata",
    "node",
    "objects",
    "processes",
    "refusals",
    "studies",
    "tallies",
    "turns",
]
