// The request's form: prompt, requested objects, options.

import { ServiceError, post } from "./api.js";
import { byId, h, iconButton } from "./dom.js";
import { swatch } from "./palette.js";
import { furtherOf, nothing, objectsOf, withObject, withoutObject } from "./requirements.js";
import { t } from "./texts.js";

const value = (id) => byId(id).value.trim();
const number = (id) => (value(id) === "" ? undefined : Number(value(id)));

// Drawn here, so that the request can be repeated: JSON's numbers end at 2^53.
export const newSeed = () => Math.floor(Math.random() * 2 ** 31);

const FIELDS = [
  ...["prompt", "negative", "size", "seed", "candidates", "steps", "map-steps", "guidance"],
  ...["select", "early", "repaint"],
];

// What of a request the page shows somewhere.
const SHOWN = new Set([
  ...["prompt", "model", "negative_prompt", "size", "seed", "objects", "requirements", "select"],
  ...["num_inference_steps", "guidance", "candidates", "condition_steps", "factors"],
  ...["stop_at_recall", "stop_at_compliance", "map_previews", "partial_images"],
  ...["n", "image", "mask", "repaint"],
]);

export class Prompt extends EventTarget {
  constructor(chain) {
    super();
    this.chain = chain;
    this.bundle = null;
    this.asked = nothing;
    this.listed = false; // whether somebody edited it
    this.extra = {}; // fields of a request that the form doesn't show
    this.newest = 0;
    byId("prompt").addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.read(), 150);
    });
    byId("object-add").addEventListener("change", () => this.#add());
    byId("object-add").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (!event.ctrlKey) this.#add();
    });
    byId("objects-reset").addEventListener("click", () => {
      this.listed = false;
      this.read();
    });
    byId("extra-drop").addEventListener("click", () => this.#setExtra({}));
    byId("seed-lock").addEventListener("click", () => (byId("seed").value = ""));
  }

  setBundle(bundle, limits) {
    this.bundle = bundle;
    byId("candidates").max = limits.candidates;
    byId("steps").max = byId("map-steps").max = limits.steps;
    byId("steps").placeholder = bundle.steps;
    byId("map-steps").placeholder = bundle.factors[0]?.steps ?? "";
    byId("classes").replaceChildren(
      ...(bundle.palette?.classes ?? []).map(({ name }) => h("option", { value: name })),
    );
    byId("repaint").max = limits.repaint;
    byId("repaint-box").hidden = !bundle.scored;
    // What is said of maps, where the bundle makes some; of objects, where they are labelled.
    for (const id of ["candidates-box", "map-steps-box", "early-box", "chain-box"])
      byId(id).hidden = !bundle.factors.length;
    for (const id of ["objects-box", "select-box"]) byId(id).hidden = !bundle.palette;
    this.chain.setFactors(bundle.factors);
    this.read();
  }

  // What shall be met, as requests have it.
  get required() {
    return this.asked.required;
  }

  // Everything that is asked for beside classes that are there.
  get further() {
    return furtherOf(this.asked);
  }

  // The classes that shall be there, by the palette's names.
  get objects() {
    return objectsOf(this.required).map((name) => this.#known(name)?.name ?? name);
  }

  #known(name) {
    const small = name.toLowerCase();
    return this.bundle.palette?.classes.find(
      (entry) => entry.name.toLowerCase() === small || entry.synonyms.includes(small),
    );
  }

  // What the prompt asks for, as it is typed. The newest answer counts.
  async read() {
    const turn = ++this.newest;
    let found = { unrecognized: [], requirements: {}, not_understood: [] };
    if (value("prompt")) {
      try {
        found = await post("/v1/studio/objects", {
          prompt: value("prompt"),
          model: this.bundle.name,
        });
      } catch (error) {
        if (!(error instanceof ServiceError)) return; // the connection; it shows elsewhere
        found.problem = error.message;
      }
    }
    if (turn !== this.newest) return;
    if (!this.listed) this.asked = { required: found.requirements ?? {}, words: found.words ?? {} };
    this.#showChips();
    this.#showNotes(found);
  }

  #edit(asked) {
    this.asked = asked;
    this.listed = true;
    this.#showChips();
    this.#showNotes({});
    this.#putInWords();
  }

  // A request's requirements.
  async #list(required) {
    this.asked = { required, words: {} };
    await this.read();
    await this.#putInWords();
  }

  // The service has the words: those of a relation depend on what is counted elsewhere.
  async #putInWords() {
    const { required } = this.asked;
    if (!this.bundle.palette) return;
    try {
      const words = await post("/v1/studio/words", { requirements: required, model: this.bundle.name });
      if (this.required !== required) return;
      this.asked = { required, words };
      this.#showChips();
    } catch (error) {
      // Of the connection it shows elsewhere.
      if (this.required === required && error instanceof ServiceError) this.#showNotes({ problem: error.message });
    }
  }

  // Names as the palette has them are known here; the service knows plurals and other forms, too.
  async #add() {
    const field = byId("object-add");
    const name = field.value.trim();
    if (!name) return;
    let names = [this.#known(name)?.name].filter(Boolean);
    if (!names.length)
      try {
        names = (await post("/v1/studio/objects", { prompt: name, model: this.bundle.name })).requested;
      } catch (error) {
        byId("objects-note").textContent = error.message;
        return;
      }
    if (!names.length) {
      byId("objects-note").textContent = t("objects.badname", { name });
      return;
    }
    field.value = "";
    this.#edit(names.reduce(withObject, this.asked));
  }

  #showChips() {
    const colors = Object.fromEntries(
      (this.bundle.palette?.classes ?? []).map(({ name, color }) => [name, color]),
    );
    const chip = (text, color, without) => {
      const drop = () => {
        this.#edit(without);
        byId("object-add").focus();
      };
      const remove = iconButton("cross", t("objects.remove", { name: text }), drop);
      return h("span", { class: "chip", role: "listitem" }, color ? swatch(color) : null, text, remove);
    };
    byId("objects").replaceChildren(
      ...objectsOf(this.required).map((name) => {
        const known = this.#known(name)?.name ?? name;
        return chip(known, colors[known], withoutObject(this.asked, name));
      }),
      ...this.further.map(({ text, without }) => chip(text, null, without)),
    );
    byId("objects-reset").hidden = !this.listed;
    this.dispatchEvent(new Event("objects"));
  }

  #showNotes({ unrecognized = [], not_understood: unread = [], problem }) {
    const notes = [];
    if (problem) notes.push(problem);
    if (unrecognized.length)
      notes.push(t("objects.unknown", { words: unrecognized.slice(0, 12).join(", ") }));
    if (unread.length) notes.push(t("objects.unread", { words: unread.join(", ") }));
    const isEmpty = this.bundle.palette && !byId("objects").children.length;
    if (!notes.length && isEmpty && value("prompt")) notes.push(t("objects.none"));
    byId("objects-note").textContent = notes.join(" · ");
  }

  // What the form says, to tell whether it has changed. A seed that is drawn isn't its own.
  get state() {
    const fields = FIELDS.map((id) => (byId(id).type === "checkbox" ? byId(id).checked : value(id)));
    return [...fields, this.listed ? this.required : null, this.extra];
  }

  get mapSteps() {
    return number("map-steps");
  }

  // The fields that every request of this form has.
  base() {
    if (!value("prompt")) throw new Error(t("prompt.empty"));
    return {
      ...this.extra,
      prompt: value("prompt"),
      model: this.bundle.name,
      negative_prompt: value("negative") || undefined,
      size: value("size") && value("size") !== "auto" ? value("size") : undefined,
      seed: number("seed") ?? newSeed(),
      requirements: this.listed ? this.required : undefined,
      num_inference_steps: number("steps"),
      guidance: value("guidance") || undefined,
    };
  }

  async request() {
    const factors = await this.chain.read();
    if (!this.bundle.factors.length) return { ...this.base(), requirements: undefined, partial_images: 2 };
    const made = {
      ...this.base(),
      candidates: number("candidates"),
      condition_steps: number("map-steps"),
      map_previews: 2,
      partial_images: 2,
      factors,
      repaint: this.repaint(factors),
    };
    const early = byId("early").checked ? 1 : 0;
    // Without a map of labels there is nothing to choose by, and nothing is checked.
    if (this.#isChecked(factors) && value("select") === "compliance")
      return { ...made, select: "compliance", stop_at_compliance: early };
    if (!this.#isChecked(factors)) delete made.requirements;
    return { ...made, stop_at_recall: early };
  }

  // How many pictures may follow one that lacks something. With none, the picture is only checked;
  // undefined where nothing can check it.
  repaint(factors) {
    const isScored = this.bundle.scored && this.#isChecked(factors) && !this.extra.joint;
    return isScored ? (number("repaint") ?? 0) : undefined;
  }

  #isChecked(factors = {}) {
    const isThere = ({ name, optional }) => (name in factors ? factors[name] !== null : !optional);
    return this.bundle.factors.some((factor) => factor.output === "labels" && isThere(factor));
  }

  // Fills the form with a request.
  show(request) {
    byId("prompt").value = request.prompt;
    byId("negative").value = request.negative_prompt ?? "";
    byId("size").value = request.size ?? "";
    byId("seed").value = request.seed ?? "";
    byId("candidates").value = request.candidates ?? byId("candidates").value;
    byId("steps").value = request.num_inference_steps ?? "";
    byId("map-steps").value = request.condition_steps ?? "";
    byId("guidance").value = request.guidance ?? "";
    byId("select").value = request.select ?? (request.candidates ? "recall" : value("select"));
    byId("repaint").value = request.repaint ?? byId("repaint").value;
    byId("early").checked = (request.stop_at_compliance ?? request.stop_at_recall) === 1;
    const listed = request.requirements ?? (request.objects && { objects: request.objects });
    this.listed = Boolean(listed);
    this.#setExtra(Object.fromEntries(Object.entries(request).filter(([name]) => !SHOWN.has(name))));
    this.chain.show(request.factors);
    if (listed) this.#list(listed);
    else this.read();
  }

  #setExtra(fields) {
    this.extra = fields;
    byId("extra").hidden = !Object.keys(fields).length;
    byId("extra-names").textContent = t("extra", { names: Object.keys(fields).join(", ") });
  }
}
