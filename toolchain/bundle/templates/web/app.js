// The page: a photo or the camera in, the most probable classes and the time they took out.

import { decode, read, resize, toProbabilities, toTensor } from "./photo.js";
import { open } from "./runtimes.js";

const SHOWN = 5;
const RUNS = 50;
const $ = (id) => document.getElementById(id);

// Threads need memory that they share, which a browser gives to isolated pages alone (see serve.py).
const MOST_THREADS = window.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency ?? 1) : 1;
const asked = Number(new URLSearchParams(location.search).get("threads"));
const threads = Math.min(asked > 0 ? asked : MOST_THREADS, MOST_THREADS);

let files; // file name -> contract
let model; // { contract, runtime, run, close }, once it is open
let image; // ImageData of the photo that is shown
let camera; // the MediaStream while the camera runs

async function start() {
  const response = await fetch("contract.json");
  const entries = Object.entries((await response.json()).files);
  files = Object.fromEntries(entries.map(([name, entry]) => [name, entry.contract]));
  const [{ name, labels }] = Object.values(files);
  document.title = $("title").textContent = name;
  $("subtitle").textContent = `${labels.length} classes, on this device's own processor`;
  for (const [file, contract] of Object.entries(files)) {
    const runtime = contract.format === "onnx" ? "onnxruntime-web" : "LiteRT.js";
    $("model").add(new Option(`${contract.precision}, ${runtime}`, file));
  }
  for (const count of [1, 2, 4].filter((count) => count <= MOST_THREADS)) {
    $("threads").add(new Option(count === 1 ? "1 thread" : `${count} threads`, count));
  }
  $("threads").value = threads;
  $("camera").hidden = !navigator.mediaDevices;
  listen();
  await choose();
}

function listen() {
  $("model").addEventListener("change", () => guarded(choose));
  $("threads").addEventListener("change", () => {
    // A runtime takes its threads once, when it is loaded.
    location.search = `threads=${$("threads").value}`;
  });
  for (const input of [$("file"), $("shot")]) {
    input.addEventListener("change", () => {
      const [file] = input.files;
      // Else choosing the same photo again would be no change.
      input.value = "";
      guarded(() => show(file));
    });
  }
  $("camera").addEventListener("click", () => guarded(toggleCamera));
  $("measure").addEventListener("click", () => guarded(measure));
  const stage = $("stage");
  for (const kind of ["dragenter", "dragover"]) {
    stage.addEventListener(kind, (event) => {
      event.preventDefault();
      stage.classList.add("over");
    });
  }
  stage.addEventListener("dragleave", () => stage.classList.remove("over"));
  stage.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    guarded(() => show(event.dataTransfer.files[0]));
  });
}

/** Runs an action; what goes wrong is said on the page. */
async function guarded(action) {
  document.body.classList.add("busy");
  try {
    await action();
  } catch (error) {
    say(error.message || String(error), true);
  } finally {
    document.body.classList.remove("busy");
  }
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

/** Opens the chosen model file and asks it about the photo that is shown. */
async function choose() {
  const file = $("model").value;
  say(`opening ${file} …`);
  stopCamera();
  model?.close();
  model = undefined;
  const contract = files[file];
  const opened = await open(file, contract, threads);
  // The first run of a model prepares it; the times shown are of those after it.
  await opened.run(toTensor(new Uint8Array(contract.preprocessing.size ** 2 * 3), contract));
  model = { contract, ...opened };
  $("median").textContent = "–";
  say(`${file} is open in ${model.runtime}`);
  if (image) await classify();
}

async function show(file) {
  if (!file) return;
  stopCamera();
  try {
    image = await decode(file);
  } catch (error) {
    throw new Error(`${file.name} is no photo that this browser reads`);
  }
  URL.revokeObjectURL($("photo").src);
  $("photo").src = URL.createObjectURL(file);
  $("stage").dataset.shows = "photo";
  await classify();
  say(`${file.name}, ${image.width} × ${image.height}`);
}

/** Asks the model about `image`; all its answers, all its times. */
async function classify() {
  const began = performance.now();
  const tensor = toTensor(resize(image, model.contract.preprocessing), model.contract);
  const prepared = performance.now();
  const raw = await model.run(tensor);
  const done = performance.now();
  $("prepare").textContent = milliseconds(prepared - began);
  $("run").textContent = milliseconds(done - prepared);
  $("measure").disabled = false;
  draw(toProbabilities(raw, model.contract));
}

function draw(probabilities) {
  const { labels } = model.contract;
  const best = labels
    .map((label, at) => ({ label, probability: probabilities[at] }))
    .sort((one, other) => other.probability - one.probability)
    .slice(0, SHOWN);
  $("answers").replaceChildren(
    ...best.map(({ label, probability }) => {
      const row = document.createElement("li");
      const [name, share, bar] = ["span", "span", "div"].map((tag) => document.createElement(tag));
      name.textContent = label;
      share.textContent = percent(probability);
      bar.className = "bar";
      bar.style.setProperty("--share", probability);
      row.append(name, share, bar);
      return row;
    }),
  );
}

/** The median of many runs on the same input, after a few that are not counted. */
async function measure() {
  if (!image) return;
  stopCamera();
  const tensor = toTensor(resize(image, model.contract.preprocessing), model.contract);
  for (let run = 0; run < 5; run++) await model.run(tensor);
  const times = [];
  for (let run = 0; run < RUNS; run++) {
    const began = performance.now();
    await model.run(tensor);
    times.push(performance.now() - began);
    // Lets the page breathe; a long task would be slowed down by some phones.
    if (run % 10 === 9) await new Promise((resolve) => setTimeout(resolve));
  }
  times.sort((one, other) => one - other);
  const median = (times[RUNS / 2 - 1] + times[RUNS / 2]) / 2;
  $("median").textContent = milliseconds(median);
  say(`median of ${RUNS} runs; the slowest took ${milliseconds(times.at(-1))}`);
}

async function toggleCamera() {
  if (camera) {
    stopCamera();
    return;
  }
  const wanted = { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 480 } };
  camera = await navigator.mediaDevices.getUserMedia({ video: wanted });
  const video = $("video");
  video.srcObject = camera;
  await video.play();
  $("stage").dataset.shows = "video";
  $("camera").textContent = "Stop camera";
  say("the camera is on; its pictures stay here");
  watch(video, camera);
}

/** Asks about what the camera shows, picture after picture, until it is stopped. */
async function watch(video, stream) {
  while (camera === stream) {
    if (model) {
      image = read(video, video.videoWidth, video.videoHeight);
      await guarded(classify);
    }
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  if (!camera) return;
  camera.getTracks().forEach((track) => track.stop());
  camera = undefined;
  $("camera").textContent = "Camera";
  delete $("stage").dataset.shows;
}

function milliseconds(value) {
  return `${value.toFixed(value < 10 ? 2 : 1)} ms`;
}

/** Never rounded up to all or down to nothing. */
function percent(share) {
  const shown = Math.min(99.9, Math.max(0.1, 100 * share)).toFixed(1);
  if (share === 1) return "100 %";
  return `${100 * share > 99.9 ? "> " : 100 * share < 0.1 ? "< " : ""}${shown} %`;
}

guarded(start);
