// The class-activation map over the photo, asked for when the slider first moves.

import { explain } from "./api.js";
import { $, labelOf } from "./dom.js";

// Stops of the Inferno colour map (Smith and van der Walt, CC0), from nothing to most.
const STOPS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

export class HeatMap {
  constructor(ask = explain) {
    this.ask = ask;
    this.offered = true; // until the server says that it has no such method
    $("heat-slider").addEventListener("input", () => this.move());
    new ResizeObserver(() => this.place()).observe($("photo"));
  }

  clear() {
    this.aborter?.abort();
    this.subject = null;
    this.asked = false;
    $("heat").hidden = true;
    $("heat-tools").hidden = true;
    $("heat-note").hidden = true;
    $("heat-slider").value = "0";
  }

  offer(file, choice, answer, crop) {
    this.clear();
    if (!this.offered || !answer.predictions.length) return;
    this.subject = { file, choice, best: answer.predictions[0] };
    this.crop = crop;
    $("heat-label").textContent = labelOf(this.subject.best);
    $("heat-tools").hidden = false;
  }

  async move() {
    $("heat").style.opacity = String($("heat-slider").value / 100);
    $("heat-note").hidden = false;
    if (this.asked || !this.subject) return;
    this.asked = true;
    const { file, choice, best } = this.subject;
    this.aborter = new AbortController();
    try {
      const found = await this.ask(file, choice, best.label, this.aborter.signal);
      paint($("heat"), found.explained.map);
      $("heat").hidden = false;
      this.place();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.offered = error.code !== "UNIMPLEMENTED";
      this.clear();
    }
  }

  // The model sees the central square, `crop` of the short side wide.
  place() {
    const photo = $("photo");
    const side = Math.min(photo.clientWidth, photo.clientHeight) * (this.crop || 1);
    const style = $("heat").style;
    style.width = style.height = `${side}px`;
    style.left = `${photo.offsetLeft + (photo.clientWidth - side) / 2}px`;
    style.top = `${photo.offsetTop + (photo.clientHeight - side) / 2}px`;
  }
}

function paint(canvas, map) {
  canvas.width = map[0].length;
  canvas.height = map.length;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  map.flat().forEach((value, index) => {
    pixels.data.set([...colour(value), 60 + 195 * value], index * 4);
  });
  context.putImageData(pixels, 0, 0);
}

function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((from, band) => from + (STOPS[low + 1][band] - from) * (place - low));
}
