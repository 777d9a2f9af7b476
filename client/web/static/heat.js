// The class-activation map over the photo, asked for when the slider first moves.

import { explain } from "./api.js";
import { $, element, labelOf } from "./dom.js";

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
    this.slide(0);
  }

  offer(file, answer, crop) {
    this.clear();
    if (!this.offered || !answer.predictions.length) return;
    // The version that answered, and no other, is to say why.
    const version = { model: answer.model, version: answer.version };
    this.subject = { file, version, best: answer.predictions[0] };
    this.crop = crop;
    $("heat-tools").hidden = false;
  }

  async move() {
    this.slide($("heat-slider").value / 100);
    if (this.asked || !this.subject) return;
    this.asked = true;
    const { file, version, best } = this.subject;
    this.note("Looking …");
    this.aborter = new AbortController();
    try {
      const found = await this.ask(file, version, best.label, this.aborter.signal);
      paint($("heat"), found.explained.map);
      $("heat").hidden = false;
      this.place();
      this.note("Warm parts speak for ", element("b", {}, labelOf(best)), ". Grad-CAM, over the square the model sees.");
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.code === "UNIMPLEMENTED") {
        this.offered = false;
        this.clear();
        return;
      }
      this.asked = false; // the next move asks again
      this.note(`No map: ${error.message}`);
    }
  }

  slide(share) {
    $("heat-slider").value = String(Math.round(share * 100));
    $("heat-slider").style.setProperty("--share", String(share)); // the part of the track that is filled
    $("heat").style.opacity = String(share);
  }

  note(...parts) {
    $("heat-note").replaceChildren(...parts);
    $("heat-note").hidden = false;
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
