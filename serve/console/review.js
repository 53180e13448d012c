// The review queue: one text after the other, for whoever said a name.
import { button, call, element } from "./page.js";

const DIGITS = 9;

// `page` has what all parts share: word(), attempt(), say(), labels().
export class Review {
  constructor(node, page) {
    this.node = node;
    this.page = page;
    this.annotator = "";
    this.item = null;
    this.open = null;
    this.answered = null;
    this.busy = false;
  }

  // Asks for the next text; one that is held already comes again.
  async next(annotator = this.annotator) {
    this.annotator = annotator;
    const answer = await call("GET", `/v1/review?annotator=${encodeURIComponent(annotator)}`);
    this.item = answer.items[0] ?? null;
    this.open = answer.open;
    this.draw();
  }

  async answer(action, label = null) {
    // A second click while the first is under way would be about an item that is done.
    if (!this.item || this.busy) return;
    this.busy = true;
    try {
      const { item_id: id } = this.item;
      await call("POST", `/v1/review/${id}`, { action, label, annotator: this.annotator });
      this.answered = action === "label" ? { id, label } : null;
      await this.next();
      this.page.say(action === "label" ? this.page.word("reviewed", { label }) : "");
    } finally {
      this.busy = false;
    }
  }

  async undo() {
    if (!this.answered || this.busy) return;
    // A key pressed before the text is back would be about the one that is still shown.
    this.busy = true;
    try {
      const { id } = this.answered;
      this.answered = null;
      await call("POST", `/v1/review/${id}`, { action: "undo", annotator: this.annotator });
      await this.next();
      this.page.say(this.page.word("undone"));
    } finally {
      this.busy = false;
    }
  }

  // Returns whether the key meant something here.
  press(key) {
    if (/^u$/i.test(key) && this.answered) {
      this.page.attempt(() => this.undo());
      return true;
    }
    if (/^s$/i.test(key) && this.item) {
      this.page.attempt(() => this.answer("skip"));
      return true;
    }
    const label = this.labels()[Number(key) - 1];
    if (!this.item || !/^[1-9]$/.test(key) || label === undefined) return false;
    this.page.attempt(() => this.answer("label", label));
    return true;
  }

  // The model's guess first, where it may be shown.
  labels() {
    const guess = this.item?.predicted_label;
    const known = this.page.labels();
    return guess ? [guess, ...known.filter((label) => label !== guess)] : known;
  }

  draw() {
    if (this.open === null) return;
    const { word } = this.page;
    const waiting = Object.entries(this.open).map(([why, count]) => `${word(`stratum_${why}`)}: ${count}`).join(" · ");
    this.node.replaceChildren(
      ...(this.item ? this.task() : [element("p", { className: "hint" }, word("nothingToReview"))]),
      element("div", { className: "row" }, ...this.buttons()),
      element("p", { className: "hint" }, word("skipKey")),
      element("p", { className: "hint" }, word("reviewOpen"), " ", waiting),
    );
  }

  task() {
    const { word } = this.page;
    const labels = this.labels();
    const buttons = labels.slice(0, DIGITS).map((label, place) => {
      const name = element("span", { className: "name" }, label);
      const node = element("button", { type: "button", className: "label" }, element("kbd", {}, `${place + 1}`), name);
      node.addEventListener("click", () => this.page.attempt(() => this.answer("label", label)));
      return node;
    });
    return [
      element("p", { className: "hint" }, word(`why_${this.item.stratum}`)),
      element("blockquote", { dir: "auto" }, this.item.text),
      ...this.doubts(),
      ...buttons,
      ...(labels.length > DIGITS ? [this.others(labels.slice(DIGITS))] : []),
    ];
  }

  // Why a correction is doubted, without the label it gave.
  doubts() {
    const { word, told } = this.page;
    const { reasons } = this.item;
    if (!reasons.length) return [];
    const list = element("ul", {}, ...reasons.map((reason) => element("li", {}, told(reason.why))));
    return [element("div", { className: "hint" }, word("doubts"), list)];
  }

  others(labels) {
    const list = element("datalist", { id: "review-labels" }, ...labels.map((label) => element("option", { value: label })));
    const text = this.page.word("others");
    const input = element("input", { placeholder: text, "aria-label": text, list: "review-labels" });
    const choose = () => labels.includes(input.value) && this.page.attempt(() => this.answer("label", input.value));
    input.addEventListener("change", choose);
    return element("div", {}, input, list);
  }

  buttons() {
    const { attempt, word } = this.page;
    return [
      button(word("skip"), () => attempt(() => this.answer("skip")), { disabled: !this.item }),
      button(word("undo"), () => attempt(() => this.undo()), { disabled: !this.answered }),
    ];
  }
}
