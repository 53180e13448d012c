// Lines over time or progress, drawn as SVG, with bands of uncertainty, marks of what happened, and the same as a table.
import { drawn, element, table } from "./page.js";

const HEIGHT = 190;
const EDGE = { top: 8, right: 12, bottom: 22, left: 52 };
const NARROWEST = 200;
const LINES = 4;
const LISTED = 60;

// `x` and `y` say values as text; `names` has the words for the table: x, values.
export class Chart {
  constructor({ title, x, y, xName, valuesName, from = null, to = null, floor = 0, ceiling = null, gap = Infinity }) {
    Object.assign(this, { title, x, y, xName, valuesName, from, to, floor, ceiling, gap });
  }

  // `series` are { name, points: [{ x, y, low, high }] }, in order of x; `marks` are { x, text, kind }.
  draw(series, marks = []) {
    const place = element("div", { className: "plot" });
    const readout = element("p", { className: "readout", "aria-hidden": "true" });
    const legend = series.length > 1 || series.some((one) => one.points.some((point) => point.low !== undefined));
    const figure = element(
      "figure",
      { className: "chart" },
      element("figcaption", {}, this.title, ...(legend ? series.map((one, place) => key(one.name, place)) : [])),
      place,
      readout,
      this.listed(series),
    );
    const watching = new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width > 0) place.replaceChildren(this.paint(Math.max(NARROWEST, contentRect.width), series, marks, readout));
    });
    watching.observe(place);
    return figure;
  }

  listed(series) {
    const known = series.map((one) => one.points.filter((point) => point.y !== null));
    const xs = [...new Set(known.flatMap((points) => points.map((point) => point.x)))].sort((one, other) => one - other);
    // A table nobody can hear to its end helps nobody: the newest rows, evenly thinned.
    const every = Math.ceil(xs.length / LISTED) || 1;
    const shown = xs.filter((_, place) => (xs.length - 1 - place) % every === 0).reverse();
    const byX = known.map((points) => new Map(points.map((point) => [point.x, point])));
    const rows = shown.map((x) => [this.x(x), ...byX.map((points) => this.value(points.get(x)))]);
    const heads = [this.xName, ...series.map((one) => one.name)];
    return element("details", { className: "values" }, element("summary", {}, this.valuesName), table(this.title, heads, rows));
  }

  value(point) {
    if (!point || point.y === null) return "–";
    return point.low === undefined ? this.y(point.y) : `${this.y(point.y)} (${this.y(point.low)} – ${this.y(point.high)})`;
  }

  scales(width, series) {
    const points = series.flatMap((one) => one.points).filter((point) => point.y !== null);
    const xs = points.map((point) => point.x);
    const ys = points.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y]);
    const from = this.from ?? Math.min(...xs, 0);
    const to = this.to ?? Math.max(...xs, from + 1e-9);
    const bottom = this.floor === null ? Math.min(...ys) : Math.min(this.floor, ...ys);
    const top = Math.max(this.ceiling ?? -Infinity, ...ys);
    const ticks = round(Number.isFinite(bottom) ? bottom : 0, Number.isFinite(top) ? top : 1);
    const [low, high] = [ticks[0], ticks.at(-1)];
    const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
    return {
      from,
      to,
      ticks,
      x: (value) => EDGE.left + ((value - from) / (to - from || 1)) * inner.width,
      y: (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low || 1)) * inner.height,
    };
  }

  paint(width, series, marks, readout) {
    const scale = this.scales(width, series);
    const shown = marks.filter((mark) => mark.x >= scale.from && mark.x <= scale.to);
    const cursor = drawn("line", { class: "cursor", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, x1: -9, x2: -9 });
    const image = drawn(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": this.summary(series) },
      ...this.grid(width, scale),
      ...shown.map((mark) => this.mark(mark, scale)),
      ...series.flatMap((one, place) => this.line(one.points, place, scale)),
      cursor,
    );
    const xs = series.flatMap((one) => one.points.map((point) => point.x));
    image.addEventListener("pointermove", (event) => {
      const nearest = closest(xs, scale, event.offsetX);
      if (nearest === null) return;
      for (const name of ["x1", "x2"]) cursor.setAttribute(name, scale.x(nearest));
      const values = series.map((one) => `${one.name} ${this.value(one.points.find((point) => point.x === nearest))}`);
      readout.textContent = [this.x(nearest), ...values].join(" · ");
    });
    return image;
  }

  summary(series) {
    const last = series.map((one) => [one.name, one.points.findLast((point) => point.y !== null)]).filter(([, point]) => point);
    return [this.title, ...last.map(([name, point]) => `${name} ${this.value(point)}`)].join("; ");
  }

  grid(width, scale) {
    const lines = scale.ticks.flatMap((tick) => [
      drawn("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: scale.y(tick), y2: scale.y(tick) }),
      drawn("text", { class: "tick", x: EDGE.left - 6, y: scale.y(tick) + 4, "text-anchor": "end" }, this.y(tick)),
    ]);
    const count = Math.max(2, Math.min(6, Math.floor(width / 110)));
    const moments = Array.from({ length: count }, (_, place) => scale.from + ((scale.to - scale.from) * place) / (count - 1));
    const anchor = (place) => (place === 0 ? "start" : place === count - 1 ? "end" : "middle");
    const below = moments.map((moment, place) =>
      drawn("text", { class: "tick", x: scale.x(moment), y: HEIGHT - 6, "text-anchor": anchor(place) }, this.x(moment)),
    );
    return [...lines, ...below];
  }

  mark(mark, scale) {
    const x = scale.x(mark.x);
    return drawn(
      "g",
      { class: `mark ${mark.kind}` },
      drawn("title", {}, mark.text),
      drawn("line", { x1: x, x2: x, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      drawn("path", { d: `M${x - 4} ${EDGE.top}h8l-4 7z` }),
    );
  }

  // Where nothing is known for longer than `gap`, the line is broken.
  line(points, place, scale) {
    const runs = [];
    for (const point of points) {
      const run = runs.at(-1);
      if (point.y === null) runs.push([]);
      else if (!run || (run.length && point.x - run.at(-1).x > this.gap)) runs.push([point]);
      else run.push(point);
    }
    return runs.filter((run) => run.length).flatMap((run) => {
      const at = (point, value) => `${scale.x(point.x).toFixed(1)},${scale.y(value).toFixed(1)}`;
      const band = run.filter((point) => point.low !== undefined);
      const outline = [...band.map((point) => at(point, point.high)), ...band.toReversed().map((point) => at(point, point.low))];
      const dots = run.length <= 40 && run.length * 12 < scale.x(scale.to) ? run : run.length === 1 ? run : [];
      return [
        ...(outline.length ? [drawn("polygon", { class: `band series-${place}`, points: outline.join(" ") })] : []),
        drawn("polyline", { class: `series series-${place}`, points: run.map((point) => at(point, point.y)).join(" ") }),
        ...dots.map((point) => drawn("circle", { class: `dot series-${place}`, cx: scale.x(point.x), cy: scale.y(point.y), r: 2.5 })),
      ];
    });
  }
}

function key(name, place) {
  const sample = drawn("svg", { class: "key", width: 22, height: 8, "aria-hidden": "true" }, drawn("line", { class: `series series-${place}`, x1: 0, x2: 22, y1: 4, y2: 4 }));
  return element("span", { className: "entry" }, sample, name);
}

function closest(xs, scale, offset) {
  let best = null;
  for (const x of xs) if (best === null || Math.abs(scale.x(x) - offset) < Math.abs(scale.x(best) - offset)) best = x;
  return best;
}

// Round numbers that take in both ends.
function round(low, high) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / LINES;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * power >= rough) * power;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, place) => (first + place) * step);
}
