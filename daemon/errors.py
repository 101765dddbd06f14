"""Exceptions of the service, each with the exit code of the command it ends.

DaemonError
 ├─ ConfigError        2  a setting is wrong; names the key
 ├─ InputError         3  what was asked for cannot be done, or a given file cannot be used
 │   └─ UnknownError      it names something that is not there
 ├─ UnavailableError   4  a port, peer, folder or database cannot be had
 ├─ IllegalTransition     a state machine was asked for a move its table does not hold
 ├─ LostLease             another worker has taken the job over; this one's answer is dropped
 ├─ LostTurn              another process does this work now; what is left of it is that one's
 ├─ AttemptFailed         one attempt at an analysis failed; says why
 └─ DamagedFile           a stored file has not the bytes any more that it was acknowledged with

Messages tell the operator what to do, in one line.
"""


class DaemonError(Exception):
    """Base of everything that `daemon` raises on purpose."""

    exit_code = 70


class ConfigError(DaemonError):
    """A setting is missing, unknown or out of range."""

    exit_code = 2


class InputError(DaemonError):
    """What was asked for cannot be done, or a file or folder that was given cannot be used."""

    exit_code = 3


class UnknownError(InputError):
    """A study, a destination or a file that is asked for is not there."""


class UnavailableError(DaemonError):
    """Something the service needs outside itself cannot be had."""

    exit_code = 4


class IllegalTransition(DaemonError):
    """A move that `daemon.lifecycle` does not allow."""


class LostLease(DaemonError):
    """The job's fencing token has moved on."""


class LostTurn(DaemonError):
    """Work that one process at a time does is another's now."""


class AttemptFailed(DaemonError):
    """One attempt at an analysis failed; the job may be tried again."""


class DamagedFile(DaemonError):
    """A stored file is missing, or has other bytes than those it is named for."""
