"""The tables ``[[users]]``: who may sign in to the console, and as what."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints

from daemon.config_table import Table
from daemon.errors import ConfigError

if TYPE_CHECKING:
    from daemon.config import Config

Role = Literal["viewer", "admin"]
PasswordHash = Annotated[
    str, StringConstraints(pattern=r"^scrypt:\d{1,2}:[0-9a-f]{32}:[0-9a-f]{64}$")
]
"""As ``axnode user`` prints it: scrypt (RFC 7914), log2 of its cost, salt, key."""
TokenHash = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""As ``axnode user --token`` prints it; a token is random, so one round of SHA-256 hides it."""


class User(Table):
    """A person, or a program, that may use the console and its interface."""

    name: Annotated[str, StringConstraints(pattern=r"^[\w.@ -]{1,64}$")]
    role: Role = "viewer"  # viewer: looks; admin: acts too
    password_hash: PasswordHash | None = None
    token_hash: TokenHash | None = None


def check(config: "Config") -> None:
    """Raise `ConfigError` where nobody could sign in as a user, or two are the same."""
    seen: set[str] = set()
    for number, user in enumerate(config.users):
        key = f"configuration: users.{number}"
        if user.password_hash is None and user.token_hash is None:
            raise ConfigError(f"{key}: neither password_hash nor token_hash; run axnode user")
        if user.name in seen:
            raise ConfigError(
                f"{key}.name: two have the same name: delete the old one, or rename it"
            )
        seen.add(user.name)
