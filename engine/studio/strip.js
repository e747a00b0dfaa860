// The candidates: each map with its recall as it forms, the painted one marked, any to be chosen.

import { byId, h, iconButton } from "./dom.js";
import { measure } from "./edit/regions.js";
import { icon } from "./icons.js";
import { furtherMet, signOf } from "./requirements.js";
import { t } from "./texts.js";

export class Strip extends EventTarget {
  constructor() {
    super();
    this.clear();
  }

  // requested: class indices. names, colors: by class index. count: maps that are expected.
  // byCompliance: whether the request chooses by more than recall.
  clear(requested = [], bundle = null, count = 0, byCompliance = false) {
    this.requested = requested;
    this.byCompliance = byCompliance;
    this.bundle = bundle;
    this.maps = [];
    this.painted = this.chosen = -1;
    this.items = [];
    const list = byId("strip");
    list.replaceChildren();
    for (let i = 0; i < count; i++) list.append(this.#item(i));
    byId("strip-note").textContent = count ? "" : t("strip.empty");
  }

  // A candidate after so many steps.
  form(index, labels, step, steps, { requirements, compliance }) {
    const { found, missing, smallestArea } = measure(labels, this.requested, this.#minArea());
    this.#set(index, { labels, found, missing, smallestArea, compliance, further: furtherMet(requirements) });
    const best = this.#best();
    this.items.forEach((item, i) => item && this.#mark(i, i === best ? t("strip.best") : ""));
    byId("strip-note").textContent = t("strip.forming", { count: this.maps.length, step, steps });
  }

  // What a factor's result holds: facts of its candidates, and of what they shall meet; their maps.
  finish({ candidates, chosen: painted, given, requirements }, labels) {
    const indexOf = (name) => this.bundle.palette.classes.findIndex((entry) => entry.name === name);
    const list = byId("strip");
    while (list.children.length > candidates.length) list.lastChild.remove();
    this.maps.length = this.items.length = Math.min(this.items.length, candidates.length);
    candidates.forEach((candidate, i) =>
      this.#set(i, {
        labels: labels[i],
        found: candidate.found.map(indexOf),
        missing: candidate.missing.map(indexOf),
        further: furtherMet(requirements.map((one, at) => ({ ...one, met: candidate.met[at] }))),
        refused: candidate.refused,
      }),
    );
    this.painted = painted;
    this.items.forEach((_, i) => this.#mark(i, i === painted ? t("strip.painted") : ""));
    this.choose(painted);
    byId("strip-note").textContent = given ? "" : t("strip.done", { chosen: painted + 1 });
  }

  choose(index) {
    this.chosen = index;
    this.items.forEach((item, i) => item.button.setAttribute("aria-pressed", String(i === index)));
  }

  #minArea() {
    return this.bundle.factors.find((factor) => factor.output === "labels")?.min_area;
  }

  // By the engine's rule: recall, then compliance where the request chooses by it, then the larger
  // smallest object, then the lower index.
  #best() {
    const rank = ({ found, compliance, smallestArea }) => [
      found.length, this.byCompliance ? compliance : 0, smallestArea,
    ];
    const isBetter = (a, b) => {
      const at = a.findIndex((value, i) => value !== b[i]);
      return at >= 0 && a[at] > b[at];
    };
    let best = -1;
    this.maps.forEach((map, i) => {
      if (map && (best < 0 || isBetter(rank(map), rank(this.maps[best])))) best = i;
    });
    return best;
  }

  #item(index) {
    const canvas = h("canvas", { "aria-hidden": "true" });
    const badge = h("span", { class: "badge", hidden: true });
    const recall = h("span", { class: "score" });
    const bar = h("span", { class: "meter" }, h("span"));
    const missing = h("span", { class: "missing" });
    const further = h("span", { class: "further" });
    const refused = h("span", { class: "refused" });
    const button = h(
      "button",
      {
        type: "button",
        class: "candidate",
        "aria-pressed": "false",
        disabled: true,
        onclick: () => this.#tell("choose", index),
      },
      h("span", { class: "frame" }, canvas),
      badge,
      h("span", { class: "row" }, h("span", { text: `${index + 1}` }), recall),
      bar,
      refused,
      missing,
      further,
    );
    const second = iconButton(
      "second",
      t("strip.second", { index: index + 1 }),
      () => this.#tell("second", index),
      { hidden: true },
    );
    second.classList.add("take");
    const element = h("li", {}, button, second);
    this.items[index] = { element, canvas, badge, recall, bar, refused, missing, further, button, second };
    return element;
  }

  #tell(name, index) {
    this.dispatchEvent(new CustomEvent(name, { detail: { index, labels: this.maps[index].labels } }));
  }

  #set(index, map) {
    if (!this.items[index]) byId("strip").append(this.#item(index));
    this.maps[index] = map;
    const item = this.items[index];
    drawLabels(item.canvas, map.labels, this.bundle.palette.classes);
    item.button.disabled = false;
    item.second.hidden = false;
    const wanted = map.found.length + map.missing.length;
    const checked = map.further.filter(({ met }) => met !== null);
    const refused = map.refused ? t("strip.refused", { what: map.refused }) : "";
    item.refused.replaceChildren(...(refused ? [icon("stop"), h("span", { text: refused })] : []));
    const complete = !refused && wanted + checked.length > 0 && !map.missing.length && checked.every(({ met }) => met);
    item.recall.replaceChildren(complete ? icon("check") : "", wanted ? `${map.found.length}/${wanted}` : "");
    item.recall.classList.toggle("good", complete);
    item.bar.firstChild.style.width = `${wanted ? (100 * map.found.length) / wanted : 100}%`;
    const names = map.missing.map((label) => this.bundle.palette.classes[label]?.name).join(", ");
    item.missing.textContent = names ? t("strip.missing", { names }) : "";
    item.further.replaceChildren(
      ...map.further.map(({ text, met }) => {
        const [sign, state] = signOf(met);
        return h("span", { class: state }, icon(sign), h("span", { text }));
      }),
    );
    const lacks = names ? t("strip.missing", { names }) : "";
    const said = map.further.map(({ text, met }) => t(`requirement.${signOf(met)[1]}`, { text }));
    item.label = [
      wanted
        ? t("strip.one", { index: index + 1, found: map.found.length, requested: wanted })
        : t("strip.any", { index: index + 1 }),
      refused,
      lacks || (complete ? t("strip.all") : ""),
      ...said,
    ];
    item.button.title = [refused, lacks, ...said].filter(Boolean).join("\n");
  }

  #mark(index, words) {
    const { badge, label, button } = this.items[index];
    badge.textContent = words;
    badge.hidden = !words;
    button.setAttribute("aria-label", [...(label ?? []), words].filter(Boolean).join(", "));
  }
}

// Draws a map in its palette's colours, pixel for pixel.
export function drawLabels(canvas, labels, classes) {
  canvas.width = labels.width;
  canvas.height = labels.height;
  const image = new ImageData(labels.width, labels.height);
  const words = new Uint32Array(image.data.buffer);
  const table = new Uint32Array(256);
  classes.forEach(({ color: [r, g, b] }, i) => (table[i] = (255 << 24) | (b << 16) | (g << 8) | r));
  labels.data.forEach((label, i) => (words[i] = table[label]));
  canvas.getContext("2d").putImageData(image, 0, 0);
}
