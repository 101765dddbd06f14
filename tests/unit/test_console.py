"""The console over real HTTP: who gets in, what is shown, what buttons do."""

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import insert, update

from daemon import schema
from daemon.audit_events import Access, Administered, SignIn
from daemon.console import charts
from daemon.console.accounts import hash_token
from daemon.store import add_refusal
from dicom_io import results
from model.bundle_file import OperatingPoint
from tests import builders_objects
from tests.builders import STUDY
from tests.console import PACS, PASSWORD, USERS, Console, FakeRunning, form_token, press, served
from tests.stow import GATEWAY, TOKEN

PAGES = ("/", "/studies", "/studies/1", "/peers", "/model", "/settings", "/log")


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with served(tmp_path) as console:
        yield console


@pytest.fixture
def anna(console: Console) -> Iterator[httpx.Client]:
    with console.browser("anna") as client:
        yield client


@pytest.fixture
def vera(console: Console) -> Iterator[httpx.Client]:
    with console.browser("vera") as client:
        yield client


def test_a_stranger_is_shown_where_to_sign_in(console: Console) -> None:
    with console.browser() as client:
        for page in (*PAGES, "/diagnostics.zip", "/changes", "/studies/1/images/1/1.png"):
            answer = client.get(page)
            assert (answer.status_code, answer.headers["location"]) == (
                303,
                f"/login?next={page}",
            )
        assert client.get("/api/v1/studies").status_code == 401
        assert client.get("/api/v1/openapi.json").status_code == 401
        assert client.get("/docs").status_code == 404


def test_probes_and_assets_need_nobody(console: Console) -> None:
    with console.browser() as client:
        for page in ("/livez", "/readyz", "/metrics", "/static/console.css", "/login"):
            assert client.get(page).status_code == 200


def test_signing_in_leads_where_one_wanted_to_go(console: Console) -> None:
    with console.browser() as client:
        fields = {"name": "anna", "password": PASSWORD, "next": "/studies"}
        answer = client.post("/login", data=fields)
        assert (answer.status_code, answer.headers["location"]) == (303, "/studies")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/studies").status_code == 200
    assert console.audit == [SignIn("anna", "127.0.0.1")]


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(console: Console, target: str) -> None:
    with console.browser() as client:
        fields = {"name": "anna", "password": PASSWORD, "next": target}
        assert client.post("/login", data=fields).headers["location"] == "/"


def test_a_wrong_password_is_said_and_noted(console: Console) -> None:
    with console.browser() as client:
        answer = client.post("/login", data={"name": "anna", "password": "wrong"})
        assert answer.status_code == 403
        assert "wrong name or password" in answer.text
        assert client.get("/").status_code == 303
    assert console.audit == [
        SignIn("anna", "127.0.0.1", outcome="4", words="wrong name or password")
    ]


def test_after_five_the_wait_is_said(console: Console) -> None:
    with console.browser() as client:
        for _ in range(5):
            client.post("/login", data={"name": "anna", "password": "wrong"})
        answer = client.post("/login", data={"name": "anna", "password": PASSWORD})
        assert answer.status_code == 403
        assert "too many wrong passwords" in answer.text


def test_signing_out_ends_the_session(anna: httpx.Client) -> None:
    secret = anna.cookies["axnode_session"]
    assert press(anna, "/", "/logout").headers["location"] == "/login"
    anna.cookies.set("axnode_session", secret)
    assert anna.get("/").status_code == 303


def test_without_users_the_page_says_what_to_do(tmp_path: Path) -> None:
    with served(tmp_path, users=[]) as console, console.browser() as client:
        assert "axnode user NAME --role admin" in client.get("/login").text
        answer = client.post("/login", data={"name": "anna", "password": PASSWORD})
        assert answer.status_code == 403


def test_passwords_do_not_go_unencrypted_over_the_network(tmp_path: Path) -> None:
    with served(tmp_path, http={"host": "0.0.0.0"}) as console:  # noqa: S104 - what is tested
        with console.browser() as client:
            assert "http.certificate" in client.get("/login").text
        with console.program("admin") as program:
            assert program.get("/overview").status_code == 401


def test_every_page_is_guarded_by_headers(console: Console, anna: httpx.Client) -> None:
    console.rows.queued()
    for page in PAGES:
        headers = anna.get(page).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_a_form_of_another_site_does_nothing(console: Console, anna: httpx.Client) -> None:
    console.rows.queued()
    action = "/studies/1/park"
    token = form_token(anna.get("/studies/1").text)
    own = {"form_token": token}
    assert anna.post(action).status_code == 403
    assert anna.post(action, data={"form_token": token[:-1]}).status_code == 403
    foreign = {"Origin": "https://evil.example"}
    assert anna.post(action, data=own, headers=foreign).status_code == 403
    assert anna.post(action, data=own, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert console.rows.study().state == "queued"
    assert anna.post(action, data=own, headers={"Origin": console.root}).status_code == 303
    assert console.rows.study().state == "parked"


def test_a_viewer_looks_and_changes_nothing(console: Console, vera: httpx.Client) -> None:
    console.rows.queued()
    page = vera.get("/studies/1").text
    assert "/studies/1/park" not in page
    for action in ("/studies/1/park", "/peers/pacs/echo", "/settings/reload", "/log/level"):
        answer = vera.post(action, data={"form_token": form_token(page)})
        assert answer.status_code == 403
        assert "may look" in answer.text
    assert console.rows.study().state == "queued"
    assert console.running.reloads == 0


def test_the_overview_says_what_needs_a_person(console: Console, anna: httpx.Client) -> None:
    assert "Nothing. The node takes studies" in anna.get("/").text
    console.running.sick = ["the database's writer has ended"]
    console.running.expiring = [("tls.certificate: ends in 3 days", True), ("tls.ca: fine", False)]
    console.rows.queued()
    press(anna, "/studies/1", "/studies/1/park")
    text = anna.get("/").text
    assert text.index("writer has ended") < text.index("Study 1 is parked")
    assert "ends in 3 days" in text
    assert "tls.ca: fine" not in text


def test_the_overview_lists_the_processes_of_several_nodes(
    console: Console, anna: httpx.Client
) -> None:
    assert "Processes" not in anna.get("/").text
    now = console.rows.clock()
    table = schema.processes
    known = {"version": "1.2.3", "started_us": 0}
    worker = {"roles": "worker", "device": "cuda:1", "together": 16, "seen_us": now}
    gone = {"roles": "deliverer,receiver", "device": "", "together": 0, "seen_us": now - 90_000_000}
    for holder, said in (("alpha:1", worker), ("beta:2", gone)):
        row = insert(table).values(holder=holder, **known, **said)
        console.rows.database.write(lambda c, row=row: c.execute(row) and None)
    assert cells(anna.get("/").text, "processes") == [
        ["alpha:1", "worker", "cuda:1", "16", "1.2.3", "now"],
        ["beta:2", "deliverer, receiver", "", "", "1.2.3", "90 s ago"],
    ]
    with console.program("viewer") as program:
        told = program.get("/overview").json()["processes"]
    assert [(each["holder"], each["together"]) for each in told] == [("alpha:1", 16), ("beta:2", 0)]


def cells(page: str, section: str) -> list[list[str]]:
    """Return the words in the rows of a section's table, below its head."""
    table = page.split(f'id="{section}"')[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in rows]


def test_studies_are_listed_by_fifty_and_filtered(console: Console, anna: httpx.Client) -> None:
    for number in range(60):
        console.rows.clock.advance(1)
        source = "US2" if number % 2 else "US1"
        console.rows.receive(f"1.9.{number}.1", study=f"1.9.{number}", source=source)
    first = anna.get("/studies").text
    assert first.count("/studies/") - first.count("/studies/find") == 50
    older = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert anna.get(older).text.count('<th scope="row">') == 10
    assert anna.get("/studies?source=US2").text.count('<th scope="row">') == 30
    assert "No study matches" in anna.get("/studies?state=parked").text
    assert anna.get("/studies?after=nonsense").status_code == 400
    assert anna.get("/studies?state=nonsense&since=x&until=99999-1-1").status_code == 200


def test_a_study_is_found_by_uid_and_by_patient(console: Console, anna: httpx.Client) -> None:
    from daemon import identity

    key = identity.patient_key(console.rows.database.node_id, "MÜLLER-7".encode("latin-1"))
    console.rows.receive("1.9.1.1", study="1.9.1", patient=key)
    console.rows.receive("1.9.22.1", study="1.9.22")
    console.rows.receive("1.9.23.1", study="1.9.23")
    assert press(anna, "/studies", "/studies/find", words="1.9.1").headers["location"] == (
        "/studies/1"
    )
    assert press(anna, "/studies", "/studies/find", words="1.9.2").text.count("<th scope") > 2
    found = press(anna, "/studies", "/studies/find", words=" MÜLLER-7 ")
    assert found.headers["location"] == "/studies/1"
    nobody = press(anna, "/studies", "/studies/find", words="nobody")
    assert "No study matches" in nobody.text
    assert nobody.url.query == b""  # a patient stands in no address


def test_buttons_work_a_study_and_are_noted(console: Console, anna: httpx.Client) -> None:
    console.rows.delivering(console.objects)
    answer = press(anna, "/studies/1", "/studies/1/send", destination="pacs")
    assert answer.status_code == 400
    assert "on its way to pacs already" in answer.text
    for action, state in (("park", "parked"), ("retry", "delivering")):
        answer = press(anna, "/studies/1", f"/studies/1/{action}")
        assert answer.status_code == 303
        assert console.rows.study().state == state
        assert 'class="done"' in anna.get(answer.headers["location"]).text
    assert console.running.woken == 2
    done = [event.words for event in console.audit if isinstance(event, Access)]
    assert [words for words in done if words != "study"] == ["parked", "retried"]
    assert (
        anna.post(
            "/studies/1/explode", data={"form_token": form_token(anna.get("/").text)}
        ).status_code
        == 404
    )


def test_a_destination_is_called(console: Console, anna: httpx.Client) -> None:
    answer = press(anna, "/peers", "/peers/pacs/echo")
    assert "pacs answered C-ECHO" in anna.get(answer.headers["location"]).text
    console.running.silent = True
    answer = press(anna, "/peers", "/peers/pacs/echo")
    assert (answer.status_code, "connection refused" in answer.text) == (502, True)
    assert Administered("anna", "127.0.0.1", "C-ECHO to pacs") in console.audit


def test_a_tool_that_offers_everything_hides_no_rejected_association(
    console: Console, anna: httpx.Client
) -> None:
    def refuse(at_us: int, title: str, what: str, reason: str) -> None:
        console.rows.database.write(
            lambda c: add_refusal(c, "10.0.0.9", title, what, "Implicit", reason, at_us)
        )

    refuse(1, "US9", "association", "US9 is not among the [[sources]]")
    refuse(2, "US1", "Storage 0", "transfer syntaxes not supported")
    for number in range(120):
        refuse(3 + number, "TOOL", f"Storage {number}", "abstract syntax not supported")
    with console.program("viewer") as program:
        found = program.get("/peers").json()["refusals"]
    assert [(each["calling_ae"], each["what"], len(each["classes"])) for each in found] == [
        ("US9", "association", 0),
        ("TOOL", "120 classes", 120),
        ("US1", "Storage 0", 0),
    ]
    assert "<summary>120 classes</summary>" in anna.get("/peers").text


def test_a_refused_stow_request_says_what_to_do(console: Console, anna: httpx.Client) -> None:
    def refuse(title: str, reason: str) -> None:
        console.rows.database.write(
            lambda c: add_refusal(c, "10.0.0.9", title, "STOW-RS request", "", reason, 1)
        )

    refuse("", "no token: send Authorization: Bearer TOKEN")
    refuse("GATEWAY", "no more than 32 requests at once are taken")
    page = anna.get("/peers").text
    assert "axnode user NAME --role source" in page
    assert "have it send fewer at once" in page
    assert page.count("<td>STOW-RS request</td>") == 2


def test_operating_points_are_drawn_with_what_they_state() -> None:
    points = [
        OperatingPoint("<one>", 0.5, 0.8, 0.9, (0.7, 0.85), (0.8, 0.95)),
        OperatingPoint("two", 0.7, 0.6, 1.0),
        OperatingPoint("unmeasured", 0.9),
    ]
    drawn = charts.operating_points(points, 0.7)
    assert drawn.count("<circle") == 2
    assert drawn.count('class="dot chosen"') == 1
    assert "&lt;one&gt;</text>" in drawn
    assert "two, in force" in drawn
    assert "unmeasured" not in drawn
    assert charts.operating_points(points[2:], 0.7) == ""


def test_a_refused_reload_is_on_the_first_page(console: Console, anna: httpx.Client) -> None:
    console.running.refused_reload = "study.quiet_period: unknown key"
    page = anna.get("/").text
    assert "not read again: study.quiet_period: unknown key" in page
    assert "would not start with this file" in page


def test_results_are_downloaded_from_their_own_study_only(
    console: Console, anna: httpx.Client
) -> None:
    console.rows.delivering(console.objects)
    console.rows.receive("1.9.1.1", study="1.9.1")
    answer = anna.get("/studies/1/objects/1.dcm")
    assert answer.content == f"object 0 of {STUDY}".encode()
    assert answer.headers["content-disposition"] == 'attachment; filename="study-1-sr-1.dcm"'
    assert anna.get("/studies/2/objects/1.dcm").status_code == 404
    assert anna.get("/studies/1/objects/99.dcm").status_code == 404
    console.objects.remove(console.rows.all(schema.objects)[0].file_hash)
    gone = anna.get("/studies/1/objects/1.dcm")
    assert (gone.status_code, "no longer here" in gone.text) == (400, True)


def test_a_report_leads_back_to_its_study(
    console: Console, anna: httpx.Client, tmp_path: Path
) -> None:
    for study in ("1.9.1", "1.9.2"):
        console.rows.delivering(console.objects, count=1, study=study)
    sets, paths = builders_objects.study(tmp_path, builders_objects.SourceSpec())
    found, settings = builders_objects.findings(sets), results.ResultSettings(seg=False)
    (built,) = results.build(found, paths, settings, builders_objects.uid, builders_objects.NOW)
    table, digest = schema.objects, console.objects.put(built.data)
    console.rows.database.write(
        lambda c: c.execute(update(table).where(table.c.id == 2).values(file_hash=digest)) and None
    )
    report = anna.get("/studies/2/objects/2/report").text
    assert re.findall(r'<a href="([^"]*)">([^<]*)</a>', report) == [
        ("/studies/2", "Back to the study")
    ]


def test_a_study_is_reached_by_its_uid(console: Console, anna: httpx.Client) -> None:
    console.rows.queued()
    assert anna.get(f"/studies/{STUDY}").headers["location"] == "/studies/1"


@pytest.mark.parametrize(
    "path",
    [
        "/studies/99",
        "/studies/1.9.9",
        "/studies/x",
        "/studies/99999999999999999999999",
        "/studies/99/images/1/1.png",
        "/studies/1/images/x/1.png",
        "/nowhere",
    ],
)
def test_what_is_not_there_is_said_to_be_so(anna: httpx.Client, path: str) -> None:
    answer = anna.get(path)
    assert answer.status_code == 404
    assert "That is not possible" in answer.text


def test_a_name_with_markup_is_text(console: Console, anna: httpx.Client) -> None:
    evil = '"><script>x</script>'
    console.rows.receive(source=evil[:16])
    console.rows.queued("1.2.3.2")
    console.rows.fail(console.rows.claimed(), evil)
    for page in (
        "/",
        "/studies",
        "/studies/1",
        f"/studies?source={evil}",
        f"/studies/1?done={evil}",
    ):
        text = anna.get(page).text
        assert "<script>x" not in text
    assert "&lt;script&gt;x" in anna.get("/studies/1").text


def test_settings_show_no_secret(console: Console, anna: httpx.Client) -> None:
    text = anna.get("/settings").text
    assert "[[users]]" in text
    assert "scrypt" not in text
    assert "sha256" not in text
    with console.program("viewer") as program:
        assert "scrypt" not in program.get("/settings").text


def test_the_password_of_a_database_is_hidden(tmp_path: Path) -> None:
    from daemon.console.diagnostics import settings
    from tests import builders

    url = "postgresql+psycopg://axnode:hush@db.example:5432/axnode?sslpassword=hush"
    shown = json.dumps(settings(builders.config(tmp_path, database={"url": url})))
    assert "hush" not in shown
    assert "axnode:***@db.example:5432/axnode" in shown


@pytest.mark.parametrize("secret", [{"user": "u", "password": "hush"}, {"token": "hush"}])
def test_who_the_node_is_at_an_archive_is_hidden(tmp_path: Path, secret: dict[str, str]) -> None:
    web = {"name": "web", "dicomweb": "https://pacs.example.org/dicom-web", **secret}
    with served(tmp_path, destinations=[web]) as console, console.program("viewer") as program:
        assert "hush" not in program.get("/settings").text
        assert "hush" not in program.get("/peers").text
        assert "https://pacs.example.org/dicom-web" in program.get("/peers").text


def test_the_address_of_a_webhook_is_its_secret_too(tmp_path: Path) -> None:
    hook = {"webhook": "https://chat.example.org/hooks/hush", "secret": "hush"}
    with served(tmp_path, notify=hook) as console, console.program("viewer") as program:
        text = program.get("/settings").text
    assert "hush" not in text
    assert "https://chat.example.org/hidden" in text


def test_a_page_that_listens_is_not_somebody_at_work(console: Console, anna: httpx.Client) -> None:
    with anna.stream("GET", "/changes") as stream:
        assert stream.status_code == 200
    for _ in range(3):
        anna.get("/studies", headers={"X-Live": "1"})
    looked = [event for event in console.audit if isinstance(event, Access)]
    assert looked == []


def test_a_study_is_noted_once_however_often_its_page_is_refreshed(
    console: Console, anna: httpx.Client
) -> None:
    console.rows.queued()
    for _ in range(3):
        anna.get("/studies/1", headers={"X-Live": "1"})
    anna.get("/studies/1/images/1/1.png")
    assert [event.words for event in console.audit if isinstance(event, Access)] == ["study"]


def test_wrong_tokens_make_an_address_wait(console: Console) -> None:
    headers = {"Authorization": "Bearer nonsense"}
    with httpx.Client(base_url=console.root, headers=headers, trust_env=False) as client:
        answers = [client.get("/api/v1/studies").status_code for _ in range(7)]
    assert answers == [401] * 5 + [429] * 2
    with console.program("viewer") as program:
        assert program.get("/studies").status_code == 200


def test_reloading_says_what_is_wrong(console: Console, anna: httpx.Client) -> None:
    console.running.wrong = "configuration: node.port: too large"
    answer = press(anna, "/settings", "/settings/reload")
    assert (answer.status_code, "node.port: too large" in answer.text) == (400, True)
    console.running.wrong = ""
    assert press(anna, "/settings", "/settings/reload").status_code == 303
    assert console.running.reloads == 1


def test_diagnostics_hold_what_a_maintainer_asks_for(console: Console, anna: httpx.Client) -> None:
    console.rows.receive("1.9.77.1", study="1.9.77")
    with zipfile.ZipFile(io.BytesIO(anna.get("/diagnostics.zip").content)) as zipped:
        assert sorted(zipped.namelist()) == [
            "log.jsonl",
            "machine.txt",
            "settings.json",
            "state.json",
            "versions.txt",
        ]
        whole = "".join(zipped.read(name).decode() for name in zipped.namelist())
    assert json.loads(json.dumps(whole))
    assert "1.9.77" not in whole
    assert "pydicom==" in whole
    assert "scrypt" not in whole


def test_pages_hear_of_changes_as_they_happen(console: Console, anna: httpx.Client) -> None:
    with anna.stream("GET", "/changes") as stream:
        lines = stream.iter_lines()
        assert "event: at" in [next(lines) for _ in range(4)]
        console.rows.receive()
        console.rows.assemble()
        assert "event: changed" in [next(lines) for _ in range(3)]


def test_a_program_does_what_pages_do(console: Console) -> None:
    console.rows.queued()
    with console.program("admin") as program:
        study = program.get(f"/studies/{STUDY}").json()
        assert (study["state"], study["study_uid"]) == ("queued", STUDY)
        assert program.get("/studies").json()["studies"][0]["study_uid"] == STUDY
        assert program.post(f"/studies/{STUDY}/park").json() == {"done": "the study is parked"}
        assert program.post(f"/studies/{STUDY}/park").status_code == 400
        assert program.post("/studies/1.9/park").status_code == 404
        assert program.post("/destinations/pacs/echo").json() == {"done": "pacs answered C-ECHO"}
        assert program.post("/destinations/none/echo").status_code == 404
        for path in ("/overview", "/peers", "/model", "/model/drift", "/settings"):
            assert program.get(path).status_code == 200, path
        paths = program.get("/openapi.json").json()["paths"]
        assert "/api/v1/studies/{study_uid}/park" in paths
        assert not any(path.startswith(("/studies", "/login")) for path in paths)


def test_a_viewers_token_changes_nothing(console: Console) -> None:
    console.rows.queued()
    with console.program("viewer") as program:
        assert program.get("/studies").status_code == 200
        assert program.post(f"/studies/{STUDY}/park").status_code == 403
    assert console.rows.study().state == "queued"


def test_a_sources_token_opens_nothing_here(tmp_path: Path) -> None:
    with served(tmp_path, users=[*USERS, GATEWAY]) as console:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=console.root, headers=headers, trust_env=False) as client:
            assert client.get("/api/v1/overview").status_code == 403
            assert client.post("/api/v1/settings/reload").status_code == 403
            assert client.get("/").status_code == 303  # to where people sign in
        assert console.running.reloads == 0


def test_a_token_is_nobodys_unless_it_is_whole(console: Console) -> None:
    for token in ("x", "nonsense", hash_token("token-of-an-admin")):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=console.root, headers=headers, trust_env=False) as client:
            assert client.get("/api/v1/studies").status_code == 401


def test_a_browser_reads_the_interface_and_acts_through_forms_only(
    console: Console, anna: httpx.Client
) -> None:
    console.rows.queued()
    assert anna.get("/api/v1/studies").status_code == 200
    assert anna.post(f"/api/v1/studies/{STUDY}/park").status_code == 401


def test_a_large_form_is_not_read(console: Console, anna: httpx.Client) -> None:
    answer = anna.post("/login", data={"name": "a" * 20_000, "password": ""})
    assert answer.status_code == 413


def test_a_destination_may_have_any_name(tmp_path: Path) -> None:
    odd = {**PACS, "name": "pacs.no-1"}
    with contextlib.ExitStack() as stack:
        console = stack.enter_context(served(tmp_path, FakeRunning(), destinations=[odd]))
        client = stack.enter_context(console.browser("anna"))
        assert press(client, "/peers", "/peers/pacs.no-1/echo").status_code == 303
