"""The console in a real browser: what a person does, and that its policy blocks nothing it needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from core.keys import KeyRing
from core.quality_bodies import Reason
from core.schemas import CorrectionRequest
from core.settings import Settings
from feedback.store import Store
from feedback.suspicion import Evidence
from serve.parts import assemble
from tests.bundles import register_ngram_bundle
from tests.serve.servers import listening
from tests.serve.test_openapi import OPERATIONS

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)"),
]


_LABELS = ["<b>bold</b>", *(f"intent{number}" for number in range(12))]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    """Give the address of a replica with two versions and many labels."""
    parts = assemble(settings, None, "replica-1")
    for seed in range(2):
        parts.registry.promote(register_ngram_bundle(parts.registry, _LABELS, seed), by="test", why="a fixture")
    with listening(parts) as address:
        yield address


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """Give the console, opened in English; at the end it must have complained about nothing."""
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # The browser reports a refused request as an error of its own, which is none of the page's.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    expect(page.locator("#serving")).to_contain_text("v2")
    yield page
    context.close()
    assert complaints == []


def _ask(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.click("#ask")
    expect(page.locator("#answer .label")).to_have_count(9)


def test_a_text_is_asked_and_corrected_with_a_click_and_with_a_key(page: Page, settings: Settings) -> None:
    _ask(page, "about intent3")
    expect(page.locator("#answer .label .name").first).to_have_text("intent3")
    page.locator("#answer .label").nth(1).click()
    expect(page.locator("#notice")).to_contain_text("(correction)")
    _ask(page, "about intent4")
    # The answer before has as many labels; a key pressed now would still be about that one.
    expect(page.locator("#answer .label .name").first).to_have_text("intent4")
    page.locator("h1").click()
    page.keyboard.press("1")
    expect(page.locator("#notice")).to_have_text("Kept: intent4 (confirmation).")
    store = Store(settings.sqlalchemy_url)
    assert [(found.kind, found.annotator) for found in store.corrections().corrections] == [
        ("confirmation", "console"),
        ("correction", "console"),
    ]
    store.close()


def test_a_label_beyond_the_first_nine_is_chosen_by_name(page: Page) -> None:
    _ask(page, "about intent3")
    hidden = page.locator("#labels option").first.get_attribute("value")
    assert hidden is not None
    page.fill("#answer input", hidden)
    page.locator("#answer input").press("Enter")
    expect(page.locator("#notice")).to_contain_text("(correction)")


def test_words_are_coloured_by_what_they_did(page: Page) -> None:
    page.check("#explain")
    text = "👍🏽 why <b>is</b> it intent3 好"
    _ask(page, text)
    why = page.locator(".why")
    expect(why).to_have_attribute("aria-label", "Why intent3")
    assert why.locator("p").inner_text() == text
    assert why.locator("mark").all_inner_texts() == ["👍🏽", "why", "<b>is</b>", "it", "intent3", "好"]
    strongest = why.locator("mark", has_text="intent3")
    expect(strongest).to_have_class("for")
    assert float((strongest.get_attribute("title") or "").replace("+", "")) > 0.3
    expect(why.locator("li").first).to_contain_text("intent3 +0.")
    expect(why.locator("li")).to_have_count(1)
    colours = why.locator("mark").evaluate_all("marks => marks.map((mark) => getComputedStyle(mark).backgroundColor)")
    assert [colour == colours[0] for colour in colours] == [True, True, True, True, False, True]
    # What is shown is still corrected like any other answer.
    page.locator("#answer .label").nth(1).click()
    expect(page.locator("#notice")).to_contain_text("(correction)")
    page.uncheck("#explain")
    _ask(page, text)
    expect(why).to_have_count(0)


def test_labels_are_shown_as_text(page: Page) -> None:
    _ask(page, "b bold")
    names = page.locator("#answer .label .name").all_text_contents()
    assert page.locator("#answer b").count() == 0
    assert all(name == "<b>bold</b>" or name.startswith("intent") for name in names)


def test_versions_are_rolled_back_promoted_and_shown(page: Page) -> None:
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#rollback")
    expect(page.locator("#serving")).to_contain_text("v1")
    page.locator("#models tr", has_text="v2").get_by_role("button", name="Promote").click()
    expect(page.locator("#serving")).to_contain_text("v2")
    page.locator("#models tr", has_text="v1").get_by_role("button", name="Details").click()
    expect(page.locator("#card")).to_contain_text("# A classifier of 13 labels")
    page.locator("#card").get_by_role("button", name="Close").click()
    expect(page.locator("#card")).to_be_hidden()


def test_a_run_is_started_and_stopped(page: Page) -> None:
    page.click("#run-head")
    expect(page.locator("#runs progress")).to_have_count(1)
    page.locator("#runs").get_by_role("button", name="Stop").click()
    expect(page.locator("#runs")).to_contain_text("cancelled")


def test_texts_are_reviewed_one_after_the_other_with_keys_skipped_and_undone(page: Page, settings: Settings) -> None:
    store = Store(settings.sqlalchemy_url)
    texts = [f"{number} about intent3" for number in range(3)]
    for text in texts:
        store.add_correction(CorrectionRequest(text=text, label="intent4", annotator="eve"))
    reason = Reason(rule="burst", value=9.0, limit=5.0, why="so many")
    sequences = list(range(1, 4))
    doubts = dict.fromkeys(sequences, Evidence("v2", "intent3", 0.99))
    store.keep_suspicions(dict.fromkeys(sequences, (reason,)), doubts, sequences)
    store.ask_about_suspects()
    page.fill("#annotator", "ann <b>")
    page.click("#review-form button")
    shown = page.locator("#item blockquote")
    expect(page.locator("#item")).to_contain_text("doubted corrections: 3")
    first = shown.inner_text()
    assert first in texts
    page.locator("h1").click()
    page.keyboard.press("1")
    expect(page.locator("#notice")).to_have_text("Kept: intent3.")
    expect(shown).not_to_have_text(first)
    page.locator("#item").get_by_role("button", name="Undo").click()
    expect(page.locator("#notice")).to_have_text("Your answer was taken back.")
    for _ in texts:
        expect(shown).to_have_count(1)
        left = shown.inner_text()
        page.locator("#item").get_by_role("button", name="Skip").click()
        expect(shown.filter(has_text=left)).to_have_count(0)
    expect(page.locator("#item")).to_contain_text("Nothing is waiting for you.")
    found = store.corrections().corrections
    assert [(item.annotator, item.withdrawn) for item in found if item.annotator != "eve"] == [("ann <b>", True)]
    store.close()


def test_annotators_agreement_and_what_is_held_back_are_shown_and_decided(page: Page, settings: Settings) -> None:
    store = Store(settings.sqlalchemy_url)
    for number in range(6):
        for who, label in (("ann", "intent1"), ("ben", "intent1"), ("eve", "intent2")):
            store.add_correction(CorrectionRequest(text=f"text {number}", label=label, annotator=who))
    reason = Reason(rule="burst", value=9.0, limit=5.0, why="so many at once")
    store.keep_suspicions({3: (reason,)}, {}, [3])
    page.click("#look")
    rows = page.locator("#quality table").first.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.last).to_contain_text("eve")
    expect(page.locator("#quality")).to_contain_text("on 6 texts that several looked at")
    expect(page.locator("#quality")).to_contain_text("so many at once")
    page.locator("#quality").get_by_role("button", name="Release").click()
    expect(page.locator("#quality")).to_contain_text("None is held back.")
    assert [item.decided_by for item in store.quarantined("released", 10, None).suspicions] == ["console"]
    page.click("#language")
    expect(page.locator("#quality")).to_contain_text("没有被扣留的更正。")
    store.close()


def test_it_speaks_chinese_and_fits_a_phone(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.click("#language")
    expect(page.locator("#try-title")).to_have_text("试一段文本")
    page.check("#explain")
    _ask(page, "about intent3 " + "averylongwordwithoutanyend" * 10)
    expect(page.locator(".why")).to_have_attribute("aria-label", "为什么是 intent3")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    page.screenshot(path=tmp_path / "phone.png", full_page=True)


def test_what_is_refused_is_told_in_the_services_words(page: Page) -> None:
    page.fill("#text", "   ")
    page.click("#ask")
    expect(page.locator("#notice")).to_have_text("text is blank; it must hold at least one visible character")


def test_a_service_that_takes_a_key_asks_for_it(browser: Browser, settings: Settings) -> None:
    _, secret = KeyRing(settings.home.keys).create("ada", "operate")
    parts = assemble(settings.model_copy(update={"auth": "on"}), None, "replica-1")
    parts.registry.promote(register_ngram_bundle(parts.registry), by="test", why="a fixture")
    page = browser.new_page(locale="en-GB")
    with listening(parts) as address:
        page.goto(address)
        expect(page.locator("#serving")).to_have_text("This service takes an API key (hone keys create).")
        page.fill("#key", "hone_wrong")
        page.click("#key-form button")
        expect(page.locator("#key-form")).to_be_visible()
        page.fill("#key", secret)
        page.click("#key-form button")
        expect(page.locator("#serving")).to_contain_text("v1")
        expect(page.locator("#key-form")).to_be_hidden()
        page.fill("#text", "so positive")
        page.click("#ask")
        expect(page.locator("#answer .label .name").first).to_have_text("positive")
        page.click("#forget-key")
        expect(page.locator("#key-form")).to_be_visible()
        assert page.evaluate("sessionStorage.length + localStorage.length + document.cookie.length") == 0
    page.close()


def test_the_reference_shows_every_operation(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}/docs")
    expect(page.locator("#operations summary")).to_have_count(len(OPERATIONS))
    expect(page.locator("#schemas")).to_contain_text("PredictRequest")
    page.close()
