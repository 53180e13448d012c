"""Answers that come late, or not at all: the page shows what was asked for last."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from core.registry import Registry
from core.settings import Settings
from feedback.store import Store
from serve.parts import assemble
from tests.bundles import register_ngram_bundle
from tests.serve.browsing import BROWSER_MARKS, chromium, opened
from tests.serve.scenes import Scene
from tests.serve.servers import listening

pytestmark = BROWSER_MARKS


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, settings: Settings) -> Iterator[Page]:
    """Give the console of a replica that has worked for some days."""
    parts = assemble(settings.model_copy(update={"log_predictions": False}), None, "replica-1")
    store = Store(settings.sqlalchemy_url)
    Scene(parts.registry, store, "other").set()
    store.close()
    with listening(parts) as url, opened(browser, url) as page:
        expect(page.locator("#serving")).to_contain_text("v3")
        yield page


class _Held:
    """The first request to an address, whose answer waits until it is let go."""

    def __init__(self, page: Page, address: str) -> None:
        self._page = page
        self._routes: list[Route] = []
        page.route(address, self._hold, times=1)

    def _hold(self, route: Route) -> None:
        self._routes.append(route)

    def wait(self) -> None:
        """Wait until it was asked for."""
        while not self._routes:
            self._page.wait_for_timeout(20)

    def answer(self, send: Callable[[Route], None]) -> None:
        """Let its answer come, and wait until the page has read it."""
        (route,) = self._routes
        with self._page.expect_event("requestfinished", lambda request: request == route.request):
            send(route)
        # What is asked for later is read later.
        self._page.evaluate("() => fetch('healthz').then((answer) => answer.text())")


def test_a_stretch_of_time_that_was_left_does_not_come_back(page: Page) -> None:
    held = _Held(page, "**/v1/history?minutes=60")
    page.click("#views a[href='#watch']")
    held.wait()
    page.select_option("#minutes", "15")
    expect(page.locator("#traffic canvas")).to_have_count(3)
    held.answer(lambda route: route.fulfill(json={"traffic": [], "events": [], "step_s": 15, "started_at": "", "ended_at": ""}))
    expect(page.locator("#traffic canvas")).to_have_count(3)


def test_a_version_that_was_left_does_not_come_back(page: Page, settings: Settings) -> None:
    page.evaluate("location.hash = '#models/v1'")
    title = page.locator("#model h2")
    expect(title).to_contain_text("v1")
    held = _Held(page, "**/v1/models/v1")
    # The list has changed, and so the version below it is read again.
    register_ngram_bundle(Registry(settings.home.registry), seed=9)
    held.wait()
    page.locator("#models").get_by_role("link", name="v2", exact=True).first.click()
    expect(title).to_contain_text("v2")
    held.answer(lambda route: route.continue_())
    expect(page.locator("#models tbody tr")).to_have_count(5)
    expect(title).to_contain_text("v2")


def test_a_run_that_was_left_does_not_come_back(page: Page) -> None:
    page.click("#views a[href='#learning']")
    runs = page.locator("#runs tbody a[href^='#learning/']")
    expect(runs).to_have_count(4)
    first, last = (runs.nth(place).get_attribute("href") or "" for place in (1, 3))
    held = _Held(page, f"**/v1/runs/{first.rpartition('/')[2]}")
    runs.nth(1).click()
    held.wait()
    runs.nth(3).click()
    shown = page.locator("#run")
    expect(shown).to_contain_text("v2 → champion")
    held.answer(lambda route: route.continue_())
    expect(shown).to_contain_text("v2 → champion")
    assert page.url.endswith(last)


def test_what_another_page_was_refused_is_not_told_on_this_one(page: Page) -> None:
    held = _Held(page, "**/v1/runs?*")
    page.click("#views a[href='#learning']")
    held.wait()
    page.click("#views a[href='#models']")
    expect(page.locator("#models tbody tr")).to_have_count(4)
    held.answer(lambda route: route.fulfill(status=403, json={"error": "this key may not", "code": "forbidden"}))
    expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize(
    ("address", "told", "rows"),
    [("#models/v99", "no such version", "#models tbody tr"), ("#learning/r_nothing", "no run has this", "#runs tbody tr")],
)
def test_who_asks_for_what_is_not_there_is_told_so_and_sees_the_list(page: Page, address: str, told: str, rows: str) -> None:
    page.evaluate(f"location.hash = '{address}'")
    expect(page.locator("#notice")).to_contain_text(told)
    expect(page.locator(rows)).to_have_count(4)
