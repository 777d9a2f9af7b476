// What this session has seen: thumbnails and answers, in this tab alone, gone when it closes.
// The photos themselves last until the page is left or loaded again.

import { $, element, labelOf, percent } from "./dom.js";
import { dataUrl, thumbnail } from "./photo.js";

const KEY = "menagerie-history";
const MOST = 24;
const SIDE = 160;

export class History {
  constructor(open) {
    this.open = open;
    this.entries = restored();
    $("history-clear").addEventListener("click", () => this.replace([]));
    this.draw();
  }

  async add(name, file, answer) {
    const small = await thumbnail(file, SIDE);
    const picture = small ? await dataUrl(small) : "";
    this.replace([{ name, answer, picture, file }, ...this.entries].slice(0, MOST));
  }

  replace(entries) {
    this.entries = entries;
    try {
      sessionStorage.setItem(KEY, JSON.stringify(entries.map(({ file, ...kept }) => kept)));
    } catch { /* full or forbidden: it lasts until the page is left */ }
    this.draw();
  }

  draw() {
    $("history").hidden = this.entries.length === 0;
    $("history-list").replaceChildren(...this.entries.map((entry) => this.tile(entry)));
  }

  tile(entry) {
    const best = entry.answer.predictions[0];
    const said = best ? `${labelOf(best)}${entry.answer.abstain ? "?" : ""} ${percent(best.score)}` : "no label";
    const button = element("button", { type: "button", className: "tile", title: entry.name },
      element("img", { src: entry.picture, alt: "" }),
      element("span", { className: "tile-text" }, said),
      element("span", { className: "visually-hidden" }, `, ${entry.name}`));
    button.addEventListener("click", () => this.open(entry));
    return element("li", {}, button);
  }
}

function restored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}
