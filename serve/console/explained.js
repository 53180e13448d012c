// An explanation as the text itself, its words marked by what the label's score owes to them.
import { element } from "./page.js";

const LISTED = 5;
const LISTED_POINTS = 60;
// What is smaller than can be told apart in the numbers shown is nothing.
const LEAST = 1e-3;
// Less than this share of the strongest word is not worth a mark.
const FAINT_RATIO = 0.02;

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

export function explained(text, explanation, word) {
  const parts = explanation.attributions;
  const largest = Math.max(...parts.map((part) => Math.abs(part.attribution)), LEAST);
  // Places count code points, as a string's iterator does; its own indices do not.
  const points = Array.from(text);
  const nodes = [];
  let place = 0;
  for (const part of parts) {
    nodes.push(points.slice(place, part.start).join(""), marked(part, largest));
    place = part.end;
  }
  nodes.push(points.slice(place).join(""));
  const { label } = explanation;
  return element(
    "figure",
    { className: "why", "aria-label": word("whyLabel", { label }) },
    element("p", { dir: "auto" }, ...nodes),
    element("figcaption", { className: "hint" }, word("whyHint", { label }), " ", sum(explanation, word)),
    element("ol", { className: "hint" }, ...strongest(parts, largest).map(line)),
  );
}

function marked(part, largest) {
  const share = part.attribution / largest;
  const className = Math.abs(share) < FAINT_RATIO ? "" : share < 0 ? "against" : "for";
  const node = element("mark", { className, title: signed(part.attribution) }, part.text);
  node.style.setProperty("--weight", `${Math.round(70 * Math.abs(share))}%`);
  return node;
}

function sum(explanation, word) {
  const { score, baseline_score: baseline } = explanation;
  return word("whySum", { score: score.toFixed(3), baseline: baseline.toFixed(3), difference: signed(score - baseline) });
}

function line(part) {
  const points = Array.from(part.text);
  const text = points.length > LISTED_POINTS ? `${points.slice(0, LISTED_POINTS).join("")}…` : part.text;
  return element("li", {}, `${text} ${signed(part.attribution)}`);
}

function strongest(parts, largest) {
  const size = (part) => Math.abs(part.attribution);
  return parts.filter((part) => size(part) >= FAINT_RATIO * largest).sort((one, other) => size(other) - size(one)).slice(0, LISTED);
}
