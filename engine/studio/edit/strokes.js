// Strokes with hard edges, drawn in place. The twin of engine/edit/strokes.py.
// Each function returns the box {x, y, width, height} that it may have changed.

import { map } from "./regions.js";

// points: [x, y]; radius: of the whole path, in pixels.
export function stroke(labels, points, radius, label) {
  let changed = null;
  for (let i = 0; i < Math.max(1, points.length - 1); i++) {
    const end = points[Math.min(i + 1, points.length - 1)];
    changed = union(changed, segment(labels, points[i], end, radius, label));
  }
  return changed;
}

function segment(labels, [x0, y0], [x1, y1], radius, label) {
  const { width, height, data } = labels;
  const left = Math.max(0, Math.floor(Math.min(x0, x1) - radius));
  const right = Math.min(width, Math.ceil(Math.max(x0, x1) + radius));
  const top = Math.max(0, Math.floor(Math.min(y0, y1) - radius));
  const bottom = Math.min(height, Math.ceil(Math.max(y0, y1) + radius));
  const dx = x1 - x0;
  const dy = y1 - y0;
  const length = dx * dx + dy * dy;
  for (let row = top; row < bottom; row++) {
    const y = row + 0.5 - y0;
    for (let column = left; column < right; column++) {
      const x = column + 0.5 - x0;
      const along = length ? Math.min(1, Math.max(0, (x * dx + y * dy) / length)) : 0;
      const offX = x - along * dx;
      const offY = y - along * dy;
      if (offX * offX + offY * offY <= radius * radius) data[row * width + column] = label;
    }
  }
  return { x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
}

export function polygonMask(width, height, points) {
  const mask = map(width, height);
  for (let i = 0; i < points.length; i++) {
    const [x0, y0] = points[i];
    const [x1, y1] = points[(i + 1) % points.length];
    if (y0 === y1) continue;
    for (let row = 0; row < height; row++) {
      const y = row + 0.5;
      if (y0 <= y === y1 <= y) continue;
      const cross = x0 + ((y - y0) * (x1 - x0)) / (y1 - y0);
      for (let column = 0; column < width && column + 0.5 < cross; column++)
        mask.data[row * width + column] ^= 1;
    }
  }
  return mask;
}

export function polygon(labels, points, label) {
  return stencil(labels, polygonMask(labels.width, labels.height, points), label);
}

// A mask's pixels in a class: polygons, and written text.
export function stencil(labels, mask, label) {
  for (let i = 0; i < labels.data.length; i++) if (mask.data[i]) labels.data[i] = label;
  return { x: 0, y: 0, width: labels.width, height: labels.height };
}

export function union(a, b) {
  if (!a || !b) return a ?? b;
  const x = Math.min(a.x, b.x);
  const y = Math.min(a.y, b.y);
  return {
    x,
    y,
    width: Math.max(a.x + a.width, b.x + b.width) - x,
    height: Math.max(a.y + a.height, b.y + b.height) - y,
  };
}
