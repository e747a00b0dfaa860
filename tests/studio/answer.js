// How the page's functions answer a case of cases.json; Chromium evaluates it.
async ([{ call, arguments: given }, letters]) => {
  const regions = await import("/studio/edit/regions.js");
  const pieces = await import("/studio/edit/pieces.js");
  const strokes = await import("/studio/edit/strokes.js");
  const { History } = await import("/studio/edit/history.js");
  const { fromPicture } = await import("/studio/edit/pictures.js");
  const from = (rows, value) => ({
    width: rows[0].length,
    height: rows.length,
    data: Uint8Array.from(rows.join(""), value),
  });
  const labels = (rows) => from(rows, (c) => (c === "?" ? 255 : letters.indexOf(c)));
  const mask = (rows) => from(rows, (c) => (c === "#" ? 1 : 0));
  const rows = ({ width, height, data }, letter) =>
    Array.from({ length: height }, (_, y) =>
      Array.from(data.subarray(y * width, (y + 1) * width), letter).join(""));
  const shown = (map) => rows(map, (v) => (v === 255 ? "?" : letters[v]));
  const shownMask = (map) => rows(map, (v) => (v ? "#" : "."));
  const piece = ({ labels: l, mask: m }) => ({
    width: l[0].length, height: l.length, labels: labels(l).data, mask: mask(m).data });
  const shownPiece = ({ width, height, labels: l, mask: m }) => ({
    labels: shown({ width, height, data: l.map((v, i) => (m[i] ? v : 0)) }),
    mask: shownMask({ width, height, data: m }),
  });
  const map = given.labels && labels(given.labels);
  const m = given.mask && mask(given.mask);
  const p = given.piece && piece(given.piece);
  const drawn = (draw) => { const made = regions.copy(map); draw(made); return shown(made); };
  switch (call) {
    case "region_at": return shownMask(regions.regionAt(map, given.x, given.y));
    case "components": return regions.components(map, given.label).map(shownMask);
    case "bounds": {
      const { x, y, width, height } = regions.bounds(m);
      return [x, y, width, height];
    }
    case "erase": return shown(regions.erase(map, m, given.label));
    case "flood": return shown(regions.flood(map, given.x, given.y, given.label));
    case "recolor": return shown(regions.recolor(map, given.old, given.new));
    case "replace_background":
      return shown(regions.replaceBackground(map, labels(given.source), given.things));
    case "measure": {
      const made = regions.measure(map, given.requested, given.min_area);
      return { recall: made.recall, found: made.found, missing: made.missing,
        smallest_area: made.smallestArea };
    }
    case "lift": {
      const made = pieces.lift(map, m);
      return { piece: shownPiece(made.piece), x: made.x, y: made.y };
    }
    case "move": return shown(pieces.move(map, m, given.dx, given.dy, given.label));
    case "duplicate": return shown(pieces.duplicate(map, m, given.dx, given.dy));
    case "paste": return shown(pieces.paste(map, p, given.x, given.y));
    case "resized": return shownPiece(pieces.resized(p, given.width, given.height));
    case "flipped": return shownPiece(pieces.flipped(p, given.direction));
    case "rotated": return shownPiece(pieces.rotated(p, given.degrees));
    case "stroke":
      return drawn((made) => strokes.stroke(made, given.points, given.radius, given.label));
    case "polygon": return drawn((made) => strokes.polygon(made, given.points, given.label));
    case "polygon_mask":
      return shownMask(strokes.polygonMask(given.width, given.height, given.points));
    case "from_picture": {
      const flat = given.picture.flat().flatMap((color) => [...color, 255]);
      const picture = { width: given.picture[0].length, height: given.picture.length, data: flat };
      return shown(fromPicture(picture, given.colors, given.tolerance));
    }
    case "history": {
      const history = new History(given.most_bytes);
      for (const [x, y, radius, label] of given.strokes) {
        const before = regions.copy(map);
        strokes.stroke(map, [[x, y]], radius, label);
        history.record(before, map);
      }
      const did = [...given.then].map((step) =>
        step === "u" ? history.undo(map) : history.redo(map));
      return { labels: shown(map), did, bytes: history.bytes, can_undo: history.canUndo,
        can_redo: history.canRedo };
    }
  }
  throw new Error(`no call ${call}`);
}
