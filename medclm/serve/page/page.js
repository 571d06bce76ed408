// The page: what the parts tell each other.

import { models, useKey } from "./api.js";
import { Chat } from "./chat.js";
import { Source } from "./source.js";
import { Viewer } from "./viewer.js";
import { inPlainWords, size } from "./words.js";

const $ = (id) => document.getElementById(id);
const THEMES = ["system", "light", "dark"];
const viewer = new Viewer($("stage"), $("picture"), $("boxes"));
const source = new Source();
const chat = new Chat($("answers"), $("live"));
let shown = null; // the picture on the stage
let again = null; // what to do when the reader wants to try again

function open(file) {
  clearProblem();
  chat.clear();
  shown = null;
  again = () => open(file);
  $("no-answers").hidden = false;
  document.body.classList.remove("answered");
  $("frame").classList.add("busy");
  $("caption").textContent = `Reading ${file.name}, ${size(file.size)} …`;
  source.open(file);
}

function show(picture) {
  shown = picture;
  for (const id of ["stage", "tools"]) $(id).hidden = false;
  $("drop").hidden = true;
  $("frame").classList.remove("busy");
  viewer.show(picture);
  draw();
  $("caption").textContent = `${picture.file.name} · ${picture.caption}`;
}

/** The boxes of the answer that is looked at, where they belong to the slice that is shown. */
function draw() {
  const { current } = chat;
  viewer.mark(current?.picture.frame === shown.frame ? current.boxes : []);
}

function look(turn) {
  document.body.classList.add("answered");
  if (turn.picture !== shown) show(turn.picture);
  draw();
  viewer.light(turn.pinned);
}

/** Light a box of the answer that is looked at, on the picture that was asked about. */
function light(box) {
  const { picture } = chat.current;
  if (box >= 0 && picture.frame !== shown.frame) show(picture);
  viewer.light(box);
}

async function ask(question) {
  clearProblem();
  if (!question.picture) {
    problem("Choose a picture first.");
    $("file").focus();
    return;
  }
  again = () => ask(question);
  asking(true);
  $("no-answers").hidden = true;
  await chat.ask(question);
  asking(false);
}

function asking(yes) {
  const focused = [$("send"), $("stop")].includes(document.activeElement);
  $("send").hidden = yes;
  $("stop").hidden = !yes;
  if (focused) $(yes ? "stop" : "send").focus();
}

function typed() {
  const mode = document.querySelector("[name=mode]:checked").value;
  return { model: $("model").value, question: $("question").value.trim(), mode, picture: shown };
}

function refused(error) {
  const { text, detail, again: mayHelp } = inPlainWords(error);
  $("frame").classList.remove("busy");
  $("no-answers").hidden = $("answers").children.length > 0;
  if (!shown) $("caption").textContent = "";
  if (error.status === 401) {
    $("key-row").hidden = false;
    $("key").focus();
  }
  problem(text, detail, mayHelp);
}

function problem(text, detail = "", mayHelp = false) {
  const words = document.createElement("p");
  words.textContent = text;
  $("problem").replaceChildren(words);
  if (detail) $("problem").append(Object.assign(document.createElement("p"), { className: "hint", textContent: `The server says: ${detail}` }));
  if (!mayHelp || !again) return;
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
  button.addEventListener("click", () => again());
  $("problem").append(button);
}

function clearProblem() {
  $("problem").replaceChildren();
}

async function listModels() {
  again = listModels;
  try {
    const names = await models();
    clearProblem();
    $("model").replaceChildren(...names.map((name) => new Option(name)));
    return true;
  } catch (error) {
    refused(error);
    return false;
  }
}

async function tryKey() {
  useKey($("key").value);
  if (!(await listModels())) return;
  $("key-row").hidden = true;
  $("question").focus();
}

function dropped(event) {
  event.preventDefault();
  const inside = event.type !== "drop" && !(event.type === "dragleave" && event.relatedTarget === null);
  $("frame").classList.toggle("over", inside);
  if (event.type === "drop" && event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
}

function tool(name) {
  viewer.tool = name;
  for (const other of ["move", "window"]) $(`tool-${other}`).setAttribute("aria-pressed", String(other === name));
  $("stage").classList.toggle("windowing", name === "window");
}

source.addEventListener("picture", (event) => show(event.detail));
source.addEventListener("problem", (event) => refused(event.detail));
viewer.addEventListener("zoom", () => ($("zoom").textContent = `${Math.round(viewer.view.scale * 100)} %`));
viewer.addEventListener("window", (event) => source.drag(event.detail));
viewer.addEventListener("point", (event) => {
  viewer.light(event.detail >= 0 ? event.detail : chat.current?.pinned ?? -1);
  chat.current?.hint(event.detail);
});
chat.addEventListener("turn", (event) => look(event.detail));
chat.addEventListener("boxes", draw);
chat.addEventListener("light", (event) => light(event.detail));
chat.addEventListener("again", (event) => ask(event.detail));
chat.addEventListener("problem", (event) => refused(event.detail));
$("file").addEventListener("change", () => $("file").files.length && open($("file").files[0]));
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) document.addEventListener(name, dropped);
$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await source.working; // what is asked about is the picture that the controls ask for
  if (!chat.running) ask(typed());
});
$("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("form").requestSubmit();
});
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => {
    $("question").value = chip.textContent;
    $("question").focus();
  });
}
$("stop").addEventListener("click", () => chat.stop());
$("use-key").addEventListener("click", tryKey);
$("key").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  tryKey();
});
$("tool-move").addEventListener("click", () => tool("move"));
$("tool-window").addEventListener("click", () => tool("window"));
$("zoom-in").addEventListener("click", () => viewer.zoom(1.25));
$("zoom-out").addEventListener("click", () => viewer.zoom(1 / 1.25));
$("zoom-fit").addEventListener("click", () => viewer.fit());
$("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "system") + 1) % THEMES.length];
  document.documentElement.dataset.theme = next;
  $("theme").textContent = `Theme: ${next}`;
});
listModels();
