// What a chart says to those who do not see it: its newest values in a sentence, and all of them as a table.
import { element, table } from "./page.js";

const LISTED = 60;

// `x` and `y` say values as text; `xName` and `valuesName` are words of the table.
export class Values {
  constructor({ title, x, y, xName, valuesName }) {
    Object.assign(this, { title, x, y, xName, valuesName });
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

  summary(series) {
    const last = series.map((one) => [one.name, one.points.findLast((point) => point.y !== null)]).filter(([, point]) => point);
    return [this.title, ...last.map(([name, point]) => `${name} ${this.value(point)}`)].join("; ");
  }
}
