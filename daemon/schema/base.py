"""What all tables have in common."""

from sqlalchemy import BigInteger, Column, Integer, MetaData

metadata = MetaData()
"""All tables."""

_id = BigInteger().with_variant(Integer, "sqlite")  # SQLite's rowid wants INTEGER


def key() -> Column[int]:
    """Return the column of a row's number."""
    return Column("id", _id, primary_key=True, autoincrement=True)
