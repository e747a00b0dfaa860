// What is sent to the service and what becomes of its answers.

import { ServiceError } from "./api.js";
import { byId, h } from "./dom.js";
import { copy } from "./edit/regions.js";
import { Job } from "./job.js";
import { changedMask } from "./mask.js";
import { readMap } from "./files.js";
import { base64, fromBase64, greyPng, readPicture, redOf, resizedLabels } from "./png.js";
import { newSeed } from "./prompt.js";
import { t } from "./texts.js";

const differ = (a, b) =>
  a.width !== b.width || a.height !== b.height || a.data.some((value, i) => value !== b.data[i]);

export class Session {
  constructor(studio) {
    this.studio = studio;
    this.job = null;
    this.last = null; // the entry that is shown
    this.shown = 0; // which maps are shown counts, as they are fetched
  }

  // Which requests there are to show: of what is shown, of what is done next.
  get kinds() {
    return [this.last ? "result" : null, "generate", this.#canPaint ? "paint" : null].filter(Boolean);
  }

  // From the map on the page; of a bundle without maps, what was painted before.
  get #canPaint() {
    const { doc, main, panel } = this.studio;
    return main ? Boolean(doc && !doc.empty) : Boolean(panel.current);
  }

  // The one that is meant: that of what is shown, while nothing has changed since; else what Paint
  // again would send, where the map was edited; else what Generate would send.
  get kind() {
    const { last } = this;
    if (last && last.form === this.#form && last.versions === this.#versions) return "result";
    const { chain, doc, main, panel } = this.studio;
    if (chain.gives(main?.name)) return "generate";
    const painted = panel.current?.painted;
    const isEdited = doc && !doc.empty && (last?.isPaint || !painted || differ(painted, doc.labels));
    return isEdited ? "paint" : "generate";
  }

  paints(kind) {
    return kind === "paint" || (kind === "result" && this.last.isPaint);
  }

  async bodyOf(kind) {
    if (kind === "result") return this.last.body;
    return kind === "paint" ? this.#paintBody() : this.studio.prompt.request();
  }

  get #form() {
    const { prompt, chain, panel } = this.studio;
    return JSON.stringify([prompt.state, chain.state, panel.wish]);
  }

  get #versions() {
    return [...this.studio.docs.values()].map((doc) => doc.version).join();
  }

  #showsAsIs(entry) {
    this.last = entry;
    Object.assign(entry, { form: this.#form, versions: this.#versions });
  }

  async generate() {
    const { studio } = this;
    if (this.job) return;
    let body;
    try {
      studio.editor.putDown();
      body = await studio.prompt.request();
    } catch (error) {
      studio.say(error.message);
      return;
    }
    const given = studio.main ? body.factors?.[studio.main.name] : null;
    const count = given === null || given?.labels || given?.map ? 0 : body.candidates;
    studio.second.setCandidates(0);
    studio.strip.clear(studio.requested, studio.bundle, count ?? 0, body.select === "compliance");
    await this.#run(body, { isPaint: false });
  }

  // Only the image's pass, from the map on the page.
  async paint() {
    const { studio } = this;
    if (this.job) return;
    let body;
    try {
      studio.editor.putDown();
      body = await this.#paintBody();
    } catch (error) {
      studio.say(error.message);
      return;
    }
    await this.#run(body, { isPaint: true, before: studio.panel.current?.picture ?? null });
  }

  async #paintBody() {
    const { panel, main, prompt, chain } = this.studio;
    if (!this.#canPaint) throw new Error(t(main ? "paint.nomap" : "paint.nopicture"));
    const { count, otherSeed, where, strength } = panel.wish;
    const shown = panel.current;
    const body = prompt.base();
    if (byId("seed").value === "") body.seed = otherSeed || !shown ? newSeed() : shown.facts.seed;
    else if (otherSeed) body.seed = newSeed();
    if (count > 1) body.n = count;
    const given = main ? await chain.mapOf(main.name) : null;
    if (main) body.factors = { ...(await this.#others()), [main.name]: given };
    else delete body.requirements;
    if (main) body.repaint = prompt.repaint(body.factors);
    if (strength !== null && given) {
      given.strength = strength;
      Object.assign(body, { candidates: 4, map_previews: 2, condition_steps: prompt.mapSteps });
    }
    if (where !== "all" && shown) Object.assign(body, await this.#part(where, shown));
    return body;
  }

  async cancel() {
    await this.job?.cancel();
  }

  reopen(entry) {
    const { studio } = this;
    this.#fillForm(entry.body, entry.isPaint);
    studio.panel.show(entry.results, entry.before);
    this.#showsAsIs(entry);
  }

  // A link's request: its maps can be edited, and its mask, if it has one, lies over its picture.
  async open(body, isPaint) {
    const { panel } = this.studio;
    this.#fillForm(body, isPaint);
    await this.#loadMaps(body.factors ?? {});
    let results = [];
    if (body.image) {
      const picture = fromBase64(body.image);
      const { width, height } = await readPicture(picture);
      const facts = { prompt: body.prompt, seed: body.seed, image: { width, height }, timings: {}, factors: {} };
      results = [{ facts, picture, maps: {}, body }];
      panel.show(results);
      if (body.mask) panel.setMask(resizedLabels(redOf(await readPicture(fromBase64(body.mask))), width, height));
    }
    this.#showsAsIs({ body, results, before: null, isPaint });
  }

  // A map that is painted again is no reason to generate from it the next time.
  #fillForm(body, isPaint) {
    const { prompt, panel, main } = this.studio;
    if (!isPaint) {
      prompt.show(body);
      return;
    }
    const { [main?.name]: own, ...factors } = body.factors ?? {};
    prompt.show({ ...body, factors, candidates: undefined });
    panel.setWish({ count: body.n ?? 1, strength: own?.strength ?? null });
  }

  async #loadMaps(factors) {
    const { docs, chain, bundle } = this.studio;
    for (const [name, options] of Object.entries(factors)) {
      const doc = docs.get(name);
      const given = options?.labels ?? options?.map;
      if (!given) continue;
      if (doc) doc.load((await readMap(fromBase64(given), doc.factor, bundle.palette)).labels);
      else chain.give(name, fromBase64(given));
    }
  }

  // The maps of a result: on the strip, and in the editor.
  async showMaps(result) {
    const { studio } = this;
    const turn = ++this.shown;
    for (const [name, blobs] of Object.entries(result.maps)) {
      const facts = result.facts.factors[name];
      const doc = studio.docs.get(name);
      const labels = doc ? await Promise.all(blobs.map(async (each) => redOf(await readPicture(each)))) : [];
      if (turn !== this.shown) return;
      if (doc) doc.load(labels[facts.chosen]);
      else studio.chain.keep(name, blobs[facts.chosen]);
      if (name !== studio.main.name || !doc?.isLabels) continue;
      result.painted = copy(labels[facts.chosen]);
      if (facts.given && studio.strip.maps.length > 1) continue; // the candidates stay to choose from
      studio.strip.clear(studio.requested, studio.bundle, labels.length);
      studio.strip.finish(facts, labels);
      studio.second.setCandidates(labels.length);
    }
    if (this.last?.results.includes(result)) this.last.versions = this.#versions;
  }

  // The factors beside the main one, as the chain says; those of before where they were sampled.
  async #others() {
    const made = (await this.studio.chain.read()) ?? {};
    for (const [name, options] of Object.entries(made)) {
      const sampled = options && !options.map && !options.labels;
      const before = this.studio.panel.current?.maps[name];
      if (!sampled || !before) continue;
      const { chosen } = this.studio.panel.current.facts.factors[name];
      made[name] = { map: await base64(before[chosen]) };
    }
    return made;
  }

  // The picture to begin with, and the mask of what becomes new.
  async #part(where, shown) {
    const { studio } = this;
    const { width, height } = shown.facts.image;
    let mask = studio.panel.mask;
    if (where === "changed" && !shown.painted) throw new Error(t("paint.unknown"));
    if (where === "changed") mask = changedMask(shown.painted, studio.doc.labels, width, height);
    else mask = mask?.data.some(Boolean) ? { ...mask, data: mask.data.map((bit) => 255 * bit) } : null;
    if (!mask) throw new Error(t(where === "changed" ? "paint.nothing" : "paint.nomask"));
    return { image: await base64(shown.picture), mask: await base64(await greyPng(mask)) };
  }

  async #run(body, { isPaint, before = null }) {
    const { studio } = this;
    const began = performance.now();
    this.#busy(true);
    studio.say(null);
    this.#progress(t("progress.send"), 0);
    this.job = new Job(body);
    try {
      const results = await this.job.run({
        progress: (event) => this.#tell(event),
        map: (map) => {
          const { picture, factor, candidate, labels, step, num_steps: steps } = map;
          if (picture === 0 && factor === studio.main.name) studio.strip.form(candidate, labels, step, steps, map);
        },
        preview: (picture, blob) => picture === 0 && studio.panel.showPreview(blob),
        lost: (isLost) => this.#lost(isLost),
      });
      if (!results) {
        studio.panel.hidePreview();
        this.#progress(t("cancelled"), 0);
        return;
      }
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      const entry = { body, results, before, isPaint };
      studio.panel.show(results, before);
      this.#showsAsIs(entry);
      studio.shelf.add(entry);
      studio.showTab("picture");
      this.#progress(t("progress.done", { seconds }), 1);
      document.documentElement.dataset.painted = seconds;
    } catch (error) {
      studio.panel.hidePreview();
      byId("progress").hidden = true;
      if (error instanceof ServiceError && error.status === 404) this.#forgotten(body, { isPaint, before });
      else studio.say(error instanceof TypeError ? t("lost.send") : error.message);
    } finally {
      this.job = null;
      this.#busy(false);
    }
  }

  #busy(isBusy) {
    byId("generate").disabled = isBusy;
    byId("cancel").hidden = !isBusy;
    this.studio.panel.busy(isBusy);
    document.documentElement.toggleAttribute("data-busy", isBusy);
  }

  #progress(text, share) {
    byId("progress").hidden = false;
    byId("progress-text").textContent = text;
    byId("bar").value = share;
  }

  #tell(event) {
    if (event.status === "queued") this.#progress(t("progress.queue", event), 0);
    if (!event.progress) return;
    const { factor, step, num_steps: steps, picture, attempt } = event.progress;
    // Stages in the order of the chain; each has an equal part of the bar.
    const { bundle } = this.studio;
    const left = this.job.body.factors ?? {};
    const stages = bundle.factors
      .filter(({ name, optional }) => (name in left ? left[name] && !(left[name].map || left[name].labels) : !optional))
      .map(({ name }) => name);
    const place = Math.max(0, stages.indexOf(factor) < 0 ? stages.length : stages.indexOf(factor));
    const done = (place + step / steps) / (stages.length + 1);
    const pictures = event.n ?? 1;
    const words = t("progress.step", { factor, step, steps });
    const most = (this.job.body.repaint ?? 0) + 1;
    const text = attempt ? t("progress.attempt", { number: attempt + 1, most, words }) : words;
    this.#progress(text, Math.min(1, (picture + done) / pictures));
  }

  #lost(isLost) {
    const banner = byId("banner");
    if (!isLost && !banner.hidden) this.studio.say(t("lost.back"), false);
    banner.hidden = !isLost;
    banner.replaceChildren(isLost ? t("lost.retry") : "");
  }

  // The service was restarted: the same request can be sent again.
  #forgotten(body, how) {
    const banner = byId("banner");
    banner.hidden = false;
    const again = h("button", {
      type: "button",
      text: t("lost.again"),
      onclick: () => {
        banner.hidden = true;
        this.#run(body, how);
      },
    });
    banner.replaceChildren(t("lost.job"), again);
  }
}
