// Lines over time or progress, with bands of uncertainty and marks of what happened. uPlot draws them.
import { element } from "./page.js";
import { Values } from "./values.js";

const { uPlot } = window;
const HEIGHT = 190;
const NARROWEST = 200;
const NAMES = { x: 28, y: 58 };
const DASHES = [[], [6, 3], [2, 2]];
const EDGE = { width: 0, points: { show: false } };

// A canvas takes no colours from the style sheet by itself.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
const plots = new Map();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach((plot) => plot.redraw(false)));

// With `time`, x is in milliseconds.
export class Chart extends Values {
  constructor({ time = false, from = null, to = null, floor = 0, ceiling = null, gap = Infinity, ...told }) {
    super(told);
    Object.assign(this, { time, from, to, floor, ceiling, gap });
  }

  // `series` are { name, points: [{ x, y, low, high }] }, in order of x; `marks` are { x, text, kind }, and need `from` and `to`.
  draw(series, marks = []) {
    const place = element("div", { className: "plot", role: "img", "aria-label": this.summary(series) });
    const readout = element("p", { className: "readout", "aria-hidden": "true" });
    const legend = series.length > 1 || series.some((one) => one.points.some((point) => point.low !== undefined));
    const caption = element("figcaption", {}, this.title, ...(legend ? series.map(key) : []));
    // Without a width it is hidden or off the page, where uPlot would go on listening to the window.
    const watching = new ResizeObserver(([{ contentRect }]) => {
      plots.get(place)?.destroy();
      plots.delete(place);
      if (contentRect.width > 0) plots.set(place, this.plot(place, contentRect.width, series, marks, readout));
    });
    watching.observe(place);
    return element("figure", { className: "chart" }, caption, place, readout, this.listed(series));
  }

  plot(place, width, series, marks, readout) {
    const options = {
      width: Math.max(NARROWEST, width),
      height: HEIGHT,
      ms: 1,
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false }, hover: { skip: [undefined, null] }, points: { size: (own, at) => (own.series[at].width ? 7 : 0) } },
      scales: {
        x: { time: this.time, range: (_, low, high) => [this.from ?? low, this.to ?? high] },
        y: { range: (_, low, high) => this.range(low, high) },
      },
      axes: [axis(this.x, NAMES.x, 90), axis(this.y, NAMES.y, 36)],
      // Every line lies over every band.
      series: [{}, ...series.flatMap(() => [EDGE, EDGE]), ...series.map((_, number) => line(number))],
      bands: series.map((_, number) => ({ series: [2 * number + 2, 2 * number + 1], fill: () => colour(`band-${number}`) })),
      hooks: { setCursor: [(own) => { readout.textContent = this.said(own, series); }] },
    };
    const columns = [["low", "high"], ["y"]].flatMap((names) => series.map((one) => this.columns(one.points, names)));
    const plot = new uPlot(options, uPlot.join(columns), place);
    plot.over.append(...marks.filter((mark) => mark.x >= this.from && mark.x <= this.to).map((mark) => this.mark(mark)));
    return plot;
  }

  // Where nothing is known for longer than `gap`, the line is broken.
  columns(points, names) {
    const broken = points.flatMap((point, place) => {
      const before = points[place - 1]?.x ?? point.x;
      return point.x - before > this.gap ? [{ x: (before + point.x) / 2, y: null }, point] : [point];
    });
    return [broken.map((point) => point.x), ...names.map((name) => broken.map((point) => point[name] ?? null))];
  }

  range(low, high) {
    const bottom = this.floor === null ? low ?? 0 : Math.min(this.floor, low);
    const top = this.ceiling === null ? high ?? 0 : Math.max(this.ceiling, high);
    const pad = (end) => ({ pad: end === null ? 0.1 : 0 });
    return uPlot.rangeNum(bottom, top > bottom ? top : bottom + 1, { min: pad(this.floor), max: pad(this.ceiling) });
  }

  // What the points nearest to the pointer say.
  said(plot, series) {
    const xs = series.map((_, number) => plot.data[0][plot.cursor.idxs[2 * series.length + number + 1]]);
    const values = series.map((one, number) => `${one.name} ${this.value(one.points.find((point) => point.x === xs[number]))}`);
    const x = xs.find((found) => found !== undefined);
    return x === undefined ? "" : [this.x(x), ...values].join(" · ");
  }

  mark(mark) {
    const node = element("i", { className: `mark ${mark.kind}`, title: mark.text });
    node.style.left = `${(100 * (mark.x - this.from)) / (this.to - this.from)}%`;
    return node;
  }
}

function axis(told, size, space) {
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const grid = { stroke: () => colour("line"), width: 1 };
  return { values: (_, ticks) => ticks.map((tick) => told(tick)), size, space, font, stroke: () => colour("faint"), grid, ticks: { show: false } };
}

function line(number) {
  const stroke = () => colour(`series-${number}`);
  return { stroke, width: 1.75, dash: DASHES[number], points: { size: 5, width: 0, fill: stroke, filter: alone } };
}

// Places of points that no line reaches, which would not be seen.
function alone(plot, number, all) {
  const known = [...plot.data[number].entries()].filter(([, y]) => y !== undefined);
  const ends = (place) => (known[place]?.[1] ?? null) === null;
  return all ? null : known.filter((_, place) => !ends(place) && ends(place - 1) && ends(place + 1)).map(([place]) => place);
}

const key = ({ name }, number) => element("span", { className: "entry" }, element("i", { className: `key series-${number}` }), name);
