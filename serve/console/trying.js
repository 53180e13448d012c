// Trying a text: its answer, what each word did, and correcting it with a click or a digit.
import { explained } from "./explained.js";
import { call, element, hint, percent } from "./page.js";

const SHOWN_LABELS = 9;

// `page` has what all parts share: word(), attempt(), say(), refresh().
export class Trying {
  constructor(nodes, page) {
    this.nodes = nodes;
    this.page = page;
    this.prediction = null;
    this.text = "";
    this.label = null;
    this.taught = null;
    this.asked = 0;
  }

  async ask() {
    const text = this.nodes.text.value;
    const asked = ++this.asked;
    const answer = await call("POST", "/v1/predict", this.nodes.explain.checked ? { text, explain: true } : { text });
    if (asked !== this.asked) return;
    this.prediction = answer;
    this.text = text;
    this.label = null;
    this.draw();
  }

  async correct(label) {
    const { label: before, prediction } = this;
    // Noted before the answer, so that a second click while it is under way does not count twice.
    if (label === before) return;
    this.label = label;
    const { word } = this.page;
    try {
      const body = { prediction_id: prediction.prediction_id, label, annotator: "console" };
      const answer = await call("POST", "/v1/corrections", body);
      this.taught = answer.kind === "correction" ? answer : null;
      this.page.say(word("kept", { label, kind: word(answer.kind) }));
    } catch (error) {
      if (prediction === this.prediction) this.label = before;
      throw error;
    } finally {
      this.draw();
    }
    await this.page.refresh();
  }

  // Looks whether the last correction was learned meanwhile.
  async refresh() {
    if (!this.taught || this.taught.used_by.length) return;
    const { correction_id: id } = this.taught;
    const found = await call("GET", `/v1/corrections/${id}`);
    if (this.taught?.correction_id !== id) return;
    this.taught = found;
    this.drawTaught();
  }

  // Returns whether the key meant something here.
  press(key) {
    const chosen = this.prediction?.scores[Number(key) - 1];
    if (!chosen || !/^[1-9]$/.test(key)) return false;
    this.page.attempt(() => this.correct(chosen.label));
    return true;
  }

  draw() {
    const { answer } = this.nodes;
    const found = this.prediction;
    this.drawTaught();
    if (!found) return;
    const { word } = this.page;
    const shown = found.scores.slice(0, SHOWN_LABELS);
    const rest = found.scores.slice(SHOWN_LABELS);
    const { model_version: version, prediction_id: id } = found;
    const source = word("answeredBy", { version, source: word(`source_${found.source}`), id });
    answer.replaceChildren(
      ...shown.map((one, place) => this.choice(one, place)),
      ...(rest.length ? [this.others(rest)] : []),
      hint(word("correct")),
      ...(found.explanation ? [explained(this.text, found.explanation, word)] : []),
      hint(source),
      ...(found.truncated ? [hint(word("truncated"))] : []),
    );
  }

  drawTaught() {
    const { word } = this.page;
    const learned = this.taught?.used_by ?? [];
    const said = learned.length ? word("learnedBy", { label: this.taught.label, version: learned[0] }) : word("notLearned");
    this.nodes.taught.textContent = this.taught ? said : "";
  }

  choice({ label, score }, place) {
    const bar = element("span", { className: "bar" });
    bar.style.inlineSize = `${(score * 100).toFixed(1)}%`;
    const name = element("span", { className: "name" }, label);
    const kept = this.label === label;
    const share = element("span", {}, percent(score));
    const node = element("button", { type: "button", className: "label" }, bar, element("kbd", {}, `${place + 1}`), name, share);
    node.setAttribute("aria-pressed", String(kept));
    node.addEventListener("click", () => this.page.attempt(() => this.correct(label)));
    return node;
  }

  others(scores) {
    const options = scores.map(({ label }) => element("option", { value: label }));
    const list = element("datalist", { id: "labels" }, ...options);
    const text = this.page.word("others");
    const input = element("input", { placeholder: text, "aria-label": text, list: "labels" });
    const known = new Set(scores.map(({ label }) => label));
    input.addEventListener("change", () => known.has(input.value) && this.page.attempt(() => this.correct(input.value)));
    return element("div", {}, input, list);
  }
}
