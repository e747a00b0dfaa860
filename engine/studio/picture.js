// The picture's panel: before and after, several results, what is painted again and where.

import { byId, download, h, iconButton } from "./dom.js";
import { MaskPainter } from "./mask.js";
import { scored } from "./scored.js";
import { t } from "./texts.js";

export class PicturePanel extends EventTarget {
  constructor() {
    super();
    this.results = [];
    this.index = 0;
    this.before = null;
    this.urls = new Map();
    this.#build();
  }

  get current() {
    return this.results[this.index] ?? null;
  }

  // What is to be painted: seeds, where, whether the map is refined.
  get wish() {
    return {
      count: Number(this.count.value),
      otherSeed: this.other.checked,
      where: this.current ? this.where.value : "all",
      strength: this.refine.checked ? Number(this.strength.value) : null,
    };
  }

  get mask() {
    return this.painter.mask;
  }

  // Fills the fields with those of a request.
  setWish({ count, strength }) {
    this.count.value = count;
    this.other.checked = false;
    this.where.value = "all";
    this.refine.checked = strength !== null;
    this.strength.value = strength ?? this.strength.value;
    this.strengthLabel.hidden = strength === null;
    this.#setMode();
  }

  // A mask of the picture's size: where the request painted anew.
  setMask({ width, height, data }) {
    this.where.value = "mask";
    this.#setMode();
    this.painter.set({ width, height, data: data.map((value) => (value < 128 ? 0 : 1)) });
  }

  // results: {facts, picture: Blob}. before: the Blob that was there before, or null.
  show(results, before = null, index = 0) {
    this.results = results;
    this.before = before;
    this.preview.hidden = true;
    this.#thumbnails();
    this.pick(index);
  }

  pick(index) {
    this.index = index;
    const { picture, facts } = this.current;
    this.after.src = this.#url(picture);
    this.after.alt = facts.prompt;
    this.after.hidden = false;
    this.empty.hidden = true;
    this.old.hidden = this.divider.hidden = !this.before;
    this.frame.classList.toggle("divided", Boolean(this.before));
    if (this.before) this.old.src = this.#url(this.before);
    this.#divide();
    this.save.hidden = this.controls.hidden = false;
    this.#setMode();
    [...this.thumbs.children].forEach((item, i) =>
      item.firstChild.setAttribute("aria-pressed", String(i === index)),
    );
    this.score.replaceChildren(...scored(facts.repaint));
    this.#timings(facts.timings);
    this.dispatchEvent(new Event("pick"));
  }

  // A picture that isn't done yet.
  showPreview(picture) {
    this.preview.src = this.#url(picture);
    this.preview.hidden = false;
    this.empty.hidden = true;
  }

  hidePreview() {
    this.preview.hidden = true;
    this.empty.hidden = Boolean(this.current);
  }

  ready(isReady) {
    this.controls.hidden = !isReady && !this.current;
  }

  // While a request is at work no other is sent.
  busy(isBusy) {
    this.go.disabled = isBusy;
  }

  #url(blob) {
    if (!this.urls.has(blob)) {
      if (this.urls.size > 200) {
        const [oldest, url] = this.urls.entries().next().value;
        URL.revokeObjectURL(url);
        this.urls.delete(oldest);
      }
      this.urls.set(blob, URL.createObjectURL(blob));
    }
    return this.urls.get(blob);
  }

  urlOf(blob) {
    return this.#url(blob);
  }

  #build() {
    const panel = byId("picture-panel");
    this.after = h("img", { class: "after", hidden: true, alt: "" });
    this.old = h("img", { class: "old", hidden: true, alt: t("picture.before") });
    this.preview = h("img", { class: "preview", hidden: true, alt: "" });
    this.empty = h("p", { class: "empty quiet", text: t("picture.empty") });
    this.frame = h("div", { class: "frame" }, this.after, this.old, this.preview, this.empty);
    this.painter = new MaskPainter(this.frame);
    this.slider = h("input", {
      type: "range", min: 0, max: 100, value: 50, "aria-label": t("picture.slider"),
      oninput: () => this.#divide(),
    });
    this.divider = h(
      "div",
      { class: "divider", hidden: true },
      h("span", { text: t("picture.before") }),
      this.slider,
      h("span", { text: t("picture.after") }),
    );
    this.thumbs = h("div", { class: "thumbs", role: "group", "aria-label": t("picture.results") });
    this.score = h("div", { class: "scored", role: "group", "aria-label": t("scored.title") });
    this.timing = h("div", { class: "timings" });
    this.go = h(
      "button",
      { type: "button", class: "primary", id: "paint", onclick: () => this.dispatchEvent(new Event("paint")) },
      t("paint.again"),
    );
    this.count = h("input", { type: "number", min: 1, max: 4, value: 1 });
    this.other = h("input", { type: "checkbox" });
    this.where = h(
      "select",
      { id: "where", onchange: () => this.#setMode() },
      ["all", "changed", "mask"].map((name) => h("option", { value: name, text: t(`paint.${name}`) })),
    );
    this.refine = h("input", {
      type: "checkbox", id: "refine", onchange: () => (this.strengthLabel.hidden = !this.refine.checked),
    });
    this.strength = h("input", { type: "range", min: 0.05, max: 1, step: 0.05, value: 0.5 });
    this.strengthLabel = h("label", { class: "inline", hidden: true }, t("paint.strength"), this.strength);
    this.refineLabel = h("label", { class: "check" }, this.refine, t("paint.refine"));
    this.maskOptions = this.painter.options;
    this.controls = h(
      "div",
      { class: "paint", hidden: true },
      h(
        "div",
        { class: "row" },
        this.go,
        h("label", { class: "inline" }, t("paint.seeds"), this.count),
        h("label", { class: "check" }, this.other, t("paint.newseed")),
      ),
      h(
        "div",
        { class: "row" },
        h("label", { class: "inline" }, t("paint.where"), this.where),
        this.refineLabel,
        this.strengthLabel,
      ),
      this.maskOptions,
    );
    panel.append(this.frame, this.divider, this.thumbs, this.score, this.controls, this.timing);
    this.save = iconButton(
      "save",
      t("picture.save"),
      () => download(this.current.picture, `fgdm-${this.current.facts.seed}.png`),
      { hidden: true },
    );
    byId("picture-files").append(this.save);
  }

  // Whether pictures are painted from maps.
  setMaps(hasMaps) {
    const changed = this.where.querySelector("[value=changed]");
    changed.hidden = changed.disabled = this.refineLabel.hidden = !hasMaps;
    if (!hasMaps) this.refine.checked = false;
  }

  setLimit(images) {
    this.count.max = images;
  }

  #setMode() {
    const paints = this.where.value === "mask" && this.current !== null;
    this.painter.setActive(paints, this.current?.facts.image);
  }

  #divide() {
    this.old.style.clipPath = `inset(0 ${100 - this.slider.value}% 0 0)`;
    this.frame.style.setProperty("--divide", `${this.slider.value}%`);
  }

  #thumbnails() {
    const many = this.results.length > 1;
    this.thumbs.replaceChildren(
      ...(many ? this.results : []).map(({ picture, facts }, i) =>
        h(
          "span",
          {},
          h(
            "button",
            {
              type: "button", class: "thumb", onclick: () => this.pick(i),
              "aria-label": t("picture.result", { seed: facts.seed }),
            },
            h("img", { src: this.#url(picture), alt: "" }),
          ),
        ),
      ),
    );
  }

  #timings(timings) {
    const stages = Object.entries(timings).filter(
      ([name, seconds]) => !["total", "queue"].includes(name) && seconds > 0.0005,
    );
    const sum = stages.reduce((all, [, seconds]) => all + seconds, 0);
    if (!stages.length) {
      this.timing.replaceChildren();
      return;
    }
    this.timing.replaceChildren(
      h("h3", { text: t("timing.title") }),
      h(
        "div",
        { class: "stack", "aria-hidden": "true" },
        stages.map(([name, seconds]) => {
          const part = h("span", { class: `stage-${name}` });
          part.style.flexGrow = seconds / sum;
          return part;
        }),
      ),
      h(
        "ul",
        {},
        stages
          .sort((a, b) => b[1] - a[1])
          .map(([name, seconds]) =>
            h(
              "li",
              {},
              h("span", { class: `dot stage-${name}`, "aria-hidden": "true" }),
              t("timing.text", { stage: t(`stage.${name}`), seconds: seconds.toFixed(seconds < 0.1 ? 3 : 2) }),
            ),
          ),
      ),
    );
  }
}
