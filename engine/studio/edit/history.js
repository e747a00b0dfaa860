// Undo and redo of a map that is edited in place, bounded by bytes. The twin of
// engine/edit/history.py.

export class History {
  constructor(mostBytes = 64 * 2 ** 20) {
    this.mostBytes = mostBytes;
    this.bytes = 0;
    this.done = [];
    this.undone = [];
  }

  get canUndo() {
    return this.done.length > 0;
  }

  get canRedo() {
    return this.undone.length > 0;
  }

  // Remembers a change; whether there was one.
  record(before, after) {
    const box = changedBox(before, after);
    if (!box) return false;
    for (const patch of this.undone) this.bytes -= patch.labels.length;
    this.undone = [];
    this.done.push({ ...box, labels: cut(before, box) });
    this.bytes += box.width * box.height;
    while (this.done.length && this.bytes > this.mostBytes)
      this.bytes -= this.done.shift().labels.length;
    return true;
  }

  undo(labels) {
    return exchange(labels, this.done, this.undone);
  }

  redo(labels) {
    return exchange(labels, this.undone, this.done);
  }
}

function changedBox(before, after) {
  const { width, height } = before;
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (before.data[i] === after.data[i]) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  return right < 0 ? null : { x: left, y: top, width: right + 1 - left, height: bottom + 1 - top };
}

function cut(labels, { x, y, width, height }) {
  const box = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    const start = (y + row) * labels.width + x;
    box.set(labels.data.subarray(start, start + width), row * width);
  }
  return box;
}

function exchange(labels, from, to) {
  const patch = from.pop();
  if (!patch) return false;
  to.push({ ...patch, labels: cut(labels, patch) });
  for (let row = 0; row < patch.height; row++) {
    const line = patch.labels.subarray(row * patch.width, (row + 1) * patch.width);
    labels.data.set(line, (patch.y + row) * labels.width + patch.x);
  }
  return true;
}
