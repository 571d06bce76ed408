// The chosen file as a picture: which grey values and which slice are shown. The server renders; the newest wish wins.

import { render } from "./api.js";

const $ = (id) => document.getElementById(id);

/** Events: "picture" with a picture for the viewer and for the model; "problem" with a Refusal. */
export class Source extends EventTarget {
  constructor() {
    super();
    Object.assign(this, { file: null, wish: null, shown: null, working: false, leave: new AbortController() });
    $("preset").addEventListener("change", () => this.want({ window: $("preset").value }));
    for (const id of ["center", "width"]) $(id).addEventListener("input", () => this.want({ window: this.custom() }));
    $("slice").addEventListener("input", () => this.want({ frame: Number($("slice").value) - 1 }));
  }

  /** Show this file, in the window and slice that the server thinks best. */
  open(file) {
    this.leave.abort();
    Object.assign(this, { file, shown: null, working: false, leave: new AbortController() });
    this.wish = { window: "auto", frame: null };
    return this.work();
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
    return `${$("center").value},${$("width").value}`;
  }

  want(change) {
    if (!this.file) return;
    this.wish = { ...this.wish, ...change };
    this.say();
    this.work();
  }

  async work() {
    if (this.working) return;
    const { leave, file } = this;
    this.working = true;
    try {
      for (let done = null; done !== this.wish; ) {
        done = this.wish;
        const shown = await render(file, done.window, done.frame, leave.signal);
        if (leave.signal.aborted) return;
        this.shown = shown;
        this.dispatchEvent(new CustomEvent("picture", { detail: this.picture(done) }));
        if (done === this.wish) this.settle(shown, done);
      }
    } catch (error) {
      if (leave.signal.aborted) return;
      this.dispatchEvent(new CustomEvent("problem", { detail: error }));
    } finally {
      if (!leave.signal.aborted) this.working = false;
    }
  }

  picture() {
    const { image, frame, frames, modality } = this.shown;
    const parts = [modality, `${image.width} × ${image.height} pixels`];
    if (frames > 1) parts.push(`slice ${frame + 1} of ${frames}`);
    if (image.window) parts.push(`window ${told(image.window.center)} / ${told(image.window.width)} ${image.window.name}`.trim());
    const caption = parts.filter(Boolean).join(" · ");
    const { data: src, width, height } = image;
    return { src, width, height, frame, caption, file: this.file, alt: `${this.file.name}: ${caption}` };
  }

  /** Put the controls where the picture is. */
  settle({ image, frame, frames, values, presets }, { window }) {
    $("window").hidden = !values;
    $("drags").hidden = !values;
    $("slices").hidden = frames < 2;
    Object.assign($("slice"), { max: frames, value: frame + 1 });
    this.wish.frame = frame;
    if (values) {
      const custom = window.includes(",") ? [[window, "custom"]] : [];
      const named = presets.map(({ name }) => [name, name]);
      $("preset").replaceChildren(...[["auto", "automatic"], ...named, ...custom].map(([value, text]) => new Option(text, value)));
      $("preset").value = window;
      bound(values, image.window || { center: (values[0] + values[1]) / 2, width: values[1] - values[0] });
    }
    this.say();
  }

  say() {
    $("center-out").textContent = told(Number($("center").value));
    $("width-out").textContent = told(Number($("width").value));
    $("slice-out").textContent = `${$("slice").value} / ${$("slice").max}`;
  }
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
