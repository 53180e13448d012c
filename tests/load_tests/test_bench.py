"""The figures that the README quotes are those that are measured again; runs are kept, gone on with, and summed up."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import pandas as pd
import pytest

from deploy.reference import ROOT
from load_tests.bench import __main__ as bench
from load_tests.bench import measuring
from load_tests.bench.figures import FIGURES, Figure, Quote
from load_tests.bench.measuring import NotMeasured, Work, read_loop, without_copies
from load_tests.bench.page import as_page, as_text, lines

QUOTES = [quote for figure in FIGURES for quote in figure.quotes]


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: f"{quote.row[:20]}-{quote.name}")
def test_what_is_compared_with_is_what_the_page_says(quote: Quote) -> None:
    page = (ROOT / quote.page).read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith(f"| {quote.row}")]
    assert len(rows) == 1
    assert quote.text in rows[0]


def test_every_row_of_the_readmes_results_is_measured_again() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Results\n")[1].split("\n## ")[0]
    named = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(named) >= 6
    for row in named:
        assert any(quote.page == "README.md" and row.startswith(quote.row) for quote in QUOTES), row


def _figure(calls: list[Work], values: dict[str, float] | None) -> Figure:
    def measure(work: Work) -> dict[str, float]:
        calls.append(work)
        if values is None:
            raise NotMeasured("it was a bad day")
        return values

    return Figure("speed", "how fast", 1, measure, (Quote("rate", "", "200"), Quote("lost", "", "0")))


def _run(monkeypatch: pytest.MonkeyPatch, figure: Figure, out: Path, *arguments: str) -> int:
    monkeypatch.setattr(bench, "FIGURES", (figure,))
    return bench.main(["--out", str(out), *arguments])


def test_runs_are_made_once_per_commit_and_show_as_ratios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Work] = []
    figure = _figure(calls, {"rate": 100.0, "lost": 0.0})
    monkeypatch.setattr(bench, "current_commit", lambda: "abc")
    assert _run(monkeypatch, figure, tmp_path) == 0
    assert _run(monkeypatch, figure, tmp_path, "--runs", "2") == 0
    assert len(calls) == 2, "the first is not made again"
    monkeypatch.setattr(bench, "current_commit", lambda: "def")
    assert _run(monkeypatch, figure, tmp_path) == 0
    assert len(calls) == 3, "another commit may have other figures"
    rate, lost = json.loads((tmp_path / "figures.json").read_text())
    assert (rate["quoted"], rate["found"], rate["ratio"], rate["runs"]) == ("200", 100.0, 0.5, [100.0, 100.0])
    assert (lost["found"], lost["ratio"]) == (0.0, None)
    assert "0.500" in (tmp_path / "index.html").read_text()
    assert (tmp_path / "speed" / "2" / "run.json").exists()


def test_what_could_not_be_measured_says_why_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Work] = []
    assert _run(monkeypatch, _figure(calls, None), tmp_path) == 1
    assert "it was a bad day" in (tmp_path / "index.html").read_text()
    assert _run(monkeypatch, _figure(calls, {"rate": 1.0, "lost": 0.0}), tmp_path) == 0
    assert len(calls) == 2, "what failed is tried again"


def test_a_trial_tells_what_was_found_and_leaves_no_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Work] = []
    assert _run(monkeypatch, _figure(calls, {"rate": 1.0, "lost": 0.0}), tmp_path, "--smoke") == 0
    assert [work.trial for work in calls] == [True]
    assert "'rate': 1.0" in capsys.readouterr().out
    assert not (tmp_path / "index.html").exists()
    assert _run(monkeypatch, _figure(calls, None), tmp_path / "again", "--smoke") == 1


def test_a_summary_of_nothing_says_that_nothing_was_measured() -> None:
    rows = lines(FIGURES, {})
    assert len(rows) == len(QUOTES)
    assert as_text(rows).count("not measured") == len(rows)
    assert "not measured" in as_page(rows, {})


def test_what_a_command_prints_is_kept_and_its_failure_told(tmp_path: Path) -> None:
    work = Work(None, tmp_path)
    assert work.run("say", "-c", "import sys; print(1); print(2, file=sys.stderr)") == "1\n"
    assert (tmp_path / "say.err").read_text() == "2\n"
    with pytest.raises(NotMeasured, match="fail ended with code 3"):
        work.run("fail", "-c", "raise SystemExit(3)")
    with pytest.raises(NotMeasured, match="HONE_BENCH_DATA"):
        work.dataset("banking77")


def test_the_line_of_the_end_to_end_test_is_read() -> None:
    line = (
        "recall of the three intents 0.0% → 45.8%, others 94.12% → 94.09%; 22822 answers under traffic by {'v1': 3}, 0 failed"
    )
    found = read_loop(f"\n{line}\n.\n1 passed")
    assert found == {
        "recall_before": 0.0,
        "recall_after": 45.8,
        "others_before": 94.12,
        "others_after": 94.09,
        "answers": 22822.0,
    }
    with pytest.raises(NotMeasured):
        read_loop("1 skipped")


def test_a_trial_s_data_has_few_rows_of_each_label() -> None:
    assert doctest.testmod(measuring).failed == 0


def test_copies_of_training_texts_leave_the_test_rows() -> None:
    frame = pd.DataFrame({"text": ["Good  phone", "bad", "good phone", "new"], "split": ["train", "train", "test", "test"]})
    assert without_copies(frame).text.tolist() == ["new"]
