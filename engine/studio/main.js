// The page: fetches the bundles, and lets its parts know of each other.

import { get } from "./api.js";
import { Chain } from "./chain.js";
import { Checker } from "./checker.js";
import { announce, byId, h, showDialog } from "./dom.js";
import { replaceBackground } from "./edit/regions.js";
import { Editor } from "./editor.js";
import { fromHash } from "./link.js";
import { MapCard } from "./maps.js";
import { Palette } from "./palette.js";
import { PicturePanel } from "./picture.js";
import { Prompt } from "./prompt.js";
import { RecallBar } from "./recall.js";
import { furtherMet } from "./requirements.js";
import { SecondMap } from "./second.js";
import { Session } from "./session.js";
import { copyLink, showJson } from "./share.js";
import { Shelf } from "./shelf.js";
import { Strip } from "./strip.js";
import { keys, t } from "./texts.js";

class Studio {
  constructor() {
    this.palette = new Palette();
    this.editor = new Editor(this.palette);
    this.chain = new Chain((name) => this.docs.get(name) ?? null, (factor) => this.maps.give(factor));
    this.prompt = new Prompt(this.chain);
    this.strip = new Strip();
    this.recall = new RecallBar();
    this.checker = new Checker();
    this.panel = new PicturePanel();
    this.second = new SecondMap((label) => this.palette.nameOf(label));
    this.maps = new MapCard(this);
    this.shelf = new Shelf((blob) => this.panel.urlOf(blob));
    this.session = new Session(this);
    this.#wire();
  }

  async open() {
    const { bundles, limits } = await get("/v1/studio/bundles");
    this.limits = limits;
    byId("bundle").replaceChildren(...bundles.map(({ name }) => h("option", { value: name, text: name })));
    byId("bundle").onchange = () => this.setBundle(bundles.find(({ name }) => name === byId("bundle").value));
    this.panel.setLimit(limits.images);
    this.bundles = bundles;
    this.setBundle(bundles[0]);
    await this.followLink();
  }

  async followLink() {
    try {
      const found = await fromHash(location.hash);
      if (!found) return;
      const { request, isPaint } = found;
      const bundle = this.bundles.find(({ name }) => name === request.model);
      if (bundle) this.setBundle(bundle);
      await this.session.open(request, isPaint);
      if (request.model && !bundle)
        this.say(t("request.nobundle", { name: request.model, instead: this.bundle.name }));
    } catch {
      this.say(t("request.badlink"));
    }
  }

  setBundle(bundle) {
    this.bundle = bundle;
    byId("bundle").value = bundle.name;
    byId("engine").textContent = `${bundle.backend} · ${bundle.precision} · ${bundle.width} × ${bundle.height}`;
    // The factor whose maps are chosen from; none of a bundle that paints pictures alone.
    this.main = bundle.factors.findLast((factor) => factor.output === "labels") ?? bundle.factors[0];
    this.palette.setClasses(bundle.palette?.classes ?? []);
    this.maps.setBundle(bundle);
    this.prompt.setBundle(bundle, this.limits);
    this.strip.clear([], bundle);
    this.second.setCandidates(0);
    for (const id of ["skip", "strip-card", "map-card", "tab-second"]) byId(id).hidden = !this.main;
    this.panel.setMaps(Boolean(this.main));
    if (this.main) this.maps.show(this.main.name);
    else {
      this.editor.leave();
      this.showTab("picture");
    }
  }

  // The documents of the maps that can be edited, by factor; that of the main one.
  get docs() {
    return this.maps.docs;
  }

  get doc() {
    return this.docs.get(this.main?.name);
  }

  // Class indices of the requested objects.
  get requested() {
    const classes = this.bundle.palette?.classes ?? [];
    return this.prompt.objects
      .map((name) => classes.findIndex((entry) => entry.name === name))
      .filter((label) => label >= 0);
  }

  // Says something under the form's button, and to screen readers.
  say(text, isWrong = true) {
    const place = byId("error");
    place.textContent = text ?? "";
    place.hidden = !text;
    place.classList.toggle("wrong", isWrong);
  }

  showTab(name) {
    for (const each of ["picture", "second"]) {
      byId(`tab-${each}`).setAttribute("aria-selected", String(each === name));
      byId(`tab-${each}`).tabIndex = each === name ? 0 : -1;
      byId(`${each}-panel`).hidden = each !== name;
    }
    if (name === "second") this.second.view.fit();
  }

  // Recall is counted once a frame, however many events a stroke has; the rest once it rests.
  #soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#check();
    });
  }

  #check() {
    const { doc } = this.editor;
    const { required, further } = this.prompt;
    if (!doc?.isLabels || doc.empty || !further.length) this.checker.clear();
    else this.checker.ask(this.bundle.name, doc.labels, required);
    this.#showRecall();
  }

  #showRecall() {
    const { doc } = this.editor;
    const { answer, isOld } = this.checker;
    byId("map-empty").hidden = !doc?.empty;
    if (!doc?.isLabels || doc.empty) this.recall.hide();
    else
      this.recall.show(
        doc.labels, this.requested, this.bundle.palette.classes, doc.factor.min_area,
        furtherMet(answer ?? []), isOld,
      );
    this.panel.ready(Boolean(this.doc && !this.doc.empty));
  }

  #wire() {
    this.editor.addEventListener("change", () => this.#soon());
    this.prompt.addEventListener("objects", () => this.#check());
    this.checker.addEventListener("change", () => this.#showRecall());
    byId("request").addEventListener("submit", (event) => {
      event.preventDefault();
      this.session.generate();
    });
    byId("error").addEventListener("click", () => this.say(null));
    byId("cancel").addEventListener("click", () => this.session.cancel());
    this.panel.addEventListener("paint", () => this.session.paint());
    this.panel.addEventListener("pick", () => this.session.showMaps(this.panel.current));
    this.strip.addEventListener("choose", ({ detail }) => {
      this.strip.choose(detail.index);
      this.editor.putDown();
      this.doc.load(detail.labels);
      this.maps.show(this.main.name);
    });
    this.second.addEventListener("candidate", ({ detail }) =>
      this.second.show(this.strip.maps[detail].labels, this.doc.colors, detail),
    );
    this.strip.addEventListener("second", ({ detail }) => {
      this.second.show(detail.labels, this.doc.colors, detail.index);
      this.showTab("second");
      this.second.view.element.focus();
    });
    this.second.addEventListener("open", async () => {
      const labels = await this.maps.read(this.main);
      if (labels) this.second.show(labels, this.doc.colors);
    });
    this.second.addEventListener("take", ({ detail }) => {
      this.maps.show(this.main.name);
      this.editor.takeFrom(detail.labels, detail.mask);
    });
    this.second.addEventListener("background", ({ detail }) => {
      const { classes } = this.bundle.palette;
      const things = classes.flatMap(({ kind }, label) => (kind === "thing" ? [label] : []));
      if (detail.width !== this.doc.labels.width || detail.height !== this.doc.labels.height) {
        this.say(t("second.size"));
        return;
      }
      this.editor.putDown();
      this.doc.change(replaceBackground(this.doc.labels, detail, things));
    });
    this.shelf.addEventListener("open", ({ detail }) => this.session.reopen(detail));
    const tabs = [byId("tab-picture"), byId("tab-second")];
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => this.showTab(i ? "second" : "picture"));
      tab.addEventListener("keydown", (event) => {
        if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
        this.showTab(i ? "picture" : "second");
        tabs[1 - i].focus();
      });
    });
    byId("show-json").addEventListener("click", () => showJson(this.session));
    byId("copy-link").addEventListener("click", () => copyLink(this));
    byId("show-help").addEventListener("click", () => showHelp());
    byId("theme").addEventListener("click", () => {
      const { dataset } = document.documentElement;
      const isDark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      dataset.theme = isDark ? "light" : "dark";
      localStorage.setItem("fgdm-theme", dataset.theme);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        if (event.shiftKey) this.session.paint();
        else this.session.generate();
      } else if (event.key === "?" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) showHelp();
    });
    addEventListener("hashchange", () => this.followLink());
  }
}

function showHelp() {
  if (byId("dialog").open) return;
  showDialog(
    t("help.title"),
    h("table", {}, h("tbody", {}, keys.map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", { text: key })), h("td", { text: what }))))),
  );
}

const studio = new Studio();
await studio.open().catch((error) => studio.say(error.message));
document.documentElement.dataset.ready = "";
announce("");
