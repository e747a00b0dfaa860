// The second map: click a region to copy it into the first.

import { announce, byId, h } from "./dom.js";
import { regionAt } from "./edit/regions.js";
import { follow } from "./pointers.js";
import { t } from "./texts.js";
import { MapView, outline, strokeTwice } from "./view.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class SecondMap extends EventTarget {
  // Events: take (detail: {labels, mask}), open, background (detail: labels), candidate (detail: its
  // index).
  constructor(nameOf) {
    super();
    this.labels = null;
    this.cursor = [0, 0];
    const element = h("div", { class: "view" });
    this.empty = h("p", { class: "empty quiet", text: t("second.empty") });
    const stage = h("div", { class: "stage" }, element, this.empty);
    this.background = h("button", {
      type: "button", text: t("second.background"), disabled: true,
      onclick: () => this.dispatchEvent(new CustomEvent("background", { detail: this.labels })),
    });
    const open = h("button", {
      type: "button", text: t("second.open"), onclick: () => this.dispatchEvent(new Event("open")),
    });
    this.candidates = h("select", {
      "aria-label": t("second.candidate"), hidden: true,
      onchange: () => this.dispatchEvent(new CustomEvent("candidate", { detail: Number(this.candidates.value) })),
    });
    const choice = h("div", {}, this.candidates);
    byId("second-panel").append(stage, h("div", { class: "row" }, open, choice, this.background));
    this.view = new MapView(element, t("second.view"));
    follow(this.view, {
      down: (point) => this.#take(point.map(Math.floor)),
      move: () => {},
      up: () => {},
      hover: (point) => this.#hover(point.map(Math.floor)),
      leave: () => this.#hover(null),
    });
    element.addEventListener("keydown", (event) => {
      if (!this.labels) return;
      const step = ARROWS[event.key];
      if (step) {
        const by = event.shiftKey ? 8 : 1;
        const { width, height } = this.labels;
        this.cursor = [
          Math.min(width - 1, Math.max(0, this.cursor[0] + step[0] * by)),
          Math.min(height - 1, Math.max(0, this.cursor[1] + step[1] * by)),
        ];
        this.#hover(this.cursor);
        const name = nameOf(this.labels.data[this.cursor[1] * width + this.cursor[0]]);
        announce(t("cursor.said", { x: this.cursor[0], y: this.cursor[1], name }));
      } else if (event.key === "Enter") this.#take(this.cursor);
      else if (event.key === "0") this.view.fit();
      else return;
      event.preventDefault();
    });
    this.view.paint = (context, unit) => {
      if (this.path) strokeTwice(context, unit, this.path);
    };
  }

  // count: of the candidates to choose from.
  setCandidates(count) {
    this.candidates.hidden = !count;
    const names = Array.from({ length: count }, (_, i) => h("option", { value: i, text: t("strip.any", { index: i + 1 }) }));
    this.candidates.replaceChildren(h("option", { value: "", text: t("second.candidate"), hidden: true }), ...names);
  }

  // index: of the candidate, where it is one.
  show(labels, colors, index = "") {
    this.candidates.value = index;
    this.labels = labels;
    this.path = this.region = null;
    this.empty.hidden = true;
    this.background.disabled = false;
    this.cursor = [labels.width >> 1, labels.height >> 1];
    this.view.setColors(colors);
    this.view.draw(labels);
  }

  #inside(point) {
    const [x, y] = point ?? [-1, -1];
    return this.labels && x >= 0 && y >= 0 && x < this.labels.width && y < this.labels.height;
  }

  #hover(point) {
    if (!this.#inside(point)) this.path = this.region = null;
    else if (!this.region?.data[point[1] * this.labels.width + point[0]]) {
      this.region = regionAt(this.labels, ...point);
      this.path = outline(this.region);
    }
    this.view.refresh();
  }

  #take(point) {
    if (!this.#inside(point)) return;
    const mask = regionAt(this.labels, ...point);
    this.dispatchEvent(new CustomEvent("take", { detail: { labels: this.labels, mask } }));
  }
}
