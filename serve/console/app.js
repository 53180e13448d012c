// The console: try a text and correct it, watch versions and runs, promote and roll back.
import { explained } from "./explained.js";
import { ServiceError, call, element, hasKey, table, useKey } from "./page.js";
import { Quality } from "./quality.js";
import { Review } from "./review.js";
import { WORDS } from "./words.js";

const STATUS_EVERY_MS = 2000;
const SHOWN_LABELS = 9;

const byId = (id) => document.getElementById(id);
const state = { language: "en", prediction: null, text: "", kept: null, asked: 0, shown: {}, locked: false, labels: [] };

function word(key, values = {}) {
  return WORDS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

const shared = { word, attempt, say, labels: () => state.labels };
const review = new Review(byId("item"), shared);
const quality = new Quality(byId("quality"), shared);

function say(text, bad = false) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.className = bad ? "bad" : "";
  notice.hidden = !text;
}

// Runs one action of the user's; what goes wrong is told in the service's own words.
async function attempt(action) {
  try {
    say("");
    await action();
  } catch (error) {
    lock(error.status === 401);
    say(error instanceof ServiceError ? error.message : word("unreachable"), true);
  }
}

// While it is locked nothing is asked for; a key that was refused is of no use any more.
function lock(locked) {
  state.locked = locked;
  if (locked) useKey(null);
  byId("key-form").hidden = !locked;
  byId("forget-key").hidden = !hasKey();
}

async function ask() {
  const text = byId("text").value;
  const asked = ++state.asked;
  const answer = await call("POST", "/v1/predict", byId("explain").checked ? { text, explain: true } : { text });
  if (asked !== state.asked) return;
  state.prediction = answer;
  state.text = text;
  state.kept = null;
  showAnswer();
}

function showAnswer() {
  const answer = state.prediction;
  if (!answer) return;
  const shown = answer.scores.slice(0, SHOWN_LABELS);
  const rows = shown.map(({ label, score }, place) => {
    const bar = element("span", { className: "bar" });
    bar.style.inlineSize = `${(score * 100).toFixed(1)}%`;
    const name = element("span", { className: "name" }, label);
    const share = element("span", {}, `${(score * 100).toFixed(1)} %`);
    const button = element("button", { type: "button", className: "label" }, bar, element("kbd", {}, `${place + 1}`), name, share);
    button.setAttribute("aria-pressed", String(state.kept === label));
    button.addEventListener("click", () => attempt(() => correct(label)));
    return button;
  });
  const facts = [answer.model_version, answer.source, answer.prediction_id].join(" · ");
  byId("answer").replaceChildren(
    ...rows,
    ...(answer.scores.length > shown.length ? [otherLabels(answer.scores.slice(SHOWN_LABELS))] : []),
    element("p", { className: "hint" }, word("correct")),
    ...(answer.explanation ? [explained(state.text, answer.explanation, word)] : []),
    element("p", { className: "hint" }, facts),
    ...(answer.truncated ? [element("p", { className: "hint" }, word("truncated"))] : []),
  );
}

function otherLabels(scores) {
  const options = scores.map(({ label }) => element("option", { value: label }));
  const list = element("datalist", { id: "labels" }, ...options);
  const input = element("input", { placeholder: word("others"), "aria-label": word("others") });
  input.setAttribute("list", "labels");
  const known = new Set(scores.map(({ label }) => label));
  input.addEventListener("change", () => known.has(input.value) && attempt(() => correct(input.value)));
  return element("div", {}, input, list);
}

async function correct(label) {
  const before = state.kept;
  // Noted before the answer, so that a second click while it is under way does not count twice.
  if (label === before) return;
  state.kept = label;
  try {
    const body = { prediction_id: state.prediction.prediction_id, label, annotator: "console" };
    const answer = await call("POST", "/v1/corrections", body);
    say(word("kept", { label, kind: word(answer.kind) }));
  } catch (error) {
    state.kept = before;
    throw error;
  } finally {
    showAnswer();
  }
  await refresh();
}

function showStatus(status) {
  state.labels = status.labels ?? [];
  byId("serving").textContent = status.model_version
    ? word("servingLine", { version: status.model_version, source: status.source })
    : word("noModel");
  const facts = [
    [word("store"), status.store_up ? word("storeUp") : element("span", { className: "bad" }, word("storeAway"))],
    [word("corrections"), `${status.corrections ?? "–"}`],
    [word("confirmations"), `${status.confirmations ?? "–"}`],
    [word("waiting"), `${status.waiting_texts} / ${status.queue_max_texts}`],
    [word("dropped"), `${status.predictions.dropped}`],
    ...status.live_accuracy.map((live) => [
      `${word("accuracy")} ${live.version}`,
      `${(live.accuracy * 100).toFixed(1)} % (${live.right} / ${live.right + live.wrong}) ${word("accuracyHint")}`,
    ]),
  ];
  if (status.loading) facts.push([word("loading"), status.loading]);
  byId("state").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  byId("replicas").replaceChildren(
    element("h3", { className: "faint" }, word("replicas")),
    ...status.replicas.map(showReplica),
  );
}

function showReplica(replica) {
  const line = element("p", {}, `${replica.replica_id}: ${replica.state} ${replica.model_version ?? ""}`);
  if (!replica.reason) return line;
  const why = word("rolloutFailed", { version: replica.candidate_version, reason: replica.reason });
  return element("div", {}, line, element("p", { className: "bad" }, why));
}

function showModels(models) {
  const rows = models.map((model) => [
    model.version,
    element("span", {}, ...model.aliases.map((alias) => element("span", { className: "tag" }, alias))),
    [model.speed, model.features].filter(Boolean).join(" · "),
    model.created_at ? new Date(model.created_at).toLocaleString(state.language) : "",
    model.metrics.accuracy === undefined ? "–" : `${(model.metrics.accuracy * 100).toFixed(2)} %`,
    gateCell(model),
    modelButtons(model),
  ]);
  const heads = [word("version"), "", word("speed"), word("made"), word("quality"), word("gate"), ""];
  byId("models").replaceChildren(rows.length ? table(heads, rows) : element("p", { className: "hint" }, word("noVersions")));
}

function gateCell(model) {
  if (model.problem) return element("span", { className: "bad" }, model.problem);
  if (!model.gate) return word("notAsked");
  const verdict = word(model.gate.promote ? "passed" : "refused");
  return element("span", { className: model.gate.promote ? "" : "bad", title: model.gate.summary }, verdict);
}

function modelButtons(model) {
  const details = element("button", { type: "button", className: "quiet" }, word("details"));
  details.addEventListener("click", () => attempt(() => showCard(model.version)));
  const promote = element("button", { type: "button", className: "quiet" }, word("promote"));
  promote.disabled = model.aliases.includes("champion") || Boolean(model.problem);
  promote.addEventListener("click", () => attempt(() => promoteModel(model)));
  return element("span", { className: "row" }, details, promote);
}

async function promoteModel(model) {
  const refused = model.gate && !model.gate.promote;
  if (refused && !window.confirm(word("override", { version: model.version, summary: model.gate.summary }))) return;
  await call("POST", `/v1/models/${model.version}/promote`, { by: "console", override: Boolean(refused) });
  await refresh();
}

async function showCard(version) {
  const model = await call("GET", `/v1/models/${version}`);
  const close = element("button", { type: "button" }, word("close"));
  const dialog = byId("card");
  close.addEventListener("click", () => dialog.close());
  const rules = (model.decision?.rules ?? []).map((rule) => [
    rule.name,
    rule.value.toPrecision(3),
    rule.limit.toPrecision(3),
    word(rule.passed ? "passed" : "refused"),
    rule.why,
  ]);
  dialog.replaceChildren(
    element("h2", { id: "card-title" }, version),
    ...(rules.length ? [element("p", {}, model.decision.summary), table(["", "", "", "", ""], rules)] : []),
    element("pre", {}, model.card ?? JSON.stringify(model.lineage, null, 1)),
    close,
  );
  dialog.showModal();
}

function showRuns(runs) {
  const rows = runs.map((run) => {
    const live = run.state === "queued" || run.state === "running";
    const bar = element("progress", { max: 1, value: run.progress_ratio, "aria-label": word("progress") });
    const left = run.remaining_s === null ? "" : word("left", { seconds: Math.round(run.remaining_s) });
    const stop = element("button", { type: "button", className: "quiet" }, word("stop"));
    stop.addEventListener("click", () => attempt(async () => { await call("DELETE", `/v1/runs/${run.run_id}`); await refresh(); }));
    return [
      new Date(run.created_at).toLocaleString(state.language),
      `${run.speed} · ${run.trigger}`,
      live ? element("span", {}, bar, ` ${run.stage ?? run.state} ${left}`) : run.state,
      run.error ? element("span", { className: "bad" }, run.error) : [run.version, run.promoted ? "→ champion" : ""].filter(Boolean).join(" "),
      live ? stop : "",
    ];
  });
  const heads = [word("run"), word("speed"), word("progress"), word("result"), ""];
  byId("runs").replaceChildren(rows.length ? table(heads, rows) : element("p", { className: "hint" }, word("noRuns")));
}

async function refresh() {
  const [status, models, runs] = await Promise.allSettled([
    call("GET", "/v1/status"),
    call("GET", "/v1/models"),
    call("GET", "/v1/runs?limit=10"),
  ]);
  lock(status.reason?.status === 401);
  if (status.status === "rejected") byId("serving").textContent = word(state.locked ? "keyNeeded" : "unreachable");
  show("status", status, showStatus);
  show("models", models, (answer) => showModels(answer.models));
  show("runs", runs, (answer) => showRuns(answer.runs));
}

// Draws what has changed and leaves the rest alone: a button that is drawn anew loses the keyboard's focus.
function show(name, answer, draw) {
  const seen = state.language + JSON.stringify(answer.value ?? null);
  if (state.shown[name] === seen) return;
  state.shown[name] = seen;
  if (answer.status === "fulfilled") draw(answer.value);
}

function speak(language) {
  state.language = language;
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  byId("language").textContent = word("otherLanguage");
  showAnswer();
  review.draw();
  quality.draw();
}

async function learn(speed) {
  await call("POST", "/v1/runs", { speed, note: "console" });
  await refresh();
}

function listen() {
  byId("ask").addEventListener("click", () => attempt(ask));
  byId("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) attempt(ask);
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("textarea, input") || event.ctrlKey || event.metaKey || event.altKey;
    if (typing || byId("card").open || review.press(event.key)) return;
    const chosen = state.prediction?.scores[Number(event.key) - 1];
    if (chosen && /^[1-9]$/.test(event.key)) attempt(() => correct(chosen.label));
  });
  byId("rollback").addEventListener("click", () => attempt(async () => {
    if (!window.confirm(word("sureRollBack"))) return;
    await call("POST", "/v1/rollback", { by: "console" });
    await refresh();
  }));
  byId("review-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => review.next(byId("annotator").value.trim()));
  });
  byId("look").addEventListener("click", () => attempt(() => quality.look()));
  byId("run-head").addEventListener("click", () => attempt(() => learn("head")));
  byId("run-full").addEventListener("click", () => attempt(() => learn("full")));
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("key").value.trim());
    byId("key").value = "";
    attempt(refresh);
  });
  byId("forget-key").addEventListener("click", () => { useKey(null); location.reload(); });
  byId("language").addEventListener("click", () => { speak(state.language === "en" ? "zh" : "en"); refresh(); });
}

async function watch() {
  if (!document.hidden && !state.locked) await refresh();
  setTimeout(watch, STATUS_EVERY_MS);
}

speak(navigator.language.startsWith("zh") ? "zh" : "en");
listen();
watch();
