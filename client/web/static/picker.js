// Which model answers, and whether the server is there.

import { health, models } from "./api.js";
import { $, element } from "./dom.js";

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
    const kept = $("model").selectedOptions[0]?.textContent;
    this.versions = (await models()).filter((version) => version.state === "READY");
    const standard = this.versions.find((version) => version.default);
    const options = this.versions.map((version, place) =>
      element("option", { value: String(place) }, `${version.model} ${version.version}`));
    const name = standard ? `Default (${standard.model} ${standard.version})` : "Default model";
    $("model").replaceChildren(element("option", { value: "" }, name), ...options);
    const again = [...$("model").options].find((option) => option.textContent === kept);
    if (again) again.selected = true;
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
      if (serving && !this.versions.length) await this.load();
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
