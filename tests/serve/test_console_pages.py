"""Every page of the console in a real browser, full of what some days of work leave: seen by axe, on a phone, in two languages.

With ``HONE_PICTURES`` naming a folder the pages are also kept there as pictures; the documentation shows those.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FloatRect, Page, Route, expect

from core.keys import KeyRing
from core.settings import Settings
from feedback.store import Store
from serve.parts import assemble
from tests.serve.browsing import BROWSER_MARKS, chromium, opened
from tests.serve.painted import painted
from tests.serve.scenes import MARKUP, Scene
from tests.serve.servers import listening

pytestmark = BROWSER_MARKS

VIEWS = {
    "try": "#text",
    "review": "#annotator",
    "models": "#models tbody tr",
    "learning": "#runs tbody tr",
    "watch": "#traffic canvas",
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
        expect(charts.nth(1).locator(".plot[role=img]")).to_have_attribute(
            "aria-label", "Time a text takes, queue included; half 6.01 ms; 99 of 100 20.9 ms"
        )
        # Half of the texts took 6 ms and 99 of 100 took 21: two level lines, from one end to the other.
        half, most = (painted(charts.nth(1), name) for name in ("series-0", "series-1"))
        assert half.xs[0] < 0.03
        assert half.xs[-1] > 0.95
        assert half.ys[-1] - half.ys[0] < 0.05
        assert 2.8 < sum(most.ys) / len(most.ys) / (sum(half.ys) / len(half.ys)) < 3.9
        # Requests were refused from 17.5 to 15 minutes ago, and the axis is an hour.
        refused = painted(charts.nth(2), "series-0")
        high = [x for x, y in refused.pixels if y > 0.5]
        assert 0.68 < min(high) < 0.73
        assert 0.71 < max(high) < 0.77
        assert 0.02 < max(high) - min(high) < 0.06
        # Three versions were promoted and three runs ended, in the last minutes.
        promoted = charts.first.locator(".mark.good")
        expect(promoted).to_have_count(3)
        titles = {mark.get_attribute("title"): mark.evaluate("mark => mark.style.left") for mark in promoted.all()}
        # Half an hour and a minute ago.
        assert 45 < float(titles["v3 became champion: passed on holdout_gain"].rstrip("%")) < 50
        table = charts.nth(2).locator("tbody tr")
        charts.nth(2).locator("summary").click()
        assert table.count() == 60
        expect(table.first).to_be_visible()
        charts.nth(1).locator(".u-over").hover(position={"x": 150, "y": 60})
        told = re.compile(r"^\d\d:\d\d · half [56](\.\d+)? ms · 99 of 100 2\d(\.\d)? ms$")
        expect(charts.nth(1).locator(".readout")).to_have_text(told)
        expect(page.locator("#events")).to_contain_text("drift alarm: label_psi")
        expect(page.locator("#events")).to_contain_text("failed")
        # In a quarter of an hour nothing was refused, in six there was most of the time nobody.
        page.select_option("#minutes", "15")
        expect(page.locator("#minutes")).to_have_value("15")
        _until(page, lambda: 0 < len(painted(charts.nth(2), "series-0").ys) < 5)
        page.select_option("#minutes", "360")
        _until(page, lambda: min(painted(charts.first, "series-0").xs, default=0.0) > 0.8)


def test_a_line_is_broken_where_nothing_is_known_and_who_stands_alone_is_seen(browser: Browser, url: str) -> None:
    def forget(route: Route) -> None:
        response = route.fetch()
        history = response.json()
        traffic = history["traffic"]
        # One stretch of time is known in the middle of what is not.
        history["traffic"] = traffic[:60] + traffic[120:121] + traffic[180:]
        route.fulfill(response=response, json=history)

    with opened(browser, url) as page:
        page.route("**/v1/history?*", forget)
        _show(page, "watch")
        line = painted(page.locator("#traffic figure").first, "series-0")
        assert line.between(0.0, 0.24).xs[-1] > 0.2
        assert line.between(0.77, 1.0).xs[0] < 0.8
        (alone,) = {round(x, 1) for x in line.between(0.27, 0.73).xs}
        assert alone == 0.5


def test_charts_follow_the_theme_and_the_width_while_they_are_shown(browser: Browser, url: str) -> None:
    with opened(browser, url, color_scheme="light", viewport={"width": 1180, "height": 800}) as page:
        _show(page, "watch")
        accuracy = page.locator("#accuracy figure")
        light = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--series-0')")
        assert painted(accuracy, "series-0").pixels
        page.emulate_media(color_scheme="dark")
        _until(page, lambda: bool(painted(accuracy, "series-0").pixels))
        assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--series-0')") != light
        page.set_viewport_size({"width": 700, "height": 800})
        expect(accuracy.locator("canvas")).to_have_count(1)
        _until(page, lambda: accuracy.locator("canvas").evaluate("canvas => canvas.getBoundingClientRect().right") < 700)
        assert painted(accuracy, "series-0").pixels


def _until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait until the page has come so far."""
    for _ in range(100):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError("the page did not come so far")


def test_accuracy_is_told_three_ways_and_an_alarm_is_taken_note_of(browser: Browser, url: str, settings: Settings) -> None:
    with opened(browser, url) as page:
        _show(page, "watch")
        accuracy = page.locator("#accuracy")
        line, band = (painted(accuracy, name) for name in ("series-0", "band-0"))
        # It begins with the first of twelve windows, and falls before the last two.
        assert 0.15 < line.xs[0] < 0.25
        assert line.between(0.3, 0.4).ys[0] > line.between(0.88, 0.92).ys[-1]
        # An interval reaches below its estimate and above it.
        assert band.between(0.3, 0.4).ys[0] < line.between(0.3, 0.4).ys[0]
        assert band.between(0.3, 0.4).ys[-1] > line.between(0.3, 0.4).ys[-1]
        # The audit is about the version that answers since half the time.
        audit, interval = (painted(accuracy, name) for name in ("series-1", "band-1"))
        assert 0.45 < audit.xs[0] < 0.5
        assert 0.45 < interval.xs[0] < 0.5
        assert interval.ys[0] < audit.ys[0]
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
