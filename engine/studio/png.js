// Pictures in and out without a canvas's colour management: PNG written here, files read exactly.

import { t } from "./texts.js";

const MOST_BYTES = 32 * 2 ** 20;
const MOST_PIXELS = 32 * 10 ** 6;

const CRC = new Uint32Array(256).map((_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function chunk(name, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = name.charCodeAt(i);
  bytes.set(data, 8);
  let crc = 0xffffffff;
  for (let i = 4; i < 8 + data.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  view.setUint32(8 + data.length, (crc ^ 0xffffffff) >>> 0);
  return bytes;
}

async function deflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function encode({ width, height, data }, colorType, chunks = []) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, colorType], 8);
  const bytesPerPixel = colorType === 2 ? 3 : 1;
  const line = width * bytesPerPixel;
  const rows = new Uint8Array(height * (line + 1));
  for (let y = 0; y < height; y++)
    rows.set(data.subarray(y * line, (y + 1) * line), y * (line + 1) + 1);
  return new Blob(
    [
      new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]),
      chunk("IHDR", header),
      ...chunks,
      chunk("IDAT", await deflated(rows)),
      chunk("IEND", new Uint8Array(0)),
    ],
    { type: "image/png" },
  );
}

// Class indices, or shades, as 8-bit grey.
export const greyPng = (labels) => encode(labels, 0);

// A map in exactly the palette's colours; pixels without a class are transparent.
export function palettePng(labels, colors) {
  const entries = new Uint8Array(256 * 3);
  colors.forEach((color, i) => entries.set(color, 3 * i));
  const alpha = new Uint8Array(256).fill(255);
  alpha[255] = 0;
  return encode(labels, 3, [chunk("PLTE", entries), chunk("tRNS", alpha)]);
}

export async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000)
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

// {width, height, data: RGBA, isGrey} of a picture's bytes. Throws Error with words for the user.
export async function readPicture(blob, name = "PNG") {
  if (blob.size > MOST_BYTES) {
    const size = Math.ceil(blob.size / 2 ** 20);
    throw new Error(t("open.large", { name, size, most: MOST_BYTES / 2 ** 20 }));
  }
  const header = await pngHeader(blob);
  if (header && header.width * header.height > MOST_PIXELS)
    throw new Error(t("open.pixels", { name, ...header, most: MOST_PIXELS / 10 ** 6 }));
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Error(t("open.broken", { name }));
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS)
    throw new Error(t("open.pixels", { name, width, height, most: MOST_PIXELS / 10 ** 6 }));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, data, isGrey: header?.colorType === 0 };
}

async function pngHeader(blob) {
  const bytes = new DataView(await blob.slice(0, 26).arrayBuffer());
  if (bytes.byteLength < 26 || bytes.getUint32(0) !== 0x89504e47) return null;
  return { width: bytes.getUint32(16), height: bytes.getUint32(20), colorType: bytes.getUint8(25) };
}

// The red channel: class indices of a grey picture, shades of any.
export function redOf({ width, height, data }) {
  const labels = { width, height, data: new Uint8Array(width * height) };
  for (let i = 0; i < labels.data.length; i++) labels.data[i] = data[4 * i];
  return labels;
}

export function resizedLabels(labels, width, height) {
  if (labels.width === width && labels.height === height) return labels;
  const data = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * labels.height) / height) * labels.width;
    for (let x = 0; x < width; x++)
      data[y * width + x] = labels.data[row + Math.floor(((x + 0.5) * labels.width) / width)];
  }
  return { width, height, data };
}
