"""What a chart's canvas shows, read from its pixels: a canvas that is there and empty is no chart."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Locator

# Compared with what the browser itself makes of the colour, so that every way to write one counts.
_FIND = """(place, name) => {
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
  probe.fillRect(0, 0, 1, 1);
  const wanted = probe.getImageData(0, 0, 1, 1).data;
  const canvas = place.querySelector("canvas");
  if (!canvas) return null;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const [whole, inner] = [canvas.getBoundingClientRect(), place.querySelector(".u-over").getBoundingClientRect()];
  const scale = canvas.width / whole.width;
  const found = [];
  for (let at = 0; at < data.length; at += 4) {
    if ([0, 1, 2, 3].some((part) => Math.abs(data[at + part] - wanted[part]) > 6)) continue;
    const [x, y] = [(at / 4) % canvas.width, Math.floor(at / 4 / canvas.width)].map((pixel) => (pixel + 0.5) / scale);
    found.push([(x - inner.left + whole.left) / inner.width, 1 - (y - inner.top + whole.top) / inner.height]);
  }
  return found;
}"""


@dataclass(frozen=True)
class Paint:
    """Pixels of one colour: ``(x, y)`` each, as shares of the plot's width and height, from its lower left corner."""

    pixels: tuple[tuple[float, float], ...]

    def between(self, left: float, right: float) -> Paint:
        """Return what lies between two places of the x axis."""
        return Paint(tuple(pixel for pixel in self.pixels if left <= pixel[0] <= right))

    @property
    def xs(self) -> list[float]:
        """Return the places on the x axis, in order, each once."""
        return sorted({x for x, _ in self.pixels})

    @property
    def ys(self) -> list[float]:
        """Return the heights, in order, each once."""
        return sorted({y for _, y in self.pixels})


def painted(chart: Locator, name: str) -> Paint:
    """Return what ``chart`` shows in the colour that the style sheet calls ``name``."""
    # A page that reads its data anew draws its charts anew; for a moment there is none.
    while (found := chart.locator(".plot").evaluate(_FIND, name)) is None:
        chart.locator("canvas").wait_for()
    return Paint(tuple((x, y) for x, y in found))
