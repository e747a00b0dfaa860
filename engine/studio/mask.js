// The mask over the picture: where it shall be painted anew.

import { stroke } from "./edit/strokes.js";
import { map } from "./edit/regions.js";
import { h } from "./dom.js";
import { follow } from "./pointers.js";
import { t } from "./texts.js";
import { MapView, strokeTwice } from "./view.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const VEIL = (150 << 24) | (70 << 16) | (60 << 8) | 240; // ABGR

export class MaskPainter {
  constructor(frame) {
    const element = h("div", { class: "view mask", hidden: true });
    frame.append(element);
    this.view = new MapView(element, t("mask.view"));
    this.view.isFixed = true;
    this.view.table[1] = VEIL;
    this.mask = null;
    this.last = null;
    this.pen = false;
    this.cursor = [0, 0];
    this.radius = h("input", { type: "range", min: 1, max: 64, value: 10 });
    this.options = h(
      "div",
      { class: "row", hidden: true },
      h("span", { class: "quiet", text: t("paint.nomask") }),
      h("label", { class: "inline" }, t("brush.size"), this.radius),
      h("button", { type: "button", text: t("mask.clear"), onclick: () => this.clear() }),
    );
    follow(this.view, {
      down: (point) => this.#draw([(this.last = point)]),
      move: (points) => this.last && this.#draw(points),
      up: () => (this.last = null),
      cancel: () => (this.last = null),
      hover: (point) => ((this.pointer = point), this.view.refresh()),
      leave: () => ((this.pointer = null), this.view.refresh()),
    });
    element.addEventListener("keydown", (event) => this.#key(event));
    this.view.paint = (context, unit) => {
      const path = new Path2D();
      const focused = document.activeElement === element;
      const at = this.pointer ?? (focused ? this.cursor : null);
      if (!at) return;
      path.arc(...at, this.#size, 0, 7);
      strokeTwice(context, unit, path);
    };
  }

  // size: of the picture.
  setActive(active, size) {
    this.view.element.hidden = this.options.hidden = !active;
    if (!active) {
      this.mask = null;
      return;
    }
    if (this.mask?.width === size.width && this.mask?.height === size.height) return;
    this.mask = map(size.width, size.height);
    this.cursor = [size.width / 2, size.height / 2];
    this.radius.max = Math.max(8, Math.round(size.width / 4));
    this.view.draw(this.mask);
  }

  set(mask) {
    this.mask = mask;
    this.view.draw(mask);
  }

  clear() {
    this.mask.data.fill(0);
    this.view.draw(this.mask);
  }

  get #size() {
    return Number(this.radius.value);
  }

  #draw(points) {
    const box = stroke(this.mask, [this.last ?? points[0], ...points], this.#size, 1);
    this.last = points.at(-1);
    this.view.draw(this.mask, box);
  }

  #key(event) {
    const step = ARROWS[event.key];
    if (step) {
      const by = event.shiftKey ? 16 : 4;
      const { width, height } = this.mask;
      this.pointer = null;
      this.cursor = [
        Math.min(width, Math.max(0, this.cursor[0] + step[0] * by)),
        Math.min(height, Math.max(0, this.cursor[1] + step[1] * by)),
      ];
      if (this.pen) this.#draw([this.cursor]);
    } else if (event.key === " ") {
      this.pen = !this.pen;
      this.last = this.pen ? this.cursor : null;
      if (this.pen) this.#draw([this.cursor]);
    } else return;
    this.view.refresh();
    event.preventDefault();
  }
}

// A mask of the picture's size where two maps of one size differ, a little wider.
export function changedMask(before, after, width, height) {
  const mask = map(width, height);
  let any = false;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const column = Math.floor(((x + 0.5) * after.width) / width);
      const row = Math.floor(((y + 0.5) * after.height) / height);
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          const [c, r] = [column + dx, row + dy];
          if (c < 0 || r < 0 || c >= after.width || r >= after.height) continue;
          if (before.data[r * after.width + c] !== after.data[r * after.width + c]) {
            mask.data[y * width + x] = 255;
            any = true;
          }
        }
      }
    }
  }
  return any ? mask : null;
}
