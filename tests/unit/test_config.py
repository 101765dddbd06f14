"""The configuration: what it takes, and how it says what is wrong."""

import re
from pathlib import Path
from typing import Any

import pytest

from daemon.config import Config, load, parse
from daemon.errors import ConfigError
from daemon.loopback import is_loopback
from daemon.roles import EVERY, Role, chosen

SOURCE = {"ae_title": "US1"}
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 4242}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "axnode.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_a_whole_configuration(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""), {})
    assert config == Config()
    assert (config.node.ae_title, config.node.port, config.node.host) == (
        "AXNODE",
        11112,
        "127.0.0.1",
    )
    assert (config.study.quiet_period_s, config.study.version_interval_s) == (120, 600)
    assert config.database_url == "sqlite:////var/lib/axnode/axnode.sqlite"


def test_every_key_of_the_design_is_taken(tmp_path: Path) -> None:
    text = """
    [node]
    ae_title = "NODE"
    host = "0.0.0.0"
    port = 104
    state_dir = "/srv/axnode"
    [database]
    url = "postgresql+psycopg://db/axnode"
    [[sources]]
    ae_title = "US1"
    host = "10.0.0.5"
    assume_axilla = true
    [[destinations]]
    name = "pacs"
    ae_title = "ORTHANC"
    host = "10.0.0.6"
    port = 4242
    storage_commitment = false
    [study]
    quiet_period_s = 3
    version_interval_s = 4.5
    [model]
    bundle = "/srv/bundle"
    device = "cuda:1"
    allow_demonstration = true
    [results]
    seg = false
    sr = true
    presentation_state = "auto"
    secondary_capture = "auto"
    seg_geometry = "strict"
    sr_class = "comprehensive_3d"
    [http]
    host = "::1"
    port = 9000
    """
    config = load(written(tmp_path, text), {})
    assert config.sources[0].assume_axilla is True
    assert config.destinations[0].port == 4242
    assert config.study.quiet_period_s == 3.0
    assert config.database_url == "postgresql+psycopg://db/axnode"
    assert config.state_dir == Path("/srv/axnode")


@pytest.mark.parametrize(
    ("data", "key", "what"),
    [
        ({"node": {"prot": 104}}, "node.prot", "unknown key"),
        ({"nodes": {}}, "nodes", "unknown key"),
        ({"node": {"port": "104"}}, "node.port", "integer"),
        ({"node": {"port": 70000}}, "node.port", "65535"),
        ({"node": {"ae_title": "SEVENTEEN LETTERS"}}, "node.ae_title", "16"),
        ({"node": {"ae_title": "   "}}, "node.ae_title", "at least 1 character"),
        ({"node": {"ae_title": "A\\B"}}, "node.ae_title", "pattern"),
        ({"study": {"quiet_period_s": -1}}, "study.quiet_period_s", "greater than or equal"),
        ({"model": {"device": "tpu"}}, "model.device", "pattern"),
        ({"model": {"aggregation": "median"}}, "model.aggregation", "'max' or 'mean'"),
        ({"results": {"sr": "yes"}}, "results.sr", "boolean"),
        ({"sources": [SOURCE, {"host": "x"}]}, "sources.1.ae_title", "required"),
        ({"destinations": [{**PACS, "name": "a b"}]}, "destinations.0.name", "pattern"),
        ({"destinations": [{**PACS, "port": 0}]}, "destinations.0.port", "greater than"),
    ],
)
def test_a_wrong_key_is_named_with_its_path(data: dict[str, Any], key: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(data)
    assert f"{key}: " in str(caught.value)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_endless_waits_are_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="quiet_period_s"):
        parse({"study": {"quiet_period_s": value}})


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().node.port = 1  # type: ignore[misc]


def test_the_environment_overrides_single_keys() -> None:
    environ = {
        "AXNODE_NODE_PORT": "104",
        "AXNODE_NODE_HOST": "127.0.0.2",
        "AXNODE_STUDY_QUIET_PERIOD_S": "1.5",
        "AXNODE_MODEL_ALLOW_DEMONSTRATION": "true",
        "AXNODE_TEST_DATA": "/somewhere",  # not a table of ours
        "AXNODE": "x",
        "HOME": "/root",
    }
    config = parse({"node": {"port": 1, "ae_title": "KEPT"}}, environ)
    assert (config.node.port, config.node.host, config.node.ae_title) == (104, "127.0.0.2", "KEPT")
    assert config.study.quiet_period_s == 1.5
    assert config.model.allow_demonstration is True


def test_the_environment_is_validated_too() -> None:
    with pytest.raises(ConfigError, match=r"node\.prot: unknown key"):
        parse({}, {"AXNODE_NODE_PROT": "1"})
    with pytest.raises(ConfigError, match=r"AXNODE_SOURCES_0.*use the file"):
        parse({}, {"AXNODE_SOURCES_0": "x"})


def test_the_environment_reaches_the_top_level_key() -> None:
    config = parse({"node": {"host": "0.0.0.0"}}, {"AXNODE_ALLOW_ANY_SOURCE": "true"})  # noqa: S104
    assert config.allow_any_source is True


def test_text_of_digits_can_come_from_the_environment() -> None:
    environ = {
        "AXNODE_NODE_AE_TITLE": "1234",
        "AXNODE_HTTP_CERTIFICATE": "1",
        "AXNODE_HTTP_KEY": "2",
    }
    config = parse({}, environ)
    assert config.node.ae_title == "1234"
    assert (config.http.certificate, config.http.key) == ("1", "2")


def test_the_environment_does_not_change_the_callers_mapping() -> None:
    data: dict[str, Any] = {"node": {"port": 1}}
    parse(data, {"AXNODE_NODE_PORT": "2"})
    assert data == {"node": {"port": 1}}


def test_a_value_where_a_table_should_be_is_named_even_with_an_override() -> None:
    with pytest.raises(ConfigError, match="node"):
        parse({"node": 5}, {"AXNODE_NODE_PORT": "2"})


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "node.example", ""])  # noqa: S104
def test_an_open_door_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="allow_any_source = true"):
        parse({"node": {"host": host}})
    assert parse({"node": {"host": host}, "sources": [SOURCE]}).sources
    assert parse({"node": {"host": host}, "allow_any_source": True}).allow_any_source


OPEN = '[node]\nhost = "0.0.0.0"\n'


@pytest.mark.parametrize(
    "text",
    [
        "allow_any_source = true\n" + OPEN,
        OPEN + "allow_any_source = true\n",
        OPEN + '[database]\nurl = "sqlite:///x"\nallow_any_source = true\n',
        OPEN + "[study]\nquiet_period_s = 1\nallow_any_source = true\n",
        OPEN + "[http]\nport = 1\nallow_any_source = true\n",
    ],
)
def test_allow_any_source_counts_wherever_it_stands(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text), {}).allow_any_source is True


def test_allow_any_source_is_checked_wherever_it_stands() -> None:
    with pytest.raises(ConfigError, match=r"allow_any_source: .*boolean"):
        parse({"database": {"allow_any_source": "yes"}})


@pytest.mark.parametrize(
    ("host", "address", "expected"),
    [
        (None, "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.50", False),
        ("fd00::0:5", "fd00::5", True),  # one address, two spellings
        ("FD00::5", "fd00::5", True),
        ("fd00::5", "fd00::6", False),
    ],
)
def test_a_source_is_known_by_its_address(host: str | None, address: str, expected: bool) -> None:
    source = parse({"sources": [{**SOURCE, "host": host}]}).sources[0]
    assert source.is_at(address) is expected


@pytest.mark.parametrize("host", ["localhost", "us1.hospital", "010.0.0.5", "10.0.0.5/24", ""])
def test_a_source_that_would_never_be_recognised_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"sources\.0\.host: .*does not appear to be an IP"):
        parse({"sources": [{**SOURCE, "host": host}]})


def test_blanks_around_an_ae_title_mean_nothing() -> None:
    """PS3.5 6.2: leading and trailing spaces are not significant, and peers strip them too."""
    assert parse({"sources": [{"ae_title": " US1 "}]}).sources[0].ae_title == "US1"


def test_a_node_that_would_deliver_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="seg and sr are both off"):
        parse({"results": {"seg": False, "sr": False}})


def test_pictures_alone_are_a_delivery() -> None:
    none = {"seg": False, "sr": False}
    parse({"results": {**none, "secondary_capture": "on"}})
    parse({"results": none, "destinations": [{**PACS, "draws_seg": False}]})
    with pytest.raises(ConfigError, match="seg and sr are both off"):
        parse({"results": none, "destinations": [PACS]})


@pytest.mark.parametrize(
    ("written", "meant"),
    [(True, "on"), (False, "off"), ("on", "on"), ("auto", "auto"), ("off", "off")],
)
@pytest.mark.parametrize("key", ["presentation_state", "secondary_capture"])
def test_pictures_are_off_auto_or_on(key: str, written: object, meant: str) -> None:
    assert getattr(parse({"results": {key: written}}).results, key) == meant


@pytest.mark.parametrize("written", ["yes", 1, ["on"], {}])
def test_anything_else_names_the_key(written: object) -> None:
    with pytest.raises(ConfigError, match=r"results\.presentation_state: .*'off', 'auto' or 'on'"):
        parse({"results": {"presentation_state": written}})


WEB = {"name": "web", "dicomweb": "https://pacs.example.org/dicom-web"}


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        ({"name": "x"}, "destinations.0.ae_title: missing; or name the PACS's dicomweb service"),
        ({**PACS, "user": "u", "password": "p"}, "destinations.0.user: only with dicomweb"),
        ({**WEB, "ae_title": "A"}, "destinations.0.ae_title: not with dicomweb"),
        ({**WEB, "storage_commitment": True}, "storage_commitment: not with dicomweb"),
        ({**WEB, "tls": True}, "destinations.0.tls: not with dicomweb"),
        ({**WEB, "user": "u"}, "user and password go together"),
        ({**WEB, "user": "u", "password": "p", "token": "t"}, "or a token"),
        ({**WEB, "dicomweb": "ftp://x"}, "destinations.0.dicomweb"),
        ({**WEB, "dicomweb": "https://u:p@x/dicom-web"}, "destinations.0.dicomweb"),
    ],
)
def test_a_destination_is_reached_in_one_way(destination: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        parse({"destinations": [destination]})


def test_a_demonstration_s_results_stay_here_by_any_way(tmp_path: Path) -> None:
    assert parse({"destinations": [WEB]}).destinations[0].machine == "pacs.example.org"


def test_shared_folders_and_some_roles_need_rows_that_are_shared() -> None:
    with pytest.raises(ConfigError, match="spool_dir: with SQLite everything"):
        parse({"node": {"spool_dir": "/srv"}})
    shared = parse({"node": {"spool_dir": "/srv"}, "database": {"url": "postgresql+psycopg://h/d"}})
    assert shared.spool_dir == Path("/srv")
    assert parse({}).spool_dir == parse({}).state_dir
    assert chosen([], parse({})) == chosen(["all"], shared) == EVERY
    assert chosen(["worker", "console"], shared) == {Role.WORKER, Role.CONSOLE}
    with pytest.raises(ConfigError, match="nobody would be console, deliverer, receiver"):
        chosen(["worker"], parse({}))


def test_two_destinations_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two have the same name"):
        parse({"destinations": [PACS, {**PACS, "port": 1}]})
    assert len(parse({"destinations": [PACS, {**PACS, "name": "other"}]}).destinations) == 2


def test_storage_commitment_is_asked_of_whom_it_is_set_for() -> None:
    found = parse({"destinations": [PACS, {**PACS, "name": "b", "storage_commitment": True}]})
    assert [item.storage_commitment for item in found.destinations] == [False, True]


FILES = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}


def test_certificates_are_named_where_there_is_tls() -> None:
    config = parse(
        {
            "tls": FILES,
            "sources": [{**SOURCE, "certificate_name": " US1.Example.org "}],
            "destinations": [{**PACS, "tls": True, "certificate_name": "pacs"}],
        }
    )
    assert config.tls.on
    assert config.tls.receive
    assert config.sources[0].certificate_name == "us1.example.org"
    assert config.destinations[0].certificate_name == "pacs"
    assert not Config().tls.on


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ({"tls": {"certificate": "a", "key": "b"}}, "tls.ca", "missing"),
        ({"tls": {"key": "b", "ca": "c"}}, "tls.certificate", "missing"),
        ({"tls": {**FILES, "key": ""}}, "tls.key", "at least 1"),
        ({"tls": {**FILES, "password": "x"}}, "tls.password", "unknown key"),
        (
            {"sources": [{**SOURCE, "certificate_name": "a"}]},
            "sources.0.certificate_name",
            "receives without TLS",
        ),
        (
            {"tls": {**FILES, "receive": False}, "sources": [{**SOURCE, "certificate_name": "a"}]},
            "sources.0.certificate_name",
            "receives without TLS",
        ),
        ({"destinations": [{**PACS, "tls": True}]}, "destinations.0.tls", "set [tls]"),
        (
            {"tls": FILES, "destinations": [{**PACS, "certificate_name": "a"}]},
            "destinations.0.certificate_name",
            "only with tls = true",
        ),
        (
            {"tls": FILES, "destinations": [{**PACS, "tls": True, "certificate_name": "\0"}]},
            "destinations.0.certificate_name",
            "pattern",
        ),
    ],
)
def test_certificates_that_nobody_could_check_are_refused(
    data: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(data)
    assert f"{key}: " in str(caught.value)
    assert words in str(caught.value)


def test_paths_name_the_folder_of_systemds_credentials() -> None:
    tls = {**FILES, "key": "$CREDENTIALS_DIRECTORY/node.key"}
    environ = {"CREDENTIALS_DIRECTORY": "/run/credentials/axnode.service"}
    assert parse({"tls": tls}, environ).tls.key == "/run/credentials/axnode.service/node.key"
    assert parse({"tls": tls}, {}).tls.key == "$CREDENTIALS_DIRECTORY/node.key"


def test_a_missing_file_says_where_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config FILE"):
        load(tmp_path / "none.toml")


def test_bad_toml_names_file_and_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"axnode\.toml is not valid TOML.*line 2"):
        load(written(tmp_path, "[node]\nport 104\n"))


def test_a_file_of_other_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "axnode.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load(path)
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0.0.0.0", False),  # noqa: S104
        ("10.0.0.1", False),
        ("pacs.example", False),
        ("localhost.example", False),
    ],
)
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
