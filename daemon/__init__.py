"""The service: the only home of the database, the calendar and HTTP."""

__version__ = "0.1.0"
