"""A report put together part by part, as one HTML file (see :mod:`core.pages`) or one of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from core.errors import DataError
from core.home import write_atomically
from core.pages import page, shown, table

# Of a longer table the rest is folded away.
_SHOWN_ROWS = 25


class Page:
    """Collects the parts of a page in their order; every text is escaped, pictures are taken as they are."""

    def __init__(self, title: str, introduction: str = "") -> None:
        self._title = title
        self._parts: list[str] = []
        if introduction:
            self.text(introduction)

    def section(self, title: str) -> Self:
        """Begin a section."""
        self._parts.append(f"<h2>{shown(title)}</h2>")
        return self

    def text(self, sentence: str) -> Self:
        """Add a paragraph."""
        self._parts.append(f"<p>{shown(sentence)}</p>")
        return self

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Self:
        """Add a table; columns in which everything is a number stand to the right, None is a dash.

        Of a long table the first rows are shown, and the rest once it is unfolded.
        """
        cells = [[_cell(value) for value in row] for row in rows]
        if not cells:
            return self.text("None.")
        numbers = [place for place in range(len(columns)) if all(_is_number(row[place]) for row in cells)]
        escaped = [[shown(cell) for cell in row] for row in cells]
        first, rest = escaped[:_SHOWN_ROWS], escaped[_SHOWN_ROWS:]
        self._parts.append(table(columns, first, numbers))
        if rest:
            self._parts.append(f"<details><summary>{len(rest)} more</summary>{table(columns, rest, numbers)}</details>")
        return self

    def figure(self, svg: str, caption: str) -> Self:
        """Add a picture, which is SVG of our own making."""
        self._parts.append(f"<figure>{svg}<figcaption>{shown(caption)}</figcaption></figure>")
        return self

    def render(self) -> str:
        """Return the page."""
        return page(self._title, self._parts, drawn=True)

    def save(self, path: Path) -> Path:
        """Write the page and return its path.

        Raises:
            DataError: the file cannot be written.
        """
        return write_report(path, self.render())


def write_report(path: Path, text: str) -> Path:
    """Write a report into its folder, which is made if needed.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or type(error).__name__}") from error
    return path


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(cell: str) -> bool:
    return (
        cell == "–"
        or cell.replace("%", "").replace(".", "").replace(",", "").replace("-", "").replace("e", "").strip().isdigit()
    )
