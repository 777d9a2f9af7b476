// Which model answers, and whether the server is there.

import { health, models } from "./api.js";
import { $, element, toast } from "./dom.js";

const POLL_MS = 8000;

export class Picker {
  constructor(changed) {
    this.versions = [];
    $("model").addEventListener("change", changed);
  }

  // The query of the chosen version; empty for the server's default.
  choice() {
    const chosen = this.versions[Number($("model").value || -1)];
    return chosen ? { model: chosen.model, version: chosen.version } : {};
  }

  // The share of the short side that a model's central square takes.
  crop(answer) {
    const found = this.versions.find((v) => v.model === answer.model && v.version === answer.version);
    return found?.input.crop_fraction || 1;
  }

  async load() {
    const versions = (await models()).filter((version) => version.state === "READY");
    const told = JSON.stringify(versions);
    if (told === this.told) return; // an open list must not close under the hand
    this.told = told;
    const kept = $("model").selectedOptions[0]?.textContent;
    const mine = this.choice();
    this.versions = versions;
    const standard = this.versions.find((version) => version.default);
    const options = this.versions.map((version, place) =>
      element("option", { value: String(place) }, `${version.model} ${version.version}`));
    const name = standard ? `Default (${standard.model} ${standard.version})` : "Default model";
    $("model").replaceChildren(element("option", { value: "" }, name), ...options);
    const again = versions.findIndex((v) => v.model === mine.model && v.version === mine.version);
    if (again >= 0) $("model").value = String(again);
    else if (mine.model) toast(`${kept} is no longer served; the default model answers`);
  }

  async watch() {
    for (;;) {
      await this.check();
      await new Promise((done) => setTimeout(done, POLL_MS));
      while (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
    }
  }

  async check() {
    try {
      const { serving } = await health();
      if (serving) await this.load();
      this.show(serving ? "serving" : "waiting", serving ? "Serving" : "Not serving");
    } catch (error) {
      this.show("away", "Server away", error.message);
    }
  }

  show(state, text, title = "") {
    if ($("health").dataset.state === state) return;
    $("health").dataset.state = state;
    $("health").title = title;
    $("health").querySelector(".health-text").textContent = text;
  }
}
