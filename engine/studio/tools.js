// What each tool does with a pointer, with keys, and how it shows on the overlay.
// A tool has down(point, event), move(points, event, events), up(), enter(point), cancel(),
// paint(context, unit), each of them if it needs it. Points are continuous map coordinates. `editor` is of editor.js.

import { flood, map, regionAt } from "./edit/regions.js";
import { polygonMask, stencil, stroke } from "./edit/strokes.js";
import { handles, roomy } from "./selection.js";
import { strokeTwice } from "./view.js";

const pathOf = (points, closed) => {
  const path = new Path2D();
  points.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
  if (closed) path.closePath();
  return path;
};

const ERASER = 5; // the button of a pen's other end

// Brush and eraser. A pen's pressure makes the brush thinner, its other end erases.
function brush(editor, label) {
  let last = null;
  let erases = false;
  const radius = (event) =>
    editor.radius * (event?.pointerType === "pen" && event.pressure ? 0.3 + 0.7 * event.pressure : 1);
  const draw = (point, event) => {
    const value = erases ? editor.blank : label();
    editor.doc.drawn(stroke(editor.doc.labels, [last, point], radius(event), value));
    last = point;
  };
  return {
    down(point, event) {
      editor.doc.begin();
      erases = event?.button === ERASER;
      last = point;
      draw(point, event);
    },
    move: (points, event, events) => last && points.forEach((point, i) => draw(point, events[i])),
    up() {
      if (last) editor.doc.end();
      last = null;
    },
    cancel() {
      if (last) editor.doc.giveUp();
      last = null;
    },
    enter(point) {
      this.down(point);
      this.up();
    },
    // The keyboard's pen, up or down.
    toggle(point) {
      if (last) this.up();
      else this.down(point);
    },
    follow: (point) => last && draw(point),
    paint(context, unit) {
      if (!editor.pointer) return;
      const path = new Path2D();
      path.arc(...editor.pointer, editor.radius, 0, 7);
      strokeTwice(context, unit, path);
    },
  };
}

function line(editor) {
  let start = null;
  let end = null;
  const draw = (from, to) => {
    editor.doc.begin();
    editor.doc.drawn(stroke(editor.doc.labels, [from, to], editor.radius, editor.current));
    editor.doc.end();
  };
  return {
    down: (point) => (start = end = point),
    move: (points) => (end = points.at(-1)),
    up() {
      if (start) draw(start, end);
      start = null;
    },
    cancel: () => (start = null),
    enter(point) {
      if (start) {
        draw(start, point);
        start = null;
      } else start = point;
    },
    paint(context, unit) {
      const to = editor.pointer ?? editor.cursorPoint;
      if (start) strokeTwice(context, unit, pathOf([start, end && editor.pointer ? end : to]));
      else brush(editor).paint(context, unit);
    },
  };
}

function polygonTool(editor) {
  let points = [];
  return {
    down(point) {
      points.push(point);
      editor.refreshOptions();
    },
    enter(point) {
      this.down(point);
    },
    cancel() {
      points = [];
      editor.refreshOptions();
    },
    back() {
      points.pop();
      editor.refreshOptions();
      return true;
    },
    get canClose() {
      return points.length > 2;
    },
    close() {
      if (points.length < 3) return;
      const { doc } = editor;
      doc.begin();
      const mask = polygonMask(doc.labels.width, doc.labels.height, points);
      doc.drawn(stencil(doc.labels, mask, editor.current));
      doc.end();
      this.cancel();
    },
    paint(context, unit) {
      if (!points.length) return;
      strokeTwice(context, unit, pathOf([...points, editor.pointer ?? editor.cursorPoint], true));
    },
  };
}

function lasso(editor) {
  let points = [];
  let byKeys = false;
  const take = () => {
    const { width, height } = editor.doc.labels;
    const mask = points.length > 2 ? polygonMask(width, height, points) : map(width, height);
    points = [];
    byKeys = false;
    editor.select(mask);
  };
  return {
    down(point) {
      points = [point];
    },
    move: (more) => points.length && !byKeys && points.push(...more),
    up: () => points.length && !byKeys && take(),
    enter(point) {
      byKeys = true;
      points.push(point);
    },
    close: () => byKeys && take(),
    back() {
      points.pop();
      return true;
    },
    cancel() {
      points = [];
      byKeys = false;
    },
    paint(context, unit) {
      if (points.length) strokeTwice(context, unit, pathOf(points, true));
    },
  };
}

function fill(editor) {
  const pour = ([x, y]) => {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    const { width, height } = editor.doc.labels;
    if (column < 0 || row < 0 || column >= width || row >= height) return;
    editor.doc.change(flood(editor.doc.labels, column, row, editor.current));
  };
  return { down: pour, enter: pour };
}

// Writes with the page's font; a pixel is written or not.
function text(editor) {
  const write = ([x, y]) => {
    const words = editor.words.trim();
    if (!words) return editor.focusWords();
    const { doc } = editor;
    const { width, height } = doc.labels;
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.font = `600 ${Math.max(6, editor.radius * 4)}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.fillText(words, x, y);
    const { data } = context.getImageData(0, 0, width, height);
    const mask = map(width, height);
    for (let i = 0; i < mask.data.length; i++) mask.data[i] = data[4 * i + 3] >= 128 ? 1 : 0;
    doc.begin();
    doc.drawn(stencil(doc.labels, mask, editor.current));
    doc.end();
  };
  return { down: write, enter: write };
}

// Selects regions; drags, resizes and turns what is selected.
function select(editor) {
  let drag = null;
  const grab = (point, unit) => {
    const { selection } = editor;
    if (!selection) return null;
    const near = (place) => Math.hypot(place.x - point[0], place.y - point[1]) < 9 * unit;
    const handle = handles(selection.box, unit, editor.view.top).find(near);
    if (handle) return handle;
    const { x, y, piece } = selection;
    const column = Math.floor(point[0]) - x;
    const row = Math.floor(point[1]) - y;
    const inside = column >= 0 && row >= 0 && column < piece.width && row < piece.height;
    return inside && piece.mask[row * piece.width + column] ? { name: "move" } : null;
  };
  return {
    down(point) {
      const handle = grab(point, 1 / editor.view.scale);
      if (!handle) {
        const { selection } = editor;
        editor.putDown();
        const [x, y] = point.map(Math.floor);
        if (!selection?.inAir) this.enter([x, y]);
        return;
      }
      drag = { handle, point, state: { ...editor.selection.state }, moved: false };
    },
    move(points, event) {
      if (!drag) return;
      const to = points.at(-1);
      if (!drag.moved && Math.hypot(to[0] - drag.point[0], to[1] - drag.point[1]) < 0.5) return;
      const { selection } = editor;
      selection.change(changed(drag, to, event.shiftKey), !drag.moved);
      drag.moved = true;
      editor.selectionChanged();
    },
    up: () => (drag = null),
    enter(point) {
      const [x, y] = point.map(Math.floor);
      const { width, height } = editor.doc.labels;
      if (x >= 0 && y >= 0 && x < width && y < height) editor.select(regionAt(editor.doc.labels, x, y));
      else editor.select(null);
    },
    cancel: () => (drag = null),
  };
}

// The state of a selection while a handle is dragged. keep: the ratio of its sides.
function changed({ handle, point, state }, to, keep) {
  const dx = to[0] - point[0];
  const dy = to[1] - point[1];
  if (handle.name === "move") return { x: state.x + dx, y: state.y + dy };
  if (handle.name === "turn") {
    const angleOf = ([x, y]) => (Math.atan2(y - state.y, x - state.x) * 180) / Math.PI;
    const angle = state.angle + angleOf(to) - angleOf(point);
    return { angle: keep ? Math.round(angle / 15) * 15 : Math.round(angle) };
  }
  if (state.angle % 180 || keep) {
    const far = (p) => Math.hypot(p[0] - state.x, p[1] - state.y);
    const factor = far(to) / Math.max(1, far(point));
    return { width: state.width * factor, height: state.height * factor };
  }
  const sx = Math.sign(handle.fx - 0.5);
  const sy = Math.sign(handle.fy - 0.5);
  const width = Math.max(1, Math.round(state.width + sx * dx));
  const height = Math.max(1, Math.round(state.height + sy * dy));
  // The side across stays where it is.
  return {
    width,
    height,
    x: state.x + (sx * (width - state.width)) / 2,
    y: state.y + (sy * (height - state.height)) / 2,
  };
}

function pan(editor) {
  let last = null;
  return {
    down: (_, event) => (last = [event.clientX, event.clientY]),
    move(_, event) {
      if (!last) return;
      editor.view.pan(event.clientX - last[0], event.clientY - last[1]);
      last = [event.clientX, event.clientY];
    },
    up: () => (last = null),
    cancel: () => (last = null),
  };
}

// Every tool by name, with its key.
export function makeTools(editor) {
  return {
    select: { key: "v", ...select(editor) },
    lasso: { key: "a", ...lasso(editor) },
    brush: { key: "b", sized: true, ...brush(editor, () => editor.current) },
    erase: { key: "e", sized: true, ...brush(editor, () => editor.blank) },
    line: { key: "l", sized: true, ...line(editor) },
    polygon: Object.assign(polygonTool(editor), { key: "p" }),
    fill: { key: "g", ...fill(editor) },
    text: { key: "t", sized: true, ...text(editor) },
    pan: { key: "h", ...pan(editor) },
  };
}

export function paintSelection(editor, context, unit) {
  const { selection } = editor;
  if (!selection) return;
  strokeTwice(context, unit, selection.path);
  if (editor.tool !== "select" && editor.tool !== "lasso") return;
  const { x, y, width, height } = roomy(selection.box, unit);
  context.lineWidth = unit;
  context.strokeStyle = "#fff";
  context.strokeRect(x, y, width, height);
  for (const place of handles(selection.box, unit, editor.view.top)) {
    const path = new Path2D();
    if (place.name === "turn") path.arc(place.x, place.y, 5 * unit, 0, 7);
    else path.rect(place.x - 4 * unit, place.y - 4 * unit, 8 * unit, 8 * unit);
    context.fillStyle = "#fff";
    context.fill(path);
    context.lineWidth = 1.5 * unit;
    context.strokeStyle = "#0b57d0";
    context.stroke(path);
  }
}
