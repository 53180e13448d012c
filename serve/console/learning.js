// Runs: starting one, watching it, stopping it; and when the next one comes by itself.
import { Chart } from "./chart.js";
import { button, call, element, facts, hint, percent, redraw, short, table } from "./page.js";

const LISTED = 30;
const SPEEDS = ["auto", "head", "full"];
const OLD_MS = 120_000;

const isLive = (run) => run.state === "queued" || run.state === "running";

// `page` has what all parts share: word(), attempt(), say(), when(), refresh().
export class Learning {
  constructor(nodes, page) {
    this.nodes = nodes;
    this.page = page;
    this.runs = [];
    this.chosen = null;
    this.found = null;
    this.outlook = null;
    this.seen = "";
    this.asked = 0;
  }

  async refresh() {
    const asked = ++this.asked;
    const { runs } = await call("GET", `/v1/runs?limit=${LISTED}`);
    // Without a choice the run at work is shown, and stays when it ends.
    const wanted = this.chosen ?? runs.find(isLive)?.run_id ?? this.found?.run_id ?? runs[0]?.run_id ?? null;
    const found = wanted ? await call("GET", `/v1/runs/${wanted}`) : this.found;
    // Who asked again meanwhile draws what is newer.
    if (asked !== this.asked) return;
    this.runs = runs;
    this.found = found;
    const seen = JSON.stringify([runs, this.found]);
    if (seen !== this.seen) this.draw();
    this.seen = seen;
  }

  async choose(runId) {
    this.chosen = runId;
    try {
      await this.refresh();
    } catch (error) {
      // One that is not to be had would keep the list away too.
      if (error.status === 404 && this.chosen === runId) this.chosen = null;
      throw error;
    }
  }

  // What the learner foresees, from the status; an old word means that none is at work.
  foresee(outlook) {
    const { word, when, told } = this.page;
    this.outlook = outlook;
    const old = outlook && Date.now() - Date.parse(outlook.at) > OLD_MS;
    const due = outlook?.due_at && !old ? ` ${word("dueAt", { moment: when(outlook.due_at) })}` : "";
    this.nodes.outlook.textContent = !outlook ? "" : old ? word("noLearner", { moment: when(outlook.at) }) : `${word("nextRun")} ${told(outlook.why)}${word("fullStop")}${due}`;
  }

  async start() {
    const speed = this.nodes.speed.value;
    const note = this.nodes.note.value.trim() || null;
    const run = await call("POST", "/v1/runs", { speed, note });
    this.nodes.note.value = "";
    this.page.say(this.page.word("runQueued", { run: run.run_id.slice(0, 10) }));
    this.chosen = null;
    await this.page.refresh();
  }

  async again(run, manner) {
    const next = await call("POST", "/v1/runs", { [manner]: run.run_id });
    this.page.say(this.page.word("runQueued", { run: next.run_id.slice(0, 10) }));
    location.hash = "#learning";
    await this.page.refresh();
  }

  async stop(run) {
    await call("DELETE", `/v1/runs/${run.run_id}`);
    this.page.say(this.page.word("stopAsked"));
    await this.page.refresh();
  }

  draw() {
    const { word } = this.page;
    this.drawForm();
    this.foresee(this.outlook);
    this.nodes.run.hidden = !this.found;
    if (this.found) redraw(this.nodes.run, ...this.detail(this.found));
    const heads = [...["run", "speed", "trigger", "runState", "result"].map((key) => word(key)), `(${word("actions")})`];
    const rows = this.runs.map((run) => [
      element("a", { href: `#learning/${run.run_id}` }, this.page.when(run.created_at)),
      speedOf(run, word),
      word(`trigger_${run.trigger}`),
      isLive(run) ? progress(run, this.page) : word(`run_${run.state}`),
      result(run, this.page),
      isLive(run) ? button(word("stop"), () => this.page.attempt(() => this.stop(run))) : "",
    ]);
    redraw(this.nodes.runs, rows.length ? table(word("runs"), heads, rows) : hint(word("noRuns")));
  }

  drawForm() {
    const { word } = this.page;
    const { speed } = this.nodes;
    const chosen = speed.value || "auto";
    speed.replaceChildren(...SPEEDS.map((name) => element("option", { value: name, selected: name === chosen }, word(`speed_${name}`))));
    this.nodes.speedHint.textContent = word(`speedHint_${chosen}`);
  }

  detail(run) {
    const { word, when, told } = this.page;
    const live = isLive(run);
    const bar = element("progress", { max: 1, value: run.progress_ratio, "aria-label": word("progress") });
    const { loss, examples_per_s: pace, step, steps } = run.metrics;
    return [
      element("div", { className: "row" }, element("h2", { id: "run-title" }, word("runOf", { moment: when(run.created_at) })), ...this.actions(run)),
      live ? element("p", {}, bar, ` ${percent(run.progress_ratio, 0)} · ${told(run.stage) ?? word(`run_${run.state}`)}${left(run, word)}`) : null,
      element(
        "div",
        { className: "columns" },
        facts([
          [word("runState"), word(`run_${run.state}`)],
          [word("speed"), speedOf(run, word)],
          [word("whySpeed"), told(run.why)],
          [word("trigger"), word(`trigger_${run.trigger}`)],
          [word("note"), run.note],
          [word("took"), took(run, word)],
          [word("step"), step === undefined ? null : `${step} / ${steps ?? "–"}`],
          [word("loss"), loss === undefined ? null : short(loss)],
          [word("pace"), pace === undefined ? null : short(pace)],
          [word("remaining"), live && run.remaining_s !== null ? word("seconds", { seconds: Math.round(run.remaining_s) }) : null],
          [word("result"), result(run, this.page)],
          [word("stage"), live ? null : told(run.stage)],
        ]),
        this.curve(run),
      ),
    ];
  }

  actions(run) {
    const { word, attempt } = this.page;
    if (isLive(run)) return [button(word("stop"), () => attempt(() => this.stop(run)))];
    const again = [button(word("repeat"), () => attempt(() => this.again(run, "repeat")))];
    const resumable = run.state !== "succeeded" && run.speed !== "head" && run.chosen !== "head";
    return resumable ? [button(word("resume"), () => attempt(() => this.again(run, "resume"))), ...again] : again;
  }

  curve(run) {
    const { word } = this.page;
    if (run.curve.length < 2) return hint(word(run.chosen === "head" ? "noCurveHead" : "noCurve"));
    const points = run.curve.map((point) => ({ x: point.progress_ratio, y: point.loss }));
    const chart = new Chart({ title: word("lossCurve"), x: (share) => percent(share, 0), y: short, xName: word("progress"), valuesName: word("values") });
    return chart.draw([{ name: word("loss"), points }]);
  }
}


function speedOf(run, word) {
  const chosen = run.chosen && run.chosen !== run.speed ? ` → ${word(`source_${run.chosen}`)}` : "";
  return `${word(`speedName_${run.speed}`)}${chosen}`;
}

function left(run, word) {
  return run.remaining_s === null ? "" : ` · ${word("left", { seconds: Math.round(run.remaining_s) })}`;
}

function progress(run, { word, told }) {
  const bar = element("progress", { max: 1, value: run.progress_ratio, "aria-label": word("progress") });
  return element("span", {}, bar, ` ${told(run.stage) ?? word(`run_${run.state}`)}${left(run, word)}`);
}

function result(run, { word, told }) {
  if (run.error) return element("span", { className: "bad" }, told(run.error));
  if (!run.version) return "";
  const link = element("a", { href: `#models/${run.version}` }, run.version);
  return element("span", {}, link, " ", word(run.promoted ? "becameChampion" : run.promoted === null ? "awaitsSignature" : "notPromoted"));
}

function took(run, word) {
  if (!run.started_at || !run.ended_at) return null;
  return word("seconds", { seconds: short((Date.parse(run.ended_at) - Date.parse(run.started_at)) / 1000) });
}
