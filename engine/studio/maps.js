// The map's card: whose map is shown, how it comes about, maps in files.

import { byId, download, h, iconButton } from "./dom.js";
import { GREYS, MapDocument, emptyMap } from "./document.js";
import { pickFile, readMap, saveMap } from "./files.js";
import { readPicture } from "./png.js";
import { StillMap } from "./still.js";
import { t } from "./texts.js";

export class MapCard {
  constructor(studio) {
    this.studio = studio;
    this.docs = new Map(); // of factors whose maps are painted here
    this.factor = null;
    this.still = new StillMap((blob) => studio.panel.urlOf(blob));
    this.still.addEventListener("open", () => this.give(this.factor));
    studio.chain.addEventListener("change", () => this.#showUse());
    byId("map-files").append(
      iconButton("blank", t("map.new"), () => {
        const { factor, labels } = this.studio.editor.doc;
        this.studio.editor.putDown();
        this.studio.editor.doc.load(emptyMap(factor, labels.width, labels.height, this.studio.bundle.palette));
      }, { id: "map-new" }),
      iconButton("open", t("map.import"), () => this.give(this.factor), { id: "map-open" }),
      iconButton("save", t("map.export"), () => this.#save(), { id: "map-save" }),
      iconButton("numbers", t("map.labels"), () => saveMap(this.studio.editor.doc, true), { id: "map-labels" }),
    );
  }

  setBundle({ factors, palette }) {
    const colors = (palette?.classes ?? []).map(({ color }) => color);
    this.docs.clear();
    this.factor = null;
    for (const factor of factors) {
      if (!["labels", "depth", "sketch"].includes(factor.output)) continue;
      const map = emptyMap(factor, factor.width, factor.height, palette);
      const doc = new MapDocument(factor, map, factor.output === "labels" ? colors : GREYS);
      doc.addEventListener("edit", () => this.#use(factor));
      this.docs.set(factor.name, doc);
    }
    byId("factor-tabs").replaceChildren(
      ...factors.map(({ name }) =>
        h("button", { type: "button", "data-factor": name, onclick: () => this.show(name), text: name }),
      ),
    );
  }

  show(name) {
    for (const tab of byId("factor-tabs").children)
      tab.setAttribute("aria-pressed", String(tab.dataset.factor === name));
    this.factor = this.studio.bundle.factors.find((factor) => factor.name === name);
    const doc = this.docs.get(name);
    this.studio.editor.isOpen = Boolean(doc);
    byId("map-card").classList.toggle("looked-at", !doc);
    if (doc) this.studio.editor.setDocument(doc);
    else this.studio.editor.putDown();
    this.#showUse();
  }

  // How the factor's map comes about, beside it; a picture that is looked at.
  #showUse() {
    if (!this.factor) return;
    const { name } = this.factor;
    const field = byId("map-use");
    if (field?.dataset.factor === name) field.value = this.studio.chain.modeOf(name);
    else {
      const made = this.studio.chain.fieldFor(name);
      made.dataset.factor = name;
      byId("map-use-box").replaceChildren(h("label", { class: "inline" }, t("map.use"), made));
    }
    if (!this.docs.has(name)) this.still.show(this.factor, this.studio.chain.pictures.get(name) ?? null);
  }

  // A map that somebody draws is there to be used.
  #use({ name, optional }) {
    if (!optional || this.studio.chain.modeOf(name) !== "out") return;
    this.studio.chain.setMode(name, "given");
    this.studio.say(t("chain.nowgiven", { name }), false);
  }

  // Somebody's file as a map of a factor; null where there is none, or where it was refused.
  async read(factor) {
    const file = await pickFile();
    if (!file) return null;
    try {
      const doc = this.docs.get(factor.name);
      const { labels, notes } = await readMap(file, factor, this.studio.bundle.palette, doc.labels);
      this.studio.say([t("open.done", { name: file.name }), ...notes].join(". "), false);
      return labels;
    } catch (error) {
      this.studio.say(error.message);
      return null;
    }
  }

  // A picture for a factor whose map isn't edited.
  async #look(factor, file) {
    try {
      await readPicture(file, file.name);
    } catch (error) {
      this.studio.say(error.message);
      return;
    }
    this.studio.chain.give(factor.name, file);
    this.studio.say(t("open.done", { name: file.name }), false);
    this.show(factor.name);
  }

  // A picture for a factor of the chain.
  async give(factor) {
    if (!this.docs.has(factor.name)) {
      const file = await pickFile();
      if (file) await this.#look(factor, file);
      return;
    }
    const labels = await this.read(factor);
    if (!labels) return;
    this.docs.get(factor.name).load(labels);
    if (factor.optional) this.studio.chain.setMode(factor.name, "given");
    this.show(factor.name);
  }

  #save() {
    if (this.docs.has(this.factor.name)) saveMap(this.studio.editor.doc, false);
    else if (this.still.picture) download(this.still.picture, `${this.factor.name}.png`);
    else this.studio.say(t("still.none", { name: this.factor.name }));
  }
}
