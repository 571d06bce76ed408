"use strict";

const $ = (id) => document.getElementById(id);
let kept = null; // {step number: box element} of the answer that is shown
let pinned = 0; // the step that stays lit after a click, or 0

function chooseFile(file) {
  const transfer = new DataTransfer();
  transfer.items.add(file);
  $("file").files = transfer.files;
  announceFile();
}

function announceFile() {
  const file = $("file").files[0];
  $("chosen").textContent = file ? `${file.name}, ${Math.ceil(file.size / 1024)} KiB` : "";
  clearResult();
  $("picture").hidden = true;
  $("empty").hidden = false;
  $("caption").textContent = "";
  if (file && /^image\/(png|jpeg)$/.test(file.type)) {
    showPicture(URL.createObjectURL(file), `Chosen picture ${file.name}`);
  }
}

function showPicture(address, description) {
  const picture = $("picture");
  if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
  picture.src = address;
  picture.alt = description;
  picture.hidden = false;
  $("empty").hidden = true;
}

function clearResult() {
  $("result").hidden = true;
  document.querySelector("main").classList.remove("answered");
  $("error").textContent = "";
  $("boxes").replaceChildren();
  $("steps").replaceChildren();
  kept = new Map();
  pinned = 0;
}

async function ask(event) {
  event.preventDefault();
  clearResult();
  $("send").disabled = true;
  $("status").textContent = "Reading the picture…";
  const headers = $("key").value ? { Authorization: `Bearer ${$("key").value}` } : {};
  try {
    const response = await fetch("v1/predict?include_image=1", { method: "POST", body: new FormData($("form")), headers });
    const body = await response.json();
    if (!response.ok) {
      if (response.status === 401) {
        $("key-row").hidden = false;
        $("key").focus();
      }
      throw new Error(body.error.message);
    }
    showAnswer(body);
    $("status").textContent = "";
  } catch (error) {
    $("status").textContent = "";
    $("error").textContent = error.message || "The server did not answer.";
  } finally {
    $("send").disabled = false;
  }
}

function showAnswer(body) {
  const { image, steps } = body;
  showPicture(image.data, `The picture that the answer is about, ${image.width} by ${image.height} pixels`);
  const window_ = image.window ? `, window ${image.window.center} / ${image.window.width}` : "";
  $("caption").textContent = `${image.width} × ${image.height} pixels${window_}`;
  $("answer").textContent = body.answer || "No answer was found in what the model wrote.";
  $("confidence").value = body.confidence;
  $("percent").textContent = `${Math.round(body.confidence * 100)} %`;
  $("reasoning").hidden = steps.length === 0;
  steps.forEach((step, index) => addStep(step, index + 1, image));
  $("version").textContent = `Model ${body.model.name}, version ${body.model.version}`;
  $("result").hidden = false;
  document.querySelector("main").classList.add("answered");
  $("answer-title").focus({ preventScroll: true });
  const phone = matchMedia("(max-width: 760px)").matches;
  $("result").scrollIntoView({ block: phone ? "start" : "nearest" });
}

function addStep(step, number, image) {
  const item = document.createElement("li");
  const line = document.createElement(step.box_xyxy ? "button" : "div");
  line.className = "step";
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = step.step ? `${step.step}:` : "";
  line.append(name, step.text);
  item.append(line);
  $("steps").append(item);
  if (!step.box_xyxy) return;
  line.type = "button";
  line.setAttribute("aria-pressed", "false");
  line.title = `Show its box, ${step.box_xyxy.map(Math.round).join(", ")}`;
  kept.set(number, addBox(step, number, image));
  line.addEventListener("pointerenter", () => light(number));
  line.addEventListener("pointerleave", () => light(pinned));
  line.addEventListener("focus", () => light(number));
  line.addEventListener("blur", () => light(pinned));
  line.addEventListener("click", () => pin(number, line));
}

function addBox(step, number, image) {
  const [x1, y1, x2, y2] = step.box_xyxy;
  const box = document.createElement("div");
  const label = document.createElement("span");
  label.textContent = String(number);
  box.className = y1 < image.height * 0.06 ? "box top" : "box";
  box.append(label);
  box.place = { left: x1 / image.width, top: y1 / image.height, width: (x2 - x1) / image.width, height: (y2 - y1) / image.height };
  $("boxes").append(box);
  return box;
}

function placeBoxes() {
  const picture = $("picture");
  if (!kept || picture.hidden || !picture.naturalWidth) return;
  const frame = picture.getBoundingClientRect();
  const stage = $("stage").getBoundingClientRect();
  const scale = Math.min(frame.width / picture.naturalWidth, frame.height / picture.naturalHeight);
  const width = picture.naturalWidth * scale;
  const height = picture.naturalHeight * scale;
  const left = frame.left - stage.left + (frame.width - width) / 2;
  const top = frame.top - stage.top + (frame.height - height) / 2;
  for (const box of kept.values()) {
    box.style.left = `${left + box.place.left * width}px`;
    box.style.top = `${top + box.place.top * height}px`;
    box.style.width = `${box.place.width * width}px`;
    box.style.height = `${box.place.height * height}px`;
  }
}

function light(number) {
  for (const [other, box] of kept) {
    box.classList.toggle("lit", other === number);
    box.classList.toggle("dim", number !== 0 && other !== number);
  }
}

function pin(number, line) {
  pinned = pinned === number ? 0 : number;
  document.querySelectorAll("button.step").forEach((other) => other.setAttribute("aria-pressed", "false"));
  if (pinned) line.setAttribute("aria-pressed", "true");
  light(pinned || number);
}

async function describeServer() {
  const response = await fetch("healthz");
  const body = await response.json();
  $("model").textContent = `Model ${body.model}: finds, explains and answers.`;
}

$("form").addEventListener("submit", ask);
$("file").addEventListener("change", announceFile);
$("picture").addEventListener("load", placeBoxes);
new ResizeObserver(placeBoxes).observe($("stage"));
document.querySelectorAll(".chip").forEach((chip) => {
  chip.addEventListener("click", () => {
    $("question").value = chip.textContent;
    $("question").focus();
  });
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
  });
}
document.addEventListener("drop", (event) => {
  if (event.dataTransfer.files.length) chooseFile(event.dataTransfer.files[0]);
});
clearResult();
describeServer();
