// A map that is looked at only: of factors whose pixels no brush can mean.

import { byId, h } from "./dom.js";
import { t } from "./texts.js";

const KNOWN = new Set(["normal", "pose"]);

export class StillMap extends EventTarget {
  // urlOf: an address for a picture's Blob. Events: open.
  constructor(urlOf) {
    super();
    this.urlOf = urlOf;
    this.picture = null;
    this.image = h("img", { hidden: true });
    this.none = h("p", { class: "empty quiet" });
    this.words = h("p", { class: "quiet" });
    const open = h("button", {
      type: "button", text: t("still.open"), onclick: () => this.dispatchEvent(new Event("open")),
    });
    byId("still").append(h("div", { class: "stage" }, this.image, this.none), h("div", { class: "row" }, this.words, open));
  }

  // picture: Blob, or null where there is none yet.
  show({ name, output }, picture) {
    this.picture = picture;
    this.image.hidden = !picture;
    this.none.hidden = Boolean(picture);
    this.none.textContent = t("still.none", { name });
    if (picture) this.image.src = this.urlOf(picture);
    this.image.alt = t("still.alt", { name });
    this.words.textContent = t(`still.${KNOWN.has(output) ? output : "other"}`, { name });
  }
}
