// How the service stands: the store, what waits, and every replica.
import { element, facts, percent } from "./page.js";

export function drawStanding(node, status, { word, told }) {
  const bad = (text) => element("span", { className: "bad" }, text);
  const live = status.live_accuracy.map((one) => [
    `${word("accuracy")} ${one.version}`,
    `${percent(one.accuracy)} (${one.right} / ${one.right + one.wrong}) ${word("accuracyHint")}`,
  ]);
  const lost = status.predictions.dropped;
  node.replaceChildren(
    facts([
      [word("store"), status.store_up ? word("storeUp") : bad(word("storeAway"))],
      [word("corrections"), `${status.corrections ?? "–"}`],
      [word("confirmations"), `${status.confirmations ?? "–"}`],
      [word("memory"), `${status.memory.answers} / ${status.memory.max_entries}`],
      [word("waiting"), `${status.waiting_texts} / ${status.queue_max_texts}`],
      [word("dropped"), lost ? bad(`${lost}`) : "0"],
      ...live,
      [word("loading"), status.loading],
    ]),
    element("h3", {}, word("replicas")),
    ...status.replicas.map((replica) => line(replica, word, told)),
  );
}

function line(replica, word, told) {
  const state = element("p", {}, `${replica.replica_id}: ${word(`replica_${replica.state}`)} ${replica.model_version ?? ""}`);
  if (!replica.reason) return state;
  const why = word("rolloutFailed", { version: replica.candidate_version, reason: told(replica.reason) });
  return element("div", {}, state, element("p", { className: "bad" }, why));
}
