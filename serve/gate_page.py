"""A gate report as one page of HTML that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.pages import page, shown, table
from serve.gate_charts import MOST_ROWS, changes_chart, flips_chart, reliability_chart
from serve.gate_report import Change, GateReport

_STANDING = {
    "waiting": "waits for a person's approval",
    "approved": "approved by a person",
    "refused": "refused by a person",
    "overridden": "promoted by override",
}


def page_of(report: GateReport) -> str:
    """Return the page; labels, slices and reasons are users' words and stand in it as text."""
    title = f"Gate: {report.version}"
    sections = [
        _verdict(report),
        "<h2>Rules</h2>",
        _rules(report),
        *_pictures(report),
        *_signatures(report),
        "<h2>Looks</h2>",
        f"<p>Look {report.looks.holdout_looks} at this holdout, look {report.looks.recent_looks} at what people said since the "
        f"champion learned. Each look may use less of the level.{_weight(report)} {_wear(report)}</p>",
    ]
    return page(title, sections)


def _verdict(report: GateReport) -> str:
    kind, word = ("good", "recommended" if report.mode == "approve" else "passed") if report.promote else ("bad", "refused")
    against = f"compared with {report.champion}" if report.champion else "the first version"
    standing = f"; {_STANDING[report.standing]}" if report.standing else ""
    made = f"{report.made_at:%Y-%m-%d %H:%M} UTC"
    seen = f'<p class="hint">Decision {shown(report.decision_hash)}</p>' if report.decision_hash else ""
    said = f'<b class="{kind}">{word}</b>: {shown(report.summary)}'
    return f'<p>{said}{standing}</p><p class="hint">{shown(against)}; made {made}</p>{seen}'


def _rules(report: GateReport) -> str:
    rows = []
    for rule in report.rules:
        missed = ("bad", "failed") if rule.kind == "required" else ("open", "no")
        kind, verdict = ("good", "passed") if rule.passed else missed
        said = [shown(rule.name), rule.kind, f'<b class="{kind}">{verdict}</b>']
        rows.append([*said, f"{rule.value:.4g}", f"{rule.limit:.4g}", shown(rule.why)])
    hint = '<p class="hint">Every required rule must pass, and one that is evidence.</p>'
    return hint + table(("rule", "kind", "verdict", "value", "limit", "why"), rows, numbers=(3, 4))


def _pictures(report: GateReport) -> Iterable[str]:
    if report.flips is not None:
        yield f"<h2>Flips on the holdout</h2>{flips_chart(report.flips)}"
    for title, changes in (("Labels", report.classes), ("New labels", report.new_classes), ("Slices", report.slices)):
        if changes:
            yield f"<h2>{title}</h2>{_changes(title, changes)}"
    if report.reliability is not None:
        yield f"<h2>Reliability</h2>{reliability_chart(report.reliability)}"


def _changes(title: str, changes: Sequence[Change]) -> str:
    left_out = len(changes) - MOST_ROWS
    more = f" The picture leaves out {left_out} that moved least." if left_out > 0 else ""
    hint = f'<p class="hint">Accuracy gained, with its bounds at 95% each; coloured where they leave out 0.{more}</p>'
    rows = [
        [
            shown(change.name),
            str(change.rows),
            str(change.champion_right),
            str(change.candidate_right),
            f"{change.gain_ratio * 100:+.2f}",
            "–"
            if change.low_ratio is None or change.high_ratio is None
            else f"{change.low_ratio * 100:+.2f} … {change.high_ratio * 100:+.2f}",
        ]
        for change in changes
    ]
    columns = (title[:-1].lower(), "rows", "champion right", "candidate right", "gain, points", "bounds")
    listed = table(columns, rows, numbers=(1, 2, 3, 4, 5))
    return f"{hint}{changes_chart(changes, title)}<details><summary>as a table</summary>{listed}</details>"


def _weight(report: GateReport) -> str:
    weight = report.looks.holdout_weight
    if weight == 1.0:
        return ""
    return (
        f" At the holdout this one counts {weight:g}, and all together {report.looks.weights:g}: what people said does not "
        "speak for this head."
    )


def _wear(report: GateReport) -> str:
    least = report.looks.least_gain_ratio
    if report.champion is None:
        return ""
    said = (
        "The holdout can show no gain at all now"
        if least is None
        else f"The holdout can show gains from {least * 100:.1f} points on"
    )
    return f"{said}: it is worn out, or too small." if report.looks.worn else f"{said}."


def _signatures(report: GateReport) -> Iterable[str]:
    if report.signatures:
        rows = [
            [f"{one.at:%Y-%m-%d %H:%M:%S}", shown(one.by), one.action, shown(one.reason), one.decision_hash or "–"]
            for one in report.signatures
        ]
        columns = ("when (UTC)", "who", "what", "why", "decision seen")
        yield f"<h2>Signatures</h2>{table(columns, rows)}"
