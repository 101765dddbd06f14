"""The parent's end of the analysing process: start, ask, watch its heartbeat, replace."""

import contextlib
import json
import logging
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.errors import AttemptFailed, UnavailableError

if TYPE_CHECKING:  # the process is started before most libraries are imported
    from daemon.config import Config

log = logging.getLogger(__name__)
SILENCE_S = 60.0  # without a sign of life the process is taken for hung
_LOOK_S = 5.0  # between two calls of `on_wait`
START_S = 300.0  # torch from a cold disk, on a busy machine
# torch's threads wait for each other asleep: beside other work on the same processors one that
# waits awake keeps the one that it waits for from running
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}


class ChildLost(AttemptFailed):
    """The process died, hung, or answered nonsense; it has been killed."""


class ChildFailed(AttemptFailed):
    """The process answered with an error; `fatal`: it should be replaced."""

    def __init__(self, message: str, *, fatal: bool) -> None:
        super().__init__(message)
        self.fatal = fatal


@dataclass(frozen=True)
class ChildOptions:
    """What the process needs to start."""

    bundle: Path | None  # None: the one that ships
    device: str
    memory_bytes: int  # RLIMIT_DATA
    others: tuple[Path, ...] = ()  # bundles that rules name
    silence_s: float = SILENCE_S
    start_s: float = START_S
    # -P: a folder named daemon where the service was started is not this package
    command: tuple[str, ...] = (sys.executable, "-P", "-m", "daemon.inference")

    @classmethod
    def of(cls, config: "Config") -> "ChildOptions":
        """Return what a configuration asks for."""
        model = config.model
        bundle = Path(model.bundle) if model.bundle else None
        others = tuple(Path(each) for each in config.bundles_of_rules)
        return cls(bundle, model.device, int(model.memory_limit_gb * 2**30), others)


class Child:
    """One analysing process, started on the first request and replaced after it was lost."""

    def __init__(self, options: ChildOptions) -> None:
        self.on_life: Callable[[], None] = lambda: None  # called at every sign of life
        self.on_wait: Callable[[], None] = lambda: None  # and while one is waited for
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._loaded = False
        self._buffer = b""
        self._owes = False  # an answer that nobody has waited for
        self.description: dict[str, str] = {}

    @property
    def pid(self) -> int | None:
        """Process id, while there is one."""
        return self._process.pid if self._process else None

    @property
    def together(self) -> int:
        """How many frames it is best given at once; known once it has started."""
        return int(self.description.get("together", "1"))

    @property
    def digests(self) -> frozenset[str]:
        """Which bundles it holds; known once it has started."""
        return frozenset(self.description.get("digests", "").split())

    def launch(self) -> None:
        """Start the process; its model loads meanwhile."""
        self.stop()
        options = {
            "bundles": [str(each or "") for each in (self._options.bundle, *self._options.others)],
            "device": self._options.device,
            "memory_bytes": self._options.memory_bytes,
        }
        self._buffer = b""
        self._process = subprocess.Popen(
            [*self._options.command, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_ENVIRONMENT, **os.environ},
        )

    def start(self) -> None:
        """Start the process, unless it runs, and wait until its model is loaded.

        Raises
        ------
        UnavailableError
            The bundle or the device cannot be used.
        ChildLost
            The process died or hung.
        """
        if self._process is None or (self._loaded and self._process.poll() is not None):
            self.launch()
        if self._loaded:
            return
        message = self._receive(self._options.start_s)
        if "ready" not in message:
            self.stop()
            raise UnavailableError(f"model: {message.get('error', 'the process did not start')}")
        self.description = message["ready"]
        self._loaded = True
        log.info("model loaded", extra={"action": "model_ready", **self.description})

    def submit(self, request: dict[str, Any]) -> None:
        """Send one request; one whose `answer` was never called for is given up with its process.

        Raises
        ------
        UnavailableError, ChildLost
            As `start`, or the process died.
        """
        if self._owes:
            self.stop()
        self.start()
        self._owes = True
        self._send(json.dumps(request).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to what was submitted.

        Raises
        ------
        AttemptFailed
            The process answered with an error.
        ChildLost
            The process died or hung.
        """
        self._owes = False  # whatever comes now, no answer is left behind
        try:
            return self._wait_for_answer()
        except ChildFailed as error:
            if error.fatal:
                self.stop()
            raise
        except BaseException:
            self.stop()  # its late answer must not be taken for the next one's
            raise

    def _wait_for_answer(self) -> dict[str, Any]:
        while True:
            message = self._receive(self._options.silence_s)
            if "answer" in message:
                if not isinstance(message["answer"], dict):
                    raise self._lost("answered nonsense")
                return message["answer"]
            if "error" in message:
                raise ChildFailed(str(message["error"]), fatal=bool(message.get("fatal")))
            self.on_life()

    def _send(self, line: bytes) -> None:
        stdin = self._process.stdin if self._process else None
        try:
            if stdin is None:
                raise BrokenPipeError
            stdin.write(line)
            stdin.flush()
        except OSError as error:
            raise self._lost("died") from error

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._lost(f"gave no sign of life for {timeout_s:.0f} s")
            self._buffer += self._read_some(min(left, _LOOK_S))
            self.on_wait()
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise self._lost("answered something that is not a message")
        return message

    def _read_some(self, timeout_s: float) -> bytes:
        stdout = self._process.stdout if self._process else None
        if stdout is None:
            raise self._lost("died")
        fd = stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                return b""
        data = os.read(fd, 65536)
        if not data:
            raise self._lost("died")
        return data

    def _lost(self, how: str) -> ChildLost:
        self.stop()
        log.error("analysing process lost", extra={"action": "child_lost", "how": how})
        return ChildLost(f"the analysing process {how}")

    def kill(self) -> None:
        """Kill the process from another thread; the one that waits for it sees it die."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End the process; it holds nothing that could be lost."""
        process, self._process = self._process, None
        self._loaded = False
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # unsent bytes of a dead process
                    pipe.close()
