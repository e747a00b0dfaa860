// The palette: every class of the bundle, searched by name or synonym, the recent ones first; of
// depth and sketch maps, shades of grey.

import { UNLABELED } from "./edit/regions.js";
import { byId, h } from "./dom.js";
import { t } from "./texts.js";

const MOST_RECENT = 6;
const SHADES = [0, 64, 128, 192, 255];

export const cssColor = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

export function swatch(color) {
  const element = h("span", { class: "swatch" });
  if (color) element.style.background = cssColor(color);
  return element;
}

export class Palette {
  constructor() {
    this.element = byId("palette");
    this.chosen = new Map(); // by whether it is of labels
    this.recent = [];
    this.doc = null;
    this.classes = [];
  }

  get current() {
    return this.chosen.get(this.doc?.isLabels ?? true) ?? 0;
  }

  nameOf(label) {
    if (this.doc && !this.doc.isLabels) return t("palette.grey", { value: label });
    return this.classes[label]?.name ?? t("unlabeled");
  }

  setClasses(classes) {
    this.classes = classes;
    this.recent = [];
    this.chosen.clear();
  }

  setDocument(doc) {
    if (this.doc && this.doc.isLabels === doc.isLabels && this.doc.colors === doc.colors) {
      this.doc = doc;
      return;
    }
    this.doc = doc;
    if (!doc.isLabels && !this.chosen.has(false))
      this.chosen.set(false, doc.factor.lines === "black" ? 0 : 255);
    if (doc.isLabels) this.#showClasses();
    else this.#showShades();
  }

  choose(label) {
    if (label === UNLABELED && this.doc.isLabels) return;
    this.chosen.set(this.doc.isLabels, label);
    this.recent = [label, ...this.recent.filter((other) => other !== label)].slice(0, MOST_RECENT);
    if (this.doc.isLabels) this.#refresh();
    else this.#showShades();
  }

  #button(label) {
    const { name, color } = this.classes[label];
    return h(
      "button",
      {
        type: "button",
        class: "class",
        "data-label": label,
        "aria-pressed": String(label === this.current),
        onclick: () => this.choose(label),
      },
      swatch(color),
      h("span", { text: name }),
    );
  }

  #showClasses() {
    this.search = h("input", {
      type: "search",
      "aria-label": t("palette.search"),
      placeholder: t("palette.search"),
      oninput: () => this.#filter(),
      onkeydown: (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        this.list.querySelector("li:not([hidden]) button")?.click();
      },
    });
    this.recentList = h("div", { class: "recent", role: "group", "aria-label": t("palette.recent") });
    this.list = h("ul", { "aria-label": t("palette.all") });
    this.classes.forEach((_, label) => this.list.append(h("li", {}, this.#button(label))));
    this.nothing = h("p", { class: "note quiet", text: t("palette.none"), hidden: true });
    this.element.replaceChildren(this.search, this.recentList, this.list, this.nothing);
    this.#refresh();
  }

  #filter() {
    const wanted = this.search.value.trim().toLowerCase();
    let shown = 0;
    [...this.list.children].forEach((item, label) => {
      const { name, synonyms } = this.classes[label];
      const fits = [name, ...synonyms].some((word) => word.toLowerCase().includes(wanted));
      item.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    this.nothing.hidden = shown > 0;
  }

  #refresh() {
    for (const button of this.list.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(Number(button.dataset.label) === this.current));
    this.recentList.replaceChildren(
      ...this.recent.map((label) => {
        const button = this.#button(label);
        button.title = this.classes[label].name;
        return button;
      }),
    );
  }

  #showShades() {
    const value = h("output", { text: String(this.current) });
    const slider = h("input", {
      type: "range", min: 0, max: 255, value: this.current,
      oninput: () => {
        this.chosen.set(false, Number(slider.value));
        value.textContent = slider.value;
      },
    });
    this.element.replaceChildren(
      h("label", { class: "shade" }, t("palette.shade"), slider, value),
      h(
        "ul",
        {},
        SHADES.map((shade) =>
          h(
            "li",
            {},
            h(
              "button",
              {
                type: "button", class: "class", "aria-pressed": String(shade === this.current),
                onclick: () => this.choose(shade),
              },
              swatch([shade, shade, shade]),
              h("span", { text: t("palette.grey", { value: shade }) }),
            ),
          ),
        ),
      ),
    );
  }
}
