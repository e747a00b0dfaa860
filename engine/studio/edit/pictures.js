// Maps from pictures in a palette's colours. The twin of engine/edit/pictures.py.

import { UNLABELED, map } from "./regions.js";

// picture: {width, height, data: RGBA}. colors: [r, g, b]. Transparent pixels are unlabeled.
export function fromPicture(picture, colors, tolerance = 28) {
  const labels = map(picture.width, picture.height, UNLABELED);
  const known = new Map();
  const { data } = picture;
  for (let i = 0, p = 0; i < labels.data.length; i++, p += 4) {
    if (data[p + 3] < 128) continue;
    const key = (data[p] << 16) | (data[p + 1] << 8) | data[p + 2];
    let label = known.get(key);
    if (label === undefined) {
      label = nearest(data[p], data[p + 1], data[p + 2], colors, tolerance);
      known.set(key, label);
    }
    labels.data[i] = label;
  }
  return labels;
}

function nearest(red, green, blue, colors, tolerance) {
  let best = 1024 * (tolerance + 1);
  let label = UNLABELED;
  for (let i = 0; i < colors.length; i++) {
    const r = Math.abs(red - colors[i][0]);
    const g = Math.abs(green - colors[i][1]);
    const b = Math.abs(blue - colors[i][2]);
    const most = Math.max(r, g, b);
    const distance = 1024 * most + r + g + b;
    if (most <= tolerance && distance < best) {
      best = distance;
      label = i;
    }
  }
  return label;
}
