// A request on its way: sent, followed, cancelled; its results fetched when it is done.

import { blob, follow, post, remove } from "./api.js";
import { fromBase64, readPicture, redOf } from "./png.js";

export class Job {
  constructor(body) {
    this.body = body;
    this.id = null;
    this.leaving = new AbortController();
    this.isCancelled = false;
  }

  // Resolves with the results; throws ServiceError, or null where it was cancelled.
  // listeners: progress(event), map({picture, factor, candidate, step, num_steps, labels}),
  // preview(picture, blob), lost(whether).
  async run(listeners) {
    const job = await post("/v1/studio/jobs", this.body, this.leaving.signal);
    this.id = job.id;
    if (this.isCancelled) await remove(`/v1/jobs/${this.id}`);
    let last = null;
    let shown = Promise.resolve();
    const tell = (event) => {
      last = event;
      listeners.progress(event);
      shown = shown.then(() => this.#show(event, listeners));
    };
    try {
      await follow(this.id, tell, listeners.lost, this.leaving.signal);
    } catch (error) {
      if (!this.leaving.signal.aborted) throw error;
      return null;
    } finally {
      listeners.lost(false);
    }
    await shown;
    if (last.status === "cancelled") return null;
    if (last.status === "failed") throw new Error(last.error.message);
    return Promise.all(last.facts.map((facts, index) => this.#fetch(facts, index, last.pictures[index])));
  }

  // Where the service can't be reached, the page at least waits no longer.
  async cancel() {
    this.isCancelled = true;
    try {
      if (this.id) await remove(`/v1/jobs/${this.id}`);
    } catch {
      this.leaving.abort();
    }
  }

  async #show(event, listeners) {
    for (const map of event.maps ?? []) {
      if (!map.labels) continue;
      listeners.map({ ...map, labels: redOf(await readPicture(fromBase64(map.labels))) });
    }
    for (const preview of event.previews ?? [])
      listeners.preview(preview.picture, fromBase64(preview.image));
  }

  // A result: facts without pixels, the picture, the maps of every candidate and factor, of which
  // some came with the last event.
  async #fetch(facts, index, sent) {
    const factors = Object.entries(facts.factors);
    const place = `/v1/studio/jobs/${this.id}/images/${index}/factors`;
    const [picture, ...maps] = await Promise.all([
      fromBase64(sent.image),
      ...factors.map(([factor, { candidates }]) =>
        factor in sent.maps
          ? [fromBase64(sent.maps[factor])]
          : Promise.all(candidates.map((_, candidate) => blob(`${place}/${factor}/${candidate}`))),
      ),
    ]);
    const named = Object.fromEntries(factors.map(([factor], i) => [factor, maps[i]]));
    return { facts, picture, maps: named, body: this.body };
  }
}
