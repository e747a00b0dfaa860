// The session's results, the newest first.

import { byId, h } from "./dom.js";
import { furtherMet, sumOf } from "./requirements.js";
import { t } from "./texts.js";

export class Shelf extends EventTarget {
  // urlOf: an address for a picture's Blob.
  constructor(urlOf) {
    super();
    this.urlOf = urlOf;
  }

  add(entry) {
    byId("history-empty").hidden = true;
    const { facts, picture } = entry.results[0];
    const said = [
      `${t("seed")} ${facts.seed}`,
      ...metBy(facts),
      entry.isPaint ? t("history.painted") : null,
    ].filter(Boolean);
    const open = () => {
      this.#mark(item);
      this.dispatchEvent(new CustomEvent("open", { detail: entry }));
    };
    const item = h(
      "li",
      {},
      h(
        "button",
        {
          type: "button", class: "past", onclick: open,
          "aria-label": t("history.open", { prompt: facts.prompt, facts: said.join(", ") }),
        },
        h("img", { src: this.urlOf(picture), alt: "" }),
        h(
          "span",
          {},
          h("span", { class: "words", text: facts.prompt }),
          h("span", { class: "quiet", text: said.join(" · ") }),
        ),
      ),
    );
    byId("history").prepend(item);
    this.#mark(item);
  }

  #mark(item) {
    for (const other of byId("history").children)
      other.firstChild.setAttribute("aria-pressed", String(other === item));
  }
}

// What the painted map holds of what was asked for; nothing where there was no map.
function metBy({ chosen, found, missing, requirements, met }) {
  if (chosen < 0) return [];
  const further = sumOf(furtherMet(requirements.map((one, i) => ({ ...one, met: met[i] }))));
  const wanted = found.length + missing.length;
  return [
    wanted ? t("recall.short", { found: found.length, wanted }) : null,
    further.all ? t("history.further", further) : null,
  ];
}
