// One question and its answer, as a card that grows while the model writes.

const GOLDEN = 137.508; // degrees: the hues of neighbouring boxes lie far apart

/** Events: "light" with the index of a box, or -1; "chosen" when the reader turns to this card; "again" to ask it in the other mode. */
export class Turn extends EventTarget {
  constructor({ question, mode, picture }) {
    super();
    Object.assign(this, { question, mode, picture, text: "", steps: [], boxes: [], pinned: -1 });
    this.card = build(question, mode);
    for (const name of ["focusin", "pointerdown"]) {
      this.card.addEventListener(name, () => this.dispatchEvent(new Event("chosen")));
    }
    this.card.addEventListener("keydown", (event) => event.key === "Escape" && this.pin(-1));
    this.part("other").addEventListener("click", () => this.dispatchEvent(new Event("again")));
  }

  part(name) {
    return this.card.querySelector(`.${name}`);
  }

  /** More of the model's text. Lines of the reasoning that are no steps yet are shown as they were written. */
  write(piece) {
    this.text += piece;
    const [reasoning, ...answer] = this.text.split(/(?:^|\n)Answer:/);
    const lines = reasoning.replace(/^Reasoning:\s*/, "").split("\n").filter((line) => line.trim());
    this.part("reasoning").hidden = lines.length === 0;
    for (let index = this.steps.length; index < lines.length; index++) this.put(index, line("div", index, nameAndWords(lines[index])));
    if (answer.length) this.part("answer").textContent = answer.join(" ").trim();
  }

  /** The steps that are complete. A line that shows one of them already stays as it is, and keeps the focus. */
  show(steps) {
    const before = this.steps;
    Object.assign(this, { steps, boxes: boxesOf(steps) });
    steps.forEach((step, index) => {
      if (JSON.stringify(step) !== JSON.stringify(before[index])) this.put(index, this.step(step, index));
    });
  }

  /** The whole answer as data, and why the model ended. */
  finish({ answer, confidence, steps, parsed, model, disclaimer }, reason) {
    this.part("answer").textContent = answer || "No answer was found in what the model wrote.";
    this.part("answer").classList.toggle("none", !answer);
    this.show(steps);
    this.part("reasoning").hidden = steps.length === 0;
    for (const rest of [...this.part("steps").children].slice(steps.length)) rest.remove();
    const percent = `${Math.round(confidence * 100)} %`;
    this.part("sure").hidden = !answer;
    Object.assign(this.part("meter"), { value: confidence, textContent: percent });
    this.part("percent").textContent = percent;
    this.part("remark").textContent = remark(reason, parsed);
    this.part("about").textContent = `${disclaimer} ${model.name}, version ${model.version}`;
    this.close();
  }

  /** The stream ended; without an answer where `finish` was not called. */
  close(words = "") {
    this.card.removeAttribute("aria-busy");
    this.part("other").hidden = Boolean(words);
    if (words) this.part("remark").textContent = words;
  }

  /** Put a line in its place in the list. */
  put(index, line) {
    const list = this.part("steps");
    while (list.children.length <= index) list.append(made("li", ""));
    list.children[index].replaceChildren(line);
  }

  step(step, index) {
    const box = this.boxes.findIndex(({ steps }) => steps.includes(index));
    const shown = line(box < 0 ? "div" : "button", index, { name: step.step, words: step.text });
    if (box >= 0) this.wire(shown, box, step.box_xyxy);
    return shown;
  }

  wire(line, box, box_xyxy) {
    line.type = "button";
    line.dataset.box = box;
    line.classList.add("boxed");
    line.style.setProperty("--hue", this.boxes[box].hue);
    line.setAttribute("aria-pressed", "false");
    const place = made("span", "sr");
    place.textContent = ` Box from ${box_xyxy.slice(0, 2).map(Math.round).join(", ")} to ${box_xyxy.slice(2).map(Math.round).join(", ")}.`;
    line.append(place);
    const light = (index) => this.dispatchEvent(new CustomEvent("light", { detail: index }));
    line.addEventListener("pointermove", ({ movementX, movementY }) => {
      if (!movementX && !movementY) return; // the card slid under a pointer that rests
      this.dispatchEvent(new Event("chosen"));
      light(box);
    });
    line.addEventListener("pointerleave", () => light(this.pinned));
    line.addEventListener("focus", () => light(box));
    line.addEventListener("blur", () => light(this.pinned));
    line.addEventListener("click", () => this.pin(this.pinned === box ? -1 : box));
  }

  /** Keep one box lit, or none. */
  pin(box) {
    this.pinned = box;
    for (const line of this.card.querySelectorAll(".boxed")) {
      line.setAttribute("aria-pressed", String(Number(line.dataset.box) === box));
    }
    this.dispatchEvent(new CustomEvent("light", { detail: box }));
  }

  /** Show which steps a box of the picture belongs to. */
  hint(box) {
    for (const line of this.card.querySelectorAll(".boxed")) line.classList.toggle("hinted", Number(line.dataset.box) === box);
  }
}

/** Boxes with the steps that share them: [{ box_xyxy, steps, label, hue }]. */
function boxesOf(steps) {
  const found = new Map();
  steps.forEach(({ box_xyxy }, index) => {
    if (!box_xyxy) return;
    const key = box_xyxy.join();
    const box = found.get(key) || { box_xyxy, steps: [], hue: (85 + found.size * GOLDEN) % 360 };
    box.steps.push(index);
    found.set(key, { ...box, label: box.steps.map((step) => step + 1).join(", ") });
  });
  return [...found.values()];
}

function build(question, mode) {
  const card = document.getElementById("turn").content.firstElementChild.cloneNode(true);
  card.querySelector(".asked").textContent = question;
  card.querySelector(".mode").textContent = mode === "reason" ? "reasoned" : "answer only";
  card.querySelector(".other").textContent = mode === "reason" ? "Ask for the answer only" : "Ask with reasoning";
  return card;
}

function nameAndWords(line) {
  const [, name, words] = /^\s*([\w ]{1,24}):\s*(.*)$/.exec(line) || [null, "", line.trim()];
  return { name, words };
}

function line(tag, index, { name, words }) {
  const kind = made("i", "kind", name ? `${name} ` : "");
  return made(tag, "step", made("b", "badge", String(index + 1)), made("span", "words", kind, words));
}

function made(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

function remark(reason, parsed) {
  if (reason === "length") return "The model was stopped at the most tokens that this server allows.";
  return parsed ? "" : "The model did not keep to the form that it was trained to write.";
}
