// The name tag: the best label large, the others as bars; or what went wrong.

import { $, element, labelOf, percent, save, toast } from "./dom.js";

// A lead of less than this over the second label is called close.
const CLOSE = 0.2;

export function showWaiting() {
  $("tag").dataset.state = "waiting";
  $("tag-actions").hidden = true;
  $("answer").replaceChildren(element("p", { className: "tag-lead" }, "Looking …"));
}

// `elapsedMs` from here and back; unknown of answers of before.
export function showAnswer(answer, elapsedMs) {
  $("tag").dataset.state = "answer";
  const [best, second] = answer.predictions;
  const unsure = answer.abstain === true;
  const parts = best
    ? [heading(best, unsure), verdict(best, second, unsure), novelty(answer), bars(answer.predictions)]
    : [element("p", { className: "tag-lead" }, "No label has the minimum score.")];
  $("answer").replaceChildren(...parts, provenance(answer, elapsedMs));
  $("json").textContent = JSON.stringify(answer, null, 2);
  $("raw").open = false;
  $("tag-actions").hidden = false;
}

export function showError(error, again) {
  $("tag").dataset.state = "error";
  $("tag-actions").hidden = true;
  const retry = again && error.retry
    ? element("button", { type: "button", className: "button", id: "again" }, "Try again") : null;
  retry?.addEventListener("click", again);
  $("answer").replaceChildren(element("div", { role: "alert" },
    element("p", { className: "tag-lead" }, "That did not work"),
    element("p", {}, error.message),
    error.hint ? element("p", { className: "hint" }, error.hint) : null,
    retry));
}

export function startSharing() {
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("json").textContent);
      toast("JSON copied");
    } catch {
      toast("The browser does not allow copying; use Show JSON");
    }
  });
  $("save").addEventListener("click", () => {
    save("classification.json", "application/json", $("json").textContent);
  });
}

function heading(best, unsure) {
  return element("p", { className: "best" },
    element("span", { className: "best-label" }, unsure ? "Not sure" : labelOf(best)),
    unsure ? null : element("span", { className: "best-score" }, percent(best.score)));
}

function verdict(best, second, unsure) {
  const close = second && best.score - second.score < CLOSE;
  let text = "";
  if (unsure) text = `A person had better decide: the model is below its own threshold. Its best guess is ${labelOf(best)}.`;
  else if (close) text = `A close call: ${labelOf(second)} is only ${Math.round((best.score - second.score) * 100)} points behind.`;
  return text ? element("p", { className: "verdict" }, text) : "";
}

function novelty(answer) {
  if (!answer.novel) return "";
  return element("p", { className: "verdict" }, "Unlike anything the model has learned from: its labels mean little here.");
}

function bars(predictions) {
  const rows = predictions.map((prediction, rank) => {
    const fill = element("span", { className: "fill" });
    fill.style.setProperty("--share", String(prediction.score));
    return element("li", { className: rank ? "row" : "row first" },
      element("span", { className: "row-label" }, labelOf(prediction)),
      element("span", { className: "row-score" }, percent(prediction.score)),
      element("span", { className: "track", ariaHidden: "true" }, fill));
  });
  return element("ol", { className: "bars" }, ...rows);
}

function provenance(answer, elapsedMs) {
  const inServer = answer.timings ? `${(answer.timings.total_us / 1000).toFixed(0)} ms in the server` : "";
  const times = elapsedMs === undefined ? inServer : `${Math.round(elapsedMs)} ms, ${inServer}`;
  return element("p", { className: "provenance" }, `${answer.model} ${answer.version} · ${times}`);
}
