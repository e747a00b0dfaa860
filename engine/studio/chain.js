// The chain: how each factor's map comes about when a picture is generated.

import { byId, h, iconButton } from "./dom.js";
import { base64, greyPng } from "./png.js";
import { t } from "./texts.js";

const MODES = ["sampled", "given", "refined", "out"];
const usual = (factor) => (factor.optional ? "out" : "sampled");

// Events: change (what a row says, or has).
export class Chain extends EventTarget {
  // documentOf: the map on the page of a factor, or null. open: asks for a picture of a factor.
  constructor(documentOf, open) {
    super();
    this.documentOf = documentOf;
    this.open = open;
    this.rows = new Map();
    this.pictures = new Map(); // given pictures of factors that aren't painted here
  }

  setFactors(factors) {
    this.factors = factors;
    this.rows.clear();
    this.pictures.clear();
    byId("chain").replaceChildren(...factors.map((factor) => this.#row(factor)));
  }

  modeOf(name) {
    return this.rows.get(name).mode.value;
  }

  setMode(name, mode) {
    const row = this.rows.get(name);
    row.mode.value = mode;
    this.#refresh(row);
  }

  // The picture that a factor gets: RGB PNG in a blob.
  give(name, picture) {
    this.pictures.set(name, picture);
    this.setMode(name, "given");
  }

  // The picture of a factor that was sampled: to look at, and to give the next time.
  keep(name, picture) {
    this.pictures.set(name, picture);
    this.#refresh(this.rows.get(name));
  }

  // A field that says and sets what a factor's row says.
  fieldFor(name) {
    const field = h(
      "select",
      { id: "map-use", onchange: () => this.setMode(name, field.value) },
      MODES.map((mode) => h("option", { value: mode, text: t(`chain.${mode}`) })),
    );
    field.value = this.modeOf(name);
    return field;
  }

  // `factors` of a request; undefined where all is as the bundle has it. Throws Error where a map
  // is to be given and there is none.
  async read() {
    const made = {};
    for (const [name, row] of this.rows) {
      const mode = row.mode.value;
      const own = row.prompt.value.trim() ? { prompt: row.prompt.value.trim() } : {};
      if (mode === "out") {
        if (!row.factor.optional) made[name] = null;
      } else if (mode === "sampled") {
        if (row.factor.optional || own.prompt) made[name] = own;
      } else {
        const strength = mode === "refined" ? { strength: Number(row.strength.value) } : {};
        made[name] = { ...own, ...(await this.mapOf(name)), ...strength };
      }
    }
    return Object.keys(made).length ? made : undefined;
  }

  // Whether generating takes a factor's map from the page.
  gives(name) {
    return ["given", "refined"].includes(this.rows.get(name)?.mode.value);
  }

  // What the rows say, to tell whether they have changed.
  get state() {
    return [...this.rows.values()].map(({ mode, prompt, strength }) => [mode.value, prompt.value, strength.value]);
  }

  async mapOf(name) {
    const picture = this.pictures.get(name);
    if (picture) return { map: await base64(picture) };
    const doc = this.documentOf(name);
    if (!doc || doc.empty) throw new Error(t("chain.nomap", { name }));
    const png = await base64(await greyPng(doc.labels));
    return doc.isLabels ? { labels: png } : { map: png };
  }

  // Shows what a request of a link says.
  show(factors = {}) {
    for (const [name, row] of this.rows) {
      const given = factors[name];
      if (name in factors)
        row.mode.value =
          given === null ? "out" : given.labels || given.map ? (given.strength === undefined ? "given" : "refined") : "sampled";
      else row.mode.value = usual(row.factor);
      row.prompt.value = given?.prompt ?? "";
      if (given?.strength !== undefined) row.strength.value = given.strength;
      this.#refresh(row);
    }
    const changed = [...this.rows.values()].some(
      (row) => row.mode.value !== (usual(row.factor)),
    );
    if (changed) byId("chain-box").open = true;
  }

  #row(factor) {
    const { name } = factor;
    const row = { factor };
    const option = (value) => h("option", { value, text: t(`chain.${value}`) });
    row.mode = h(
      "select",
      { id: `chain-${name}`, onchange: () => this.#refresh(row) },
      MODES.map(option),
    );
    row.mode.value = usual(factor);
    row.strength = h("input", {
      type: "range", min: 0.05, max: 1, step: 0.05, value: 0.6,
      "aria-label": t("chain.strength", { name }),
    });
    row.prompt = h("input", {
      "aria-label": t("chain.prompt", { name }), placeholder: t("chain.prompt", { name }),
    });
    row.file = iconButton("open", t("chain.import", { name }), () => this.open(factor));
    row.note = h("span", { class: "quiet" });
    this.rows.set(name, row);
    const element = h(
      "div",
      { class: "factor" },
      h("div", { class: "row" }, h("label", { for: `chain-${name}`, text: name }), row.mode, row.file),
      row.note,
      row.strength,
      row.prompt,
    );
    this.#refresh(row);
    return element;
  }

  #refresh(row) {
    const mode = row.mode.value;
    row.strength.hidden = mode !== "refined";
    row.prompt.hidden = mode !== "sampled" && mode !== "refined";
    row.file.hidden = mode !== "given" && mode !== "refined";
    const picture = this.pictures.has(row.factor.name);
    row.note.textContent = picture && !row.file.hidden ? t("chain.imported") : "";
    this.dispatchEvent(new Event("change"));
  }
}
