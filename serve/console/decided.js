// What the gate decided on a version, rule by rule, and what became of labels and slices.
import { element, hint, percent, short, table } from "./page.js";

const LISTED = 20;

export function decided(decision, { word, told }) {
  const title = element("h3", {}, word("gateDecision"));
  if (!decision) return [title, hint(word("gateNotAsked"))];
  const verdict = word(decision.promote ? "passed" : "refused");
  const heads = ["rule", "value", "limit", "ruleKind", "verdict", "why"].map((key) => word(key));
  const rows = decision.rules.map((rule) => [
    element("code", {}, rule.name),
    short(rule.value),
    short(rule.limit),
    word(`rule_${rule.kind}`),
    element("span", { className: rule.passed ? "good" : rule.kind === "evidence" ? "faint" : "bad" }, word(rule.passed ? "holds" : "fails")),
    told(rule.why),
  ]);
  const against = decision.champion ? ` ${word("against", { champion: decision.champion })}` : "";
  return [
    title,
    element("p", {}, element("strong", { className: decision.promote ? "good" : "bad" }, verdict), `${against}: ${told(decision.summary)}`),
    table(word("gateDecision"), heads, rows),
    ...changes(decision, word),
  ];
}

// Labels and slices on which the two differ most.
function changes(decision, word) {
  const gain = (one) => (one.candidate_right - one.champion_right) / one.rows;
  const moved = [...decision.classes, ...decision.slices].filter((one) => one.candidate_right !== one.champion_right);
  if (!moved.length) return [];
  const most = moved.sort((one, other) => Math.abs(gain(other)) - Math.abs(gain(one))).slice(0, LISTED);
  const rows = most.map((one) => [
    one.name,
    `${one.rows}`,
    percent(one.champion_right / one.rows),
    percent(one.candidate_right / one.rows),
    element("span", { className: gain(one) < 0 ? "bad" : "good" }, `${gain(one) < 0 ? "−" : "+"}${percent(Math.abs(gain(one)))}`),
  ]);
  const heads = ["labelOrSlice", "rowCount", "before", "after", "change"].map((key) => word(key));
  return [element("details", {}, element("summary", {}, word("changes", { count: moved.length })), table(word("labelOrSlice"), heads, rows))];
}
