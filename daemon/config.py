"""The configuration: TOML read once, frozen, validated with the path of the wrong key.

Environment variables named ``AXNODE_<TABLE>_<KEY>`` (``AXNODE_NODE_PORT``) override single keys.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from daemon import config_destination, config_results, config_rules, config_tls, config_users
from daemon.config_destination import Destination
from daemon.config_environ import hoist, with_environ
from daemon.config_results import Results
from daemon.config_rules import Rule
from daemon.config_source import Source, guard_open_door
from daemon.config_table import Address, AETitle, Table
from daemon.config_tls import FilePath, Tls
from daemon.config_users import User
from daemon.errors import ConfigError

Port = Annotated[int, Field(ge=0, le=65535)]


class Node(Table):
    """Where the node listens and keeps its state."""

    ae_title: AETitle = "AXNODE"
    host: str = "127.0.0.1"  # address to listen on
    port: Port = 11112  # 0: any free port
    state_dir: str = "/var/lib/axnode"  # spool, database, objects
    spool_dir: str | None = None  # images and results, of all nodes with one database
    ignore_classes: tuple[str, ...] = ()  # SOP classes accepted, recorded and discarded
    disk_floor_gb: Annotated[float, Field(ge=0)] = 5.0  # refuse instances below this free space
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 64
    storage_commitment_scp: bool = False  # confirm to modalities that their images are kept


class Database(Table):
    """Which database holds the rows; left out: SQLite in `state_dir`."""

    url: str | None = None


class Study(Table):
    """When a study is ready, and how much of a cine is read."""

    quiet_period_s: Annotated[float, Field(ge=0)] = 120  # seconds without a new instance
    version_interval_s: Annotated[float, Field(ge=0)] = 600  # seconds between two versions
    cine_frames: Annotated[int, Field(ge=1)] = 30  # frames of one cine that are analysed


class Model(Table):
    """Which bundle analyses, and where."""

    bundle: str | None = None  # left out: the bundle that ships
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda|cuda:\d+)$")] = "auto"
    allow_demonstration: bool = False  # serve a demonstration bundle beyond loopback
    aggregation: Literal["max", "mean"] | None = None  # over a side's nodes; None: the bundle's
    operating_point: str | None = None  # left out: the bundle's first
    memory_limit_gb: Annotated[float, Field(gt=0)] = 8.0  # of the analysing process


class Retention(Table):
    """For how long files of studies at rest, and their timelines, are kept; other rows stay."""

    # nights, after a study came to rest, in which the node ran; 0: for ever
    instances_days: Annotated[int, Field(ge=0)] = 30
    results_days: Annotated[int, Field(ge=0)] = 30
    events_days: Annotated[int, Field(ge=0)] = 0


class Audit(Table):
    """Whether and where an audit trail is written (PS3.15 A.5)."""

    enabled: bool = True
    folder: str | None = None  # left out: audit in `node.state_dir`


class Http(Table):
    """Where console, probes and metrics are served."""

    host: str = "127.0.0.1"
    port: Port = 8080
    certificate: FilePath | None = None  # PEM; left out: no TLS
    key: FilePath | None = None  # PEM, not encrypted
    proxy: Address | None = None  # address of one that does TLS; its word on the caller is believed


class Notify(Table):
    """Who is told of trouble."""

    webhook: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = None
    secret: str | None = None  # sent as a bearer token


class Config(Table):
    """The whole configuration."""

    allow_any_source: bool = False
    node: Node = Node()
    database: Database = Database()
    sources: tuple[Source, ...] = ()
    destinations: tuple[Destination, ...] = ()
    tls: Tls = Tls()
    study: Study = Study()
    model: Model = Model()
    results: Results = Results()
    retention: Retention = Retention()
    audit: Audit = Audit()
    http: Http = Http()
    notify: Notify = Notify()
    users: tuple[User, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def state_dir(self) -> Path:
        """Folder of spool, objects and, by default, database."""
        return Path(self.node.state_dir)

    @property
    def bundles_of_rules(self) -> tuple[str, ...]:
        """Folders of the bundles that rules name, each once, without that of ``model.bundle``."""
        named = dict.fromkeys(rule.bundle for rule in self.rules if rule.bundle is not None)
        return tuple(each for each in named if each != self.model.bundle)

    @property
    def spool_dir(self) -> Path:
        """Folder of images and results."""
        return Path(self.node.spool_dir) if self.node.spool_dir else self.state_dir

    @property
    def shares_rows(self) -> bool:
        """Whether other processes, here or elsewhere, may have the same rows."""
        return self.database_url.startswith("postgresql")

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database.url or f"sqlite:///{self.state_dir / 'axnode.sqlite'}"


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and validate the configuration file.

    Raises
    ------
    ConfigError
        The file cannot be read, is not TOML, or a key is unknown or wrong; names the key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"no configuration at {path}: give --config FILE; axnode config init writes one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return parse(data, environ)


def parse(data: dict[str, Any], environ: Mapping[str, str] = {}) -> Config:
    """Validate a configuration given as a mapping; see `load`."""
    data = with_environ(hoist(data), Config.model_fields, environ)
    data = config_tls.with_credentials(data, environ)
    try:
        # JSON mode lets TOML arrays become tuples and integers floats, and is strict otherwise
        config = Config.model_validate_json(_json(data))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error
    _check(config)
    return config


def _json(data: dict[str, Any]) -> str:
    import json

    return json.dumps(data, default=str)


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        what = "unknown key" if item["type"] == "extra_forbidden" else item["msg"]
        lines.append(f"{key}: {what}")
    return "configuration: " + "; ".join(lines)


def _check(config: Config) -> None:
    names = [destination.name for destination in config.destinations]
    if len(set(names)) != len(names):
        raise ConfigError("configuration: destinations: two have the same name; rename one")
    guard_open_door(config, config.node.host)
    config_destination.check(config.destinations)
    if config.node.spool_dir is not None and not config.shares_rows:
        raise ConfigError(
            "configuration: node.spool_dir: with SQLite everything lies in node.state_dir; leave "
            "it out, or set database.url to a PostgreSQL database"
        )
    config_tls.check(config)
    config_users.check(config)
    config_rules.check(config.rules, names)
    config_results.check(config.results, config.destinations)
