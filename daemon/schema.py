"""The tables. Times are integer UTC microseconds (`_us`); identifiers of people are never stored.

Migrations live in `daemon/migrations`; a test holds both to the same schema.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    select,
    text,
)

metadata = MetaData()

_id = BigInteger().with_variant(Integer, "sqlite")  # SQLite's rowid wants INTEGER


def _key() -> Column[int]:
    return Column("id", _id, primary_key=True, autoincrement=True)


node = Table(
    "node",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("database_id", String(32), nullable=False),  # random, renewed by a restore
    Column(
        "node_id", String(32), nullable=False
    ),  # random, kept for ever: tracking UIDs rest on it
    Column("created_us", BigInteger, nullable=False),
    Column("nights", Integer, nullable=False, server_default="0"),  # that retention has counted
)
NIGHTS = select(node.c.nights).scalar_subquery()
"""How many nights retention has counted."""

studies = Table(
    "studies",
    metadata,
    _key(),
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
    _key(),
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
    _key(),
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
    _key(),
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
    _key(),
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

commitments = Table(
    "commitments",
    metadata,
    _key(),
    Column("transaction_uid", String(64), nullable=False, unique=True),  # random, used once
    Column("destination", String(32), nullable=False),
    Column("asked_us", BigInteger, nullable=False),
)
"""Requests for storage commitment that were, or were about to be, sent to a destination."""

commitment_deliveries = Table(
    "commitment_deliveries",
    metadata,
    Column("commitment_id", ForeignKey("commitments.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "delivery_id",
        ForeignKey("deliveries.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
)
"""What a request still waits to hear of; a row goes with the answer."""

commitment_requests = Table(
    "commitment_requests",
    metadata,
    _key(),
    Column("transaction_uid", String(64), nullable=False),
    Column("source_ae", String(16), nullable=False),
    Column("address", String(64), nullable=False),  # that it was asked from
    Column("asked_us", BigInteger, nullable=False),
    Column("verified_us", BigInteger, nullable=True),  # every file was looked at
    Column("attempts", Integer, nullable=False, server_default="0"),  # associations of our own
    Column("due_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger, nullable=True),  # its result was heard, or given up
    Column("detail", Text, nullable=False, server_default=""),  # in words
    UniqueConstraint("source_ae", "transaction_uid"),
)
Index("ix_commitment_requests_due", commitment_requests.c.ended_us, commitment_requests.c.due_us)
"""Requests of modalities that we commit to storage."""

commitment_references = Table(
    "commitment_references",
    metadata,
    Column(
        "request_id", ForeignKey("commitment_requests.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("failure", Integer, nullable=True),  # Failure Reason; 0: committed; none: not known yet
)
"""The instances that a request names."""

events = Table(
    "events",
    metadata,
    _key(),
    Column("at_us", BigInteger, nullable=False),
    Column("study_id", ForeignKey("studies.id"), nullable=True, index=True),
    Column("entity", String(16), nullable=False),  # study, analysis, delivery, instance
    Column("entity_id", BigInteger, nullable=True),
    Column("action", String(32), nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
)

refusals = Table(
    "refusals",
    metadata,
    _key(),
    Column("address", String(64), nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("what", String(128), nullable=False),  # abstract syntax, or what was refused
    Column("transfer_syntaxes", Text, nullable=False, server_default=""),
    Column("reason", Text, nullable=False),
    Column("count", Integer, nullable=False, server_default="1"),
    Column("last_us", BigInteger, nullable=False),
    UniqueConstraint("address", "calling_ae", "what"),
)
Index("ix_refusals_last", refusals.c.last_us)
"""Associations and presentation contexts refused, so that an admin sees why a modality fails."""

turns = Table(
    "turns",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(512), nullable=False),  # as `setup.holder` names a node, or a note
    Column("until_us", BigInteger, nullable=False),
)
"""Work that one of several processes does, and notes for all of them; see `daemon.turns`."""

processes = Table(
    "processes",
    metadata,
    Column("holder", String(128), primary_key=True),  # as `setup.holder` names a node
    Column("roles", String(64), nullable=False),  # `daemon.roles.Role`, with commas
    Column("version", String(32), nullable=False),  # of AxNode
    Column("device", String(64), nullable=False, server_default=""),  # a worker's, once it is known
    Column("together", Integer, nullable=False, server_default="0"),  # frames it reads at once
    Column("started_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
)
"""The processes that work with these rows, as they say themselves; see `daemon.presence`."""
