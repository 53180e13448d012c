// Whom to believe and how good it is: annotators, live accuracy, what is held back. Read when asked for: it counts all votes.
import { button, call, element, percent, table } from "./page.js";

const LISTED = 20;
const alpha = (value) => (value === null ? "–" : value.toFixed(2));
const between = ({ low, high }) => (low === null ? "" : ` (${(low * 100).toFixed(0)}–${(high * 100).toFixed(0)})`);

// `page` has what all parts share: word(), attempt(), say().
export class Quality {
  constructor(node, page) {
    this.node = node;
    this.page = page;
    this.found = null;
  }

  async look() {
    const [annotators, accuracy, held] = await Promise.all([
      call("GET", "/v1/annotators"),
      call("GET", "/v1/accuracy"),
      call("GET", `/v1/quarantine?limit=${LISTED}`),
    ]);
    this.found = { annotators, accuracy, held };
    this.draw();
  }

  draw() {
    if (!this.found) return;
    this.node.replaceChildren(...this.accuracy(), ...this.annotators(), ...this.held());
  }

  accuracy() {
    const { word } = this.page;
    const rows = this.found.accuracy.versions.map((one) => [
      one.version,
      percent(one.accuracy) + between(one),
      `${one.judged}`,
      `${one.waiting}`,
    ]);
    const heads = [word("version"), word("auditAccuracy"), word("judged"), word("waitingItems")];
    return this.part("accuracyTitle", heads, rows, "noAudit");
  }

  annotators() {
    const { word } = this.page;
    const { annotators, alpha: all, alpha_by_label: byLabel, shared_texts: shared } = this.found.annotators;
    const rows = annotators.map((one) => [
      one.annotator ?? word("nobody"),
      percent(one.accuracy) + between(one) + (one.contrary ? ` · ${word("contrary")}` : ""),
      `${one.judged} / ${one.votes}`,
      alpha(one.alpha),
      `${one.quarantined}`,
    ]);
    const heads = [word("annotator"), word("reliability"), word("judgedVotes"), word("alpha"), word("heldBack")];
    const labels = Object.entries(byLabel).map(([label, value]) => element("li", {}, `${label}: ${alpha(value)}`));
    return [
      ...this.part("annotators", heads, rows, "noAnnotators"),
      element("p", { className: "hint" }, word("agreement", { alpha: alpha(all), texts: shared })),
      ...(labels.length ? [element("details", {}, element("summary", {}, word("alphaByLabel")), element("ul", {}, ...labels))] : []),
    ];
  }

  held() {
    const { word } = this.page;
    const { suspicions, total } = this.found.held;
    const rows = suspicions.map((one) => [
      one.correction.label,
      one.correction.annotator ?? word("nobody"),
      one.reasons.map((reason) => this.page.told(reason.why)).join("; "),
      element("span", { className: "row" }, this.decide(one, "release"), this.decide(one, "uphold")),
    ]);
    const heads = [word("label"), word("annotator"), word("whyHeld"), `(${word("actions")})`];
    const more = total > rows.length ? [element("p", { className: "hint" }, word("heldTotal", { shown: rows.length, total }))] : [];
    return [...this.part("heldTitle", heads, rows, "nothingHeld"), ...more];
  }

  decide(suspicion, decision) {
    const path = `/v1/quarantine/${suspicion.correction.correction_id}`;
    return button(this.page.word(decision), () => this.page.attempt(async () => {
      await call("POST", path, { decision, by: "console" });
      await this.look();
    }));
  }

  part(title, heads, rows, empty) {
    const shown = rows.length ? table(this.page.word(title), heads, rows) : element("p", { className: "hint" }, this.page.word(empty));
    return [element("h3", {}, this.page.word(title)), shown];
  }
}
