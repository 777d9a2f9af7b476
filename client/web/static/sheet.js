// The contact sheet: many photos, a few in flight at a time, filtered and sorted here.

import { ApiError, classify } from "./api.js";
import { $, element, labelOf, percent, save } from "./dom.js";
import { thumbnail } from "./photo.js";

const IN_FLIGHT = 6; // as many connections as browsers open to one place
const SIDE = 320;
const FAILED = "\u0000failed";

export class Sheet {
  constructor(choice, open) {
    this.choice = choice;
    this.open = open;
    this.cards = [];
    this.label = "";
    for (const id of ["filter-name", "filter-score", "sort"]) {
      $(id).addEventListener("input", () => this.arrange());
    }
    $("sheet-stop").addEventListener("click", () => this.stop());
    $("sheet-retry").addEventListener("click", () => this.retry());
    $("sheet-csv").addEventListener("click", () => save("classifications.csv", "text/csv", this.csv()));
    $("sheet-json").addEventListener("click", () => {
      save("classifications.jsonl", "application/jsonl", this.jsonLines());
    });
  }

  async start(files) {
    this.clear();
    this.cards = files.map((file, index) => this.card(file, index));
    this.arrange();
    for (const card of this.cards) this.preview(card);
    await this.run(this.cards);
  }

  clear() {
    this.stop();
    for (const card of this.cards) URL.revokeObjectURL(card.url);
    this.cards = [];
    this.label = "";
    $("filter-name").value = "";
    $("filter-score").value = "0-1";
    $("sort").value = "given";
  }

  stop() {
    this.aborter?.abort();
  }

  async retry() {
    const failed = this.cards.filter((card) => !card.answer);
    failed.forEach((card) => { card.error = null; this.write(card); });
    await this.run(failed);
  }

  async run(cards) {
    const aborter = new AbortController();
    this.aborter = aborter;
    const waiting = [...cards];
    const work = async () => {
      while (waiting.length && !aborter.signal.aborted) await this.ask(waiting.shift(), aborter.signal);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, work));
    if (this.aborter === aborter) {
      this.aborter = null;
      this.arrange();
    }
  }

  async ask(card, signal) {
    try {
      card.answer = { ...await classify(card.file, this.choice(), signal), path: card.file.name };
    } catch (error) {
      if (error.name === "AbortError") return;
      card.error = error instanceof ApiError ? error : new ApiError(String(error));
    }
    this.write(card);
    this.arrangeSoon();
  }

  card(file, index) {
    const image = element("img", { alt: "", decoding: "async" });
    const text = element("span", { className: "card-text" }, "waiting");
    const score = element("span", { className: "card-score" });
    const name = element("span", { className: "card-name" }, file.name);
    const button = element("button", { type: "button", className: "card", data: { state: "waiting" }, title: file.name },
      element("span", { className: "card-photo" }, image), text, score, name);
    const card = { file, index, button, image, text, score, item: element("li", {}, button), answer: null, error: null };
    button.addEventListener("click", () => this.open(card));
    return card;
  }

  async preview(card) {
    const small = await thumbnail(card.file, SIDE);
    if (!small || !this.cards.includes(card)) return;
    card.url = URL.createObjectURL(small);
    card.image.src = card.url;
  }

  write(card) {
    const best = card.answer?.predictions[0];
    card.button.dataset.state = card.error ? "failed" : card.answer ? "done" : "waiting";
    card.text.textContent = card.error ? card.error.message : best ? (card.answer.abstain ? `${labelOf(best)}?` : labelOf(best)) : card.answer ? "no label" : "waiting";
    card.score.textContent = best ? percent(best.score) : "";
    card.score.dataset.sure = best ? String(card.answer.abstain === undefined ? best.score >= 0.7 : !card.answer.abstain) : "";
  }

  arrangeSoon() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.arrange();
    });
  }

  arrange() {
    const shown = this.cards.filter((card) => this.fits(card)).sort(ORDERS[$("sort").value]);
    const items = shown.map((card) => card.item);
    const grid = $("grid");
    // Moving elements loses the keyboard's place, so only a real change moves them.
    if (items.length !== grid.children.length || items.some((item, place) => item !== grid.children[place])) {
      const focused = document.activeElement;
      grid.replaceChildren(...items);
      if (grid.contains(focused)) focused.focus();
    }
    $("grid-empty").hidden = items.length > 0 || this.cards.length === 0;
    this.count();
    this.chips();
  }

  fits(card) {
    const [low, high] = $("filter-score").value.split("-").map(Number);
    const score = card.answer?.predictions[0]?.score;
    const named = card.file.name.toLowerCase().includes($("filter-name").value.trim().toLowerCase());
    const certain = low === 0 && high === 1
      ? true : score !== undefined && score >= low && (high === 1 || score < high);
    return named && certain && (this.label === "" || keyOf(card) === this.label);
  }

  count() {
    const failed = this.cards.filter((card) => card.error).length;
    const done = this.cards.filter((card) => card.answer || card.error).length;
    const total = this.cards.length;
    const running = this.aborter && !this.aborter.signal.aborted;
    $("sheet-count").textContent = `${done} of ${total} ${total === 1 ? "photo" : "photos"}` + (failed ? `, ${failed} failed` : "");
    $("sheet-progress").value = total ? done / total : 0;
    $("sheet-stop").hidden = !running;
    $("sheet-retry").hidden = Boolean(running) || done - failed === total;
  }

  chips() {
    const counts = new Map();
    for (const card of this.cards) {
      const key = keyOf(card);
      if (key) counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    if (this.label && !counts.has(this.label)) {
      this.label = ""; // the last one of a label has gone, with its chip
      this.arrangeSoon();
    }
    const keys = [...counts.keys()].sort((a, b) => (a === FAILED) - (b === FAILED) || counts.get(b) - counts.get(a));
    const wanted = JSON.stringify([this.label, [...counts]]);
    if (wanted === this.drawn) return;
    this.drawn = wanted;
    const focused = document.activeElement?.dataset?.key;
    const all = this.chip("", "All", this.cards.length);
    $("chips").replaceChildren(all, ...keys.map((key) => this.chip(key, key === FAILED ? "Failed" : key, counts.get(key))));
    if (focused !== undefined) [...$("chips").children].find((chip) => chip.dataset.key === focused)?.focus();
  }

  chip(key, text, count) {
    const chip = element("button", { type: "button", className: "chip", data: { key }, "aria-pressed": String(this.label === key) },
      text, " ", element("b", {}, String(count)));
    chip.addEventListener("click", () => { this.label = key; this.arrange(); });
    return chip;
  }

  csv() {
    const rows = this.cards.map(({ file, answer, error }) => {
      const best = answer?.predictions[0];
      return [file.name, best?.label ?? "", best?.score ?? "", answer?.model ?? "", answer?.version ?? "", error?.message ?? ""];
    });
    return [["file", "label", "score", "model", "version", "error"], ...rows]
      .map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  }

  jsonLines() {
    return this.cards.map(({ file, answer, error }) => JSON.stringify(
      { ...answer, path: file.name, ...(error && { error: { code: error.code, message: error.message } }) })).join("\n") + "\n";
  }
}

const scoreOf = (card) => card.answer?.predictions[0]?.score ?? 2;
const ORDERS = {
  given: (a, b) => a.index - b.index,
  unsure: (a, b) => scoreOf(a) - scoreOf(b) || a.index - b.index,
  sure: (a, b) => (scoreOf(b) % 2) - (scoreOf(a) % 2) || a.index - b.index,
  label: (a, b) => keyOf(a).localeCompare(keyOf(b)) || a.index - b.index,
};

function keyOf(card) {
  if (card.error) return FAILED;
  const best = card.answer?.predictions[0];
  return best ? labelOf(best) : "";
}

// A file name may begin like a formula; a spreadsheet must not run it.
function quoted(value) {
  const text = String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
