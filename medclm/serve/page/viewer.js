// The picture on its stage: zoom, pan, and the boxes on it. All boxes are in pixels of the picture.

const MOST_PX = 40; // of the screen for one of the picture
const STEP = 1.25;

/** Events: "zoom"; "window" with {dx, dy}, a drag of the grey values; "point" with the index of the box under the pointer, or -1. */
export class Viewer extends EventTarget {
  constructor(stage, image, layer) {
    super();
    Object.assign(this, { stage, image, layer, tool: "move", marks: [], lit: -1, fitted: true, over: -1 });
    this.view = { scale: 1, x: 0, y: 0 };
    this.size = { width: 0, height: 0 };
    this.pointers = new Map();
    new ResizeObserver(() => this.resized()).observe(stage);
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("keydown", (event) => this.pressed(event));
    stage.addEventListener("dblclick", () => this.fit());
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.moved(event));
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    stage.addEventListener("pointerleave", () => this.point(-1));
  }

  /** Show { src, width, height, alt }. The view stays where the size does. */
  show(picture) {
    const same = picture.width === this.size.width && picture.height === this.size.height;
    this.size = { width: picture.width, height: picture.height };
    this.image.src = picture.src;
    this.image.alt = picture.alt;
    if (same) this.place();
    else this.fit();
  }

  /** Draw these boxes, and no others: [{ label, hue, box_xyxy }]. The one that is lit stays lit. */
  mark(boxes) {
    while (this.layer.children.length > boxes.length) this.layer.lastChild.remove();
    this.marks = boxes.map(({ label, hue, box_xyxy }, index) => {
      const element = this.layer.children[index] || this.layer.appendChild(box());
      element.firstChild.textContent = label;
      element.style.setProperty("--hue", hue);
      return { element, box_xyxy };
    });
    this.place();
    this.shade();
  }

  /** Light one box up, by its index, and bring it into view; -1 for none. */
  light(index) {
    this.lit = index;
    this.shade();
    if (index in this.marks) this.reveal(this.marks[index].box_xyxy);
  }

  shade() {
    this.marks.forEach(({ element }, index) => {
      element.classList.toggle("lit", index === this.lit);
      element.classList.toggle("dim", this.lit in this.marks && index !== this.lit);
    });
  }

  fit() {
    const { clientWidth, clientHeight } = this.stage;
    this.fitted = true;
    this.view.scale = Math.min(clientWidth / this.size.width, clientHeight / this.size.height) || 1;
    this.place();
  }

  /** Zoom by a factor; the point (x, y) of the stage stays where it is. */
  zoom(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const { scale } = this.view;
    const least = Math.min(1, this.stage.clientWidth / this.size.width, this.stage.clientHeight / this.size.height) / 2;
    const next = Math.min(Math.max(scale * factor, least), MOST_PX);
    const by = next / scale;
    this.view = { scale: next, x: x - (x - this.view.x) * by, y: y - (y - this.view.y) * by };
    this.fitted = false;
    this.place();
  }

  pan(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.place();
  }

  place() {
    const { scale } = this.view;
    const { width, height } = this.size;
    this.view.x = kept(this.view.x, width * scale, this.stage.clientWidth);
    this.view.y = kept(this.view.y, height * scale, this.stage.clientHeight);
    put(this.image, this.view.x, this.view.y, width * scale, height * scale);
    this.image.classList.toggle("sharp", scale >= 6);
    this.stage.classList.toggle("zoomed", !this.fitted);
    for (const { element, box_xyxy } of this.marks) {
      const [x1, y1, x2, y2] = box_xyxy;
      const top = this.view.y + y1 * scale;
      put(element, this.view.x + x1 * scale, top, (x2 - x1) * scale, (y2 - y1) * scale);
      element.classList.toggle("inside", top < 24);
    }
    this.dispatchEvent(new Event("zoom"));
  }

  reveal([x1, y1, x2, y2]) {
    const { scale, x, y } = this.view;
    const into = (low, high, room) => (low >= 0 && high <= room ? 0 : room / 2 - (low + high) / 2);
    const dx = into(x + x1 * scale, x + x2 * scale, this.stage.clientWidth);
    const dy = into(y + y1 * scale, y + y2 * scale, this.stage.clientHeight);
    if (dx || dy) this.pan(dx, dy);
  }

  resized() {
    if (!this.size.width || !this.stage.clientWidth) return;
    if (this.fitted) this.fit();
    else this.place();
  }

  wheel(event) {
    event.preventDefault();
    const { left, top } = this.stage.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 500)), event.clientX - left, event.clientY - top);
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const zooms = { "+": STEP, "=": STEP, "-": 1 / STEP };
    if (event.key in zooms) this.zoom(zooms[event.key]);
    else if (event.key === "0") this.fit();
    else if (event.key in arrows) this.drag(...arrows[event.key].map((way) => way * (this.tool === "window" ? 8 : -40)));
    else return;
    event.preventDefault();
  }

  drag(dx, dy) {
    if (this.tool === "move") this.pan(dx, dy);
    else this.dispatchEvent(new CustomEvent("window", { detail: { dx, dy } }));
  }

  down(event) {
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.point(this.under(event));
  }

  moved(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.point(this.under(event));
      return;
    }
    const others = [...this.pointers.values()].filter((other) => other.pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (others.length) this.pinch(others[0], before, event);
    else this.drag(event.clientX - before.clientX, event.clientY - before.clientY);
  }

  pinch(still, before, now) {
    const { left, top } = this.stage.getBoundingClientRect();
    const apart = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;
    const middle = (now.clientX + still.clientX) / 2;
    this.zoom(apart(still, now) / apart(still, before), middle - left, (now.clientY + still.clientY) / 2 - top);
    this.pan((now.clientX - before.clientX) / 2, (now.clientY - before.clientY) / 2);
  }

  /** Index of the smallest box under the pointer, or -1. */
  under(event) {
    const { left, top } = this.stage.getBoundingClientRect();
    const x = (event.clientX - left - this.view.x) / this.view.scale;
    const y = (event.clientY - top - this.view.y) / this.view.scale;
    let [found, least] = [-1, Infinity];
    this.marks.forEach(({ box_xyxy: [x1, y1, x2, y2] }, index) => {
      const area = (x2 - x1) * (y2 - y1);
      if (x >= x1 && x < x2 && y >= y1 && y < y2 && area < least) [found, least] = [index, area];
    });
    return found;
  }

  point(index) {
    if (index === this.over) return;
    this.over = index;
    this.dispatchEvent(new CustomEvent("point", { detail: index }));
  }
}

function box() {
  const element = document.createElement("div");
  element.className = "box";
  element.append(document.createElement("span"));
  return element;
}

/** Where a picture `length` long begins on a stage with `room`: in the middle, or without a gap at either end. */
function kept(start, length, room) {
  return length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, start));
}

function put(element, left, top, width, height) {
  Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
}
