"""The console in a real browser: what a person does, and that its policy blocks nothing it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from core.gate import ClassChange, GateDecision, Rule
from core.keys import KeyRing
from core.quality_bodies import Reason
from core.registry import Registry
from core.schemas import CorrectionRequest, CurvePoint
from core.settings import Settings
from feedback.runs import Decided, RunEnd
from feedback.store import Store
from feedback.suspicion import Evidence
from serve.parts import assemble
from tests.bundles import register_ngram_bundle
from tests.serve.browsing import BROWSER_MARKS, chromium, opened
from tests.serve.painted import painted
from tests.serve.servers import listening
from tests.serve.test_openapi import OPERATIONS

pytestmark = BROWSER_MARKS

_LABELS = ["<b>bold</b>", *(f"intent{number}" for number in range(12))]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


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
    with opened(browser, url) as page:
        expect(page.locator("#serving")).to_contain_text("v2")
        yield page


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


def _confirm(page: Page, why: str = "because") -> None:
    dialog = page.locator("#confirm")
    if not dialog.get_by_label("Your name").input_value():
        dialog.get_by_label("Your name").fill("ann")
    dialog.get_by_label("Reason").fill(why)
    dialog.locator("button[type=submit]").click()
    expect(dialog).to_be_hidden()


def _row(page: Page, version: str) -> Locator:
    return page.locator("#models tbody tr").filter(has=page.locator("td:first-child", has_text=version))


def test_versions_are_rolled_back_promoted_and_shown(page: Page, settings: Settings) -> None:
    page.click("#views a[href='#models']")
    expect(page).to_have_title("Models · Hone")
    expect(_row(page, "v2")).to_contain_text("champion")
    page.click("#rollback")
    expect(page.locator("#confirm")).to_contain_text("v1 will answer all requests again")
    _confirm(page, "v2 was worse on <b>refunds</b>")
    expect(page.locator("#serving")).to_contain_text("v1")
    _row(page, "v2").get_by_role("link", name="v2").click()
    model = page.locator("#model")
    expect(model).to_contain_text("The gate was not asked about this version.")
    expect(model).to_contain_text("v2 was worse on <b>refunds</b> (gave way to v1)")
    model.get_by_text("Model card, as it was exported").click()
    expect(model.locator("pre")).to_contain_text("# A classifier of 13 labels")
    model.get_by_role("button", name="Promote").click()
    _confirm(page)
    expect(page.locator("#serving")).to_contain_text("v2")
    expect(page.locator("#notice")).to_have_text("v2 is the champion now.")
    moves = Registry(settings.home.registry).history()[-2:]
    assert [(move.action, move.by, move.why) for move in moves] == [
        ("rollback", "ann", "v2 was worse on <b>refunds</b>"),
        ("promote", "ann", "because"),
    ]


def test_what_was_thought_better_of_is_not_done(page: Page, settings: Settings) -> None:
    page.click("#views a[href='#models']")
    page.click("#rollback")
    # Without a reason nothing happens.
    page.locator("#confirm button[type=submit]").click()
    expect(page.locator("#confirm")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#confirm")).to_be_hidden()
    page.click("#rollback")
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    assert Registry(settings.home.registry).aliases().champion == "v2"


def test_what_the_gate_refused_is_shown_rule_by_rule_and_takes_a_person_to_promote(page: Page, settings: Settings) -> None:
    registry = Registry(settings.home.registry)
    rules = [
        Rule(name="holdout_rows", value=812, limit=50, kind="required", passed=True, why="812 holdout rows to judge on"),
        Rule(name="class_floor", value=0.25, limit=0.1, kind="required", passed=False, why="intent3 loses <i>a lot</i>"),
    ]
    classes = [ClassChange(name="intent3", rows=40, champion_right=38, candidate_right=28)]
    decision = GateDecision(promote=False, summary="failed class_floor", champion="v2", rules=rules, classes=classes)
    version = register_ngram_bundle(registry, _LABELS, 7, decision)
    page.goto(f"{page.url.partition('#')[0]}#models/{version}")
    model = page.locator("#model")
    expect(model).to_contain_text("refused against v2: failed class_floor")
    expect(model.get_by_role("row", name="class_floor")).to_contain_text("intent3 loses <i>a lot</i>")
    expect(model.get_by_role("row", name="class_floor")).to_contain_text("fails")
    page.click("#language")
    expect(model).to_contain_text("未通过：class_floor")
    expect(model.get_by_role("row", name="holdout_rows")).to_contain_text("可用于评判的留出集数据 812 条")
    page.click("#language")
    expect(model.get_by_role("link", name="The gate's report")).to_have_attribute("href", f"/v1/models/{version}/gate.html")
    model.get_by_text("Labels and slices that changed (1)").click()
    expect(model.get_by_role("row", name="intent3 40")).to_contain_text("−25.0 %")
    model.get_by_role("button", name="Promote").click()
    expect(page.locator("#confirm")).to_contain_text("The gate refused it: failed class_floor.")
    page.get_by_label("Although the gate refused it").check()
    _confirm(page)
    expect(page.locator("#serving")).to_contain_text(version)
    assert registry.aliases().champion == version


def test_what_waits_for_a_signature_is_refused_and_approved(page: Page, settings: Settings) -> None:
    registry = Registry(settings.home.registry)
    decision = GateDecision(promote=True, summary="passed on holdout_gain", champion="v1", rules=[], mode="approve")
    version = register_ngram_bundle(registry, _LABELS, 7, decision)
    page.goto(f"{page.url.partition('#')[0]}#models/{version}")
    model = page.locator("#model")
    expect(_row(page, version)).to_contain_text("waits for a signature")
    expect(model.get_by_role("button", name="Promote")).to_have_count(0)
    model.get_by_role("button", name="Refuse").click()
    _confirm(page, "too bold")
    expect(_row(page, version)).to_contain_text("refused by a person")
    expect(model).to_contain_text("too bold")
    model.get_by_role("button", name="Approve").click()
    # It was compared with a version that is champion no more, and whoever signs has to know.
    page.get_by_label("Although it was compared with v1, and v2 is the champion now").check()
    _confirm(page, "looked at it again")
    expect(page.locator("#serving")).to_contain_text(version)
    assert [(move.action, move.why, move.stale) for move in registry.moves_of(version) if move.signed] == [
        ("refuse", "too bold", False),
        ("approve", "looked at it again", True),
    ]
    assert {move.seen for move in registry.moves_of(version) if move.signed} == {registry.decision_hash(version)}


def test_a_challenger_is_named_and_withdrawn(page: Page, settings: Settings) -> None:
    registry = Registry(settings.home.registry)
    page.goto(f"{page.url.partition('#')[0]}#models/v1")
    expect(page.locator("#withdraw")).to_be_disabled()
    page.locator("#model").get_by_role("button", name="Challenge").click()
    _confirm(page)
    expect(_row(page, "v1")).to_contain_text("challenger")
    assert registry.aliases().challenger == "v1"
    page.click("#withdraw")
    _confirm(page)
    expect(page.locator("#notice")).to_have_text("There is no challenger any more.")
    assert registry.aliases().challenger is None


def test_a_run_is_started_watched_and_stopped(page: Page, settings: Settings) -> None:
    page.click("#views a[href='#learning']")
    page.select_option("#speed", "full")
    expect(page.locator("#speed-hint")).to_contain_text("Trains the encoder too")
    page.fill("#note", "try <b>this</b>")
    page.click("#learn-form button")
    run = page.locator("#run")
    expect(run).to_contain_text("waiting")
    expect(run).to_contain_text("try <b>this</b>")
    store = Store(settings.sqlalchemy_url)
    claimed = store.claim_run("test")
    assert claimed is not None
    curve = [CurvePoint(progress_ratio=number / 20, loss=2.0 / number, examples_per_s=31.0) for number in range(1, 11)]
    store.update_run(
        claimed.run_id,
        stage="finetune",
        progress_ratio=0.5,
        remaining_s=42.0,
        metrics={"loss": 0.2, "examples_per_s": 31.0, "step": 10, "steps": 20},
        curve=curve,
        decided=Decided(chosen="full", why="the head leaves a gap of 4 points"),
    )
    for shown in ("10 / 20", "0.2", "31", "42 s", "the head leaves a gap of 4 points", "finetune"):
        expect(run).to_contain_text(shown)
    expect(run.locator(".plot[role=img]")).to_have_attribute("aria-label", "Loss; Loss 0.2")
    loss = painted(run, "series-0")
    # From 2 at the left to a tenth of that at the right.
    assert loss.between(0.0, 0.1).ys[-1] > 0.8
    assert 0.05 < loss.between(0.9, 1.0).ys[-1] < 0.15
    run.get_by_text("The values as a table").click()
    expect(run.locator(".values tbody tr")).to_have_count(10)
    # Drawing anew as the run goes on neither folds the table nor takes the keyboard's focus away.
    run.get_by_role("button", name="Stop").focus()
    store.update_run(claimed.run_id, progress_ratio=0.6, remaining_s=30.0)
    expect(run).to_contain_text("30 s")
    expect(run.locator(".values tbody tr").first).to_be_visible()
    assert page.evaluate("document.activeElement.textContent") == "Stop"
    run.get_by_role("button", name="Stop").click()
    expect(page.locator("#notice")).to_have_text("The run was asked to stop.")
    assert store.cancel_requested(claimed.run_id)
    store.record_run(claimed.run_id, {"snapshot": "s"})
    store.finish_run(claimed.run_id, RunEnd("cancelled", error="the run was stopped while it was at: finetune"))
    expect(run).to_contain_text("the run was stopped while it was at: finetune")
    run.get_by_role("button", name="Resume").click()
    expect(page.locator("#runs tbody tr")).to_have_count(2)
    assert store.runs().runs[0].resumes == claimed.run_id
    store.close()


def test_texts_are_reviewed_one_after_the_other_with_keys_skipped_and_undone(page: Page, settings: Settings) -> None:
    store = Store(settings.sqlalchemy_url)
    texts = [f"{number} about intent3" for number in range(3)]
    for text in texts:
        store.add_correction(CorrectionRequest(text=text, label="intent4", annotator="eve"))
    reason = Reason(rule="burst", value=9.0, limit=5.0, why="more than 5 came from one annotator within 60 s")
    sequences = list(range(1, 4))
    doubts = dict.fromkeys(sequences, Evidence("v2", "intent3", 0.99))
    store.keep_suspicions(dict.fromkeys(sequences, (reason,)), doubts, sequences)
    store.ask_about_suspects()
    page.click("#views a[href='#review']")
    page.fill("#annotator", "ann <b>")
    page.click("#review-form button")
    shown = page.locator("#item blockquote")
    expect(page.locator("#item li")).to_have_text("more than 5 came from one annotator within 60 s")
    expect(page.locator("#item")).to_contain_text("doubted corrections: 3")
    first = shown.inner_text()
    assert first in texts
    page.locator("h1").click()
    page.keyboard.press("1")
    expect(page.locator("#notice")).to_have_text("Kept: intent3.")
    expect(shown).not_to_have_text(first)
    page.locator("#item").get_by_role("button", name="Undo").click()
    expect(page.locator("#notice")).to_have_text("Your answer was taken back.")
    # What was taken back comes again, and is answered, taken back and skipped with keys as well.
    page.locator("h1").click()
    page.keyboard.press("2")
    expect(page.locator("#item")).to_contain_text("doubted corrections: 2")
    page.keyboard.press("u")
    expect(page.locator("#notice")).to_have_text("Your answer was taken back.")
    page.click("#language")
    expect(page.locator("#item li")).to_have_text("同一标注者在 60 秒内给出超过 5 条")
    page.click("#language")
    for place, _ in enumerate(texts):
        expect(shown).to_have_count(1)
        left = shown.inner_text()
        if place:
            page.locator("#item").get_by_role("button", name="Skip").click()
        else:
            page.locator("h1").click()
            page.keyboard.press("s")
        expect(shown.filter(has_text=left)).to_have_count(0)
    expect(page.locator("#item")).to_contain_text("Nothing is waiting for you.")
    found = store.corrections().corrections
    assert [(item.annotator, item.withdrawn) for item in found if item.annotator != "eve"] == [("ann <b>", True)] * 2
    store.close()


def test_annotators_agreement_and_what_is_held_back_are_shown_and_decided(page: Page, settings: Settings) -> None:
    store = Store(settings.sqlalchemy_url)
    for number in range(6):
        for who, label in (("ann", "intent1"), ("ben", "intent1"), ("eve", "intent2")):
            store.add_correction(CorrectionRequest(text=f"text {number}", label=label, annotator=who))
    reason = Reason(rule="burst", value=9.0, limit=5.0, why="so many at once")
    store.keep_suspicions({3: (reason,)}, {}, [3])
    page.click("#views a[href='#review']")
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
    refused = "text is blank; it must hold at least one visible character"
    expect(page.locator("#notice")).to_have_text(refused)
    page.click("#language")
    page.click("#ask")
    expect(page.locator("#notice")).to_have_text(f"文本为空、太长或含有不允许的字符（{refused}）")


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
