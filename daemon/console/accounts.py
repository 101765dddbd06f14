"""Users and what they prove themselves with: passwords in a browser, tokens in a program."""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.config_users import Role, User

_COST = 15  # log2: 32 MiB and about a tenth of a second for each guess
_BLOCK, _PARALLEL, _KEY_BYTES = 8, 1, 32
_TRIES = 5  # wrong ones in a row
_PAUSE_S = 30.0  # that a name or an address then waits; doubled by each further wrong one
_LONGEST_S = 900.0
_REMEMBERED = 10_000  # names and addresses
_NAME = 64  # characters of a name that count


@dataclass(frozen=True)
class Person:
    """Somebody who has signed in."""

    name: str
    role: Role

    @property
    def acts(self) -> bool:
        """Whether the person may change anything."""
        return self.role == "admin"


def hash_password(password: str) -> str:
    """Return what stands in the configuration as `User.password_hash`."""
    salt = secrets.token_bytes(16)
    return f"scrypt:{_COST}:{salt.hex()}:{_key(password, salt, _COST).hex()}"


def new_token() -> tuple[str, str]:
    """Return a token, and what stands in the configuration as `User.token_hash`."""
    token = secrets.token_urlsafe(32)
    return token, hash_token(token)


def hash_token(token: str) -> str:
    """Return what a token is known by."""
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def _key(password: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=2**cost,
        r=_BLOCK,
        p=_PARALLEL,
        dklen=_KEY_BYTES,
        maxmem=2**cost * _BLOCK * 130,
    )


def _matches(password: str, stored: str) -> bool:
    _, cost, salt, key = stored.split(":")
    found = _key(password, bytes.fromhex(salt), int(cost))
    return hmac.compare_digest(found, bytes.fromhex(key))


class TooManyTries(Exception):
    """Wrong passwords have come too often; `wait_s` is how long none is looked at."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many wrong passwords: wait {wait_s:.0f} seconds")
        self.wait_s = wait_s


@dataclass
class _Failures:
    number: int = 0
    until_s: float = 0.0  # monotonic


class Accounts:
    """Tells who somebody is.

    Parameters
    ----------
    users
        As configured.
    monotonic
        A clock in seconds that is never set.
    """

    def __init__(self, users: Sequence[User], monotonic: Callable[[], float]) -> None:
        self._users = {user.name: user for user in users}
        self._tokens = {user.token_hash: user for user in users if user.token_hash}
        self._monotonic = monotonic
        self._failures: dict[str, _Failures] = {}
        self._lock = threading.Lock()
        self._hashing = threading.Semaphore(2)  # 32 MiB and a processor each
        self._nobody = hash_password(secrets.token_hex(16))  # an unknown name takes as long

    def __bool__(self) -> bool:
        """Whether anybody may sign in."""
        return bool(self._users)

    def by_password(self, name: str, password: str, address: str) -> Person | None:
        """Return who has this name and password; None: nobody.

        Raises
        ------
        TooManyTries
            Wrong ones came for this name, or from this address; nothing was looked at.
        """
        keys = (f"name {name[:_NAME]}", f"address {address}")
        with self._lock:
            self._wait_out(keys)
            self._remember(keys, right=False)  # until it is known: many at once are many tries
        user = self._users.get(name)
        stored = (user.password_hash if user else None) or self._nobody
        with self._hashing:
            right = _matches(password, stored) and user is not None
        if right:
            with self._lock:
                self._remember(keys, right=True)
        return Person(user.name, user.role) if user is not None and right else None

    def by_token(self, token: str, address: str) -> Person | None:
        """Return whose token it is; None: nobody's.

        Raises
        ------
        TooManyTries
            Wrong ones came from this address; a right one is let in all the same.
        """
        user = self._tokens.get(hash_token(token))
        if user is None:
            keys = (f"token from {address}",)
            with self._lock:
                self._wait_out(keys)
                self._remember(keys, right=False)
        return Person(user.name, user.role) if user else None

    def _wait_out(self, keys: Sequence[str]) -> None:
        now = self._monotonic()
        left = max(self._failures.get(key, _Failures()).until_s - now for key in keys)
        if left > 0:
            raise TooManyTries(left)

    def _remember(self, keys: Sequence[str], *, right: bool) -> None:
        for key in keys:
            if right:
                self._failures.pop(key, None)
                continue
            failures = self._failures.pop(key, None) or _Failures()
            failures.number += 1
            if failures.number >= _TRIES:
                pause = min(_PAUSE_S * 2.0 ** (failures.number - _TRIES), _LONGEST_S)
                failures.until_s = self._monotonic() + pause
            self._failures[key] = failures  # at the end: the oldest are forgotten first
        while len(self._failures) > _REMEMBERED:
            self._failures.pop(next(iter(self._failures)))
