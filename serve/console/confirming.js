// Asks before something is done that others will feel: who does it, and why; both are kept in the history.
import { button, element, hint } from "./page.js";

let person = "";

// Resolves to { by, why }, or to null where it was thought better of. `override` is what has to be agreed to besides.
export function confirmed(dialog, { title, lines = [], action, override = null }, word) {
  const name = element("input", { id: "confirm-name", maxLength: 200, required: true, autocomplete: "off", value: person });
  const why = element("input", { id: "confirm-why", maxLength: 200, required: true, autocomplete: "off" });
  const agreed = element("input", { type: "checkbox", required: true });
  const form = element(
    "form",
    {},
    element("h2", { id: "confirm-title" }, title),
    ...lines.map((text) => hint(text)),
    element("label", { for: "confirm-name" }, word("yourName")),
    name,
    element("label", { for: "confirm-why" }, word("reason")),
    why,
    override ? element("label", { className: "agree" }, agreed, ` ${override}`) : null,
    element("div", { className: "row" }, element("button", { type: "submit" }, action), button(word("cancel"), () => dialog.close())),
  );
  dialog.replaceChildren(form);
  return new Promise((resolve) => {
    let answer = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const said = [name, why].map((input) => input.value.trim());
      if (said.includes("")) return;
      person = said[0];
      answer = { by: said[0], why: said[1] };
      dialog.close();
    });
    dialog.addEventListener("close", () => resolve(answer), { once: true });
    dialog.showModal();
    (person ? why : name).focus();
  });
}
