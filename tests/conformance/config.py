"""The settings that a network peer notices: names, defaults and words from the configuration."""

import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from daemon.config import Config
from tests.conformance.network import table

EXAMPLE = Path(__file__).parents[2] / "deploy" / "axnode.example.toml"
TABLES = ("node", "sources", "destinations", "tls", "study", "results")  # what peers notice
_KEY = re.compile(r"#?([a-z_]+) = ")
_TABLE = re.compile(r"#?\[+([a-z]+)\]+$")


def words() -> Mapping[str, str]:
    """Return what the example configuration says of each key, by its path.

    Keys that follow each other below one comment share it.
    """
    said: dict[str, str] = {}
    name, comment, used = "", "", False
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if match := _TABLE.match(line):
            name, comment = match[1] + ".", ""
        elif match := _KEY.match(line):
            said[name + match[1]], used = comment.strip(), True
        else:
            above = "" if used or not line else comment
            comment, used = above + _comment(line), False
    return said


def _comment(line: str) -> str:
    """Return the words of a comment; headings and other lines have none."""
    return line[1:] if line.startswith("# ") and not line.startswith("# ---") else ""


def setting_table() -> str:
    """Return the settings of `TABLES`, with their defaults."""
    said = words()
    rows = [
        (f"`{key}`", default, allowed, said.get(key, ""))
        for key, default, allowed in (
            ("allow_any_source", *_default_and_values(Config, "allow_any_source")),
            *_settings(),
        )
    ]
    return table(("Key", "Default", "Values", "Meaning"), rows)


def _settings() -> Iterator[tuple[str, str, str]]:
    for name in TABLES:
        model = _model(Config.model_fields[name].annotation)
        for key in model.model_fields:
            yield (f"{name}.{key}", *_default_and_values(model, key))


def _model(annotation: Any) -> type[BaseModel]:
    """Return the table's model; of a list of tables, that of one."""
    return annotation if isinstance(annotation, type) else get_args(annotation)[0]


def _default_and_values(model: type[BaseModel], key: str) -> tuple[str, str]:
    field = model.model_fields[key]
    default = "" if field.default in (PydanticUndefined, None) else f"`{toml(field.default)}`"
    return default, ", ".join(f"`{toml(value)}`" for value in _choices(field.annotation))


def toml(value: Any) -> str:
    """Return a value as the configuration file writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return tuple(value for part in get_args(annotation) for value in _choices(part))
    return ()
