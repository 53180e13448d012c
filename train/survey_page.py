"""A survey of a data file as a page."""

from __future__ import annotations

from train.charts import bars, histogram
from train.page import Page
from train.survey import SPLITS, DataSurvey

_SHOWN_LABELS = 60
_SHOWN_LANGUAGES = 8


def survey_page(found: DataSurvey) -> Page:
    """Return the page."""
    cleaning = found.cleaning
    page = Page(
        f"Data report: {found.source}",
        f"{cleaning.rows} rows, {cleaning.examples} of them kept, {len(found.labels)} labels. Splits come from "
        f"{'the file' if cleaning.split_from == 'column' else 'a hash of each text'}.",
    )
    _findings(page, found)
    _labels(page, found)
    _parts(page, found)
    _near(page, found)
    return page


def _findings(page: Page, found: DataSurvey) -> None:
    page.section("What was dropped or merged").text(
        "As training would do it. Rows are counted from 1 below the header; equal texts are those that differ in case, spaces "
        "or markup only."
    )
    page.table(
        ("what", "rows", "done", "first rows"),
        [(item.what, item.count, item.action, ", ".join(map(str, item.rows))) for item in found.cleaning.findings],
    )


def _labels(page: Page, found: DataSurvey) -> None:
    page.section("Labels")
    uneven = found.imbalance
    if uneven is not None:
        page.text(
            f"In the training rows {uneven.largest} has {uneven.largest_rows} rows and {uneven.smallest} "
            f"{uneven.smallest_rows}, {uneven.ratio:.1f} to 1. Labels are as hard to guess as {uneven.effective_labels:.1f} "
            "equally frequent ones."
        )
    if uneven is not None and uneven.few:
        page.text(f"Fewer than 10 training rows: {', '.join(uneven.few)}.")
    present = [split for split in SPLITS if any(split in label.by_split for label in found.labels)]
    rows = [(label.label, [float(label.by_split.get(split, 0)) for split in present]) for label in found.labels[:_SHOWN_LABELS]]
    more = f" The {_SHOWN_LABELS} largest of {len(found.labels)}." if len(found.labels) > _SHOWN_LABELS else ""
    page.figure(bars(rows, present, "rows"), f"Rows of each label by split.{more}")


def _parts(page: Page, found: DataSurvey) -> None:
    page.section("Splits").text(
        f"Texts would be cut at {found.token_limit} tokens. New words are those that no training text has; the tokenizer may "
        "still know them."
    )
    page.table(
        ("split", "rows", "labels", "words", "95% have at most", "tokens", "most tokens", "unknown tokens", "new words", "cut"),
        [
            (
                part.split,
                part.rows,
                part.labels,
                part.words.median,
                part.words.p95,
                part.tokens.median,
                part.tokens.most,
                _percent(part.unknown_token_ratio),
                _percent(part.new_word_ratio),
                _percent(part.cut_ratio),
            )
            for part in found.parts
        ],
    )
    page.figure(histogram([(part.split, part.word_lengths) for part in found.parts], "words"), "How long texts are.")
    languages = sorted({name for part in found.parts for name in part.languages})
    ranked = sorted(languages, key=lambda name: -max(part.languages.get(name, 0.0) for part in found.parts))[:_SHOWN_LANGUAGES]
    page.section("Languages").text(
        f"Told from {found.measured_rows} rows; und: too few letters to tell. A short text is often taken for another language."
    )
    page.table(
        ("language", *(part.split for part in found.parts)),
        [(name, *(_percent(part.languages.get(name, 0.0)) for part in found.parts)) for name in ranked],
    )
    page.section("How far splits are from the training rows").text(
        "The tests that watch traffic for drift. A small p-value says that the difference is no chance, the size whether it "
        "matters."
    )
    page.table(
        ("split", "what", "size", "unit", "p-value"),
        [(part.split, shift.what, shift.size, shift.unit, shift.p_value) for part in found.parts for shift in part.shifts],
    )


def _near(page: Page, found: DataSurvey) -> None:
    near = found.near_duplicates
    page.section("Texts that are all but the same").text(
        f"Among {near.compared_rows} rows {near.pairs} pairs share 85% of their runs of four characters; {near.across_splits} "
        f"of them stand in different splits, {near.contradicting} have different labels."
    )
    page.table(
        ("text", "label", "split", "other text", "label", "split"),
        [(p.text, p.label, p.split, p.other_text, p.other_label, p.other_split) for p in near.shown],
    )


def _percent(ratio: float | None) -> str | None:
    return None if ratio is None else f"{100 * ratio:.1f}%"
