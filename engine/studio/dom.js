// Elements, made and found.

import { icon } from "./icons.js";
import { t } from "./texts.js";

export const byId = (id) => document.getElementById(id);

// An element. props: on… are listeners, class, text, and attributes; false and null leave out.
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// A button with an icon; its label is also its tooltip.
export function iconButton(name, label, onclick, props = {}) {
  return h(
    "button",
    { type: "button", class: "plain square", "aria-label": label, title: label, onclick, ...props },
    icon(name),
  );
}

// Fills elements with their texts: data-t, labels: data-l, placeholders: data-p, icons.
export function fillTexts(root) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-p]")) element.placeholder = t(element.dataset.p);
  for (const element of root.querySelectorAll("[data-icon]"))
    element.replaceChildren(icon(element.dataset.icon));
  for (const element of root.querySelectorAll("[data-l]")) {
    element.setAttribute("aria-label", t(element.dataset.l));
    if (element.tagName === "BUTTON") element.title = t(element.dataset.l);
  }
}

let last = 0;
// Says something to screen readers.
export function announce(text) {
  byId("live").textContent = text;
  clearTimeout(last);
  last = setTimeout(() => (byId("live").textContent = ""), 4000);
}

// A dialog with a title and a body; resolves when it is closed.
export function showDialog(title, ...body) {
  const dialog = byId("dialog");
  const close = h("button", { type: "button", text: t("close"), onclick: () => dialog.close() });
  dialog.replaceChildren(
    h("div", { class: "row" }, h("h2", { id: "dialog-title", text: title }), h("span", { class: "grow" }), close),
    ...body,
  );
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
}

export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
