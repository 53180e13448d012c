// Renders /openapi.json; nothing is loaded from anywhere else.
import { call, element, table } from "./page.js";

// Returns a schema in a few words: a type, the name of another schema, or what it is made of.
function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `[${kind(schema.items)}]`;
  return schema.type ?? "any";
}

function limits(schema) {
  const names = { minimum: "≥", maximum: "≤", minLength: "length ≥", maxLength: "length ≤", default: "default" };
  const parts = [schema, ...(schema.anyOf ?? [])];
  return Object.entries(names)
    .flatMap(([name, sign]) => parts.filter((part) => part[name] !== undefined).map((part) => `${sign} ${JSON.stringify(part[name])}`))
    .join(", ");
}

function bodyOf(content) {
  return kind(content?.["application/json"]?.schema);
}

function operation(method, path, found) {
  const parameters = (found.parameters ?? []).map((parameter) => [
    parameter.name,
    parameter.in,
    kind(parameter.schema),
    [parameter.required ? "required" : "", limits(parameter.schema), parameter.description ?? ""].filter(Boolean).join("; "),
  ]);
  const answers = Object.entries(found.responses).map(([status, answer]) => [status, bodyOf(answer.content), answer.description]);
  return element(
    "details",
    {},
    element("summary", {}, element("strong", {}, method.toUpperCase()), ` ${path}`),
    element("p", {}, found.description ?? ""),
    found.requestBody ? element("p", {}, `Body: ${bodyOf(found.requestBody.content)}`) : null,
    parameters.length ? table("Parameters", ["Parameter", "In", "Type", "Meaning"], parameters) : null,
    table("Answers", ["Status", "Body", "Meaning"], answers),
  );
}

function schema(name, found) {
  const required = new Set(found.required ?? []);
  const rows = Object.entries(found.properties ?? {}).map(([field, part]) => [
    field,
    kind(part),
    [required.has(field) ? "required" : "", limits(part), part.description ?? ""].filter(Boolean).join("; "),
  ]);
  return element(
    "details",
    {},
    element("summary", {}, name),
    element("p", {}, found.description ?? ""),
    rows.length ? table(name, ["Field", "Type", "Meaning"], rows) : null,
  );
}

const found = await call("GET", "/openapi.json");
const operations = Object.entries(found.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, one]) => operation(method, path, one)),
);
const schemas = Object.entries(found.components.schemas).map(([name, one]) => schema(name, one));
document.getElementById("operations").replaceChildren(element("h2", {}, "Operations"), ...operations);
document.getElementById("schemas").replaceChildren(element("h2", {}, "Schemas"), ...schemas);
