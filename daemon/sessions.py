"""Sessions of PostgreSQL that give up a server that keeps them and does not answer.

A server that is stopped, or whose disk hangs, is one whose kernel goes on to acknowledge packets:
neither keepalives nor the server's own limits end a wait then. psycopg does all of its waiting in
`Connection.wait`: for statements, for BEGIN, COMMIT and ROLLBACK, and for the pool's question
whether a session is still there. To connect has a limit of its own (`connect_timeout`).
"""

import time
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen


class Session(psycopg.Connection[Any]):
    """A session that is closed once the server has been silent for too long.

    What becomes of a COMMIT that is given up is not known: the server may do it yet.
    """

    silence_s: float | None = None
    """How long the server may be silent while it is waited for; None: for ever."""

    def wait(self, gen: PQGen[RV], *args: Any, **limits: Any) -> RV:
        """Wait for an answer; a caller's own `timeout` counts, as that of one who listens.

        Raises
        ------
        psycopg.OperationalError
            The server was silent for too long; the session is closed.
        """
        if self.silence_s is None or limits.get("timeout") is not None:
            return super().wait(gen, *args, **limits)
        return super().wait(self._while_heard(gen, self.silence_s), *args, **limits)

    def _while_heard(self, gen: PQGen[RV], silence_s: float) -> PQGen[RV]:
        """Pass `gen` on; who waits for it resumes it ten times a second, heard or not."""
        since = time.monotonic()
        ready: Any = None  # which starts it
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as end:
                answer: RV = end.value
                return answer
            ready = yield wanted
            if ready:
                since = time.monotonic()
            elif time.monotonic() - since > silence_s:
                self.close()
                raise psycopg.OperationalError(f"no answer for {silence_s:g} s; given up")
