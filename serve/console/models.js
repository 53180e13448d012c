// Versions: where each comes from, how good it is, what the gate said, and which of them answers.
import { decided } from "./decided.js";
import { Moving } from "./moving.js";
import { call, element, facts, hint, linked, percent, redraw, short, table } from "./page.js";

// `page` has what all parts share: word(), attempt(), when(), dialog, refresh().
export class Models {
  constructor(nodes, page) {
    this.nodes = nodes;
    this.page = page;
    this.moving = new Moving(page, this);
    this.list = [];
    this.chosen = null;
    this.found = null;
    this.seen = "";
  }

  async refresh() {
    const { models } = await call("GET", "/v1/models");
    const seen = JSON.stringify(models);
    if (seen === this.seen) return;
    const { chosen } = this;
    const found = chosen ? await this.read(chosen) : null;
    this.seen = seen;
    this.list = models;
    // Who chose another one meanwhile has asked for that.
    if (chosen === this.chosen) this.found = found;
    this.draw();
  }

  // The version that plays a part now; null where none does.
  named(alias) {
    return this.list.find((one) => one.aliases.includes(alias))?.version ?? null;
  }

  // Reads everything anew, after something was moved.
  async again() {
    this.seen = "";
    await this.page.refresh();
  }

  // Shows one version below the list; null shows none.
  async choose(version) {
    this.chosen = version;
    this.found = null;
    if (version) {
      const found = await this.read(version);
      if (this.chosen !== version) return;
      this.found = found;
    }
    this.draw();
    if (version) this.nodes.model.scrollIntoView({ block: "nearest" });
  }

  // One that is not to be had is not asked for again, or it would keep the list away too.
  async read(version) {
    try {
      return await call("GET", `/v1/models/${version}`);
    } catch (error) {
      if (error.status === 404 && this.chosen === version) this.chosen = null;
      throw error;
    }
  }

  draw() {
    const { word } = this.page;
    this.nodes.rollback.disabled = !this.named("previous");
    this.nodes.withdraw.disabled = !this.named("challenger");
    const heads = ["version", "role", "parent", "speed", "made", "quality", "gate"].map((key) => word(key));
    const rows = this.list.map((model) => [
      this.link(model.version),
      tags(model.aliases, word),
      model.parent ? this.link(model.parent) : "–",
      [model.speed && word(`source_${model.speed}`), model.features && word(`features_${model.features}`)].filter(Boolean).join(" · "),
      model.created_at ? this.page.when(model.created_at) : "",
      percent(model.metrics.accuracy, 2),
      this.verdict(model),
    ]);
    redraw(this.nodes.models, rows.length ? table(word("versions"), heads, rows) : hint(word("noVersions")));
    this.nodes.model.hidden = !this.found;
    if (this.found) redraw(this.nodes.model, ...this.detail(this.found));
  }

  link(version) {
    const node = element("a", { href: `#models/${version}` }, version);
    if (version === this.chosen) node.setAttribute("aria-current", "true");
    return node;
  }

  verdict(model) {
    if (model.problem) return element("span", { className: "bad" }, this.page.told(model.problem));
    const { word } = this.page;
    if (!model.gate) return word("notAsked");
    const text = word(model.gate.promote ? "passed" : "refused");
    const signed = model.standing ? ` · ${word(`standing_${model.standing}`)}` : "";
    return element("span", { className: model.gate.promote ? "good" : "bad", title: this.page.told(model.gate.summary) }, text, signed);
  }

  detail(model) {
    const { word } = this.page;
    return [
      element("div", { className: "row" }, element("h2", { id: "model-title" }, model.version, " ", tags(model.aliases, word)), ...this.moving.buttons(model)),
      element("div", { className: "columns" }, this.origin(model), this.measured(model)),
      ...decided(model.decision, this.page),
      model.decision ? element("p", {}, linked(word("gateReport"), `/v1/models/${model.version}/gate.html`, this.page.attempt)) : null,
      ...this.history(model),
      element("p", {}, linked(word("wholeCard"), `/v1/models/${model.version}/card.md`, this.page.attempt)),
      element("details", {}, element("summary", {}, word("modelCard")), element("pre", { dir: "auto" }, model.card ?? word("noCard"))),
    ];
  }

  origin(model) {
    const { word, when } = this.page;
    const { lineage, encoder } = model;
    const run = lineage.run ? element("a", { href: `#learning/${lineage.run}` }, lineage.run.slice(0, 10)) : null;
    const rows = Object.entries(lineage.rows).map(([split, count]) => `${split} ${count}`).join(", ");
    return element(
      "div",
      {},
      element("h3", {}, word("lineage")),
      facts([
        [word("ancestors"), this.ancestors(model.version)],
        [word("made"), when(model.created_at)],
        [word("run"), run],
        [word("speed"), word(`source_${lineage.speed}`)],
        [word("features"), word(`features_${model.features}`)],
        [word("encoder"), encoder && `${encoder.base} (${encoder.serving}, ${encoder.max_tokens} ${word("tokens")})`],
        [word("labelCount"), `${model.labels.length}`],
        [word("rows"), rows],
        [word("dataset"), element("code", { title: lineage.dataset }, lineage.dataset.slice(0, 12))],
        [word("snapshot"), element("code", { title: lineage.snapshot }, lineage.snapshot.slice(0, 12))],
        [word("trainTime"), word("seconds", { seconds: short(lineage.train_s) })],
      ]),
    );
  }

  // The version, what it was trained from, and so on; a parent that is not listed any more ends the chain.
  ancestors(version) {
    const parents = new Map(this.list.map((model) => [model.version, model.parent]));
    const chain = [];
    for (let one = version; one && !chain.includes(one); one = parents.get(one)) chain.push(one);
    return element("span", {}, ...chain.flatMap((one, place) => (place ? [" ← ", this.link(one)] : [one])));
  }

  measured(model) {
    const { word } = this.page;
    const shares = (name, value) => (/accuracy|ratio|f1/.test(name) ? percent(value, 2) : short(value));
    const rows = Object.entries(model.metrics).map(([name, value]) => [element("code", {}, name), shares(name, value)]);
    if (model.parity) rows.push([word("parity"), percent(model.parity.label_agreement_ratio, 2)]);
    const caption = word("measured");
    return element("div", {}, element("h3", {}, caption), table(caption, [word("measure"), word("value")], rows));
  }

  history(model) {
    const { word, when, told } = this.page;
    const moves = model.moves.map((move) => ({ at: move.at, what: word(`move_${move.action}`), who: move.by, why: said(move, model, this.page) }));
    const rollouts = model.rollouts.map((one) => ({ at: one.at, what: word(`rollout_${one.state}`), who: one.replica_id, why: told(one.reason) ?? "" }));
    const all = [...moves, ...rollouts].sort((one, other) => other.at.localeCompare(one.at));
    const heads = ["when", "event", "who", "why"].map((key) => word(key));
    const rows = all.map((one) => [when(one.at), one.what, one.who, one.why]);
    return [element("h3", {}, word("historyTitle")), table(word("historyTitle"), heads, rows)];
  }
}

function said(move, model, { word, told }) {
  const why = told(move.why);
  if (move.version === model.version) return move.replaced ? `${why} (${word("insteadOf", { version: move.replaced })})` : why;
  return `${why} (${word("gaveWay", { version: move.version })})`;
}

function tags(aliases, word) {
  return element("span", {}, ...aliases.map((alias) => element("span", { className: "tag" }, word(`alias_${alias}`))));
}
