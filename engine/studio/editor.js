// The map's card: a document on a view, the tools, what is selected, the keys.

import { announce, byId, h, iconButton } from "./dom.js";
import { recolor, regionAt, erase, UNLABELED } from "./edit/regions.js";
import { lift } from "./edit/pieces.js";
import { resizedLabels } from "./png.js";
import { follow } from "./pointers.js";
import { Selection } from "./selection.js";
import { t } from "./texts.js";
import { makeTools, paintSelection } from "./tools.js";
import { MapView, strokeTwice } from "./view.js";

const HINTED = new Set(["select", "lasso", "line", "polygon"]);
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Editor extends EventTarget {
  constructor(palette) {
    super();
    this.palette = palette;
    this.view = new MapView(byId("map-view"), t("map.view"));
    this.view.paint = (context, unit) => this.#paint(context, unit);
    this.doc = null;
    this.selection = null;
    this.radius = 3;
    this.words = "";
    this.cursor = [0, 0];
    this.pointer = null;
    this.tool = "select";
    this.isOpen = true; // whether its map is seen
    this.tools = makeTools(this);
    this.#buildTools();
    this.#buildZoom();
    follow(this.view, {
      down: (point, event) => this.doc && this.#down(point, event),
      move: (points, event, events) => this.doc && this.tools[this.tool].move?.(points, event, events),
      up: () => this.tools[this.tool].up?.(),
      cancel: () => this.tools[this.tool].cancel?.(),
      hover: (point) => ((this.pointer = point), this.view.refresh()),
      leave: () => ((this.pointer = null), this.view.refresh()),
      wheel: (direction) => this.tools[this.tool].sized && this.#resizeBrush(direction),
    });
    byId("map-card").addEventListener("keydown", (event) => this.#key(event));
    this.view.element.addEventListener("focus", () => this.view.refresh());
    this.view.element.addEventListener("blur", () => this.view.refresh());
  }

  get current() {
    return this.palette.current;
  }

  // What the eraser leaves: no class, or the ground of a drawing.
  get blank() {
    if (this.doc.isLabels) return UNLABELED;
    return this.doc.factor.lines === "black" ? 255 : 0;
  }

  get cursorPoint() {
    return [this.cursor[0] + 0.5, this.cursor[1] + 0.5];
  }

  nameOf(label) {
    return this.palette.nameOf(label);
  }

  setDocument(doc) {
    this.putDown();
    this.doc?.removeEventListener("change", this.listener);
    this.doc = doc;
    this.selection = null;
    this.listener = ({ detail }) => {
      this.view.draw(doc.labels, detail);
      this.#refreshTools();
      this.dispatchEvent(new Event("change"));
    };
    doc.addEventListener("change", this.listener);
    this.view.setColors(doc.colors, !doc.isLabels);
    this.palette.setDocument(doc);
    this.cursor = [doc.labels.width >> 1, doc.labels.height >> 1];
    this.view.draw(doc.labels);
    this.setTool(this.tool);
    this.dispatchEvent(new Event("change"));
  }

  // Of a bundle without maps.
  leave() {
    this.putDown();
    this.doc?.removeEventListener("change", this.listener);
    this.doc = null;
    this.isOpen = false;
  }

  setTool(name) {
    this.tools[this.tool].cancel?.();
    if (name !== "select" && name !== "lasso" && name !== "pan") this.putDown();
    this.tool = name;
    this.view.element.dataset.tool = name;
    for (const button of byId("tools").querySelectorAll("[data-tool]"))
      button.setAttribute("aria-pressed", String(button.dataset.tool === name));
    this.refreshOptions();
    this.view.refresh();
  }

  // Selects a mask of the map; null selects nothing.
  select(mask) {
    this.putDown();
    this.selection = mask ? Selection.of(this.doc, mask) : null;
    if (this.selection) {
      const { box, area, label } = this.selection;
      announce(t("sel.said", { name: this.nameOf(label), area, x: box.x, y: box.y }));
    } else announce(t("sel.gone"));
    this.refreshOptions();
    this.view.refresh();
  }

  // Takes a region of another map, in the air over the same place.
  takeFrom(labels, mask) {
    const { width, height } = this.doc.labels;
    const lifted = lift(
      resizedLabels(labels, width, height),
      resizedLabels(mask, width, height),
    );
    if (!lifted) return;
    this.setTool("select");
    this.putDown();
    this.selection = Selection.added(this.doc, lifted.piece, lifted.x, lifted.y);
    this.view.element.focus();
    announce(t("second.copied", { name: this.nameOf(this.selection.label) }));
    this.selectionChanged(false);
  }

  putDown() {
    this.selection?.put();
    this.selection = null;
    this.refreshOptions();
    this.view.refresh();
  }

  selectionChanged(say = true) {
    this.refreshOptions();
    this.view.refresh();
    if (say && this.selection) announce(t("sel.moved", this.selection.box));
  }

  undo() {
    if (this.selection?.inAir) {
      if (!this.selection.back()) this.#giveUp();
    } else {
      this.selection = null;
      this.doc.undo();
    }
    this.selectionChanged(false);
  }

  redo() {
    this.putDown();
    this.doc.redo();
  }

  // What the buttons and keys do with the selection.
  act(name) {
    const { selection, doc } = this;
    if (!selection) return;
    const { state } = selection;
    if (name === "duplicate") {
      const shift = Math.max(2, Math.round(selection.piece.width / 4));
      selection.put();
      this.selection = Selection.added(doc, selection.original, 0, 0);
      this.selection.change({ ...state, x: state.x + shift, y: state.y + 1 }, false);
    } else if (name === "delete" || name === "fill") {
      const label = name === "fill" ? this.current : undefined;
      const mask = selection.inAir ? null : selection.mask;
      if (selection.inAir) {
        doc.show(selection.base);
        selection.put();
      } else doc.change(erase(doc.labels, mask, label));
      this.selection = null;
    } else if (name === "class") {
      const old = selection.label;
      this.putDown();
      doc.change(recolor(doc.labels, old, this.current));
    } else if (name === "done") this.putDown();
    else if (name === "fliph") selection.change({ flipH: !state.flipH });
    else if (name === "flipv") selection.change({ flipV: !state.flipV });
    else if (name === "rotate") selection.change({ angle: (state.angle + 15) % 360 });
    else if (name === "back") selection.change({ angle: (state.angle + 345) % 360 });
    else if (name === "larger") selection.scale(1.1);
    else if (name === "smaller") selection.scale(1 / 1.1);
    this.selectionChanged();
  }

  focusWords() {
    byId("tool-options").querySelector("input[type=text]")?.focus();
  }

  refreshOptions() {
    if (!this.doc) return;
    const tool = this.tools[this.tool];
    const options = byId("tool-options");
    const focused = options.contains(document.activeElement) && document.activeElement.dataset.act;
    const parts = [];
    if (tool.sized) {
      const value = h("output", { text: `${this.radius * 2}` });
      const slider = h("input", {
        type: "range", min: 0.5, max: 32, step: 0.5, value: this.radius, id: "brush-size",
        oninput: () => {
          this.radius = Number(slider.value);
          value.textContent = `${this.radius * 2}`;
          this.view.refresh();
        },
      });
      parts.push(h("label", { class: "inline" }, t("brush.size"), slider, value));
    }
    if (this.tool === "text") {
      const field = h("input", {
        type: "text", maxlength: 80, value: this.words, "aria-label": t("text.words"),
        placeholder: t("text.words"), oninput: () => (this.words = field.value),
      });
      parts.push(field);
    }
    if (this.tool === "polygon")
      parts.push(
        h("button", {
          type: "button", text: t("polygon.close"), disabled: !tool.canClose,
          onclick: () => tool.close(),
        }),
      );
    if (this.selection) {
      parts.push(
        h("button", {
          type: "button", text: t("sel.put"), title: t("sel.done"), "data-act": "done",
          onclick: () => this.act("done"),
        }),
      );
      for (const [name, sign] of [
        ["duplicate", "duplicate"], ["delete", "remove"], ["fill", "bucket"], ["fliph", "fliph"],
        ["flipv", "flipv"], ["rotate", "rotate"], ["back", "back"], ["larger", "plus"],
        ["smaller", "minus"], ["class", "swatch"],
      ])
        parts.push(
          iconButton(sign, t(`sel.${name}`), () => this.act(name), { "data-act": name }),
        );
    } else if (HINTED.has(this.tool))
      parts.push(h("span", { class: "quiet", text: t(`${this.tool}.hint`) }));
    options.replaceChildren(...parts);
    if (focused) (options.querySelector(`[data-act=${focused}]`) ?? this.view.element).focus();
    this.#refreshTools();
  }

  #down(point, event) {
    this.cursor = point.map((v, i) => {
      const size = i ? this.doc.labels.height : this.doc.labels.width;
      return Math.min(size - 1, Math.max(0, Math.floor(v)));
    });
    if (event.altKey) this.palette.choose(this.#labelAtCursor());
    else this.tools[this.tool].down?.(point, event);
    this.view.refresh();
  }

  #labelAtCursor() {
    return this.doc.labels.data[this.cursor[1] * this.doc.labels.width + this.cursor[0]];
  }

  #resizeBrush(direction) {
    const step = this.radius >= 8 ? 2 : this.radius >= 3 ? 1 : 0.5;
    this.radius = Math.min(32, Math.max(0.5, this.radius + direction * step));
    this.refreshOptions();
    this.view.refresh();
    return true;
  }

  #giveUp() {
    this.selection?.giveUp();
    this.selection = null;
  }

  #key(event) {
    if (!this.doc || !this.isOpen || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    let done = true;
    if (command && key === "z") event.shiftKey ? this.redo() : this.undo();
    else if (command && key === "y") this.redo();
    else if (command && key === "d" && this.selection) this.act("duplicate");
    else if (command || event.altKey) done = false;
    else if (event.target === this.view.element && this.#viewKey(event, key)) done = true;
    else if (Object.values(this.tools).some((tool) => tool.key === key) && !event.shiftKey)
      this.setTool(Object.keys(this.tools).find((name) => this.tools[name].key === key));
    else if (key === "[" || key === "]") this.#resizeBrush(key === "]" ? 1 : -1);
    else done = false;
    if (done) event.preventDefault();
  }

  #viewKey(event, key) {
    const tool = this.tools[this.tool];
    const { selection } = this;
    if (key in ARROWS) this.#arrow(ARROWS[key], event.shiftKey ? 8 : 1);
    else if (key === "Enter" && selection) this.act("done");
    else if (key === "Enter") tool.enter?.(this.cursorPoint);
    else if (key === " " && tool.toggle) tool.toggle(this.cursorPoint);
    else if (key === "Escape") {
      tool.cancel?.();
      this.#giveUp();
      this.selectionChanged(false);
    } else if (key === "Delete" && selection) this.act(event.shiftKey ? "fill" : "delete");
    else if (key === "f" && selection) this.act(event.shiftKey ? "flipv" : "fliph");
    else if (key === "r" && selection) this.act(event.shiftKey ? "back" : "rotate");
    else if (key === "+" || key === "=") selection ? this.act("larger") : this.view.zoom(1.25);
    else if (key === "-") selection ? this.act("smaller") : this.view.zoom(0.8);
    else if (key === "c" && event.shiftKey) {
      if (!selection) this.select(regionAt(this.doc.labels, ...this.cursor));
      this.act("class");
    } else if (key === "c" && tool.close) tool.close();
    else if (key === "Backspace" && tool.back) tool.back();
    else if (key === "k") this.palette.choose(this.#labelAtCursor());
    else if (key === "0") this.view.fit();
    else if (key === "1") this.view.zoom(1 / this.view.scale);
    else return false;
    this.view.refresh();
    return true;
  }

  #arrow([dx, dy], by) {
    if (this.selection) {
      this.selection.move(dx * by, dy * by);
      this.selectionChanged();
      return;
    }
    this.pointer = null;
    const { width, height } = this.doc.labels;
    this.cursor = [
      Math.min(width - 1, Math.max(0, this.cursor[0] + dx * by)),
      Math.min(height - 1, Math.max(0, this.cursor[1] + dy * by)),
    ];
    this.tools[this.tool].follow?.(this.cursorPoint);
    const [x, y] = this.cursor;
    announce(t("cursor.said", { x, y, name: this.nameOf(this.#labelAtCursor()) }));
  }

  #paint(context, unit) {
    if (!this.doc) return;
    paintSelection(this, context, unit);
    this.tools[this.tool].paint?.(context, unit);
    const focused = document.activeElement === this.view.element;
    if (!focused || this.pointer || this.selection) return;
    const [x, y] = this.cursorPoint;
    const path = new Path2D();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      path.moveTo(x + dx * 4 * unit, y + dy * 4 * unit);
      path.lineTo(x + dx * 12 * unit, y + dy * 12 * unit);
    }
    strokeTwice(context, unit, path);
    strokeTwice(context, unit, squarePath(this.cursor));
  }

  #buildTools() {
    const bar = byId("tools");
    for (const name of Object.keys(this.tools))
      bar.append(
        iconButton(name, t(`tool.${name}`), () => this.setTool(name), {
          "data-tool": name,
          "aria-pressed": "false",
        }),
      );
    bar.append(
      h("span", { class: "gap" }),
      (this.undoButton = iconButton("undo", t("undo"), () => this.undo())),
      (this.redoButton = iconButton("redo", t("redo"), () => this.redo())),
    );
    // One stop for Tab; arrows go through the tools.
    const buttons = [...bar.querySelectorAll("button")];
    buttons.forEach((button, i) => (button.tabIndex = i ? -1 : 0));
    bar.addEventListener("keydown", (event) => {
      const to = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (!to) return;
      const usable = buttons.filter((button) => !button.disabled);
      const next = usable[(usable.indexOf(document.activeElement) + to + usable.length) % usable.length];
      for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
      next.focus();
      event.preventDefault();
      event.stopPropagation();
    });
  }

  #refreshTools() {
    if (!this.doc) return;
    const focused = document.activeElement;
    this.undoButton.disabled = !this.doc.history.canUndo && !this.selection?.inAir;
    this.redoButton.disabled = !this.doc.history.canRedo;
    if (focused?.disabled) this.view.element.focus();
  }

  #buildZoom() {
    const shown = h("span", { class: "quiet" });
    byId("map-zoom").append(
      iconButton("minus", t("zoom.out"), () => this.view.zoom(0.8)),
      shown,
      iconButton("plus", t("zoom.in"), () => this.view.zoom(1.25)),
      iconButton("fit", t("zoom.fit"), () => this.view.fit()),
    );
    this.view.addEventListener("zoom", () => {
      shown.textContent = `${Math.round(this.view.scale * 100)} %`;
    });
  }
}

function squarePath([x, y]) {
  const path = new Path2D();
  path.rect(x, y, 1, 1);
  return path;
}
