"""The way of a study, from its images to the deliveries of its results, and what happened on it."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from daemon.schema.base import key, metadata

studies = Table(
    "studies",
    metadata,
    key(),
    Column("study_uid", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),  # lifecycle.StudyState
    Column("reason", Text, nullable=False, server_default=""),  # why, in words
    Column("version", Integer, nullable=False, server_default="0"),  # latest analysis; 0: none
    Column("received_us", BigInteger, nullable=False),  # first instance
    Column("last_instance_us", BigInteger, nullable=False),
    # instances came since the last assembly
    Column("unassembled", Boolean, nullable=False, server_default=false()),
    # how many nights were counted when it moved last
    Column("moved_night", Integer, nullable=False, server_default="0"),
    Column("purged_us", BigInteger, nullable=True),  # images were deleted last; None: never
    Column("source_ae", String(16), nullable=False, server_default=""),  # of its first instance
)
Index("ix_studies_unassembled", studies.c.unassembled, studies.c.last_instance_us)
# pages of studies in the order of their arrival, which does not change while one turns them
Index("ix_studies_received", studies.c.received_us)
Index("ix_studies_state", studies.c.state, studies.c.received_us)
Index("ix_studies_source", studies.c.source_ae, studies.c.received_us)
Index("ix_studies_source_state", studies.c.source_ae, studies.c.state, studies.c.received_us)
_PURGED = text("purged_us IS NOT NULL")
Index("ix_studies_purged", studies.c.purged_us, sqlite_where=_PURGED, postgresql_where=_PURGED)

instances = Table(
    "instances",
    metadata,
    key(),
    Column("study_id", ForeignKey("studies.id"), nullable=False, index=True),
    Column("sop_instance_uid", String(64), nullable=False, unique=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("instance_hash", String(64), nullable=False, index=True),  # names the file in the spool
    Column("file", String(8), nullable=False, server_default="kept"),  # lifecycle.FileState
    Column("patient_key", String(64), nullable=False),  # salted hash of the PatientID
    Column("size", BigInteger, nullable=False),  # bytes of the file
    Column("source_ae", String(16), nullable=False),
    Column("assumed", Boolean, nullable=False),  # its source pushes axillary studies only
    Column("received_us", BigInteger, nullable=False),
    # since when we are committed to keep it (PS3.4 J): it must not be purged
    Column("committed_us", BigInteger, nullable=True),
)
DOOMED = text("file = 'doomed'")
Index(
    "ix_instances_doomed",
    instances.c.instance_hash,
    sqlite_where=DOOMED,
    postgresql_where=DOOMED,
)

analyses = Table(
    "analyses",
    metadata,
    key(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("input_hash", String(64), nullable=False),
    Column("bundle_digest", String(64), nullable=False),  # that is to be, or was, used
    Column("recipe_digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # lifecycle.AnalysisState
    Column("reason", Text, nullable=False, server_default=""),
    Column("not_evaluable", String(32), nullable=True),  # dicom_io.findings.Reason, once done
    Column("summary", Text, nullable=False, server_default="{}"),  # JSON: what was found
    # a rule has it claimed before all that is not urgent
    Column("urgent", Boolean, nullable=False, server_default=false()),
    # JSON: names of the destinations that a rule has chosen; None: all
    Column("destinations", Text, nullable=True),
    Column("attempts", Integer, nullable=False, server_default="0"),  # counted at the claim
    Column("fence", Integer, nullable=False, server_default="0"),  # rises at every claim
    Column("due_us", BigInteger, nullable=False),
    Column("lease_us", BigInteger, nullable=False, server_default="0"),  # claimed until
    Column("holder", String(128), nullable=False, server_default=""),  # the worker that claimed it
    Column("source_ae", String(16), nullable=False, server_default=""),  # as its study's
    Column("created_us", BigInteger, nullable=False),
    Column("finished_us", BigInteger, nullable=True),
    UniqueConstraint("study_id", "version"),
)
Index("ix_analyses_due", analyses.c.state, analyses.c.urgent, analyses.c.due_us)
Index(
    "ix_analyses_turns",
    analyses.c.state,
    analyses.c.urgent,
    analyses.c.source_ae,
    analyses.c.due_us,
)

analysis_instances = Table(
    "analysis_instances",
    metadata,
    Column("analysis_id", ForeignKey("analyses.id"), primary_key=True),
    Column("instance_id", ForeignKey("instances.id"), primary_key=True),
)

objects = Table(
    "objects",
    metadata,
    key(),
    Column("analysis_id", ForeignKey("analyses.id"), nullable=False, index=True),
    Column("role", String(8), nullable=False),  # seg, sr, …
    Column("ordinal", Integer, nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False, unique=True),
    Column("series_instance_uid", String(64), nullable=False),
    # SHA-256 of the file, and its name
    Column("file_hash", String(64), nullable=False, index=True),
    Column("file", String(8), nullable=False, server_default="kept"),  # lifecycle.FileState
    Column("size", BigInteger, nullable=False),
)
Index("ix_objects_doomed", objects.c.file_hash, sqlite_where=DOOMED, postgresql_where=DOOMED)

deliveries = Table(
    "deliveries",
    metadata,
    key(),
    Column("object_id", ForeignKey("objects.id"), nullable=False),
    Column("destination", String(32), nullable=False),
    Column("state", String(16), nullable=False),  # lifecycle.DeliveryState
    # sendings that failed; while stored, requests for commitment
    Column("attempts", Integer, nullable=False, server_default="0"),
    # sendings again because the peer did not commit to what it had stored
    Column("resends", Integer, nullable=False, server_default="0"),
    Column("due_us", BigInteger, nullable=False),
    Column("status", Integer, nullable=True),  # the peer's last C-STORE status
    Column("detail", Text, nullable=False, server_default=""),  # in words
    Column("delivered_us", BigInteger, nullable=True),
    UniqueConstraint("object_id", "destination"),
)
Index("ix_deliveries_due", deliveries.c.destination, deliveries.c.state, deliveries.c.due_us)
FAILED = text("attempts > 0 AND detail <> '' AND state IN ('pending', 'stored', 'parked')")
"""What tells of a destination's trouble; in these words, for a partial index serves no others."""
Index(
    "ix_deliveries_failed",
    deliveries.c.destination,
    deliveries.c.id,
    sqlite_where=FAILED,
    postgresql_where=FAILED,
)

tallies = Table(
    "tallies",
    metadata,
    Column("entity", String(16), primary_key=True),  # study, purged, delivery
    Column("destination", String(32), primary_key=True),  # of deliveries; else empty
    Column("state", String(16), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
"""How many rows there are of each kind, kept by triggers: counting them takes ever longer.

On PostgreSQL a view: sums, and the changes that were not added to them yet. A row that each change
rewrote would have a version for each, as long as anybody who copies the database may see them.
"""

events = Table(
    "events",
    metadata,
    key(),
    Column("at_us", BigInteger, nullable=False),
    Column("study_id", ForeignKey("studies.id"), nullable=True, index=True),
    Column("entity", String(16), nullable=False),  # study, analysis, delivery, instance
    Column("entity_id", BigInteger, nullable=True),
    Column("action", String(32), nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
)
