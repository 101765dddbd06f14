"""The console in a browser, over a node that has analysed the samples: pages, actions, access."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

import sample_dicoms
from daemon.receiver import ReceivingPacs
from dicom_io.frames import read_header
from tests.benchmarks.full_database import fill
from tests.console import PASSWORD, USERS
from tests.node import Node, destination

pytestmark = pytest.mark.acceptance
SAMPLES = Path(sample_dicoms.__file__).parent
STUDIES = ("1-benign-stills", "2-suspicious-cine", "5-both-sides", "6-not-evaluable")
EVIL = '"><script>evil()</script>'
_CHROMIUM = shutil.which("chromium") or ""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Run a node with a PACS behind it, that has analysed four studies."""
    folder = tmp_path_factory.mktemp("console")
    pacs = ReceivingPacs(folder / "pacs")
    pacs.start()
    try:
        places = [destination("pacs", "PACS", pacs.port), destination("other", "PACS", pacs.port)]
        with Node(folder / "node", places, users=list(USERS)) as running:
            for name in STUDIES:
                files = sorted(SAMPLES.glob(f"{name}-*.dcm"))
                running.push(files)
                running.settle([read_header(files[0]).StudyInstanceUID])
            yield running
    finally:
        pacs.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not _CHROMIUM:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def signed_in(browser: Browser, node: Node, name: str, scheme: str = "light") -> Page:
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{node.http_port}",
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": 1280, "height": 900},
    )
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
    page.goto("/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    return page


def test_a_wrong_password_stays_outside(browser: Browser, node: Node) -> None:
    page = browser.new_context(base_url=f"http://127.0.0.1:{node.http_port}").new_page()
    page.goto("/studies")
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("wrong name or password")
    page.context.close()


def test_a_study_is_shown_with_its_contours(browser: Browser, node: Node) -> None:
    page = signed_in(browser, node, "vera")
    page.goto("/studies/1")
    expect(page.locator("#head")).to_contain_text("delivered")
    picture = page.locator(".picture").first
    contour = page.locator(".contour").first
    for shown in (picture, contour):
        expect(shown).to_be_visible()
        width = shown.evaluate("async (one) => { await one.decode(); return one.naturalWidth; }")
        assert width > 0
    boxes = [shown.bounding_box() for shown in (picture, contour)]
    assert boxes[0] == boxes[1]
    page.get_by_label("Contours").uncheck()
    expect(contour).to_be_hidden()
    page.get_by_label("Contours").check()
    page.get_by_label("Opacity").fill("0.5")
    assert contour.evaluate("(one) => getComputedStyle(one).opacity") == "0.5"
    before = picture.bounding_box()
    page.get_by_label("Zoom").fill("2")
    after = picture.bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] == pytest.approx(2 * before["width"], rel=0.02)
    page.context.close()


def test_ten_thousand_studies_are_leafed_through_and_found(
    browser: Browser, tmp_path: Path
) -> None:
    many = Node(tmp_path, [destination("pacs", "PACS", 9)], users=list(USERS))
    many.state_dir.mkdir()
    fill(many.state_dir / "axnode.sqlite", 10_000, 0)
    with many:
        page = signed_in(browser, many, "vera")
        expect(page.get_by_role("main")).to_contain_text("100 studies are parked in all")
        page.get_by_role("link", name="Studies", exact=True).click()
        first = page.locator("tbody tr").first.get_by_role("link")
        for number in (10_000, 9_950, 9_900, 9_850):
            expect(first).to_have_text(str(number))
            expect(page.locator("tbody tr")).to_have_count(50)
            page.get_by_role("link", name="Older").click()
        page.get_by_label("State").select_option("parked")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("tbody tr").last).to_contain_text("parked")
        page.goto("/studies/4711")
        uid = page.locator("#head code").inner_text()
        page.goto("/studies")
        page.get_by_role("textbox", name="Find").fill(uid)
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("/studies/4711$"))  # what is found alone is opened
        page.context.close()


def test_frames_of_a_cine_are_turned(browser: Browser, node: Node) -> None:
    page = signed_in(browser, node, "vera")
    page.goto("/studies/2")
    slider = page.get_by_label(re.compile("Frame of image"))
    before = page.locator(".picture").first.get_attribute("src")
    slider.press("End")
    expect(page.locator(".picture").first).not_to_have_attribute("src", before or "")
    last = page.locator(".view").first.get_attribute("data-frames")
    assert last is not None
    expect(page.locator(".frames output").first).to_have_text(last.split(",")[-1])
    page.context.close()


def test_results_are_read_and_downloaded(browser: Browser, node: Node) -> None:
    page = signed_in(browser, node, "vera")
    page.goto("/studies/1")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").first.click()
    assert Path(download.value.path()).read_bytes()[128:132] == b"DICM"
    page.get_by_role("link", name="Report").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Axillary lymph nodes")
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).fontSize") == "24px"
    page.context.close()


def test_an_admin_sends_parks_and_calls(browser: Browser, node: Node) -> None:
    page = signed_in(browser, node, "anna")
    page.goto("/studies/3")
    page.get_by_label("Send results to").select_option("other")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("queued for other")
    expect(page.locator("#results")).to_contain_text("other", timeout=20_000)
    expect(page.locator("#head")).to_contain_text("delivered", timeout=20_000)
    page.get_by_role("button", name="Analyse again").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing would change")
    page.goto("/peers")
    page.get_by_role("button", name="C-ECHO").first.click()
    expect(page.get_by_role("status").first).to_contain_text("answered C-ECHO")
    page.context.close()


def test_pages_change_by_themselves(browser: Browser, node: Node) -> None:
    page = signed_in(browser, node, "vera")
    page.goto("/studies")
    rows = page.locator("tbody tr")
    before = rows.count()
    node.push([SAMPLES / "7-normal-1.dcm"])
    expect(rows).to_have_count(before + 1, timeout=20_000)
    rows.first.get_by_role("link").click()  # its images come as soon as they are read
    expect(page.locator(".picture").first).to_be_visible(timeout=20_000)
    page.get_by_label("Contours").uncheck()
    expect(page.locator(".contour").first).to_be_hidden()
    page.context.close()


def test_a_name_with_markup_runs_nothing(browser: Browser, node: Node) -> None:
    page = signed_in(browser, node, "anna")
    page.add_init_script("window.evil = () => { window.harmed = true; };")
    for place in (f"/studies?source={EVIL}", f"/studies/1?done={EVIL}", f"/login?next={EVIL}"):
        page.goto(place)
        assert page.evaluate("window.harmed") is None
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "place", ["/", "/studies", "/studies/1", "/studies/2", "/peers", "/model", "/settings", "/log"]
)
def test_pages_are_usable_by_everybody(
    browser: Browser, node: Node, place: str, scheme: str
) -> None:
    """axe-core finds nothing serious: names, roles, contrast, order of headings."""
    from axe_playwright_python.sync_playwright import Axe

    page = signed_in(browser, node, "anna", scheme)
    page.goto(place)
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    page.context.close()


def test_everything_is_reached_by_keyboard(browser: Browser, node: Node) -> None:
    page = signed_in(browser, node, "vera")
    page.goto("/studies")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to content")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto("/studies/1")
    page.get_by_label("Zoom").focus()
    page.keyboard.press("ArrowRight")
    assert "z15" in (page.locator(".images").get_attribute("class") or "")
    page.context.close()
