// A map on the screen: pixels by putImageData, enlarged without smoothing; zoom, pan, an overlay.

import { UNLABELED } from "./edit/regions.js";
import { h } from "./dom.js";

const LEAST = 0.25;
const MOST = 64;

export class MapView extends EventTarget {
  // element: the focusable box. label: what screen readers say of it.
  constructor(element, label) {
    super();
    this.element = element;
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-label", label);
    this.pixels = h("canvas", { class: "pixels", "aria-hidden": "true" });
    this.overlay = h("canvas", { class: "overlay", "aria-hidden": "true" });
    element.append(this.pixels, this.overlay);
    this.context = this.pixels.getContext("2d", { willReadFrequently: true });
    this.scale = 1;
    this.x = this.y = 0;
    this.fitted = true;
    this.isFixed = false; // whether it always fits
    this.paint = null;
    this.table = new Uint32Array(256);
    this.waiting = false;
    new ResizeObserver(() => this.#resized()).observe(element);
  }

  setColors(colors, opaque = false) {
    colors.forEach(([r, g, b], i) => (this.table[i] = (255 << 24) | (b << 16) | (g << 8) | r));
    if (!opaque) this.table[UNLABELED] = 0;
  }

  // Draws the map, or a box of it.
  draw(labels, box = null) {
    const { width, height } = labels;
    if (this.pixels.width !== width || this.pixels.height !== height || !this.image) {
      this.pixels.width = width;
      this.pixels.height = height;
      this.image = new ImageData(width, height);
      this.words = new Uint32Array(this.image.data.buffer);
      box = null;
      this.fit();
    }
    const { x, y, width: w, height: t } = box ?? { x: 0, y: 0, width, height };
    if (!w || !t) return;
    const { table, words } = this;
    for (let row = y; row < y + t; row++)
      for (let i = row * width + x, end = i + w; i < end; i++) words[i] = table[labels.data[i]];
    this.context.putImageData(this.image, 0, 0, x, y, w, t);
    this.refresh();
  }

  get size() {
    return { width: this.pixels.width, height: this.pixels.height };
  }

  // The upper edge of what is seen, in map coordinates.
  get top() {
    return -this.y / this.scale;
  }

  // Continuous map coordinates of a pointer event.
  at(event) {
    const box = this.element.getBoundingClientRect();
    return [
      (event.clientX - box.left - this.x) / this.scale,
      (event.clientY - box.top - this.y) / this.scale,
    ];
  }

  fit() {
    const { clientWidth: w, clientHeight: t } = this.element;
    if (!w || !this.pixels.width) return;
    this.fitted = true;
    this.scale = Math.min(w / this.pixels.width, t / this.pixels.height);
    this.x = (w - this.pixels.width * this.scale) / 2;
    this.y = (t - this.pixels.height * this.scale) / 2;
    this.#place();
  }

  zoom(factor, x = this.element.clientWidth / 2, y = this.element.clientHeight / 2) {
    if (this.isFixed) return;
    const scale = Math.min(MOST, Math.max(LEAST, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.#place();
  }

  pan(dx, dy) {
    if (this.isFixed) return;
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.#place();
  }

  // Draws the overlay in the next frame.
  refresh() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      const context = this.overlay.getContext("2d");
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, this.overlay.width, this.overlay.height);
      const ratio = this.overlay.width / Math.max(1, this.element.clientWidth);
      context.setTransform(
        this.scale * ratio,
        0,
        0,
        this.scale * ratio,
        this.x * ratio,
        this.y * ratio,
      );
      this.paint?.(context, 1 / this.scale);
    });
  }

  #place() {
    this.pixels.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.refresh();
    this.dispatchEvent(new Event("zoom"));
  }

  #resized() {
    const ratio = window.devicePixelRatio || 1;
    this.overlay.width = Math.round(this.element.clientWidth * ratio);
    this.overlay.height = Math.round(this.element.clientHeight * ratio);
    if (this.fitted) this.fit();
    else this.refresh();
  }
}

// The outline of a mask as a path in map coordinates.
export function outline({ width, height, data }, dx = 0, dy = 0) {
  const path = new Path2D();
  const at = (x, y) => (x >= 0 && y >= 0 && x < width && y < height ? data[y * width + x] : 0);
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      if (at(x, y) !== at(x, y - 1)) {
        path.moveTo(dx + x, dy + y);
        path.lineTo(dx + x + 1, dy + y);
      }
      if (at(x, y) !== at(x - 1, y)) {
        path.moveTo(dx + x, dy + y);
        path.lineTo(dx + x, dy + y + 1);
      }
    }
  }
  return path;
}

// Strokes a path in white over black, so that it shows on any colour.
export function strokeTwice(context, unit, path) {
  context.lineWidth = 3 * unit;
  context.strokeStyle = "rgba(0,0,0,.75)";
  context.stroke(path);
  context.lineWidth = 1.25 * unit;
  context.strokeStyle = "#fff";
  context.stroke(path);
}
