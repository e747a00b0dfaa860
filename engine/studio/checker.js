// Whether a map meets its requirements, which the service says: asked once a map has come to rest.

import { post } from "./api.js";
import { base64, greyPng } from "./png.js";

const REST = 150; // milliseconds

export class Checker extends EventTarget {
  constructor() {
    super();
    this.clear();
  }

  // Nothing is to be checked.
  clear() {
    clearTimeout(this.resting);
    this.turn = (this.turn ?? 0) + 1;
    this.answer = null; // [{kind, text, met}]
    this.isOld = false; // whether the map has changed since
  }

  ask(model, labels, requirements) {
    const turn = ++this.turn;
    this.isOld = true;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.#send(turn, model, labels, requirements), REST);
  }

  async #send(turn, model, labels, requirements) {
    let answer;
    try {
      const map = await base64(await greyPng(labels));
      answer = await post("/v1/studio/check", { model, labels: map, requirements });
    } catch {
      return; // marked as old until the next change; a lost connection is told elsewhere
    }
    if (turn !== this.turn) return;
    this.answer = answer.requirements;
    this.isOld = false;
    this.dispatchEvent(new Event("change"));
  }
}
