// Watching: traffic, latency, refusals, accuracy and drift over time, with what happened marked on the same axis.
import { Chart } from "./chart.js";
import { Drift } from "./drift.js";
import { call, element, hint, percent, redraw, short, table } from "./page.js";

const EVERY_MS = 15_000;
const SPANS_MIN = [15, 60, 180, 360];
const WINDOWS = 100;
const BAD = ["failed", "rolled_back", "alarm", "rollback"];
// More than so many steps without a point, and the line is broken.
const GAP_STEPS = 2.5;

const time = (moment) => Date.parse(moment);

// `page` has what all parts share: word(), attempt(), say(), when(), dialog, refresh().
export class Watch {
  constructor(nodes, page) {
    this.nodes = nodes;
    this.page = page;
    this.minutes = 60;
    this.found = null;
    this.readAt = 0;
    this.asked = 0;
    this.drift = new Drift(nodes.drift, nodes.driftWhy, page, () => this.again());
  }

  async refresh() {
    if (Date.now() - this.readAt < EVERY_MS) return;
    this.readAt = Date.now();
    const asked = ++this.asked;
    const [history, drift, accuracy] = await Promise.all([
      call("GET", `/v1/history?minutes=${this.minutes}`),
      call("GET", `/v1/drift?limit=${WINDOWS}`),
      call("GET", "/v1/accuracy"),
    ]);
    // Another stretch of time was chosen meanwhile.
    if (asked !== this.asked) return;
    this.found = { history, drift, accuracy };
    this.draw();
  }

  async again() {
    this.readAt = 0;
    await this.refresh();
  }

  async choose(minutes) {
    this.minutes = minutes;
    await this.again();
  }

  draw() {
    const { word } = this.page;
    const spans = SPANS_MIN.map((span) => element("option", { value: span, selected: span === this.minutes }, word(`span_${span}`)));
    redraw(this.nodes.minutes, ...spans);
    if (!this.found) return;
    const { history, drift } = this.found;
    const axis = { from: time(history.started_at), to: time(history.ended_at) };
    const marks = history.events.map((event) => ({
      x: time(event.at),
      text: [this.what(event), this.page.told(event.why)].filter(Boolean).join(": "),
      kind: BAD.includes(event.kind) || event.outcome === "failed" ? "bad" : event.kind === "promote" ? "good" : "",
    }));
    redraw(this.nodes.traffic, ...this.traffic(axis, marks));
    redraw(this.nodes.accuracy, ...this.accuracy(axis, marks));
    this.drift.draw(drift, axis);
    redraw(this.nodes.events, this.events());
  }

  chart(title, y, axis, more = {}) {
    const { word, when } = this.page;
    const clock = (moment) => when(moment, { hour: "2-digit", minute: "2-digit" });
    return new Chart({ title, y, x: clock, time: true, ...axis, xName: word("when"), valuesName: word("values"), ...more });
  }

  traffic(axis, marks) {
    const { word } = this.page;
    const { traffic, step_s: step } = this.found.history;
    if (!traffic.length) return [hint(word("noTraffic"))];
    const of = (name) => traffic.map((point) => ({ x: time(point.at), y: point[name] }));
    const more = { gap: GAP_STEPS * step * 1000 };
    const ms = (seconds) => (seconds === null ? "–" : `${short(seconds * 1000)} ms`);
    return [
      this.chart(word("textsPerS"), short, axis, more).draw([{ name: word("textsPerS"), points: of("texts_per_s") }], marks),
      this.chart(word("latency"), ms, axis, more).draw(
        [{ name: word("p50"), points: of("p50_s") }, { name: word("p99"), points: of("p99_s") }],
        marks,
      ),
      this.chart(word("notAnswered"), short, axis, more).draw(
        [{ name: word("refusedPerS"), points: of("refused_per_s") }, { name: word("failedPerS"), points: of("failed_per_s") }],
        marks,
      ),
    ];
  }

  // Guessed without labels for each window; audited for each version, over the time in which it answered.
  accuracy(axis, marks) {
    const { word } = this.page;
    const { drift, accuracy } = this.found;
    const guessed = drift.windows
      .filter((one) => one.estimate && time(one.ended_at) >= axis.from)
      .map((one) => ({ x: time(one.ended_at), y: one.estimate.accuracy, low: one.estimate.low, high: one.estimate.high }))
      .reverse();
    const audited = accuracy.versions.filter((one) => one.accuracy !== null);
    const series = [
      { name: word("guessed"), points: guessed },
      { name: word("audited"), points: this.audited(audited, axis) },
    ];
    const drawn = series.some((one) => one.points.length)
      ? this.chart(word("accuracy"), (ratio) => percent(ratio), axis, { floor: null, ceiling: 1 }).draw(series, marks)
      : hint(word("noAccuracy"));
    const between = (one) => (one.low === null ? "" : ` (${percent(one.low, 0)} – ${percent(one.high, 0)})`);
    const rows = accuracy.versions.map((one) => [
      one.version,
      percent(one.accuracy) + between(one),
      `${one.judged}`,
      one.estimated ? percent(one.estimated.accuracy) + between(one.estimated) : "–",
      one.gap === null ? "–" : `${one.gap < 0 ? "−" : "+"}${percent(Math.abs(one.gap))}`,
      one.naive ? percent(one.naive.accuracy) : "–",
    ]);
    const heads = ["version", "audited", "judged", "guessed", "gap", "naive"].map((key) => word(key));
    return [drawn, ...(rows.length ? [table(word("accuracy"), heads, rows)] : []), hint(word("accuracyMeaning"))];
  }

  audited(versions, axis) {
    const moves = this.found.history.events.filter((event) => ["promote", "rollback"].includes(event.kind)).reverse();
    const champion = this.page.champion();
    // Before the first move that is known of, another version answered that nobody names here.
    const stays = moves.map((move, place) => ({ version: move.subject, from: time(move.at), to: time(moves[place + 1]?.at ?? this.found.history.ended_at) }));
    if (!moves.length && champion) stays.push({ version: champion, ...axis });
    return stays.flatMap(({ version, from, to }) => {
      const one = versions.find((found) => found.version === version);
      const point = one && { y: one.accuracy, low: one.low, high: one.high };
      // It ends a moment before the next one begins, so that the two are told apart.
      return one ? [{ x: from, ...point }, { x: to - 2, ...point }, { x: to - 1, y: null }] : [];
    });
  }

  events() {
    const { word, when } = this.page;
    const { events } = this.found.history;
    const rows = events.map((event) => [when(event.at), this.what(event), this.page.told(event.why) ?? ""]);
    const heads = ["when", "event", "why"].map((key) => word(key));
    return rows.length ? table(word("eventsTitle"), heads, rows) : hint(word("noEvents"));
  }

  what({ kind, subject, outcome }) {
    const { word } = this.page;
    if (kind === "run") return word("event_run", { run: subject.slice(0, 10), state: word(`run_${outcome}`) });
    return word(`event_${kind}`, { subject });
  }
}
