// Recall of the map that is edited: it follows every stroke.

import { byId, h } from "./dom.js";
import { count, measure } from "./edit/regions.js";
import { icon } from "./icons.js";
import { swatch } from "./palette.js";
import { signOf, sumOf } from "./requirements.js";
import { t } from "./texts.js";

export class RecallBar {
  constructor() {
    this.element = byId("recall");
    this.key = "";
  }

  // requested: class indices. checked: what the service says of everything else that is required,
  // {text, met}; isOld: whether the map has changed since.
  show(labels, requested, classes, minArea, checked = [], isOld = false) {
    const counts = count(labels);
    const found = measure(labels, requested, minArea, counts);
    const entries = requested.map((label) => {
      const share = counts[label] / labels.data.length;
      const state = found.found.includes(label) ? "found" : share > 0 ? "small" : "missing";
      return { label, state, area: (100 * share).toFixed(share < 0.01 ? 2 : 0) };
    });
    // Most strokes change nothing here; then the page isn't touched.
    const key = JSON.stringify([entries, checked, isOld]);
    if (key === this.key) return;
    this.key = key;
    const said = summary(found, requested, checked, isOld);
    this.element.replaceChildren(
      h("strong", { class: said.isComplete ? "good" : "", text: said.words }),
      ...entries.map(({ label, state, area }) => {
        const { name, color } = classes[label];
        return signed(state, t(`recall.${state}`, { name, area }), [
          swatch(color), name, icon(state === "found" ? "check" : "cross"),
        ]);
      }),
      ...checked.map(({ text, met }) => {
        const made = chip(text, met);
        made.classList.toggle("old", isOld);
        return made;
      }),
    );
  }

  hide() {
    this.key = "";
    this.element.replaceChildren();
  }
}

// A requirement, and whether it is met.
export function chip(text, met) {
  const [sign, state] = signOf(met);
  return signed(state, t(`requirement.${state}`, { text }), [text, icon(sign)]);
}

function signed(state, label, content) {
  return h("span", { class: `chip ${state}`, title: label, role: "img", "aria-label": label }, content);
}

function summary({ found, missing }, requested, checked, isOld) {
  if (!requested.length && !checked.length) return { words: t("recall.none") };
  if (missing.length)
    return { words: t("recall.said", { found: found.length, requested: requested.length }) };
  if (isOld) return { words: t("requirement.old") };
  const { met, all } = sumOf(checked);
  if (met < all) return { words: t("recall.further", { met, all }) };
  return { words: t("recall.all"), isComplete: true };
}
