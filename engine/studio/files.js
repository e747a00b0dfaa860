// Maps from files and to files.

import { download, byId } from "./dom.js";
import { fromPicture } from "./edit/pictures.js";
import { UNLABELED } from "./edit/regions.js";
import { greyPng, palettePng, readPicture, redOf, resizedLabels } from "./png.js";
import { t } from "./texts.js";

// The file that somebody picks; null where it is given up.
export function pickFile() {
  const field = byId("file");
  field.value = "";
  return new Promise((resolve) => {
    field.onchange = () => resolve(field.files[0] ?? null);
    field.oncancel = () => resolve(null);
    field.click();
  });
}

// A file as a map of a factor, brought to a size if there is one: {labels, notes}. Class numbers
// where it is a grey PNG of a factor that makes labels, else the palette's colours. Throws Error in
// words.
export async function readMap(file, factor, palette, size = null) {
  const picture = await readPicture(file, file.name);
  const notes = [];
  let labels;
  if (factor.output !== "labels") labels = redOf(picture);
  else if (picture.isGrey) {
    labels = redOf(picture);
    if (labels.data.some((label) => label !== UNLABELED && label >= palette.classes.length))
      throw new Error(t("open.numbers", { palette: palette.name }));
  } else {
    const colors = palette.classes.map(({ color }) => color);
    labels = fromPicture(picture, colors, palette.tolerance);
    const unknown = share(labels, picture);
    const percent = Math.round(100 * unknown);
    if (unknown > 0.5)
      throw new Error(t("open.palette", { percent, name: file.name, palette: palette.name }));
    if (percent > 0) notes.push(t("open.some", { percent }));
  }
  const { width, height } = size ?? labels;
  if (labels.width !== width || labels.height !== height) {
    const to = `${width} × ${height}`;
    notes.push(t("open.resized", { width: labels.width, height: labels.height, to }));
    labels = resizedLabels(labels, width, height);
  }
  return { labels, notes };
}

// Of the pixels that are seen, the share that has no class.
function share(labels, picture) {
  let seen = 0;
  let unknown = 0;
  for (let i = 0; i < labels.data.length; i++) {
    if (picture.data[4 * i + 3] < 128) continue;
    seen++;
    if (labels.data[i] === UNLABELED) unknown++;
  }
  return seen ? unknown / seen : 1;
}

export async function saveMap(doc, asNumbers) {
  const inColor = doc.isLabels && !asNumbers;
  const blob = inColor ? await palettePng(doc.labels, doc.colors) : await greyPng(doc.labels);
  download(blob, `${doc.factor.name}${asNumbers ? "-classes" : ""}.png`);
}
