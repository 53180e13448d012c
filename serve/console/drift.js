// Drift: what each detector said of each window of answers, the alarms, and what moved most.
import { confirmed } from "./confirming.js";
import { button, call, drawn, element, hint, percent, redraw, short, table } from "./page.js";

const ROW = 18;
const NAMES = 130;
const LISTED = 10;
const NARROW = 8;

const time = (moment) => Date.parse(moment);

// `again` reads everything anew.
export class Drift {
  constructor(node, why, page, again) {
    this.node = node;
    this.why = why;
    this.page = page;
    this.again = again;
  }

  draw(drift, axis) {
    const { word, told } = this.page;
    const state = element("strong", { className: drift.state === "drift" ? "bad" : "" }, word(`drift_${drift.state}`));
    const waiting = drift.window_rows ? ` ${word("driftWaiting", { waiting: drift.waiting_rows, rows: drift.window_rows })}` : "";
    const newest = drift.windows[0];
    redraw(
      this.node,
      element("p", {}, state, `: ${told(drift.why)}${word("fullStop")}${waiting} `, newest?.texts ? this.asking(newest) : null),
      ...(newest ? [this.strip(drift.windows, axis), this.findings(newest)] : []),
      ...this.alarms(drift.alarms),
    );
  }

  asking(window) {
    return button(this.page.word("driftWhy"), () => this.page.attempt(() => this.explain(window)));
  }

  // One line for each detector, one box for each window.
  strip(windows, axis) {
    const { word } = this.page;
    const shown = windows.filter((window) => time(window.ended_at) >= axis.from);
    const place = element("div", { className: "strip" });
    const names = [...new Set(windows.flatMap((window) => window.findings.map((finding) => finding.detector)))];
    const watching = new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width > 0) place.replaceChildren(this.boxes(shown, names, axis, contentRect.width));
    });
    watching.observe(place);
    const key = ["quiet", "known", "drift", "unknown"].map((state) =>
      element("span", { className: "entry" }, drawn("svg", { width: 12, height: 12, "aria-hidden": "true" }, ...box(0, 0, 12, 12, state)), word(`drift_${state}`)),
    );
    return element("figure", { className: "chart" }, element("figcaption", {}, word("driftStrip"), ...key), place);
  }

  boxes(windows, names, axis, width) {
    const { word, when } = this.page;
    const x = (moment) => NAMES + ((Math.max(axis.from, Math.min(axis.to, moment)) - axis.from) / (axis.to - axis.from)) * (width - NAMES - 4);
    const lines = names.flatMap((name, line) => [
      drawn("text", { class: "tick", x: 0, y: line * ROW + 13 }, name),
      ...windows.flatMap((window) => {
        const found = window.findings.find((finding) => finding.detector === name);
        if (!found) return [];
        const from = x(time(window.started_at));
        const wide = Math.max(NARROW, x(time(window.ended_at)) - from - 1);
        const text = `${name}, ${when(window.ended_at)}: ${word(`drift_${found.verdict}`)} ${short(found.size)}`;
        return [drawn("g", {}, drawn("title", {}, text), ...box(Math.min(from, width - wide), line * ROW + 2, wide, ROW - 4, found.verdict))];
      }),
    ]);
    const height = names.length * ROW;
    const label = word("driftSummary", { windows: windows.length, drifted: windows.filter((window) => window.state === "drift").length });
    return drawn("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...lines);
  }

  findings(window) {
    const { word, when } = this.page;
    const rows = window.findings.map((one) => [
      element("code", {}, one.detector),
      word(`watches_${one.watches}`),
      element("span", { className: one.verdict === "drift" ? "bad" : "" }, word(`drift_${one.verdict}`)),
      short(one.size),
      short(one.p_value),
      short(one.limit),
    ]);
    const heads = ["detector", "watches", "verdict", "size", "pValue", "limit"].map((key) => word(key));
    const title = word("newestWindow", { version: window.model_version, rows: window.rows, moment: when(window.ended_at) });
    return element("div", {}, element("h3", {}, title), table(title, heads, rows));
  }

  alarms(alarms) {
    const { word, when } = this.page;
    if (!alarms.length) return [];
    const rows = alarms.slice(0, LISTED).map((alarm) => [
      when(alarm.created_at),
      alarm.model_version,
      Object.keys(alarm.detectors).join(", "),
      word(`alarm_${alarm.state}`),
      [alarm.decided_by, this.page.told(alarm.decided_why)].filter(Boolean).join(": "),
      alarm.state === "open" ? button(word("acknowledge"), () => this.page.attempt(() => this.acknowledge(alarm))) : "",
    ]);
    const heads = [...["when", "version", "detector", "runState", "decision"].map((key) => word(key)), `(${word("actions")})`];
    return [element("h3", {}, word("alarms")), table(word("alarms"), heads, rows)];
  }

  async acknowledge(alarm) {
    const { word, dialog } = this.page;
    const asked = { title: word("acknowledgeTitle"), lines: [word("acknowledgeMeaning")], action: word("acknowledge") };
    const said = await confirmed(dialog, asked, word);
    if (!said) return;
    await call("POST", `/v1/drift/alarms/${alarm.alarm_id}`, said);
    await this.again();
  }

  async explain(window) {
    const { word } = this.page;
    const found = await call("GET", `/v1/drift/${window.window_id}/why`);
    const part = (title, moved) => {
      const rows = moved.slice(0, LISTED).map((one) => [one.name, percent(one.reference_ratio), percent(one.window_ratio), short(one.impact)]);
      const heads = [title, word("inReference"), word("inWindow"), word("impact")];
      return rows.length ? table(title, heads, rows) : null;
    };
    const texts = found.examples.slice(0, LISTED).map((one) => element("li", { dir: "auto" }, `${one.text} (${one.label}, ${percent(one.confidence)})`));
    redraw(
      this.why,
      element("h3", {}, word("driftWhyTitle")),
      element("div", { className: "columns" }, part(word("label"), found.classes), part(word("words"), found.words), part(word("slices"), found.slices)),
      ...(texts.length ? [element("h3", {}, word("unlikeTexts")), element("ul", { className: "texts" }, ...texts)] : []),
      ...(found.classes.length + texts.length ? [] : [hint(word("nothingMoved"))]),
    );
  }
}

function box(x, y, width, height, verdict) {
  const frame = drawn("rect", { class: `box ${verdict}`, x: x + 0.5, y: y + 0.5, width: width - 1, height: height - 1, rx: 2 });
  // Not by colour alone.
  const cross = drawn("path", { class: "cross", d: `M${x + 2} ${y + 2}L${x + width - 2} ${y + height - 2}M${x + width - 2} ${y + 2}L${x + 2} ${y + height - 2}` });
  return verdict === "drift" ? [frame, cross] : [frame];
}
