// What is selected: a region of the map, which hangs in the air once it is moved or changed.

import { copy, erase } from "./edit/regions.js";
import { flipped, lift, paste, resized, rotated } from "./edit/pieces.js";
import { outline } from "./view.js";

export class Selection {
  // mask: of the document's map.
  static of(document, mask) {
    const lifted = lift(document.labels, mask);
    if (!lifted) return null;
    const made = new Selection(document, lifted.piece, lifted.x, lifted.y);
    made.mask = mask;
    return made;
  }

  constructor(document, piece, x, y) {
    this.document = document;
    this.original = piece;
    this.mask = null;
    this.base = null; // the map below, once this hangs in the air
    this.steps = [];
    this.state = {
      x: x + piece.width / 2,
      y: y + piece.height / 2,
      width: piece.width,
      height: piece.height,
      angle: 0,
      flipH: false,
      flipV: false,
    };
    this.#render();
  }

  // Something from elsewhere, or a duplicate: it is in the air at once.
  static added(document, piece, x, y) {
    const made = new Selection(document, piece, x, y);
    made.#rise(copy(document.labels));
    made.#show();
    return made;
  }

  get inAir() {
    return this.base !== null;
  }

  // The box of what is seen: x, y, width, height.
  get box() {
    return { x: this.x, y: this.y, width: this.piece.width, height: this.piece.height };
  }

  get label() {
    return this.original.labels[this.original.mask.indexOf(1)];
  }

  get area() {
    return this.piece.mask.reduce((sum, bit) => sum + bit, 0);
  }

  // Changes place, size, angle or flips; one step of what Escape and undo take back.
  change(patch, isStep = true) {
    if (!this.inAir) this.#rise(erase(this.document.labels, this.mask));
    if (isStep) this.steps.push({ ...this.state });
    Object.assign(this.state, patch);
    this.state.width = Math.max(1, Math.round(this.state.width));
    this.state.height = Math.max(1, Math.round(this.state.height));
    this.#render();
    this.#show();
  }

  move(dx, dy) {
    this.change({ x: this.state.x + dx, y: this.state.y + dy });
  }

  scale(factor) {
    const { width, height } = this.state;
    const grown = (side) => (factor > 1 ? Math.max(side + 1, side * factor) : side * factor);
    this.change({ width: grown(width), height: grown(height) });
  }

  // Takes the last step back; false if there is none.
  back() {
    if (!this.inAir || !this.steps.length) return false;
    Object.assign(this.state, this.steps.pop());
    this.#render();
    this.#show();
    return true;
  }

  // Puts it down where it is.
  put() {
    if (this.inAir) this.document.end();
    this.base = null;
  }

  giveUp() {
    if (this.inAir) this.document.giveUp();
    this.base = null;
  }

  #rise(base) {
    this.document.begin();
    this.base = base;
  }

  #render() {
    const { state } = this;
    let piece = this.original;
    if (piece.width !== state.width || piece.height !== state.height)
      piece = resized(piece, state.width, state.height);
    if (state.flipH) piece = flipped(piece);
    if (state.flipV) piece = flipped(piece, "vertical");
    if (state.angle) piece = rotated(piece, state.angle);
    this.piece = piece;
    this.x = Math.round(state.x - piece.width / 2);
    this.y = Math.round(state.y - piece.height / 2);
    this.path = outline(
      { width: piece.width, height: piece.height, data: piece.mask },
      this.x,
      this.y,
    );
  }

  #show() {
    this.document.show(paste(this.base, this.piece, this.x, this.y));
  }
}

// The eight handles and the one that turns, in map coordinates, around a box that leaves room to
// grab what is selected. unit: of a screen pixel. top: of what is seen; the one that turns is above
// the box, or below it where there is no room.
export function handles(box, unit, top) {
  const { x, y, width, height } = roomy(box, unit);
  const places = [];
  for (const [name, fx, fy] of [
    ["nw", 0, 0], ["n", 0.5, 0], ["ne", 1, 0], ["e", 1, 0.5],
    ["se", 1, 1], ["s", 0.5, 1], ["sw", 0, 1], ["w", 0, 0.5],
  ])
    places.push({ name, x: x + fx * width, y: y + fy * height, fx, fy });
  const isSeen = y - 26 * unit > top + 6 * unit;
  places.push({ name: "turn", x: x + width / 2, y: isSeen ? y - 26 * unit : y + height + 26 * unit, fx: 0.5, fy: 0 });
  return places;
}

// A box that is at least 48 screen pixels wide and high, about the same middle.
export function roomy({ x, y, width, height }, unit) {
  const [w, t] = [Math.max(width, 48 * unit), Math.max(height, 48 * unit)];
  return { x: x - (w - width) / 2, y: y - (t - height) / 2, width: w, height: t };
}
