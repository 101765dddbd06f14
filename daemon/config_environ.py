"""A configuration as read, before it is validated: keys set by the environment, and moved ones."""

import tomllib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from daemon.errors import ConfigError


def hoist(data: dict[str, Any]) -> dict[str, Any]:
    """Move ``allow_any_source`` out of the table it was written under.

    In TOML a key below a table's header belongs to that table; this one is read wherever it stands.
    """
    data = {name: dict(value) if isinstance(value, dict) else value for name, value in data.items()}
    for table in list(data.values()):
        if isinstance(table, dict) and "allow_any_source" in table:
            data["allow_any_source"] = table.pop("allow_any_source")
    return data


def with_environ(
    data: dict[str, Any], tables: Mapping[str, FieldInfo], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Set the keys that the environment names.

    Raises
    ------
    ConfigError
        A variable names a key of a list, which has no single keys.
    """
    for variable, text in environ.items():
        _, _, rest = variable.partition("AXNODE_")
        table, _, key = rest.lower().partition("_")
        field = tables.get(table)
        if variable == "AXNODE_ALLOW_ANY_SOURCE":
            data["allow_any_source"] = _scalar(text, bool)
        elif variable.startswith("AXNODE_") and key and field is not None:
            held = data.setdefault(
                table, [] if table in ("sources", "destinations", "users", "rules") else {}
            )
            if not isinstance(held, dict):
                raise ConfigError(
                    f"{variable}: {table} is not a table of single keys; use the file"
                )
            held[key] = _scalar(text, _kind(field.annotation, key))
    return data


def _kind(table: Any, key: str) -> Any:
    field = getattr(table, "model_fields", {}).get(key)
    return field.annotation if field is not None else None


def _is_text(kind: Any) -> bool:
    return kind is str or any(_is_text(each) for each in get_args(kind))


def _scalar(text: str, kind: Any) -> Any:
    if _is_text(kind):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
