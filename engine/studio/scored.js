// What a scorer says of a picture: what it holds of all that is asked for, and which of how many it is.

import { h } from "./dom.js";
import { chip } from "./recall.js";
import { pictureMet } from "./requirements.js";
import { t } from "./texts.js";

// repaint: of a result's facts, {passed, kept, attempts}, or undefined where nothing was scored.
export function scored(repaint) {
  if (!repaint) return [];
  const { passed, kept, attempts } = repaint;
  const words = t(passed ? "scored.passed" : "scored.failed");
  const which = attempts.length > 1 ? t("scored.which", { number: kept + 1, count: attempts.length }) : "";
  return [
    h("strong", { class: passed ? "good" : "" }, words),
    ...pictureMet(attempts[kept]).map(({ text, met }) => chip(text, met)),
    h("span", { class: "quiet", text: which }),
  ];
}
