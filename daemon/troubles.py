"""What of a node needs a person: for the console's first page, and for notifications."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from daemon import nights, postgres, presence, reloading, status, turns
from daemon.lifecycle import StudyState
from daemon.roles import Role

PARKED = "parked"  # key of the trouble that studies are parked
_LOADING_S = 600.0  # a model that takes longer to load does not come
_ROLELESS_S = 120.0  # one that died is followed by another
_UNANSWERED_S = 300.0  # a PACS is restarted in less
_NIGHT_S = 600.0  # after two more tries


@dataclass(frozen=True)
class Trouble:
    """Something that a person has to know of."""

    key: str  # the same as long as it is the same trouble
    words: str
    remedy: str  # what to do
    serious: bool  # the node does not do its work because of it
    lasting_s: float = 0.0  # how long before anybody is told
    number: int = 1  # of them: more than there were are told again


class Ailing(Protocol):
    """What the service says of itself."""

    def ailments(self) -> list[str]:
        """Return what keeps the node from working."""

    def unready(self) -> list[str]:
        """Return what keeps the node from taking studies."""

    @property
    def refused_reload(self) -> str:
        """Why the configuration was not read again; empty: nothing is wrong with it."""

    def certificates(self) -> list[tuple[str, bool]]:
        """Return each certificate in words, and whether it ends soon."""


def troubles(
    connection: Connection, service: Ailing, destinations: Sequence[str]
) -> tuple[Trouble, ...]:
    """Return what is wrong now, what is most serious first.

    Parameters
    ----------
    destinations
        Names of those that are configured.
    """
    found = [*of_service(service), *of_rows(connection, destinations)]
    return tuple(sorted(found, key=lambda each: not each.serious))


def of_service(service: Ailing) -> tuple[Trouble, ...]:
    """Return what is wrong with the service itself, whatever the rows say."""
    return tuple(_of_service(service))


def of_rows(connection: Connection, destinations: Sequence[str]) -> tuple[Trouble, ...]:
    """Return what is wrong with the work, whichever process looks."""
    return tuple(_of_rows(connection, destinations))


def _of_service(service: Ailing) -> Iterator[Trouble]:
    for words in service.ailments():
        # for how long it has been stuck changes, and it is the same trouble
        key = f"ailment {words.partition(' has not ')[0]}"
        yield Trouble(key, words, "see the log, and restart the service", True)
    for words in service.unready():
        loads = words.startswith("model: ") and "loading" in words
        yield Trouble(
            f"unready {words.partition(':')[0]}",
            words,
            "wait a little" if loads else "axnode check says more",
            not loads,
            _LOADING_S if loads else 0.0,
        )
    if service.refused_reload:
        yield Trouble(
            "reload",
            f"the configuration was not read again: {service.refused_reload}",
            "correct the file and reload; the settings of before are in force until then, and the "
            "service would not start with this file",
            False,
        )
    for words, soon in service.certificates():
        if soon:
            yield Trouble(
                f"certificate {words.partition(' expire')[0]}",
                words,
                "renew it, and restart the service",
                "expired" in words,
            )


def _of_rows(connection: Connection, destinations: Sequence[str]) -> Iterator[Trouble]:
    for item in status.destinations(connection, destinations):
        words = status.last_failure(connection, item["name"], waiting=True)
        if words:
            yield Trouble(
                f"destination {item['name']}",
                f"deliveries to {item['name']} fail: {words}",
                "try C-ECHO; they are sent again by themselves once it answers",
                True,
                _UNANSWERED_S,
            )
    yield from _undone(connection, destinations)
    for who, words in reloading.refusals(connection).items():
        remedy = "correct that file and reload; that process goes on with the settings of before"
        said = f"the configuration was not read again by {words}"
        yield Trouble(f"reload {who}", said, remedy, False)
    night = nights.failure(connection)
    if night:
        times = "once" if night.times == 1 else f"{night.times} times"
        yield Trouble(
            "nightly",
            f"the night's work has failed {times}: {night.reason}",
            "put that right, the log says more; it is tried again by itself, within an hour, and "
            "until it works images and results may stay longer than retention says",
            False,
            _NIGHT_S,
        )
    parked = status.counts(connection)[StudyState.PARKED]
    if parked:
        yield Trouble(
            PARKED,
            f"{parked} studies are parked" if parked > 1 else "a study is parked",
            "open it, put right what it says, and retry",
            False,
            number=parked,
        )


def _undone(connection: Connection, destinations: Sequence[str]) -> Iterator[Trouble]:
    """Yield what no process does, where several share the work."""
    if connection.dialect.name != "postgresql":
        return
    work = {"assemble": ("assembles studies", "receiver")}
    work |= {f"deliver {name}": (f"sends to {name}", "deliverer") for name in destinations}
    now = postgres.now_us(connection)
    undone = [(name, *work[name]) for name in turns.free(connection, work, now)]
    if not any(
        each.there and each.device and Role.WORKER in each.roles
        for each in presence.processes(connection, now)
    ):
        undone.append(("analyse", "analyses studies", "worker"))
    for name, does, role in undone:
        words = f"no process {does}"
        yield Trouble(f"role {name}", words, f"start one with --role {role}", True, _ROLELESS_S)
