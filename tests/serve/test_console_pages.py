"""Every page of the console in a real browser, full of what some days of work leave: seen by axe, on a phone, in two languages.

With ``HONE_PICTURES`` naming a folder the pages are also kept there as pictures; the documentation shows those.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FloatRect, Page, expect

from core.keys import KeyRing
from core.settings import Settings
from feedback.store import Store
from serve.parts import assemble
from tests.serve.browsing import BROWSER_MARKS, chromium, opened
from tests.serve.scenes import MARKUP, Scene
from tests.serve.servers import listening

pytestmark = BROWSER_MARKS

VIEWS = {
    "try": "#text",
    "review": "#annotator",
    "models": "#models tbody tr",
    "learning": "#runs tbody tr",
    "watch": "#traffic svg",
}
LANGUAGES = ("en-GB", "zh-CN")
THEMES = ("light", "dark")
_PICTURES = os.environ.get("HONE_PICTURES")
_DOCS = Path(__file__).parents[2] / "docs"
_PICTURE: FloatRect = {"x": 0, "y": 0, "width": 1180, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def url(settings: Settings, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a replica that looks as after some days of work."""
    parts = assemble(settings.model_copy(update={"log_predictions": False}), None, "replica-1")
    store = Store(settings.sqlalchemy_url)
    # Pictures are of what people see, the rest is about what they might be sent.
    pictured = _PICTURES and request.function is test_nobody_is_kept_out
    Scene(parts.registry, store, "other" if pictured else MARKUP).set()
    store.close()
    with listening(parts) as address:
        yield address


def _shown_pictures() -> set[str]:
    """Return the names of the pictures that the documentation shows."""
    pages = (page.read_text(encoding="utf-8") for page in _DOCS.glob("*.md"))
    return {name for text in pages for name in re.findall(r"\(pictures/([\w-]+\.(?:png|svg))\)", text)}


def test_the_documentation_shows_the_pictures_there_are() -> None:
    shown = _shown_pictures()
    assert {path.name for path in (_DOCS / "pictures").iterdir()} == shown
    assert {f"{view}-en.png" for view in VIEWS} <= shown


def _show(page: Page, view: str) -> None:
    """Go to a page of the console and have it full."""
    if view == "models":
        page.goto(f"{page.url.partition('#')[0]}#models/v3")
        expect(page.locator("#model")).to_contain_text("v3")
    else:
        page.click(f"#views a[href='#{view}']")
    expect(page.locator(VIEWS[view]).first).to_be_visible()
    if view == "try":
        page.fill("#text", "my card is lost and my payment too")
        page.check("#explain")
        page.click("#ask")
        expect(page.locator(".why")).to_be_visible()
    if view == "review":
        page.fill("#annotator", "zoe")
        page.click("#review-form button")
        expect(page.locator("#item blockquote")).to_be_visible()
        page.click("#look")
        expect(page.locator("#quality table").first).to_be_visible()
    if view == "watch":
        expect(page.locator("#drift .strip svg")).to_be_visible()


def _serious(page: Page) -> list[str]:
    """Return what axe finds serious or critical, with where it is."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_nobody_is_kept_out(browser: Browser, url: str, language: str, theme: str) -> None:
    with opened(browser, url, locale=language, color_scheme=theme, viewport={"width": 1180, "height": 800}) as page:
        expect(page.locator("#serving")).to_contain_text("v3")
        for view in VIEWS:
            _show(page, view)
            assert _serious(page) == [], view
            name = f"{view}-{language[:2]}{'-dark' if theme == 'dark' else ''}.png"
            if _PICTURES and name in _shown_pictures():
                page.screenshot(path=Path(_PICTURES) / name, full_page=True, clip=_PICTURE)
        page.goto(f"{url}/#models/v4")
        page.locator("#model").get_by_role("button").first.click()
        expect(page.locator("#confirm")).to_be_visible()
        assert _serious(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_the_reference_keeps_nobody_out(browser: Browser, url: str, theme: str) -> None:
    with opened(browser, f"{url}/docs", color_scheme=theme) as page:
        page.locator("#operations details").first.locator("summary").click()
        assert _serious(page) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_fits_a_phone(browser: Browser, url: str, language: str) -> None:
    with opened(browser, url, locale=language, viewport={"width": 360, "height": 740}) as page:
        for view in VIEWS:
            _show(page, view)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
            assert _serious(page) == [], view


def test_what_people_and_callers_wrote_is_shown_as_text(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        page.on("dialog", lambda dialog: pytest.fail(f"a text was run: {dialog.message}"))
        for view in VIEWS:
            _show(page, view)
            for node in page.locator("details").all():
                node.evaluate("node => { node.open = true; }")
            assert page.locator("main img").count() == 0, view
        _show(page, "try")
        expect(page.locator("#answer .name", has_text=MARKUP)).to_have_count(1)
        page.fill("#text", f"{MARKUP} lost")
        page.click("#ask")
        expect(page.locator(".why p")).to_have_text(f"{MARKUP} lost")
        _show(page, "review")
        expect(page.locator("#item blockquote")).to_contain_text(MARKUP)
        assert page.locator("main img").count() == 0


def test_traffic_is_drawn_with_what_happened_and_told_as_a_table(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        _show(page, "watch")
        charts = page.locator("#traffic figure")
        expect(charts).to_have_count(3)
        expect(charts.nth(1).locator("svg[role=img]")).to_have_attribute(
            "aria-label", "Time a text takes, queue included; half 6.01 ms; 99 of 100 20.9 ms"
        )
        # Three versions were promoted and three runs ended, in the last minutes.
        expect(charts.first.locator(".mark.good")).to_have_count(3)
        titles = charts.first.locator(".mark title").all_text_contents()
        assert "v3 became champion: passed on holdout_gain" in titles
        table = charts.nth(2).locator("tbody tr")
        charts.nth(2).locator("summary").click()
        assert table.count() == 60
        expect(table.first).to_be_visible()
        charts.first.locator("svg").hover(position={"x": 200, "y": 90})
        expect(charts.first.locator(".readout")).to_contain_text("Texts per second")
        expect(page.locator("#events")).to_contain_text("drift alarm: label_psi")
        expect(page.locator("#events")).to_contain_text("failed")
        page.select_option("#minutes", "15")
        expect(charts.first.locator("circle, polyline").first).to_be_visible()
        page.select_option("#minutes", "360")
        expect(page.locator("#minutes")).to_have_value("360")


def test_accuracy_is_told_three_ways_and_an_alarm_is_taken_note_of(browser: Browser, url: str, settings: Settings) -> None:
    with opened(browser, url) as page:
        _show(page, "watch")
        accuracy = page.locator("#accuracy")
        expect(accuracy.locator("polygon.band.series-0")).to_have_count(1)
        row = accuracy.locator("> .scroll tbody tr", has_text="v3")
        for shown in ("90.0 %", "40"):
            expect(row).to_contain_text(shown)
        drift = page.locator("#drift")
        expect(drift.locator(".strip .box.drift")).to_have_count(1)
        expect(drift.locator(".strip svg")).to_have_attribute("aria-label", "12 windows, 1 with drift")
        drift.get_by_role("button", name="Take note").click()
        dialog = page.locator("#confirm")
        dialog.get_by_label("Your name").fill("ada")
        dialog.get_by_label("Reason").fill("a holiday")
        dialog.locator("button[type=submit]").click()
        expect(drift).to_contain_text("ada: a holiday")
        drift.get_by_role("button", name="What moved?").click()
        why = page.locator("#drift-why")
        expect(why).to_contain_text("What moved most in the newest window")
        expect(why.get_by_role("region", name="Label").get_by_role("row", name="lost")).to_contain_text("100.0 %")
        # As the model reads it, which is without markup.
        expect(why.locator(".texts li").first).to_contain_text(": my card is lost")
        assert page.locator("main img").count() == 0
        assert _serious(page) == []
    store = Store(settings.sqlalchemy_url)
    assert [(alarm.state, alarm.decided_by, alarm.decided_why) for alarm in store.drift_alarms()] == [
        ("acknowledged", "ada", "a holiday")
    ]
    store.close()


def test_a_key_that_may_not_is_told_so_and_a_report_is_saved_with_one(browser: Browser, settings: Settings) -> None:
    keys = KeyRing(settings.home.keys)
    secrets = {role: keys.create(role, role)[1] for role in ("predict", "operate")}
    parts = assemble(settings.model_copy(update={"auth": "on", "log_predictions": False}), None, "replica-1")
    store = Store(settings.sqlalchemy_url)
    Scene(parts.registry, store, MARKUP).set()
    store.close()
    with listening(parts) as address:
        with opened(browser, f"{address}/#learning") as page:
            page.fill("#key", secrets["predict"])
            page.click("#key-form button")
            expect(page.locator("#serving")).to_contain_text("v3")
            expect(page.locator("#notice")).to_contain_text("annotate")
            page.click("#views a[href='#models']")
            expect(page.locator("#models tbody tr")).to_have_count(4)
            expect(page.locator("#notice")).to_be_hidden()
        with opened(browser, f"{address}/#models/v3") as page:
            page.fill("#key", secrets["operate"])
            page.click("#key-form button")
            with page.expect_download() as saving:
                page.locator("#model").get_by_role("button", name="The gate's report, with pictures").click()
            assert saving.value.suggested_filename == "v3-gate.html"
            assert "holdout_gain" in saving.value.path().read_text(encoding="utf-8")
