"""The node itself: its identity, who works with its rows, and whom it refused."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
)

from daemon.schema.base import key, metadata

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

refusals = Table(
    "refusals",
    metadata,
    key(),
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
