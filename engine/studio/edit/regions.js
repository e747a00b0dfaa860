// Regions of a map: connected pixels of one class, and what they can be filled with.
// The twin of fgdm.edit (engine/edit), whose docstrings say what each function does; one set of
// cases (tests/studio/cases.json) tests both. A map is {width, height, data: Uint8Array}, a mask
// the same with 0 and 1. Functions return new maps; those of strokes.js draw in place.

export const UNLABELED = 255;

export function map(width, height, fill = 0) {
  return { width, height, data: new Uint8Array(width * height).fill(fill) };
}

export function copy(labels) {
  return { width: labels.width, height: labels.height, data: labels.data.slice() };
}

export function sameSize(a, b) {
  return a.width === b.width && a.height === b.height;
}

export function regionAt(labels, x, y) {
  const { width, height, data } = labels;
  if (!(x >= 0 && x < width && y >= 0 && y < height)) throw new RangeError("outside the map");
  const region = map(width, height);
  const label = data[y * width + x];
  const waiting = [y * width + x];
  while (waiting.length) {
    const place = waiting.pop();
    if (region.data[place]) continue;
    const row = place - (place % width);
    let left = place;
    while (left > row && data[left - 1] === label) left--;
    let right = place;
    while (right + 1 < row + width && data[right + 1] === label) right++;
    region.data.fill(1, left, right + 1);
    for (const step of [-width, width]) {
      let inRun = false;
      for (let i = left + step; i <= right + step; i++) {
        const open = i >= 0 && i < data.length && data[i] === label && !region.data[i];
        if (open && !inRun) waiting.push(i);
        inRun = open;
      }
    }
  }
  return region;
}

export function components(labels, label) {
  const seen = map(labels.width, labels.height);
  const found = [];
  for (let i = 0; i < labels.data.length; i++) {
    if (labels.data[i] !== label || seen.data[i]) continue;
    const region = regionAt(labels, i % labels.width, Math.floor(i / labels.width));
    for (let j = i; j < region.data.length; j++) seen.data[j] |= region.data[j];
    found.push(region);
  }
  return found;
}

// {x, y, width, height} of the smallest box around a mask; null for an empty one.
export function bounds(mask) {
  const { width, height, data } = mask;
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!data[y * width + x]) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  return right < 0 ? null : { x: left, y: top, width: right + 1 - left, height: bottom + 1 - top };
}

// label: undefined lets the surroundings grow into the mask.
export function erase(labels, mask, label) {
  const erased = copy(labels);
  const { width, data } = erased;
  if (label !== undefined && label !== null) {
    for (let i = 0; i < data.length; i++) if (mask.data[i]) data[i] = label;
    return erased;
  }
  const open = mask.data.slice();
  let edge = [];
  for (let i = 0; i < data.length; i++) if (open[i]) edge.push(i);
  if (edge.length === data.length) {
    data.fill(UNLABELED);
    return erased;
  }
  while (edge.length) {
    const left = [];
    const grown = [];
    for (const i of edge) {
      const x = i % width;
      let from = -1;
      if (i >= width && !open[i - width]) from = i - width;
      else if (x > 0 && !open[i - 1]) from = i - 1;
      else if (x + 1 < width && !open[i + 1]) from = i + 1;
      else if (i + width < data.length && !open[i + width]) from = i + width;
      if (from < 0) left.push(i);
      else grown.push([i, data[from]]);
    }
    for (const [i, taken] of grown) {
      data[i] = taken;
      open[i] = 0;
    }
    edge = left;
  }
  return erased;
}

export function flood(labels, x, y, label) {
  return erase(labels, regionAt(labels, x, y), label);
}

export function recolor(labels, old, label) {
  const made = copy(labels);
  for (let i = 0; i < made.data.length; i++) if (made.data[i] === old) made.data[i] = label;
  return made;
}

export function replaceBackground(labels, source, things) {
  const kept = new Set(things);
  const isThing = map(source.width, source.height);
  for (let i = 0; i < source.data.length; i++) isThing.data[i] = kept.has(source.data[i]) ? 1 : 0;
  const made = erase(source, isThing);
  for (let i = 0; i < made.data.length; i++)
    if (kept.has(labels.data[i])) made.data[i] = labels.data[i];
  return made;
}

// How many pixels of each class a map has.
export function count(labels) {
  const counts = new Uint32Array(256);
  const { data } = labels;
  for (let i = 0; i < data.length; i++) counts[data[i]]++;
  return counts;
}

// {recall, found, missing, smallestArea} of requested classes, by the engine's rule.
export function measure(labels, requested, minArea = 0.002, counts = count(labels)) {
  const area = (label) => counts[label] / labels.data.length;
  const wanted = [...new Set(requested)];
  const found = wanted.filter((label) => counts[label] > 0 && area(label) >= minArea);
  const missing = wanted.filter((label) => !found.includes(label));
  return {
    recall: wanted.length ? found.length / wanted.length : 1,
    found,
    missing,
    smallestArea: found.length ? Math.min(...found.map(area)) : 0,
  };
}
