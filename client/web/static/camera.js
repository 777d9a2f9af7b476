// A photo from the camera: a viewfinder where the browser allows one, else the phone's own app.

import { $ } from "./dom.js";

export function startCamera(taken) {
  const dialog = $("camera-dialog");
  let stream = null;

  const close = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    $("viewfinder").srcObject = null;
    if (dialog.open) dialog.close();
  };

  $("camera").addEventListener("click", async () => {
    const handheld = matchMedia("(pointer: coarse)").matches;
    if (handheld || !navigator.mediaDevices?.getUserMedia) {
      $("phone-camera").click();
      return;
    }
    $("camera-note").textContent = "";
    $("shutter").disabled = true;
    dialog.showModal();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
      if (!dialog.open) return close();
      $("viewfinder").srcObject = stream;
      await $("viewfinder").play();
      $("shutter").disabled = false;
    } catch (error) {
      $("camera-note").textContent = error.name === "NotAllowedError"
        ? "The browser does not allow the camera for this page." : "No camera was found.";
    }
  });

  $("shutter").addEventListener("click", async () => {
    const video = $("viewfinder");
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
    close();
    if (blob) taken([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
  });
  $("camera-close").addEventListener("click", close);
  dialog.addEventListener("close", close);
  $("phone-camera").addEventListener("change", (event) => {
    taken([...event.target.files]);
    event.target.value = "";
  });
}
