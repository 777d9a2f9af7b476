// The page: one photo on the easel, or many on the contact sheet.

import { ApiError, classify, exampleFile, exampleNames } from "./api.js";
import { showAnswer, showError, showWaiting, startSharing } from "./answer.js";
import { startCamera } from "./camera.js";
import { $, element, labelOf, percent, toast } from "./dom.js";
import { dropped } from "./drop.js";
import { HeatMap } from "./heat.js";
import { History } from "./history.js";
import { Picker } from "./picker.js";
import { Sheet } from "./sheet.js";
import { startTheme } from "./theme.js";

const heat = new HeatMap();
const picker = new Picker(() => current && ask(current));
const history = new History(openPast);
const sheet = new Sheet(() => picker.choice(), openCard);
let current = null; // the file on the easel
let aborter = null;
let url = "";

function take(files) {
  const photos = files.filter((file) => file.type.startsWith("image/") || file.type === "");
  if (photos.length > 1) return openSheet(photos);
  const file = photos[0] ?? files[0];
  if (file) ask(file);
  else toast("No photo was in it");
}

async function ask(file) {
  begin();
  current = file;
  preview(URL.createObjectURL(file), file.name);
  showWaiting();
  aborter = new AbortController();
  const { signal } = aborter;
  const started = performance.now();
  try {
    const answer = { ...await classify(file, picker.choice(), signal), path: file.name };
    showAnswer(answer, performance.now() - started);
    $("photo").alt = described(file.name, answer);
    heat.offer(file, answer, picker.crop(answer));
    history.add(file.name, file, answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    showError(error instanceof ApiError ? error : new ApiError(String(error)), () => ask(file));
    picker.check();
  }
}

function begin() {
  aborter?.abort();
  heat.clear();
  current = null;
  $("stage").hidden = false;
}

function preview(source, name) {
  if (url) URL.revokeObjectURL(url);
  url = source.startsWith("blob:") ? source : "";
  $("frame").dataset.state = "photo";
  $("frame").querySelector(".invitation").hidden = true;
  $("frame").querySelector(".plate").hidden = false;
  $("photo").parentElement.classList.remove("blank");
  $("photo").src = source;
  $("photo").alt = name;
  $("caption").hidden = false;
  $("caption").textContent = name;
}

function openPast({ name, answer, picture, file }) {
  begin();
  current = file ?? null;
  preview(file ? URL.createObjectURL(file) : picture, name);
  $("photo").alt = described(name, answer);
  showAnswer(answer);
  if (file) heat.offer(file, answer, picker.crop(answer));
  $("stage").focus();
}

function openSheet(files) {
  begin();
  $("stage").hidden = true;
  $("sheet").hidden = false;
  $("sheet").focus();
  sheet.start(files);
}

function openCard({ file, answer, error }) {
  begin();
  preview(URL.createObjectURL(file), file.name);
  current = file;
  if (answer) {
    showAnswer(answer);
    $("photo").alt = described(file.name, answer);
    heat.offer(file, answer, picker.crop(answer));
  } else if (error) {
    showError(error, () => ask(file));
  } else {
    ask(file);
  }
  $("stage").scrollIntoView({ block: "start" });
  $("stage").focus({ preventScroll: true });
}

function closeSheet() {
  sheet.clear();
  $("sheet").hidden = true;
  $("stage").hidden = false;
  $("stage").focus();
}

function described(name, answer) {
  const best = answer.predictions[0];
  return best ? `${name}: ${labelOf(best)}, ${percent(best.score)}` : name;
}

function startDropping() {
  let depth = 0; // enter and leave come for every element on the way
  const veil = (shown) => { $("veil").hidden = !shown; };
  addEventListener("dragenter", (event) => {
    if (event.dataTransfer?.types.includes("Files") && ++depth) veil(true);
  });
  addEventListener("dragleave", () => { if (--depth <= 0) { depth = 0; veil(false); } });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    veil(false);
    dropped(event.dataTransfer).then(take);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
}

function startChoosing() {
  $("choose").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = "";
  });
  $("sheet-close").addEventListener("click", closeSheet);
  $("photo").addEventListener("error", () => $("photo").parentElement.classList.add("blank"));
}

async function startExamples() {
  const names = await exampleNames().catch(() => []);
  const tiles = names.map((name, place) => {
    const button = element("button", { type: "button", className: "tile" },
      element("img", { src: `/examples/${encodeURIComponent(name)}`, alt: `Example photo ${place + 1}`, loading: "lazy" }));
    button.addEventListener("click", async () => {
      try {
        take([await exampleFile(name)]);
        $("stage").scrollIntoView({ block: "start" });
      } catch (error) {
        showError(error);
      }
    });
    return element("li", {}, button);
  });
  $("example-list").replaceChildren(...tiles);
  $("examples").hidden = tiles.length === 0;
}

startTheme($("theme"));
startChoosing();
startDropping();
startCamera(take);
startSharing();
startExamples();
picker.watch();
