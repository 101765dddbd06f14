"""The tables ``[[users]]``: who may sign in to the console, or store by STOW-RS, and as what."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints

from daemon.config_table import Table
from daemon.errors import ConfigError

if TYPE_CHECKING:
    from daemon.config import Config

Role = Literal["viewer", "admin", "source"]
PasswordHash = Annotated[
    str, StringConstraints(pattern=r"^scrypt:\d{1,2}:[0-9a-f]{32}:[0-9a-f]{64}$")
]
"""As ``axnode user`` prints it: scrypt (RFC 7914), log2 of its cost, salt, key."""
TokenHash = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""As ``axnode user --token`` prints it; a token is random, so one round of SHA-256 hides it."""
_LONGEST_TITLE = 16  # PS3.5 6.2, VR AE


class User(Table):
    """A person, or a program, that may use the console and its interface, or push images."""

    name: Annotated[str, StringConstraints(pattern=r"^[\w.@ -]{1,64}$")]
    role: Role = "viewer"  # viewer: looks; admin: acts too; source: stores, and nothing else
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
        if user.role == "source":
            _check_source(config, user, key)
        seen.add(user.name)


def _check_source(config: "Config", user: User, key: str) -> None:
    """Raise `ConfigError` where a user could be no source: its name is its AE title."""
    title = user.name
    if not title.isascii() or len(title) > _LONGEST_TITLE or title != title.strip():
        raise ConfigError(
            f"{key}.name: a source is named as its AE title, of at most {_LONGEST_TITLE} characters"
        )
    if user.password_hash is not None or user.token_hash is None:
        raise ConfigError(
            f"{key}: a source has a token and no password; run axnode user {title} --role source"
        )
    if config.sources and title not in {source.ae_title for source in config.sources}:
        raise ConfigError(f"{key}.name: no [[sources]] entry has this ae_title; add one")
