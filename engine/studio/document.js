// A map that is edited: class ids or shades of grey, with undo. The page's views listen to it.
// Events: change (detail: the box that changed, null: everything), edit (somebody changes it by hand).

import { History } from "./edit/history.js";
import { copy, map } from "./edit/regions.js";

export class MapDocument extends EventTarget {
  // colors: [r, g, b] by class. factor: of the bundle, with its output.
  constructor(factor, labels, colors) {
    super();
    this.factor = factor;
    this.labels = labels;
    this.colors = colors;
    this.history = new History();
    this.isLabels = factor.output === "labels";
    this.empty = true;
    this.version = 0; // counts the changes
  }

  // Replaces the map by another one of any size, as one change where the size allows.
  load(labels) {
    this.empty = false;
    if (labels.width === this.labels.width && labels.height === this.labels.height)
      return this.#replace(labels);
    this.labels = copy(labels);
    this.history = new History();
    this.#tell(null);
  }

  // A change that is complete: one step of undo.
  change(labels) {
    this.#replace(labels);
    this.dispatchEvent(new Event("edit"));
  }

  #replace(labels) {
    const before = this.labels;
    this.labels = copy(labels);
    this.empty = false;
    this.history.record(before, this.labels);
    this.#tell(null);
  }

  // Begins a change in place; `drawn` shows parts of it, `end` makes it one step of undo.
  begin() {
    this.before = copy(this.labels);
    this.dispatchEvent(new Event("edit"));
  }

  drawn(box) {
    this.empty = false;
    this.#tell(box);
  }

  // Shows a map without a step of undo: what hangs in the air over the map.
  show(labels) {
    this.labels = labels;
    this.empty = false;
    this.#tell(null);
  }

  end() {
    if (!this.before) return;
    this.history.record(this.before, this.labels);
    this.before = null;
    this.#tell({ x: 0, y: 0, width: 0, height: 0 });
  }

  giveUp() {
    if (!this.before) return;
    this.labels = this.before;
    this.before = null;
    this.#tell(null);
  }

  undo() {
    if (this.history.undo(this.labels)) this.#tell(null);
  }

  redo() {
    if (this.history.redo(this.labels)) this.#tell(null);
  }

  #tell(box) {
    this.version++;
    this.dispatchEvent(new CustomEvent("change", { detail: box }));
  }
}

export const GREYS = Array.from({ length: 256 }, (_, value) => [value, value, value]);

export function emptyMap(factor, width, height, palette) {
  if (factor.output === "labels") {
    const sky = palette.classes.findIndex((entry) => entry.kind !== "thing");
    return map(width, height, Math.max(0, sky));
  }
  return map(width, height, factor.output === "sketch" && factor.lines === "black" ? 255 : 0);
}
