// Line icons on a grid of 20, drawn for this page.

const SHAPES = {
  select: "M5 3v12l3.4-3 2 4.6 2-.9-2-4.5H15z",
  lasso: "M10 3.5c4 0 7 2 7 4.6s-3 4.6-7 4.6-7-2-7-4.6 3-4.6 7-4.6zM6 12c-1.600 1.200-1.600 3.200 0 3.200s1 2-.5 2.300",
  brush: "M16.500 3.500 9 11M9 11l-1.500-.5C5 10.500 4.500 13 3 15.500c2.500.5 6 .2 6.500-2.500zM16.500 3.500l-5.500 9",
  erase: "M8 16.500 3.500 12l8-8 5 5-7.500 7.500zM7.500 8l5 5M8 16.500h9",
  line: "M4 16 16 4M2.500 16a1.500 1.500 0 1 0 3 0 1.500 1.500 0 1 0-3 0M14.500 4a1.500 1.500 0 1 0 3 0 1.500 1.500 0 1 0-3 0",
  polygon: "M10 3 17 8.500 14.500 16.500h-9L3 8.500z",
  fill: "M8 3.500 15.500 11 9 16.500 3 10.500zM3.500 10.500h11.500M17.200 13c.8 1.200 1 1.800 1 2.300a1 1 0 0 1-2 0c0-.5.200-1.100 1-2.300",
  text: "M4 6V4h12v2M10 4v12M7.500 16h5",
  pan: "M10 2.500v15M2.500 10h15M8 4.500l2-2 2 2M8 15.500l2 2 2-2M4.500 8l-2 2 2 2M15.500 8l2 2-2 2",
  undo: "M7 4 3.500 7.500 7 11M3.500 7.500H12a4.500 4.500 0 0 1 0 9H8",
  redo: "M13 4l3.500 3.500L13 11M16.500 7.500H8a4.500 4.500 0 0 0 0 9h4",
  stop: "M10 3a7 7 0 1 0 0 14 7 7 0 1 0 0-14M5 5l10 10",
  plus: "M10 4v12M4 10h12",
  minus: "M4 10h12",
  fit: "M3.500 7.500v-4h4M12.500 3.500h4v4M16.500 12.500v4h-4M7.500 16.500h-4v-4",
  open: "M10 13V4M6.500 7.500 10 4l3.500 3.500M4 12.500V16h12v-3.500",
  save: "M10 4v9M6.500 9.500 10 13l3.500-3.500M4 14v2h12v-2",
  numbers: "M7.500 3.500 6 16.500M14 3.500l-1.500 13M3.500 7.500h13M3 12.500h13",
  blank: "M5 3h7l3 3v11H5zM12 3v3h3",
  duplicate: "M7 7h10v10H7zM13 7V3H3v10h4",
  remove: "M4 6h12M8 6V4h4v2M5.500 6l.8 10.500h7.400L14.500 6M8.500 9v5M11.500 9v5",
  fliph: "M10 3v14M8 6 3 14h5zM12 6l5 8h-5z",
  flipv: "M3 10h14M6 8l8-5v5zM6 12l8 5v-5z",
  rotate: "M15.500 10A5.500 5.500 0 1 1 10 4.500h4M11.500 2 14 4.500 11.500 7",
  back: "M4.500 10A5.500 5.500 0 1 0 10 4.500H6M8.500 2 6 4.500 8.500 7",
  check: "M4 10.500 8 14.500 16 5.500",
  cross: "M5 5l10 10M15 5 5 15",
  bucket: "M4 4h12v12H4zM4 12l8-8M4 16 16 4M10 16l6-6",
  swatch: "M4 4h5v5H4zM11 4h5v5h-5zM4 11h5v5H4zM11 13.500h5M13.500 11v5",
  dice: "M4 4h12v12H4zM7 7h.01M13 7h.01M10 10h.01M7 13h.01M13 13h.01",
  theme: "M10 3.500a6.500 6.500 0 1 0 0 13zM10 3.500a6.500 6.500 0 0 1 0 13",
  keyboard: "M2.500 5.500h15v9h-15zM5.500 8.500h.01M8.500 8.500h.01M11.500 8.500h.01M14.500 8.500h.01M6.500 11.500h7",
  second: "M3 5h8v8H3zM9 9h8v8H9zM13 11v4M11 13h4",
};

const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}
