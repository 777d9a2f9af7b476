// Draws /openapi.json.

import { $, element } from "./dom.js";
import { startTheme } from "./theme.js";

function operation(path, verb, described) {
  const parts = [
    element("h2", {}, element("span", { className: "verb" }, verb.toUpperCase()), " ", element("code", {}, path)),
    element("p", {}, described.summary),
  ];
  for (const sample of described["x-codeSamples"] ?? []) {
    parts.push(element("pre", { tabIndex: 0, "aria-label": "Example" }, sample.source.replace("http://localhost:8080", location.origin)));
  }
  const parameters = (described.parameters ?? []).map((p) => [p.name, p.schema.type, p.description]);
  if (parameters.length) parts.push(table("Parameters", ["Name", "Type", "Meaning"], parameters));
  const bodies = Object.keys(described.requestBody?.content ?? {});
  if (bodies.length) parts.push(element("p", {}, `Body: ${bodies.join(", ")}`));
  const answers = Object.entries(described.responses).map(([status, answer]) => [status, answer.description]);
  parts.push(table("Answers", ["Status", "Meaning"], answers));
  return element("section", { className: "operation" }, ...parts);
}

function table(caption, heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map((row) => element("tr", {}, ...row.map((text) => element("td", {}, text.replaceAll("`", "")))));
  return element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body));
}

startTheme($("theme"));
const spec = await (await fetch("/openapi.json")).json();
$("about").textContent = spec.info.description;
for (const [path, verbs] of Object.entries(spec.paths)) {
  for (const [verb, described] of Object.entries(verbs)) $("operations").append(operation(path, verb, described));
}
