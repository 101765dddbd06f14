"""What AxNode is built of: locked by hash, under licences that fit, described, and audited."""

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from daemon import __version__
from deploy.supply import audit, licences, lock, sbom
from model.bundle_file import SHIPPED, Bundle
from tests.peers import free_port

PROJECT = tomllib.loads((lock.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SERVING = {pin.name: pin for pin in lock.read(lock.SERVING)}


def test_constraints_and_lock_files_are_one_truth() -> None:
    assert lock.differences(lock.read()) == []


def test_a_difference_is_told_from_either_side() -> None:
    pins = lock.read()
    first, *rest = pins
    assert lock.differences(rest) == [
        f"{first.name}: constraints.txt says {first.version}, the lock None"
    ]
    (stranger,) = lock.parse("stranger==1.0 \\\n    --hash=sha256:ab\n    # via axnode (x)\n")
    assert lock.differences([*pins, stranger]) == [
        "stranger: constraints.txt says None, the lock 1.0"
    ]


def test_every_package_is_locked_once_and_by_hash() -> None:
    pins = lock.read()
    assert len({pin.name for pin in pins}) == len(pins)
    assert all(pin.hashes and pin.wanted_by for pin in pins)


def test_nothing_stands_between_the_pins() -> None:
    """No option, address or line without a hash: pip reads what the checks read."""
    for group in lock.GROUPS:
        head, *lines = lock.path(group).read_text(encoding="utf-8").splitlines(keepends=True)
        assert head.startswith("# Made by `make lock`")
        assert "".join(lines) == "".join(pin.text for pin in lock.read([group]))


def test_each_requirement_is_in_the_lock_file_that_installs_it() -> None:
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    assert {canonicalize_name(Requirement(line).name) for line in wanted} <= SERVING.keys()
    extras = [
        line for group in PROJECT["project"]["optional-dependencies"].values() for line in group
    ]
    names = {canonicalize_name(Requirement(line).name) for line in extras}
    assert names <= {pin.name for pin in lock.read()}


def test_whatever_asks_for_a_package_is_locked_with_it() -> None:
    names = {"axnode", *SERVING}
    assert all(set(pin.wanted_by) <= names for pin in SERVING.values())


def rows() -> dict[str, list[str]]:
    """Return release, licence and reason of each row of docs/third-party.md by package."""
    lines = licences.TABLE.read_text(encoding="utf-8").splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {name: rest for name, *rest in cells[1:]}


def test_third_party_page_lists_what_is_locked() -> None:
    assert {name: row[0] for name, row in rows().items()} == {
        name: pin.version for name, pin in SERVING.items()
    }


def test_every_licence_may_be_combined_with_ours() -> None:
    for name, (_, licence, _) in rows().items():
        if name in ("psycopg", "psycopg-binary"):  # a library, replaceable, beside ours
            assert licence == "LGPL-3.0-only"
        else:
            assert set(licences.parts(licence)) <= licences.ALLOWED, name
    assert not any("GPL" in licence for licence in licences.ALLOWED)
    assert "pylibjpeg-libjpeg" not in {pin.name for pin in lock.read()}


def test_licences_are_those_that_the_packages_state() -> None:
    checked = 0
    for name, (release, licence, _) in rows().items():
        try:
            if version(name) != release:
                continue
        except PackageNotFoundError:  # CUDA's, beside a build of torch without it
            continue
        assert licences.of(name) == licence, name
        checked += 1
    assert checked > 40


def test_a_package_that_is_not_installed_has_no_licence_here() -> None:
    assert licences.of("no-such-package") is None


def test_a_licence_that_is_not_allowed_is_named() -> None:
    with pytest.raises(LookupError, match="jpype1: no licence that is allowed"):
        licences.of("jpype1", allowed=frozenset({"MIT"}))


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the bill as it is written; it is held to the schema of CycloneDX 1.6 on the way."""
    out = tmp_path_factory.mktemp("sbom") / "axnode.cdx.json"
    assert sbom.main([str(out)]) == 0
    document: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return document


def of_type(bill: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in bill["components"] if item["type"] == kind]


def test_bill_is_of_this_release(bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("axnode", __version__)
    assert root["licenses"] == [{"license": {"id": "Apache-2.0"}}]


def test_bill_lists_what_is_locked_with_its_hashes(bill: dict[str, Any]) -> None:
    listed = {
        (item["name"], item["version"]): {
            value["content"] for link in item["externalReferences"] for value in link["hashes"]
        }
        for item in of_type(bill, "library")
    }
    assert listed == {(pin.name, pin.version): set(pin.hashes) for pin in SERVING.values()}


def test_bill_names_a_licence_for_whatever_is_installed(bill: dict[str, Any]) -> None:
    for item in of_type(bill, "library"):
        assert bool(item.get("licenses")) == bool(licences.of(item["name"])), item["name"]


def test_bill_holds_the_model_by_its_digest(bill: dict[str, Any]) -> None:
    (item,) = of_type(bill, "machine-learning-model")
    shipped = Bundle.load(SHIPPED)
    assert item["hashes"] == [{"alg": "SHA-256", "content": shipped.digest}]
    files = {part["name"]: part["hashes"][0]["content"] for part in item["components"]}
    assert files == {entry.file: entry.sha256 for entry in shipped.weights}
    (card,) = item["externalReferences"]
    assert (card["type"], (lock.ROOT / card["url"]).is_file()) == ("model-card", True)


def test_bill_says_what_asks_for_what(bill: dict[str, Any]) -> None:
    graph = {item["ref"]: set(item.get("dependsOn", ())) for item in bill["dependencies"]}
    refs = {item["bom-ref"]: item["name"] for item in bill["components"]}
    assert set(graph) == {"axnode", *refs}
    own = {canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]}
    assert {refs[ref] for ref in graph["axnode"]} == {*own, Bundle.load(SHIPPED).name}
    assert (
        f"pkg:pypi/pydicom@{SERVING['pydicom'].version}"
        in graph[f"pkg:pypi/highdicom@{SERVING['highdicom'].version}"]
    )


def test_a_bill_that_breaks_the_schema_is_noticed() -> None:
    assert sbom.problem('{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": 3}')


def vulnerability(name: str) -> dict[str, Any]:
    """Return what OSV says of a release with one flaw (schema 1.0)."""
    events = [{"introduced": "0"}, {"fixed": "999"}]
    affected = {
        "package": {"name": name, "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    return {"id": "PYSEC-0-1", "aliases": ["CVE-0-1"], "summary": "bad", "affected": [affected]}


@contextmanager
def osv(*vulnerable: str, fails_after: int = 10_000) -> Iterator[str]:
    """Answer like OSV, on loopback; yields the address."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(f"{query['package']['name']}=={query['version']}")
            bad = asked[-1] in vulnerable
            answer = {"vulns": [vulnerability(query["package"]["name"])]} if bad else {}
            body = json.dumps(answer).encode()
            self.send_response(200 if len(asked) <= fails_after else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


KNOWN_BAD = "jinja2==2.4.1"


def test_audit_of_packages_without_a_flaw(capsys: pytest.CaptureFixture[str]) -> None:
    with osv(KNOWN_BAD) as url:
        assert audit.main(["--osv-url", url]) == 0
    assert (
        capsys.readouterr().out == f"{len(lock.read())} locked packages: no known vulnerability\n"
    )


def test_audit_names_a_flaw(capsys: pytest.CaptureFixture[str]) -> None:
    pillow = f"pillow=={SERVING['pillow'].version}"
    with osv(KNOWN_BAD, pillow) as url:
        assert audit.main(["--osv-url", url]) == 1
    line = f"pillow {SERVING['pillow'].version}: PYSEC-0-1, CVE-0-1; fixed in: 999\n"
    assert capsys.readouterr().out == line


def test_audit_by_a_service_that_knows_nothing_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with osv() as url:
        assert audit.main(["--osv-url", url]) == 4
    assert re.fullmatch("NOT AUDITED: .*jinja2==2.4.1\n", capsys.readouterr().err)


def test_audit_without_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["--osv-url", f"http://127.0.0.1:{free_port()}/"]) == 4
    assert "cannot be reached" in capsys.readouterr().err


def test_audit_by_a_service_that_stops(capsys: pytest.CaptureFixture[str]) -> None:
    with osv(KNOWN_BAD, fails_after=3) as url:
        assert audit.main(["--osv-url", url]) == 4
    assert "stopped answering" in capsys.readouterr().err
