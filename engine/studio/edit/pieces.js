// Pieces cut out of maps. The twin of engine/edit/pieces.py.
// A piece is {width, height, labels: Uint8Array, mask: Uint8Array}.

import { bounds, copy, erase } from "./regions.js";

const HAIR = 1e-9;

// {piece, x, y} of what a mask covers; null for an empty one.
export function lift(labels, mask) {
  const box = bounds(mask);
  if (!box) return null;
  const { x, y, width, height } = box;
  const piece = taken(width, height, (column, row) => (y + row) * labels.width + x + column, {
    labels: labels.data,
    mask: mask.data,
  });
  return { piece, x, y };
}

function taken(width, height, placeOf, from) {
  const piece = {
    width,
    height,
    labels: new Uint8Array(width * height),
    mask: new Uint8Array(width * height),
  };
  for (let row = 0, i = 0; row < height; row++) {
    for (let column = 0; column < width; column++, i++) {
      const place = placeOf(column, row);
      if (place < 0) continue;
      piece.labels[i] = from.labels[place];
      piece.mask[i] = from.mask[place];
    }
  }
  return piece;
}

export function paste(labels, piece, x, y) {
  const pasted = copy(labels);
  for (let row = Math.max(0, -y); row < piece.height && y + row < pasted.height; row++) {
    for (let column = Math.max(0, -x); column < piece.width && x + column < pasted.width; column++) {
      const i = row * piece.width + column;
      if (piece.mask[i]) pasted.data[(y + row) * pasted.width + x + column] = piece.labels[i];
    }
  }
  return pasted;
}

export function move(labels, mask, dx, dy, label) {
  const lifted = lift(labels, mask);
  return paste(erase(labels, mask, label), lifted.piece, lifted.x + dx, lifted.y + dy);
}

export function duplicate(labels, mask, dx, dy) {
  const lifted = lift(labels, mask);
  return paste(labels, lifted.piece, lifted.x + dx, lifted.y + dy);
}

export function resized(piece, width, height) {
  const x = (column) => Math.floor(((column + 0.5) * piece.width) / width);
  const y = (row) => Math.floor(((row + 0.5) * piece.height) / height);
  return taken(width, height, (column, row) => y(row) * piece.width + x(column), piece);
}

export function flipped(piece, direction = "horizontal") {
  const { width, height } = piece;
  const placeOf =
    direction === "horizontal"
      ? (column, row) => row * width + width - 1 - column
      : (column, row) => (height - 1 - row) * width + column;
  return taken(width, height, placeOf, piece);
}

export function rotated(piece, degrees) {
  const angle = ((degrees % 360) + 360) % 360;
  const { width: columns, height: rows } = piece;
  if (angle === 0) return taken(columns, rows, (x, y) => y * columns + x, piece);
  if (angle === 90) return taken(rows, columns, (x, y) => (rows - 1 - x) * columns + y, piece);
  if (angle === 180)
    return taken(columns, rows, (x, y) => (rows - 1 - y) * columns + columns - 1 - x, piece);
  if (angle === 270) return taken(rows, columns, (x, y) => x * columns + columns - 1 - y, piece);
  const radians = (angle * Math.PI) / 180;
  const cos = Math.cos(radians);
  const sin = Math.sin(radians);
  const width = Math.ceil(columns * Math.abs(cos) + rows * Math.abs(sin) - HAIR);
  const height = Math.ceil(columns * Math.abs(sin) + rows * Math.abs(cos) - HAIR);
  return taken(
    width,
    height,
    (column, row) => {
      const dx = column + 0.5 - width / 2;
      const dy = row + 0.5 - height / 2;
      const x = Math.floor(dx * cos + dy * sin + columns / 2 + HAIR);
      const y = Math.floor(dy * cos - dx * sin + rows / 2 + HAIR);
      return x >= 0 && x < columns && y >= 0 && y < rows ? y * columns + x : -1;
    },
    piece,
  );
}
