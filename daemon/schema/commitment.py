"""Storage commitment (PS3.4 J): what we asked of others, and what others asked of us."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from daemon.schema.base import key, metadata

commitments = Table(
    "commitments",
    metadata,
    key(),
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
    key(),
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
