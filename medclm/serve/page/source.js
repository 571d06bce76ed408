// The chosen file as a picture: which grey values and which slice are shown. The server is asked once for each slice; the
// newest wish wins.

import { render } from "./api.js";
import { sliceOf, windowed } from "./slice.js";

const KEPT = 2 ** 25; // pixels of all slices that are kept
const QUICK = 2 ** 20; // pixels that any machine windows and draws fast enough to follow a hand
const $ = (id) => document.getElementById(id);

/**
 * Events: "picture" with a picture for the viewer and for the model; "problem" with a Refusal. `working` is null, or a
 * promise that is kept when the picture is the one that the controls ask for.
 */
export class Source extends EventTarget {
  constructor() {
    super();
    Object.assign(this, { file: null, wish: null, slices: new Map(), shown: null, working: null, leave: new AbortController() });
    $("preset").addEventListener("change", () => this.want({ window: this.preset() }));
    for (const id of ["center", "width"]) $(id).addEventListener("input", () => this.want({ window: this.custom() }));
    $("slice").addEventListener("input", () => this.want({ frame: Number($("slice").value) - 1 }));
  }

  /** Show this file, in the window and slice that the server thinks best. */
  open(file) {
    this.leave.abort();
    Object.assign(this, { file, slices: new Map(), shown: null, working: null, leave: new AbortController() });
    this.wish = { window: null, frame: null };
    this.work();
  }

  /** Change centre and width by a drag on the picture, in pixels of the screen. */
  drag({ dx, dy }) {
    if (!this.shown?.values) return;
    const by = Math.max(Number($("width").value) / 250, Number($("width").step));
    move($("width"), dx * by);
    move($("center"), dy * by);
    this.want({ window: this.custom() });
  }

  custom() {
    return { center: Number($("center").value), width: Number($("width").value), name: "" };
  }

  /** The chosen window, or null for the one that the server thinks best. */
  preset() {
    return this.shown.presets.find(({ name }) => name === $("preset").value) || null;
  }

  want(change) {
    if (!this.file) return;
    this.wish = { ...this.wish, ...change };
    this.say();
    this.work();
  }

  work() {
    if (this.working) return;
    const working = this.fulfil(this.leave.signal).finally(() => {
      if (this.working === working) this.working = null;
    });
    this.working = working;
  }

  /** Show what is wished for, until there is no newer wish. */
  async fulfil(signal) {
    try {
      for (let done = null; done !== this.wish && !signal.aborted; ) {
        done = this.wish;
        const slice = await this.slice(done.frame, signal);
        for (const step of steps(slice, done)) {
          const image = await windowed(slice, done.window, step);
          if (signal.aborted) return;
          await this.present(slice, image);
          if (done !== this.wish) break;
        }
        if (done === this.wish) this.settle(slice, done.window);
      }
    } catch (error) {
      if (!signal.aborted) this.dispatchEvent(new CustomEvent("problem", { detail: error }));
    }
  }

  /** A slice of the file; null is the one in the middle. */
  async slice(frame, signal) {
    const { slices } = this;
    if (slices.has(frame)) return slices.get(frame);
    const slice = await sliceOf(await render(this.file, frame, signal));
    slices.set(slice.frame, slice);
    if (slices.size > 1 && slices.size * slice.image.width * slice.image.height > KEPT) {
      slices.delete(slices.keys().next().value);
    }
    return slice;
  }

  /** Show a picture, and wait until it is on the screen. */
  async present(slice, image) {
    this.shown = slice;
    this.dispatchEvent(new CustomEvent("picture", { detail: this.picture(slice, image) }));
    await $("picture").decode().catch(() => null); // another picture came in between
    await new Promise(requestAnimationFrame);
  }

  picture({ frame, frames, modality }, image) {
    const parts = [modality, `${image.width} × ${image.height} pixels`];
    if (frames > 1) parts.push(`slice ${frame + 1} of ${frames}`);
    if (image.window) parts.push(`window ${told(image.window.center)} / ${told(image.window.width)} ${image.window.name}`.trim());
    const caption = parts.filter(Boolean).join(" · ");
    const { data: src, width, height } = image;
    return { src, width, height, frame, caption, file: this.file, alt: `${this.file.name}: ${caption}` };
  }

  /** Put the controls where the picture is. */
  settle({ image, frame, frames, values, presets }, window) {
    $("window").hidden = !values;
    $("drags").hidden = !values;
    $("slices").hidden = frames < 2;
    Object.assign($("slice"), { max: frames, value: frame + 1 });
    this.wish.frame = frame;
    if (values) {
      const custom = window && !window.name ? ["custom"] : [];
      $("preset").replaceChildren(...["automatic", ...presets.map(({ name }) => name), ...custom].map((name) => new Option(name)));
      $("preset").value = window ? window.name || "custom" : "automatic";
      bound(values, window || image.window || { center: (values[0] + values[1]) / 2, width: values[1] - values[0] });
    }
    this.say();
  }

  say() {
    $("center-out").textContent = told(Number($("center").value));
    $("width-out").textContent = told(Number($("width").value));
    $("slice-out").textContent = `${$("slice").value} / ${$("slice").max}`;
  }
}

/** In which steps over its pixels a slice is windowed: a large one coarsely first, in full when no newer wish came. */
function steps({ image: { width, height } }, { window }) {
  const coarse = Math.ceil(Math.sqrt((width * height) / QUICK));
  return window && coarse > 1 ? [coarse, 1] : [1];
}

function bound([low, high], { center, width }) {
  const step = high - low > 100 ? 1 : (high - low) / 200 || 0.01;
  const whole = step === 1 ? [Math.floor, Math.ceil] : [Number, Number];
  const [least, most] = [whole[0](Math.min(low, center)), whole[1](Math.max(high, center))];
  Object.assign($("center"), { step, min: least, max: most, value: center });
  Object.assign($("width"), { step, min: step, max: whole[1](Math.max(high - low, width, step)), value: width });
}

function move(slider, by) {
  slider.value = String(Number(slider.value) + by);
}

function told(value) {
  return String(Math.abs(value) < 10 ? Number(value.toFixed(2)) : Math.round(value)).replace("-", "−");
}
