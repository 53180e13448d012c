"""A judgement as a page."""

from __future__ import annotations

from train.areas import Areas
from train.charts import Axis, Line, Lines, bars, grid, lines
from train.judgement import Judgement
from train.page import Page
from train.uncertainty import Interval

_SHARE = (0.0, 1.01)
_SHOWN_LABELS = 200


def judgement_page(found: Judgement) -> Page:
    """Return the page."""
    of = found.evaluation
    left_out = (
        f" {found.learned_rows} rows were left out because the version learned their texts." if found.learned_rows else ""
    )
    unknown = f" {of.unknown_labels} more have labels it does not know." if of.unknown_labels else ""
    page = Page(
        f"{found.version} on {of.source}",
        f"{of.rows} rows of the split {of.split}, {len(of.labels)} labels, engine {of.engine}.{left_out}{unknown} Brackets are "
        "95% intervals.",
    )
    _summary(page, found)
    _floor(page, found)
    _labels(page, found)
    if found.areas is not None:
        _areas(page, found.areas)
    _calibration(page, found)
    _abstaining(page, found)
    _scope(page, found)
    _slices(page, found)
    _swaps(page, found)
    _mistakes(page, found)
    return page


def _summary(page: Page, found: Judgement) -> None:
    metrics = found.evaluation.metrics
    rows: list[tuple[str, str | None]] = [("accuracy", shown(found.accuracy))]
    rows += [(name.replace("_", " "), shown(value)) for name, value in found.averages.items()]
    rows += [("log loss", f"{metrics['log_loss']:.4f}"), ("Brier score", f"{found.calibration.brier:.4f}")]
    if found.areas is not None:
        rows += [
            ("ROC area, macro", f"{found.areas.roc_auc_macro:.4f}"),
            ("ROC area, micro", f"{found.areas.roc_auc_micro:.4f}"),
        ]
        rows += [
            ("precision-recall area, macro", f"{found.areas.average_precision_macro:.4f}"),
            ("precision-recall area, micro", f"{found.areas.average_precision_micro:.4f}"),
        ]
    page.section("Summary").table(("", ""), rows)


def _floor(page: Page, found: Judgement) -> None:
    page.section("Beside the linear floor")
    floor = found.floor
    if floor is None:
        page.text(found.floor_missing or "")
        return
    page.text(
        f"The floor is n-grams under a linear head, taught on the same rows. The version gains {shown(floor.gain)}: it alone "
        f"is right on {floor.better} rows, the floor alone on {floor.worse} (McNemar's exact test, p = {floor.p_value:.3g})."
    )
    page.table(
        ("", "accuracy", "macro F1", "log loss", "ECE", "texts/s", "served, MB", "training, s"),
        [
            (name, shown(accuracy), metrics["macro_f1"], metrics["log_loss"], metrics["ece"], *cells)
            for name, accuracy, metrics, cells in (
                (found.version, found.accuracy, found.evaluation.metrics, _cost(found)),
                ("floor", floor.accuracy, floor.metrics, _floor_cost(found)),
            )
        ],
    )
    page.text("Speeds are those of this process on this machine, one after the other, with whatever else it did.")


def _cost(found: Judgement) -> tuple[str, str, str]:
    cost = found.cost
    return f"{cost.texts_per_s:.0f}", f"{cost.served_bytes / 1e6:.1f}", f"{cost.train_s:.1f}"


def _floor_cost(found: Judgement) -> tuple[str, str, str]:
    if found.floor is None:
        return "", "", ""
    cost = found.floor.cost
    return f"{cost.texts_per_s:.0f}", f"{cost.served_bytes / 1e6:.1f}", f"{cost.train_s:.1f}"


def _labels(page: Page, found: Judgement) -> None:
    of = found.evaluation
    areas = {item.label: item for item in found.areas.labels} if found.areas else {}
    weakest = sorted(of.classes, key=lambda item: item.f1)[:_SHOWN_LABELS]
    page.section("Labels").text("The weakest F1 first.")
    page.table(
        ("label", "rows", "precision", "recall", "F1", "ROC area", "PR area"),
        [
            (
                item.label,
                item.rows,
                _percent(item.precision),
                shown(found.recalls[item.label]) if item.label in found.recalls else None,
                _percent(item.f1),
                f"{areas[item.label].roc_auc:.4f}" if item.label in areas else None,
                f"{areas[item.label].average_precision:.4f}" if item.label in areas else None,
            )
            for item in weakest
        ],
    )
    page.section("Confusion").table(
        ("label", "answered as", "rows"), [(item.label, item.answer, item.rows) for item in found.confused]
    )
    page.figure(grid(of.confusion, of.labels, "answer", "right label"), "Each row is shaded by its share of that label's rows.")


def _areas(page: Page, found: Areas) -> None:
    page.section("Ranking")
    roc = Line(f"area {found.roc_auc_micro:.4f}", found.roc.x, found.roc.y)
    page.figure(
        lines(Lines([roc], Axis("false positive rate", _SHARE), Axis("true positive rate", _SHARE), diagonal=True)),
        "ROC, every pair of row and label one answer (micro).",
    )
    line = Line(f"area {found.average_precision_micro:.4f}", found.precision_recall.x, found.precision_recall.y)
    page.figure(
        lines(Lines([line], Axis("recall", _SHARE), Axis("precision", _SHARE))), "Precision and recall, micro likewise."
    )


def _calibration(page: Page, found: Judgement) -> None:
    of = found.calibration
    page.section("Calibration").text(
        f"Expected calibration error {of.ece:.4f}; without the temperature of {of.temperature:.3f}, which validation rows "
        f"chose, {of.ece_without_temperature:.4f}."
    )
    bins = of.bins
    line = Line(
        "answers",
        [item.confidence for item in bins],
        [item.accuracy.value for item in bins],
        [item.accuracy.low for item in bins],
        [item.accuracy.high for item in bins],
        marks=True,
    )
    page.figure(
        lines(Lines([line], Axis("probability given", _SHARE), Axis("share that is right", _SHARE), diagonal=True)),
        "Reliability: on the dotted line probabilities mean what they say.",
    )
    page.figure(
        bars([(f"{item.confidence:.2f}", [float(item.rows)]) for item in bins], ("rows",), "rows"), "Rows by probability given."
    )


def _abstaining(page: Page, found: Judgement) -> None:
    page.section("Abstaining").text(
        "A request that sends min_score gets `abstained` where the probability is lower. Above a higher threshold fewer texts "
        "are answered, and more of them rightly."
    )
    points = [point for point in found.coverage if point.accuracy is not None]
    line = Line(
        "answers",
        [point.coverage_ratio for point in points],
        [point.accuracy.value for point in points if point.accuracy],
        [point.accuracy.low for point in points if point.accuracy],
        [point.accuracy.high for point in points if point.accuracy],
    )
    page.figure(
        lines(Lines([line], Axis("share that is answered", _SHARE), Axis("accuracy of what is answered"))),
        "Accuracy by coverage; the band is the 95% interval.",
    )
    if not found.thresholds:
        page.text("The version keeps too few answers to validation rows to choose thresholds on.")
        return
    page.text(f"Thresholds chosen on {found.thresholds[0].chosen_on_rows} validation rows, measured on those of this report:")
    page.table(
        ("wanted", "min_score", "validation: answered", "accuracy", "here: answered", "accuracy"),
        [
            (
                _percent(item.wanted_accuracy),
                "not reached" if item.min_score is None else f"{item.min_score:.4f}",
                _percent(item.validation.coverage_ratio) if item.validation else None,
                shown(item.validation.accuracy) if item.validation else None,
                _percent(item.measured.coverage_ratio) if item.measured else None,
                shown(item.measured.accuracy) if item.measured else None,
            )
            for item in found.thresholds
        ],
    )


def _scope(page: Page, found: Judgement) -> None:
    of = found.scope
    if of is None:
        return
    reached = "" if of.reached else " No threshold did, so none is used."
    page.section("Out of scope").text(
        f"{of.out_of_scope_rows} rows labelled {of.label} and {of.in_scope_rows} others. A text counts as out of scope where "
        f"the model says so or is less sure than the threshold. Rule: {of.rule}.{reached}"
    )
    page.table(
        ("", "min_score", "in scope, right", "out of scope, found", "of those called so, rightly", "all rows right"),
        [
            (
                name,
                f"{point.min_score:.4f}",
                _percent(point.in_scope_accuracy),
                _percent(point.out_of_scope_recall),
                _percent(point.out_of_scope_precision),
                _percent(point.accuracy),
            )
            for name, point in (("validation", of.validation), ("here", of.measured))
        ],
    )
    line = Line("thresholds", [p.out_of_scope_recall for p in of.curve], [p.in_scope_accuracy for p in of.curve])
    chosen = Line("chosen", [of.measured.out_of_scope_recall], [of.measured.in_scope_accuracy], marks=True)
    page.figure(
        lines(Lines([line, chosen], Axis("out-of-scope rows found", _SHARE), Axis("in-scope rows right"))),
        "What a threshold buys and costs on the rows of this report.",
    )


def _slices(page: Page, found: Judgement) -> None:
    if not found.slices:
        return
    page.section("Slices").text(
        "Each part beside all other rows. A gap holds where it is no chance after Holm's correction for all slices; one that "
        "does not may be there all the same."
    )
    page.table(
        ("slice", "rows", "accuracy", "gap", "p-value", "holds", "answered more or less often", "gap", "recall differs", "gap"),
        [
            (
                item.name,
                item.rows,
                shown(item.accuracy),
                shown(item.accuracy_gap),
                item.p_value,
                "yes" if item.holds else "no",
                item.widest_answer,
                shown(item.widest_answer_gap),
                item.widest_recall,
                shown(item.widest_recall_gap),
            )
            for item in found.slices
        ],
    )


def _swaps(page: Page, found: Judgement) -> None:
    if not found.swaps:
        return
    page.section("Swapped terms").table(
        ("from", "to", "texts", "other label", "mean shift of probability"),
        [(item.group, item.into, item.texts, shown(item.changed), item.mean_shift) for item in found.swaps],
    )
    page.table(
        ("text", "answer", "swapped", "answer"),
        [(one.text, one.label, one.swapped, one.swapped_label) for item in found.swaps for one in item.shown],
    )


def _mistakes(page: Page, found: Judgement) -> None:
    page.section("The surest mistakes").table(
        ("text", "label", "answer", "probability"),
        [(item.text, item.label, item.answer, item.score) for item in found.mistakes],
    )


def shown(interval: Interval | None) -> str | None:
    """Return a share with its interval as people read them."""
    if interval is None:
        return None
    return f"{100 * interval.value:.2f}% [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def _percent(ratio: float | None) -> str | None:
    return None if ratio is None else f"{100 * ratio:.1f}%"
