"""What compression came to, as a page."""

from __future__ import annotations

from train.charts import Axis, Line, Lines, bars, lines
from train.compress import CompressionReport
from train.page import Page


def compress_page(found: CompressionReport) -> Page:
    """Return the page."""
    page = Page(
        f"{found.version} made smaller",
        f"Accuracy is that on {found.validation_rows} validation rows, of heads that had not seen them; the holdout chose "
        "nothing. Speeds are those of this machine with whatever else it did; torch in fp32 reads "
        f"{found.torch_texts_per_s:.0f} texts/s.",
    )
    page.section("Ways").table(
        (
            "recipe",
            "accuracy",
            "lost",
            "on the holdout",
            "served, MB",
            "folder, MB",
            "engine",
            "texts/s",
            "times torch",
            "made in, s",
        ),
        [
            (
                option.name if option.problem is None else f"{option.name}: {option.problem}",
                _percent(option.accuracy),
                _percent(option.loss),
                _percent(option.test_accuracy),
                _megabytes(option.served_bytes),
                _megabytes(option.folder_bytes),
                option.engine,
                option.texts_per_s,
                option.speedup,
                option.fit_s,
            )
            for option in found.options
        ],
    )
    made = [option for option in found.options if option.accuracy is not None and option.served_bytes and option.texts_per_s]
    if made:
        shown = [option.name for option in made]
        accuracy = [100 * (option.accuracy or 0.0) for option in made]
        sizes = Line("ways", [(option.served_bytes or 0) / 1e6 for option in made], accuracy, apart=True)
        page.figure(lines(Lines([sizes], Axis("served, MB"), Axis("accuracy, %"), names=shown)), "Size.")
        speeds = Line("ways", [option.texts_per_s or 0.0 for option in made], accuracy, apart=True)
        page.figure(lines(Lines([speeds], Axis("texts/s"), Axis("accuracy, %"), names=shown)), "Speed.")
        page.figure(
            bars([(o.name, [o.speedup or 0.0]) for o in made], ("",), "times as fast as torch in fp32"), "Speed, ranked."
        )
    if found.registered is not None and found.decision is not None:
        page.section("Chosen").text(f"{found.chosen} is {found.registered}. Gate: {found.decision.summary}.")
    return page


def _percent(ratio: float | None) -> str | None:
    return None if ratio is None else f"{100 * ratio:.2f}%"


def _megabytes(count: int | None) -> str | None:
    return None if count is None else f"{count / 1e6:.1f}"
