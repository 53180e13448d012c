// Small parts all pages use. Text only ever becomes text: nodes are made here, never parsed from strings.

export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || ["for", "role", "list"].includes(name)) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

// As `element`, of a drawing, where every property is an attribute.
export function drawn(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function button(text, press, properties = {}) {
  const node = element("button", { type: "button", className: "quiet", ...properties }, text);
  node.addEventListener("click", press);
  return node;
}

// A table that is wider than its place is scrolled, with the keyboard too. A head in brackets is for screen readers alone.
export function table(caption, heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, heading(text))));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell ?? ""))));
  const own = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  const place = element("div", { className: "scroll", role: "region", "aria-label": caption }, own);
  overflow.observe(place);
  return place;
}

function heading(text) {
  return text.startsWith("(") ? element("span", { className: "unseen" }, text.slice(1, -1)) : text;
}

const overflow = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

// Draws `node` anew; the keyboard's focus stays on what is in the same place, and what was unfolded stays so.
export function redraw(node, ...children) {
  const held = node.contains(document.activeElement) ? document.activeElement : null;
  const place = held ? [...node.querySelectorAll(held.localName)].indexOf(held) : -1;
  const unfolded = [...node.querySelectorAll("details")].map((one) => one.open);
  node.replaceChildren(...children.filter(Boolean));
  node.querySelectorAll("details").forEach((one, number) => { one.open = unfolded[number] ?? one.open; });
  if (held) node.querySelectorAll(held.localName)[place]?.focus();
}

// Names and what they are, one below the other; what is null is left out.
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", {}, ...known.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

export function hint(...children) {
  return element("p", { className: "hint" }, ...children);
}

export const percent = (ratio, digits = 1) => (ratio === null || ratio === undefined ? "–" : `${(ratio * 100).toFixed(digits)} %`);

// A number as short as it can be told without lying about its size.
export function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return `${value}`;
  return size >= 1e6 || (size > 0 && size < 1e-3) ? value.toExponential(2) : `${Number(value.toPrecision(3))}`;
}

export class ServiceError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Kept for this tab alone and until it is closed; where no key is asked for there is none.
const KEY = "hone.key";

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

export function useKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

// Several classifiers may share an address; each has its routes where its pages are.
const BASE = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

async function asked(method, path, options = {}) {
  const headers = { ...options.headers };
  if (hasKey()) headers.authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  const response = await fetch(`${BASE}${path}`, { ...options, method, headers });
  if (response.ok) return response;
  const answer = await response.json();
  throw new ServiceError(answer.error ?? response.statusText, response.status, answer.code);
}

export async function call(method, path, body) {
  if (body === undefined) return (await asked(method, path)).json();
  const options = { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return (await asked(method, path, options)).json();
}

// A link to a document of the service's; a link sends no key, so where one is needed the document is saved as a file.
export function linked(text, path, attempt) {
  if (!hasKey()) return element("a", { href: `${BASE}${path}`, target: "_blank" }, text);
  return button(text, () => attempt(async () => {
    const address = URL.createObjectURL(await (await asked("GET", path)).blob());
    element("a", { href: address, download: path.split("/").slice(-2).join("-") }).click();
    URL.revokeObjectURL(address);
  }));
}
