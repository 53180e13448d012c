// The console: which page is shown, in which language, with which key; the pages themselves are modules of their own.
import { Learning } from "./learning.js";
import { Models } from "./models.js";
import { ServiceError, call, hasKey, useKey } from "./page.js";
import { Quality } from "./quality.js";
import { Review } from "./review.js";
import { told, toldError } from "./sentences.js";
import { drawStanding } from "./standing.js";
import { Trying } from "./trying.js";
import { Watch } from "./watch.js";
import { WORDS } from "./words.js";

const STATUS_EVERY_MS = 2000;

const byId = (id) => document.getElementById(id);
const state = { language: "en", view: "try", locked: false, labels: [], champion: null, shown: "" };

function word(key, values = {}) {
  return WORDS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

function when(moment, style = { dateStyle: "short", timeStyle: "medium" }) {
  // In English, but the way it is written where the reader is.
  const own = navigator.languages.find((language) => language.startsWith(state.language)) ?? state.language;
  return new Date(moment).toLocaleString(own, style);
}

// What the service says in a sentence, in the language of the page.
const inWords = (sentence) => told(sentence, state.language);

const page = { word, when, told: inWords, attempt, say, refresh, dialog: byId("confirm"), labels: () => state.labels, champion: () => state.champion };
const trying = new Trying({ text: byId("text"), explain: byId("explain"), answer: byId("answer"), taught: byId("taught") }, page);
const review = new Review(byId("item"), page);
const quality = new Quality(byId("quality"), page);
const models = new Models({ models: byId("models"), model: byId("model"), rollback: byId("rollback"), withdraw: byId("withdraw") }, page);
const learning = new Learning(
  {
    runs: byId("runs"),
    run: byId("run"),
    speed: byId("speed"),
    note: byId("note"),
    speedHint: byId("speed-hint"),
    outlook: byId("outlook"),
  },
  page,
);
const watching = new Watch(
  {
    minutes: byId("minutes"),
    traffic: byId("traffic"),
    accuracy: byId("accuracy"),
    drift: byId("drift"),
    driftWhy: byId("drift-why"),
    events: byId("events"),
  },
  page,
);
// What each page asks for while it is shown, and which part of its address names what.
const VIEWS = {
  try: { parts: [trying], title: "viewTry" },
  review: { parts: [review, quality], title: "viewReview" },
  models: { parts: [models], title: "viewModels", choose: (version) => models.choose(version) },
  learning: { parts: [learning], title: "viewLearning", choose: (run) => learning.choose(run) },
  watch: { parts: [watching], title: "viewWatch" },
};

function say(text, bad = false) {
  const notice = byId("notice");
  // What is said already is not told again to those who listen.
  if (notice.textContent !== text) notice.textContent = text;
  notice.className = bad ? "bad" : "";
  notice.hidden = !text;
}

// Runs one action of the user's; what goes wrong is told in the service's own words, of showing a page only while it is shown.
async function attempt(action, view = null) {
  try {
    say("");
    await action();
  } catch (error) {
    lock(error.status === 401);
    if (view === null || view === state.view) say(error instanceof ServiceError ? toldError(error, state.language) : word("unreachable"), true);
  }
}

// While it is locked nothing is asked for; a key that was refused is of no use any more.
function lock(locked) {
  state.locked = locked;
  if (locked) useKey(null);
  byId("key-form").hidden = !locked;
  byId("forget-key").hidden = !hasKey();
}

// Reads how the service stands and what the page shows; the page's own part may be refused to this key.
async function refresh() {
  const { view } = state;
  const parts = VIEWS[view].parts.filter((part) => part.refresh);
  const [status, ...rest] = await Promise.allSettled([call("GET", "/v1/status"), ...parts.map((part) => part.refresh())]);
  lock(status.reason?.status === 401);
  if (status.status === "rejected") byId("serving").textContent = word(state.locked ? "keyNeeded" : "unreachable");
  else show(status.value);
  const refused = rest.find((one) => one.reason instanceof ServiceError && one.reason.status === 403);
  if (refused && view === state.view) say(toldError(refused.reason, state.language), true);
}

// Draws what has changed and leaves the rest alone.
function show(status) {
  const seen = state.language + JSON.stringify(status);
  if (state.shown === seen) return;
  state.shown = seen;
  state.labels = status.labels ?? [];
  const { model_version: version, source } = status;
  state.champion = version;
  byId("serving").textContent = version ? word("servingLine", { version, source: word(`source_${source}`) }) : word("noModel");
  drawStanding(byId("state"), status, page);
  learning.foresee(status.outlook);
}

function speak(language) {
  state.language = language;
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  byId("language").textContent = word("otherLanguage");
  byId("language").lang = language === "zh" ? "en" : "zh-Hans";
  byId("views").setAttribute("aria-label", word("pages"));
  document.title = `${word(VIEWS[state.view].title)} · Hone`;
  for (const part of [trying, review, quality, models, learning, watching]) part.draw();
}

async function go() {
  const [name, chosen] = location.hash.slice(1).split("/");
  const view = name in VIEWS ? name : "try";
  const moved = view !== state.view;
  state.view = view;
  for (const node of document.querySelectorAll("[data-view]")) node.hidden = node.dataset.view !== view;
  for (const link of byId("views").children) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${word(VIEWS[view].title)} · Hone`;
  if (moved) say("");
  if (state.locked) return;
  await attempt(async () => {
    if (VIEWS[view].choose) await VIEWS[view].choose(chosen ? decodeURIComponent(chosen) : null);
    await refresh();
  }, view);
}

function press(event) {
  const typing = event.target.matches("textarea, input, select") || event.ctrlKey || event.metaKey || event.altKey;
  if (typing || page.dialog.open) return;
  if (state.view === "review") review.press(event.key);
  if (state.view === "try") trying.press(event.key);
}

function onSubmit(id, action) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(action);
  });
}

function onClick(id, action) {
  byId(id).addEventListener("click", () => attempt(action));
}

function listen() {
  onClick("ask", () => trying.ask());
  byId("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) attempt(() => trying.ask());
  });
  document.addEventListener("keydown", press);
  onSubmit("review-form", () => review.next(byId("annotator").value.trim()));
  onClick("look", () => quality.look());
  onClick("rollback", () => models.moving.moveAlias("rollback"));
  onClick("withdraw", () => models.moving.moveAlias("withdraw"));
  onSubmit("learn-form", () => learning.start());
  byId("speed").addEventListener("change", () => learning.drawForm());
  byId("minutes").addEventListener("change", () => attempt(() => watching.choose(Number(byId("minutes").value))));
  onSubmit("key-form", () => {
    useKey(byId("key").value.trim());
    byId("key").value = "";
    return refresh();
  });
  byId("forget-key").addEventListener("click", () => { useKey(null); location.reload(); });
  byId("language").addEventListener("click", () => { speak(state.language === "en" ? "zh" : "en"); refresh(); });
  window.addEventListener("hashchange", go);
}

async function watch() {
  if (!document.hidden && !state.locked) await refresh();
  setTimeout(watch, STATUS_EVERY_MS);
}

speak(navigator.language.startsWith("zh") ? "zh" : "en");
listen();
await go();
watch();
